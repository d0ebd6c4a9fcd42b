/*
 * Any bytes as a CDI document, in YAML or JSON: refused in words, or devices with names that can be
 * asked for and edits that can be made, or are refused in words in their turn.
 */
#include <assert.h>
#include <stdint.h>
#include <string.h>

#include "base/yaml.h"
#include "oci/cdi_private.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void look(const struct cdi_file *file, struct arena *arena)
{
        struct spec_options options = {0};
        assert(file->device_count > 0 && cdi_is_kind(file->kind, strlen(file->kind)));
        (void)cdi_apply(&file->edits, arena, &options, NULL);
        for (size_t i = 0; i < file->device_count; i++) {
                assert(cdi_is_device(file->devices[i].name));
                (void)cdi_apply(&file->devices[i].edits, arena, &options, NULL);
        }
        for (size_t i = 0; i < options.device_count; i++)
                assert(options.devices[i].path[0] == '/');
        for (size_t i = 0; i < options.mount_count; i++)
                assert(options.mounts[i].destination[0] == '/' && options.mounts[i].type);
        for (size_t i = 0; i < options.hook_count; i++)
                assert(options.hooks[i].stage < SPEC_HOOK_STAGES);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        AUTO_ARENA struct arena *arena = arena_new();
        AUTO_JSON json_t *document = NULL;
        struct cdi_file file;
        struct error err = {0};
        const char *bytes = (const char *)data;
        int result = size && *bytes == '{' ? json_parse(bytes, size, "f", &document, &err)
                                           : yaml_read(bytes, size, "f", &document, &err);
        if (result == 0)
                result = cdi_parse(document, "f", arena, &file, &err);
        if (result == 0)
                look(&file, arena);
        else
                assert(err.code == ERROR_INVALID_ARGUMENT && err.message[0] == 'f');
        return 0;
}
