/* crisp inspect, verify, pause, unpause: one container. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "api/crisp/v1/crisp.pb-c.h"
#include "base/memory.h"
#include "cli/cli.h"
#include "cli/text.h"

/* A call about a container that the runtime's program may take part in. */
#define DEADLINE (300 * NSEC_PER_SEC)

/* The words of a command that is about one container; 0, or the exit code after telling. */
static int read_words(char *const *arguments, const struct option *options, const char **words,
                      const char *name)
{
        AUTO_FREE char *wrong = xprintf("%s needs the ID or name of one container", name);
        int code = options_read(arguments, options, words);

        if (code == 0 && (!words[0] || words[1]))
                code = options_wrong(wrong, "");
        return code;
}

static int ask(const struct options_common *common, const char *method,
               const ProtobufCMessage *request, ProtobufCMessage **response)
{
        AUTO_CLIENT struct client *client = NULL;
        struct error err = {0};

        if (cli_connect(common, &client, &err) < 0 ||
            client_ask(client, &crisp__v1__crisp__descriptor, method, request,
                       clock_after(DEADLINE), response, &err) < 0)
                return cli_failed(&err);
        return 0;
}

int cli_inspect(char *const *arguments)
{
        struct options_common common = {0};
        const struct option options[] = {OPTIONS_SOCKET(common), OPTIONS_JSON(common), {0}};
        AUTO_FREE const char **words = cli_words(arguments);
        AUTO_MESSAGE Crisp__V1__ContainerInspectResponse *response = NULL;
        AUTO_BUFFER struct buffer out = BUFFER_INIT;
        Crisp__V1__ContainerInspectRequest request = CRISP__V1__CONTAINER_INSPECT_REQUEST__INIT;
        int code = read_words(arguments, options, words, "inspect");

        if (code == 0) {
                request.container = (char *)(uintptr_t)words[0];
                code = ask(&common, "ContainerInspect", &request.base,
                           (ProtobufCMessage **)&response);
        }
        if (code != 0 || !response)
                return code;
        cli_indent(response->json, &out);
        return cli_print(&out);
}

/* The exit code: whether there is a difference. */
static int write_findings(const Crisp__V1__ContainerVerifyResponse *response, bool passes,
                          struct buffer *out)
{
        size_t passed = 0, warned = 0, failed = 0;

        for (size_t i = 0; i < response->n_findings; i++) {
                const Crisp__V1__Finding *finding = response->findings[i];
                bool pass = finding->verdict == CRISP__V1__FINDING_VERDICT__FINDING_PASS;
                passed += pass;
                warned += finding->verdict == CRISP__V1__FINDING_VERDICT__FINDING_WARNING;
                failed += finding->verdict == CRISP__V1__FINDING_VERDICT__FINDING_FAIL;
                if (passes || !pass)
                        cli_add_finding(finding, out);
        }
        buffer_printf(out, "%zu looked at: %zu passed, %zu with warnings, %zu failed\n",
                      response->n_findings, passed, warned, failed);
        return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}

int cli_verify(char *const *arguments)
{
        struct options_common common = {0};
        bool quiet = false;
        const struct option options[] = {OPTIONS_SOCKET(common),
                                         OPTIONS_JSON(common),
                                         {.name = "--quiet", .letter = "-q", .flag = &quiet},
                                         {0}};
        AUTO_FREE const char **words = cli_words(arguments);
        AUTO_MESSAGE Crisp__V1__ContainerVerifyResponse *response = NULL;
        AUTO_BUFFER struct buffer out = BUFFER_INIT;
        Crisp__V1__ContainerVerifyRequest request = CRISP__V1__CONTAINER_VERIFY_REQUEST__INIT;
        int code = read_words(arguments, options, words, "verify");

        if (code == 0) {
                request.container = (char *)(uintptr_t)words[0];
                code = ask(&common, "ContainerVerify", &request.base,
                           (ProtobufCMessage **)&response);
        }
        if (code != 0 || !response)
                return code;
        code = write_findings(response, !quiet, &out);
        if (common.json) {
                out.length = 0;
                cli_json(&response->base, &out);
        }
        int printed = cli_print(&out);
        return printed ? printed : code;
}

int cli_pause(char *const *arguments)
{
        struct options_common common = {0};
        const struct option options[] = {OPTIONS_SOCKET(common), {0}};
        AUTO_FREE const char **words = cli_words(arguments);
        AUTO_MESSAGE ProtobufCMessage *response = NULL;
        Crisp__V1__ContainerPauseRequest request = CRISP__V1__CONTAINER_PAUSE_REQUEST__INIT;
        int code = read_words(arguments, options, words, "pause");

        request.container = (char *)(uintptr_t)words[0];
        return code ? code : ask(&common, "ContainerPause", &request.base, &response);
}

int cli_unpause(char *const *arguments)
{
        struct options_common common = {0};
        const struct option options[] = {OPTIONS_SOCKET(common), {0}};
        AUTO_FREE const char **words = cli_words(arguments);
        AUTO_MESSAGE ProtobufCMessage *response = NULL;
        Crisp__V1__ContainerUnpauseRequest request = CRISP__V1__CONTAINER_UNPAUSE_REQUEST__INIT;
        int code = read_words(arguments, options, words, "unpause");

        request.container = (char *)(uintptr_t)words[0];
        return code ? code : ask(&common, "ContainerUnpause", &request.base, &response);
}
