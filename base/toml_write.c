#include <string.h>

#include "base/toml_scalar.h"

bool toml_is_bare(char c)
{
        return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
               c == '_' || c == '-';
}

static void add_quoted(struct buffer *out, const char *text, size_t length)
{
        buffer_add_text(out, "\"");
        for (size_t i = 0; i < length; i++) {
                unsigned char c = (unsigned char)text[i];

                if (c == '"' || c == '\\')
                        buffer_printf(out, "\\%c", c);
                else if (c < 0x20 || c == 0x7f)
                        buffer_printf(out, "\\u%04X", c);
                else
                        buffer_add(out, &text[i], 1);
        }
        buffer_add_text(out, "\"");
}

void toml_add_string(struct buffer *out, const char *text)
{
        add_quoted(out, text, strlen(text));
}

void toml_add_path(struct buffer *out, const struct toml_node *node)
{
        bool bare;

        if (!node->parent)
                return;
        toml_add_path(out, node->parent);
        if (!node->key) {
                size_t index = 0;

                for (const struct toml_node *at = node->parent->first; at != node; at = at->next)
                        index++;
                buffer_printf(out, "[%zu]", index);
                return;
        }
        if (out->length > 0)
                buffer_add_text(out, ".");
        bare = node->key_length > 0;
        for (size_t i = 0; i < node->key_length; i++)
                bare = bare && toml_is_bare(node->key[i]);
        if (bare)
                buffer_add(out, node->key, node->key_length);
        else
                add_quoted(out, node->key, node->key_length);
}

const char *toml_kind_name(enum toml_kind kind)
{
        static const char *const names[] = {
                [TOML_STRING] = "a string",
                [TOML_INTEGER] = "an integer",
                [TOML_FLOAT] = "a float",
                [TOML_BOOLEAN] = "a boolean",
                [TOML_OFFSET_DATETIME] = "a date with time",
                [TOML_LOCAL_DATETIME] = "a date with time",
                [TOML_LOCAL_DATE] = "a date",
                [TOML_LOCAL_TIME] = "a time",
                [TOML_ARRAY] = "an array",
                [TOML_TABLE] = "a table",
        };

        return names[kind];
}
