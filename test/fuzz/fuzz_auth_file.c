/*
 * Any bytes as an auth file and as what a credential helper says: refused, or read; and whatever a
 * file answers is its own, and for the host that was asked for.
 */
#include <assert.h>
#include <stdint.h>
#include <string.h>

#include "image/auth_file.h"
#include "image/credential_helper.h"
#include "image/secret.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char *const HOSTS[] = {"docker.io", "registry.example", "registry.example:5000",
                                    "[::1]:5000", ""};
static const char *const REPOSITORIES[] = {"library/busybox", "team/app", "a"};

static void ask(const struct auth_file *file, const char *host, const char *repository)
{
        struct auth_file_answer answer;
        struct error err;

        if (auth_file_find(file, host, repository, &answer, &err) < 0) {
                assert(err.code == ERROR_INVALID_ARGUMENT);
                return;
        }
        assert(!answer.helper == !answer.server);
        assert(!answer.helper || secret_is_empty(&answer.credentials));
        assert(host[0] || (!answer.helper && secret_is_empty(&answer.credentials)));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        const char *text = (const char *)data;
        struct fetch_credentials found = {0};
        struct auth_file *file = NULL;
        struct error err;

        if (auth_file_parse(text, size, "auth.json", &file, &err) < 0) {
                assert(!file && err.code == ERROR_INVALID_ARGUMENT);
                assert(strncmp(err.message, "auth.json: ", 11) == 0);
        } else {
                for (size_t i = 0; i < sizeof(HOSTS) / sizeof(HOSTS[0]); i++)
                        for (size_t j = 0; j < sizeof(REPOSITORIES) / sizeof(REPOSITORIES[0]); j++)
                                ask(file, HOSTS[i], REPOSITORIES[j]);
                auth_file_free(file);
        }
        if (credential_helper_read(text, size, &found, &err) == 0)
                secret_wipe(&found);
        else
                assert(!found.username && !found.password && !found.identity_token);
        return 0;
}
