/* crisp metrics: the daemon's counters as they are. */
#include "cli/cli.h"

#include <string.h>

#include "api/crisp/v1/crisp.pb-c.h"

int cli_metrics(char *const *arguments)
{
        struct options_common common = {0};
        const struct option options[] = {OPTIONS_SOCKET(common), {0}};
        AUTO_FREE const char **words = cli_words(arguments);
        AUTO_CLIENT struct client *client = NULL;
        AUTO_MESSAGE Crisp__V1__MetricsResponse *response = NULL;
        Crisp__V1__MetricsRequest request = CRISP__V1__METRICS_REQUEST__INIT;
        struct error err = {0};
        int code = options_read(arguments, options, words);

        if (code != 0)
                return code;
        if (words[0])
                return options_wrong("unexpected argument ", words[0]);
        if (cli_connect(&common, &client, &err) < 0 ||
            client_ask(client, &crisp__v1__crisp__descriptor, "Metrics", &request.base,
                       clock_after(CLIENT_DEADLINE), (ProtobufCMessage **)&response, &err) < 0)
                return cli_failed(&err);
        struct buffer text = {.data = response->text, .length = strlen(response->text)};
        return cli_print(&text);
}
