/*
 * Any bytes as a TOML document: they are read or refused with a place. What was read is consistent:
 * every node stands in the tree under its key, and a string that is written comes back as it was.
 */
#include <assert.h>
#include <stdint.h>
#include <string.h>

#include "base/buffer.h"
#include "base/toml.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_string(const char *text, size_t length)
{
        AUTO_BUFFER struct buffer written = BUFFER_INIT;
        AUTO_TOML struct toml *document = NULL;

        if (strlen(text) != length || length > TOML_SIZE_MAX / 8)
                return; /* a zero byte cannot be written, and escaping makes text up to six times as
                           long */
        toml_add_string(&written, text);
        buffer_add_text(&written, "=");
        toml_add_string(&written, text);
        assert(toml_parse(written.data, written.length, "again", &document, NULL) == 0);
        assert(strcmp(document->root->first->key, text) == 0);
        assert(strcmp(json_string_value(document->root->first->value), text) == 0);
}

static void check_node(const struct toml_node *node, unsigned depth)
{
        size_t children = 0;

        assert(depth <= TOML_DEPTH_MAX);
        assert(node->line >= 1);
        if (node->kind == TOML_STRING)
                check_string(json_string_value(node->value), json_string_length(node->value));
        for (const struct toml_node *child = node->first; child; child = child->next) {
                assert(child->parent == node);
                if (node->kind == TOML_TABLE)
                        assert(json_object_getn(node->value, child->key, child->key_length) ==
                               child->value);
                else
                        assert(json_array_get(node->value, children) == child->value);
                check_node(child, depth + 1);
                children++;
        }
        if (node->kind == TOML_TABLE)
                assert(json_object_size(node->value) == children);
        else if (node->kind == TOML_ARRAY)
                assert(json_array_size(node->value) == children);
        else
                assert(children == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        AUTO_TOML struct toml *document = NULL;
        struct error err = {0};

        if (toml_parse((const char *)data, size, "input", &document, &err) == 0)
                check_node(document->root, 0);
        else
                assert(strncmp(err.message, "input:", 6) == 0);
        return 0;
}
