/* Any bytes as a hosts.toml: refused with a place, or read as endpoints that have what they must.
 */
#include <assert.h>
#include <stdint.h>
#include <string.h>
#include <strings.h>

#include "base/log.h"
#include "image/hosts.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        AUTO_ARENA struct arena *arena = arena_new();
        struct fetch_endpoint *endpoints = NULL;
        struct error err = {0};
        size_t count = 0;

        log_set_level(LOG_LEVEL_ERROR);
        if (hosts_parse((const char *)data, size, "/d/hosts.toml", "a.example:5000", arena,
                        &endpoints, &count, &err) < 0) {
                assert(strncmp(err.message, "/d/hosts.toml:", 14) == 0);
                return 0;
        }
        assert(count > 0 && count <= HOSTS_MAX + 1);
        for (size_t i = 0; i < count; i++) {
                const struct fetch_endpoint *endpoint = &endpoints[i];
                assert(strncasecmp(endpoint->url, "http", 4) == 0 && endpoint->exact_path);
                assert(endpoint->connect_timeout >= 0 &&
                       endpoint->connect_timeout <= HOSTS_DIAL_MAX);
                assert(!endpoint->key || endpoint->certificate);
                for (size_t j = 0; j < endpoint->authority_count; j++)
                        assert(endpoint->authorities[j][0] == '/');
                for (size_t j = 0; j < endpoint->header_count; j++)
                        assert(strchr(endpoint->headers[j], ':'));
        }
        return 0;
}
