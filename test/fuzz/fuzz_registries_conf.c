/*
 * Any bytes as a registries.conf: refused with a place, or read; then names have candidates and
 * sources that are names themselves.
 */
#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "image/registries.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define SHA "@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

static void look_up(const struct registries *registries, const char *name)
{
        AUTO_FREE struct reference *candidates = NULL;
        struct error err = {0};
        size_t count = 0;

        if (registries_candidates(registries, name, true, &candidates, &count, &err) < 0) {
                assert(!candidates && err.message[0]);
                return;
        }
        assert(count > 0 && count <= REGISTRIES_SEARCH_MAX);
        for (size_t i = 0; i < count; i++) {
                struct registries_source *sources = NULL;
                size_t found = 0;
                if (registries_sources(registries, &candidates[i], &sources, &found, &err) < 0)
                        continue;
                assert(found <= REGISTRIES_MIRRORS_MAX + 1);
                for (size_t j = 0; j < found; j++)
                        assert(sources[j].registry[0] && sources[j].repository[0]);
                registries_sources_free(sources, found);
        }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        static const char *const names[] = {
                "busybox",       "a/b:1" SHA,          "a.example/x:1", "a.example/x/y" SHA,
                "docker.io/b:1", "localhost:5000/img", "s.b.example/i"};
        AUTO_REGISTRIES struct registries *registries = registries_new();
        struct error err = {0};

        log_set_level(LOG_LEVEL_ERROR);
        if (registries_add(registries, (const char *)data, size, "input", &err) < 0) {
                assert(strncmp(err.message, "input:", 6) == 0);
                return 0;
        }
        for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
                look_up(registries, names[i]);
        return 0;
}
