/*
 * Any bytes as an image's configuration and as its record: refused, or read; and what was read as a
 * record is the same after it was written and read again.
 */
#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "image/config.h"
#include "image/layer.h"
#include "image/record.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define ID "sha256:0000000000000000000000000000000000000000000000000000000000000001"

static void forget(struct image *image)
{
        for (size_t i = 0; i < image->layer_count; i++)
                layer_free(image->layers[i]);
        layer_free(image->fixup);
        image_free(image);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        const char *text = (const char *)data;
        AUTO_IMAGE_CONFIG struct image_config *config = NULL;
        struct image *image = NULL, *again = NULL;
        struct error err;

        if (image_config_parse(text, size, "configuration", &config, &err) < 0)
                assert(!config && err.code == ERROR_INVALID_ARGUMENT);
        if (record_decode(text, size, ID, &image, &err) < 0) {
                assert(!image);
                return 0;
        }
        char *first = record_encode(image);
        assert(record_decode(first, strlen(first), ID, &again, &err) == 0);
        char *second = record_encode(again);
        assert(strcmp(first, second) == 0);
        free(first);
        free(second);
        forget(image);
        forget(again);
        return 0;
}
