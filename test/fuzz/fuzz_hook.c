/*
 * Any bytes as a hook's file: refused in words, or a hook whose conditions can be looked at. Its
 * patterns, which are an operator's own, are not searched for in long texts here.
 */
#include <assert.h>
#include <stdint.h>
#include <string.h>

#include "oci/hook_private.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        static const struct spec_pair annotations[] = {{"team", "red"}, {"a.b/c-d", ""}};
        struct hook_question question = {.command = "/bin/sh",
                                         .annotations = annotations,
                                         .annotation_count = 2,
                                         .has_bind_mounts = true};
        AUTO_ARENA struct arena *arena = arena_new();
        AUTO_JSON json_t *document = NULL;
        struct hook_file file;
        struct error err = {0};
        if (size > 2048)
                return 0;
        if (json_parse((const char *)data, size, "f", &document, &err) < 0 ||
            hook_parse(document, "f", arena, &file, &err) < 0) {
                assert(err.code == ERROR_INVALID_ARGUMENT && err.message[0] == 'f');
                return 0;
        }
        assert(file.hook.path[0] == '/');
        hook_matches(&file, &question);
        return 0;
}
