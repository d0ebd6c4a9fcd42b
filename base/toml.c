#include "base/toml.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "base/file.h"
#include "base/memory.h"
#include "base/table.h"
#include "base/toml_scalar.h"

struct key {
        char *bytes; /* in the arena, with a zero after it */
        size_t length;
};

/* A dotted key. */
struct keys {
        struct key parts[TOML_DEPTH_MAX];
        unsigned count;
};

struct parser {
        struct toml_cursor in;
        struct toml *document;
        struct table *members; /* "ID:key" of every member, with the ID of its table, to its node */
        unsigned nodes;
};

static int take_value(struct parser *parser, struct toml_node *parent, const struct key *key);

/* ---- nodes ---- */

/*
 * A key may hold zero bytes, the table's keys cannot: they stand there as C0 80, which no UTF-8
 * text holds. Ends a lookup name on the heap.
 */
static char *member_name(const struct toml_node *table, const char *key, size_t length)
{
        AUTO_BUFFER struct buffer name = BUFFER_INIT;

        buffer_printf(&name, "%u:", table->id);
        while (length > 0) {
                size_t run = strnlen(key, length);

                buffer_add(&name, key, run);
                key += run, length -= run;
                if (length > 0) {
                        buffer_add(&name, "\xc0\x80", 2);
                        key++, length--;
                }
        }
        return buffer_take(&name);
}

static struct toml_node *find_member(const struct parser *parser, const struct toml_node *table,
                                     const struct key *key)
{
        AUTO_FREE char *name = member_name(table, key->bytes, key->length);

        return table_get(parser->members, name);
}

/* Adds a value, whose reference it takes, to a table (key) or an array (key null). */
static int add_node(struct parser *parser, struct toml_node *parent, const struct key *key,
                    enum toml_kind kind, json_t *value, unsigned line, struct toml_node **added)
{
        struct toml_node *node;
        int failed;

        if (!value)
                abort(); /* out of memory: whatever else jansson refuses was checked before */
        if (parent->depth == TOML_DEPTH_MAX) {
                json_decref(value);
                return toml_fail(&parser->in, line, "nested deeper than %d levels", TOML_DEPTH_MAX);
        }
        node = arena_alloc(parser->document->arena, sizeof(*node));
        node->kind = kind;
        node->line = line;
        node->value = value;
        node->parent = parent;
        node->id = ++parser->nodes;
        node->depth = parent->depth + 1;
        if (key) {
                AUTO_FREE char *name = member_name(parent, key->bytes, key->length);

                node->key = key->bytes;
                node->key_length = key->length;
                failed = json_object_setn_new(parent->value, key->bytes, key->length, value);
                table_put(parser->members, name, node);
        } else {
                failed = json_array_append_new(parent->value, value);
        }
        if (failed)
                abort();
        if (parent->last)
                parent->last->next = node;
        else
                parent->first = node;
        parent->last = node;
        *added = node;
        return 0;
}

/* ---- keys ---- */

static void skip_blanks(struct toml_cursor *in)
{
        while (toml_at(in, " ") || toml_at(in, "\t"))
                in->at++;
}

static int take_key_part(struct parser *parser, struct key *part)
{
        struct toml_cursor *in = &parser->in;
        AUTO_BUFFER struct buffer text = BUFFER_INIT;

        if (toml_at(in, "\"") || toml_at(in, "'")) {
                int rc = toml_take_string(in, false, &text);

                if (rc < 0)
                        return rc;
        } else {
                const char *start = in->at;
                char seen[16];

                while (in->at < in->end && toml_is_bare(*in->at))
                        in->at++;
                if (in->at == start)
                        return toml_fail(in, in->line, "expected a key, found %s",
                                         toml_describe(in, seen));
                buffer_add(&text, start, (size_t)(in->at - start));
        }
        part->bytes = arena_alloc(parser->document->arena, text.length + 1);
        if (text.length > 0)
                memcpy(part->bytes, text.data, text.length);
        part->length = text.length;
        return 0;
}

static int take_keys(struct parser *parser, struct keys *keys)
{
        struct toml_cursor *in = &parser->in;

        keys->count = 0;
        for (;;) {
                int rc;

                if (keys->count == TOML_DEPTH_MAX)
                        return toml_fail(in, in->line, "nested deeper than %d levels",
                                         TOML_DEPTH_MAX);
                rc = take_key_part(parser, &keys->parts[keys->count]);
                if (rc < 0)
                        return rc;
                keys->count++;
                skip_blanks(in);
                if (!toml_at(in, "."))
                        return 0;
                in->at++;
                skip_blanks(in);
        }
}

/* ---- which table a key means ---- */

static int fail_defined(const struct parser *parser, unsigned line, const struct toml_node *node)
{
        AUTO_BUFFER struct buffer path = BUFFER_INIT;

        toml_add_path(&path, node);
        return toml_fail(&parser->in, line, "%s is already defined in line %u", path.data,
                         node->line);
}

/* Goes from table into its member key as a header does on its way to its last part, and makes it
 * when it is missing. */
static int step_header(struct parser *parser, struct toml_node **table, const struct key *key,
                       unsigned line)
{
        struct toml_node *node = find_member(parser, *table, key);

        if (!node) {
                int rc = add_node(parser, *table, key, TOML_TABLE, json_object(), line, &node);

                if (rc < 0)
                        return rc;
        }
        if (node->tables)
                node = node->last;
        if (node->kind != TOML_TABLE || node->closed)
                return fail_defined(parser, line, node);
        *table = node;
        return 0;
}

/* The same for a dotted key, which must not add to what a header has defined. */
static int step_dotted(struct parser *parser, struct toml_node **table, const struct key *key,
                       unsigned line)
{
        struct toml_node *node = find_member(parser, *table, key);

        if (!node) {
                int rc = add_node(parser, *table, key, TOML_TABLE, json_object(), line, &node);

                if (rc < 0)
                        return rc;
        }
        if (node->kind != TOML_TABLE || node->closed || node->header)
                return fail_defined(parser, line, node);
        node->dotted = true;
        *table = node;
        return 0;
}

/* [header]: the table that the following lines fill. */
static int open_table(struct parser *parser, const struct keys *keys, unsigned line,
                      struct toml_node **opened)
{
        struct toml_node *table = parser->document->root, *node;
        const struct key *last = &keys->parts[keys->count - 1];
        int rc;

        for (unsigned i = 0; i + 1 < keys->count; i++) {
                rc = step_header(parser, &table, &keys->parts[i], line);
                if (rc < 0)
                        return rc;
        }
        node = find_member(parser, table, last);
        if (!node) {
                rc = add_node(parser, table, last, TOML_TABLE, json_object(), line, &node);
                if (rc < 0)
                        return rc;
        } else if (node->kind != TOML_TABLE || node->closed || node->header || node->dotted) {
                return fail_defined(parser, line, node);
        } else {
                node->line = line;
        }
        node->header = true;
        *opened = node;
        return 0;
}

/* [[header]]: a new table at the end of an array of tables. */
static int open_array_table(struct parser *parser, const struct keys *keys, unsigned line,
                            struct toml_node **opened)
{
        struct toml_node *table = parser->document->root, *array, *node;
        const struct key *last = &keys->parts[keys->count - 1];
        int rc;

        for (unsigned i = 0; i + 1 < keys->count; i++) {
                rc = step_header(parser, &table, &keys->parts[i], line);
                if (rc < 0)
                        return rc;
        }
        array = find_member(parser, table, last);
        if (!array) {
                rc = add_node(parser, table, last, TOML_ARRAY, json_array(), line, &array);
                if (rc < 0)
                        return rc;
                array->tables = true;
        } else if (!array->tables) {
                return fail_defined(parser, line, array);
        }
        rc = add_node(parser, array, NULL, TOML_TABLE, json_object(), line, &node);
        if (rc < 0)
                return rc;
        node->header = true;
        *opened = node;
        return 0;
}

/* ---- values ---- */

/* Takes white space, comments and line ends. */
static int skip_lines(struct toml_cursor *in)
{
        for (;;) {
                skip_blanks(in);
                if (toml_at(in, "#")) {
                        while (in->at < in->end && toml_is_text(*in->at))
                                in->at++;
                        if (in->at == in->end)
                                return 0;
                        if (!toml_take_newline(in))
                                return toml_fail(in, in->line,
                                                 "a control character (0x%02x) must not stand in a "
                                                 "comment",
                                                 (unsigned char)*in->at);
                } else if (!toml_take_newline(in)) {
                        return 0;
                }
        }
}

static int take_array(struct parser *parser, struct toml_node *parent, const struct key *key)
{
        struct toml_cursor *in = &parser->in;
        unsigned began = in->line;
        struct toml_node *array;
        char seen[16];
        int rc = add_node(parser, parent, key, TOML_ARRAY, json_array(), began, &array);

        if (rc < 0)
                return rc;
        array->closed = true;
        in->at++;
        for (;;) {
                rc = skip_lines(in);
                if (rc < 0)
                        return rc;
                if (toml_at(in, "]"))
                        break;
                if (in->at == in->end)
                        return toml_fail(in, began, "the array has no closing ]");
                rc = take_value(parser, array, NULL);
                if (rc < 0)
                        return rc;
                rc = skip_lines(in);
                if (rc < 0)
                        return rc;
                if (toml_at(in, ","))
                        in->at++;
                else if (!toml_at(in, "]"))
                        return toml_fail(in, in->at == in->end ? began : in->line,
                                         "expected , or ] in an array, found %s",
                                         toml_describe(in, seen));
        }
        in->at++;
        return 0;
}

/* key = value, up to the value's end. */
static int take_pair(struct parser *parser, struct toml_node *table)
{
        struct toml_cursor *in = &parser->in;
        struct toml_node *there;
        struct keys keys;
        unsigned line = in->line;
        char seen[16];
        int rc = take_keys(parser, &keys);

        if (rc < 0)
                return rc;
        if (!toml_at(in, "="))
                return toml_fail(in, line, "expected = after the key, found %s",
                                 toml_describe(in, seen));
        in->at++;
        skip_blanks(in);
        for (unsigned i = 0; i + 1 < keys.count; i++) {
                rc = step_dotted(parser, &table, &keys.parts[i], line);
                if (rc < 0)
                        return rc;
        }
        there = find_member(parser, table, &keys.parts[keys.count - 1]);
        if (there)
                return fail_defined(parser, line, there);
        return take_value(parser, table, &keys.parts[keys.count - 1]);
}

static int take_inline_table(struct parser *parser, struct toml_node *parent, const struct key *key)
{
        struct toml_cursor *in = &parser->in;
        struct toml_node *table;
        char seen[16];
        int rc = add_node(parser, parent, key, TOML_TABLE, json_object(), in->line, &table);

        if (rc < 0)
                return rc;
        in->at++;
        skip_blanks(in);
        while (!toml_at(in, "}")) {
                rc = take_pair(parser, table);
                if (rc < 0)
                        return rc;
                skip_blanks(in);
                if (toml_at(in, "}"))
                        break;
                if (!toml_at(in, ","))
                        return toml_fail(in, in->line,
                                         "expected , or } in an inline table, found %s",
                                         toml_describe(in, seen));
                in->at++;
                skip_blanks(in);
                if (toml_at(in, "}"))
                        return toml_fail(in, in->line, "an inline table cannot end with a comma");
        }
        in->at++;
        table->closed = true;
        return 0;
}

static int take_value(struct parser *parser, struct toml_node *parent, const struct key *key)
{
        struct toml_cursor *in = &parser->in;
        AUTO_BUFFER struct buffer text = BUFFER_INIT;
        struct toml_node *node;
        unsigned line = in->line;
        enum toml_kind kind;
        json_t *value;
        int rc;

        if (toml_at(in, "["))
                return take_array(parser, parent, key);
        if (toml_at(in, "{"))
                return take_inline_table(parser, parent, key);
        if (toml_at(in, "\"") || toml_at(in, "'")) {
                rc = toml_take_string(in, true, &text);
                if (rc < 0)
                        return rc;
                value = json_stringn(text.data ? text.data : "", text.length);
                return add_node(parser, parent, key, TOML_STRING, value, line, &node);
        }
        rc = toml_take_scalar(in, &kind, &value);
        if (rc < 0)
                return rc;
        return add_node(parser, parent, key, kind, value, line, &node);
}

/* ---- a document ---- */

static int take_header(struct parser *parser, struct toml_node **table)
{
        struct toml_cursor *in = &parser->in;
        bool array = toml_at(in, "[[");
        struct keys keys;
        char seen[16];
        int rc;

        in->at += array ? 2 : 1;
        skip_blanks(in);
        rc = take_keys(parser, &keys);
        if (rc < 0)
                return rc;
        if (!toml_at(in, array ? "]]" : "]"))
                return toml_fail(in, in->line, "expected %s after the table's name, found %s",
                                 array ? "]]" : "]", toml_describe(in, seen));
        in->at += array ? 2 : 1;
        return array ? open_array_table(parser, &keys, in->line, table)
                     : open_table(parser, &keys, in->line, table);
}

static int take_document(struct parser *parser)
{
        struct toml_cursor *in = &parser->in;
        struct toml_node *table = parser->document->root;

        if (toml_at(in, "\xef\xbb\xbf"))
                in->at += 3; /* a byte order mark, which some editors leave */
        for (;;) {
                unsigned line;
                char seen[16];
                int rc = skip_lines(in);

                if (rc < 0)
                        return rc;
                if (in->at == in->end)
                        return 0;
                rc = toml_at(in, "[") ? take_header(parser, &table) : take_pair(parser, table);
                if (rc < 0)
                        return rc;
                line = in->line;
                skip_blanks(in);
                if (in->at < in->end && !toml_at(in, "#") && !toml_at(in, "\n") &&
                    !toml_at(in, "\r\n"))
                        return toml_fail(in, line, "expected the end of the line, found %s",
                                         *in->at == '\r' ? "a lone carriage return"
                                                         : toml_describe(in, seen));
        }
}

/* Length of the valid UTF-8 at the front of bytes. */
static size_t utf8_length(const char *bytes, size_t length)
{
        size_t at = 0;

        while (at < length) {
                const unsigned char *c = (const unsigned char *)bytes + at;
                size_t left = length - at, need;

                if (c[0] < 0x80)
                        need = 1;
                else if (c[0] >= 0xc2 && c[0] <= 0xdf)
                        need = 2;
                else if ((c[0] & 0xf0) == 0xe0)
                        need = 3;
                else if (c[0] >= 0xf0 && c[0] <= 0xf4)
                        need = 4;
                else
                        return at;
                if (need > left)
                        return at;
                for (size_t i = 1; i < need; i++)
                        if ((c[i] & 0xc0) != 0x80)
                                return at;
                /* overlong forms, surrogates, beyond U+10FFFF */
                if ((c[0] == 0xe0 && c[1] < 0xa0) || (c[0] == 0xed && c[1] > 0x9f) ||
                    (c[0] == 0xf0 && c[1] < 0x90) || (c[0] == 0xf4 && c[1] > 0x8f))
                        return at;
                at += need;
        }
        return at;
}

static int check_utf8(const struct toml_cursor *in)
{
        size_t length = (size_t)(in->end - in->at), valid = utf8_length(in->at, length);
        unsigned line = 1;

        if (valid == length)
                return 0;
        for (size_t i = 0; i < valid; i++)
                line += in->at[i] == '\n';
        return toml_fail(in, line, "byte 0x%02x is not UTF-8", (unsigned char)in->at[valid]);
}

static struct toml *new_document(void)
{
        struct toml *document = xcalloc(1, sizeof(*document));

        document->arena = arena_new();
        document->tree = json_object();
        if (!document->tree)
                abort();
        document->root = arena_alloc(document->arena, sizeof(*document->root));
        document->root->kind = TOML_TABLE;
        document->root->line = 1;
        document->root->value = document->tree;
        return document;
}

int toml_parse(const char *bytes, size_t length, const char *file, struct toml **document,
               struct error *err)
{
        AUTO_TOML struct toml *made = NULL;
        struct parser parser = {
                .in = {.at = bytes, .end = bytes + length, .line = 1, .file = file, .err = err},
        };
        int rc;

        if (length > TOML_SIZE_MAX)
                return error_set(err, ERROR_INVALID_ARGUMENT, "%s: longer than %d bytes", file,
                                 TOML_SIZE_MAX);
        rc = check_utf8(&parser.in);
        if (rc < 0)
                return rc;
        made = new_document();
        parser.document = made;
        parser.members = table_new();
        rc = take_document(&parser);
        table_free(parser.members);
        if (rc < 0)
                return rc;
        *document = take_ptr(made);
        return 0;
}

int toml_load(const char *path, struct toml **document, struct error *err)
{
        AUTO_BUFFER struct buffer contents = BUFFER_INIT;
        int rc = file_read(path, TOML_SIZE_MAX, &contents, err);

        if (rc < 0)
                return rc;
        return toml_parse(contents.data ? contents.data : "", contents.length, path, document, err);
}

void toml_free(struct toml *document)
{
        if (!document)
                return;
        json_decref(document->tree);
        arena_free(document->arena);
        free(document);
}

const struct toml_node *toml_member(const struct toml_node *table, const char *key)
{
        size_t length = strlen(key);

        assert(table->kind == TOML_TABLE);
        for (const struct toml_node *node = table->first; node; node = node->next)
                if (node->key_length == length && memcmp(node->key, key, length) == 0)
                        return node;
        return NULL;
}
