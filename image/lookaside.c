#include "image/lookaside.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <yaml.h>

#include "base/buffer.h"
#include "base/file.h"
#include "base/memory.h"
#include "base/table.h"

#define SUFFIX           ".yaml"
#define DEFAULT_SECTION  ""   /* its name in the table: no scope's */
#define SCALAR_BYTES_MAX 2048 /* of a key or value */

struct section {
        const char *file;
        const char *url;
        bool attachments;
};

struct reading {
        const char *file;
        yaml_document_t *document;
        struct arena *arena;
        struct table *sections;
        struct error *err;
};

static int wrong(struct reading *reading, const yaml_node_t *node, const char *key,
                 const char *what)
{
        return error_set(reading->err, ERROR_INVALID_ARGUMENT, "%s:%zu: %.200s: %s", reading->file,
                         node->start_mark.line + 1, key, what);
}

static const yaml_node_t *node_at(struct reading *reading, int index)
{
        return yaml_document_get_node(reading->document, index);
}

/* The text of a scalar, or null. */
static const char *text_of(const yaml_node_t *node)
{
        if (!node || node->type != YAML_SCALAR_NODE ||
            node->data.scalar.length > SCALAR_BYTES_MAX ||
            memchr(node->data.scalar.value, '\0', node->data.scalar.length))
                return NULL;
        return (const char *)node->data.scalar.value;
}

static int get_url(struct reading *reading, const yaml_node_t *value, const char *key,
                   const char **url)
{
        const char *text = text_of(value);
        if (!text || (strncmp(text, "file:///", 8) != 0 && strncmp(text, "http://", 7) != 0 &&
                      strncmp(text, "https://", 8) != 0))
                return wrong(reading, value, key, "expected file:///, http:// or https://");
        if (strpbrk(text, "?# \t\n"))
                return wrong(reading, value, key, "expected a URL without blanks, query, fragment");
        if (*url)
                return wrong(reading, value, key, "its older name is given too");
        *url = arena_strdup(reading->arena, text);
        return 0;
}

static int get_flag(struct reading *reading, const yaml_node_t *value, const char *key, bool *flag)
{
        const char *text = text_of(value);
        if (!text || (strcasecmp(text, "true") != 0 && strcasecmp(text, "false") != 0))
                return wrong(reading, value, key, "expected true or false");
        *flag = strcasecmp(text, "true") == 0;
        return 0;
}

static int get_member(struct reading *reading, const char *key, const yaml_node_t *value,
                      struct section *section, const char **staging)
{
        if (strcmp(key, "lookaside") == 0 || strcmp(key, "sigstore") == 0)
                return get_url(reading, value, key, &section->url);
        if (strcmp(key, "lookaside-staging") == 0 || strcmp(key, "sigstore-staging") == 0)
                return get_url(reading, value, key, staging);
        if (strcmp(key, "use-sigstore-attachments") == 0)
                return get_flag(reading, value, key, &section->attachments);
        return wrong(reading, value, key,
                     "expected lookaside, lookaside-staging or use-sigstore-attachments");
}

static int get_section(struct reading *reading, const char *scope, const yaml_node_t *node)
{
        struct section *section = arena_alloc(reading->arena, sizeof(*section));
        const char *staging = NULL; /* for those who sign */
        section->file = reading->file;
        if (node->type != YAML_MAPPING_NODE)
                return wrong(reading, node, scope, "expected a mapping");
        for (const yaml_node_pair_t *pair = node->data.mapping.pairs.start;
             pair < node->data.mapping.pairs.top; pair++) {
                const char *key = text_of(node_at(reading, pair->key));
                if (!key)
                        return wrong(reading, node, scope, "expected text as keys");
                int r = get_member(reading, key, node_at(reading, pair->value), section, &staging);
                if (r < 0)
                        return r;
        }
        if (table_size(reading->sections) >= LOOKASIDE_SECTIONS_MAX)
                return wrong(reading, node, scope, "too many sections");
        struct section *other = table_put(reading->sections, scope, section);
        if (other)
                return error_set(reading->err, ERROR_INVALID_ARGUMENT,
                                 "%s:%zu: %.200s: it stands in %s already", reading->file,
                                 node->start_mark.line + 1, scope[0] ? scope : "default-docker",
                                 other->file);
        return 0;
}

static int get_sections(struct reading *reading, const yaml_node_t *node)
{
        if (node->type != YAML_MAPPING_NODE)
                return wrong(reading, node, "docker", "expected a mapping");
        for (const yaml_node_pair_t *pair = node->data.mapping.pairs.start;
             pair < node->data.mapping.pairs.top; pair++) {
                const char *scope = text_of(node_at(reading, pair->key));
                if (!scope || !scope[0])
                        return wrong(reading, node, "docker", "expected names as keys");
                int r = get_section(reading, scope, node_at(reading, pair->value));
                if (r < 0)
                        return r;
        }
        return 0;
}

static int get_file(struct reading *reading)
{
        const yaml_node_t *root = yaml_document_get_root_node(reading->document);
        if (!root)
                return 0; /* nothing but comments */
        if (root->type != YAML_MAPPING_NODE)
                return wrong(reading, root, "file", "expected a mapping");
        for (const yaml_node_pair_t *pair = root->data.mapping.pairs.start;
             pair < root->data.mapping.pairs.top; pair++) {
                const char *key = text_of(node_at(reading, pair->key));
                const yaml_node_t *value = node_at(reading, pair->value);
                int r;
                if (key && strcmp(key, "docker") == 0)
                        r = get_sections(reading, value);
                else if (key && strcmp(key, "default-docker") == 0)
                        r = get_section(reading, DEFAULT_SECTION, value);
                else
                        r = wrong(reading, root, key ? key : "file",
                                  "expected docker or default-docker");
                if (r < 0)
                        return r;
        }
        return 0;
}

static int read_file(const char *path, struct arena *arena, struct table *sections,
                     struct error *err)
{
        AUTO_BUFFER struct buffer bytes = BUFFER_INIT;
        yaml_parser_t parser;
        yaml_document_t document;
        struct reading reading = {.file = arena_strdup(arena, path),
                                  .document = &document,
                                  .arena = arena,
                                  .sections = sections,
                                  .err = err};

        int r = file_read(path, LOOKASIDE_FILE_BYTES_MAX, &bytes, err);
        if (r < 0)
                return r;
        if (!yaml_parser_initialize(&parser))
                return error_set(err, ERROR_INTERNAL, "%s: libyaml does not start", path);
        yaml_parser_set_input_string(&parser, (const unsigned char *)(bytes.data ? bytes.data : ""),
                                     bytes.length);
        if (!yaml_parser_load(&parser, &document)) {
                r = error_set(err, ERROR_INVALID_ARGUMENT, "%s:%zu: not valid YAML: %s", path,
                              parser.problem_mark.line + 1,
                              parser.problem ? parser.problem : "unknown");
        } else {
                r = get_file(&reading);
                yaml_document_delete(&document);
        }
        yaml_parser_delete(&parser);
        return r;
}

static int is_yaml(const struct dirent *entry)
{
        size_t length = strlen(entry->d_name);
        return length > strlen(SUFFIX) &&
               strcmp(entry->d_name + length - strlen(SUFFIX), SUFFIX) == 0;
}

static int read_all(const char *directory, struct arena *arena, struct table *sections,
                    struct error *err)
{
        struct dirent **entries = NULL;
        int count = scandir(directory, &entries, is_yaml, alphasort), r = 0;

        if (count < 0 && errno == ENOENT)
                return 0;
        if (count < 0)
                return error_errno(err, errno, "read %s", directory);
        if (count > LOOKASIDE_FILES_MAX)
                r = error_set(err, ERROR_INVALID_ARGUMENT, "%s: more than %d files", directory,
                              LOOKASIDE_FILES_MAX);
        for (int i = 0; i < count; i++) {
                AUTO_FREE char *path = xprintf("%s/%s", directory, entries[i]->d_name);
                if (r == 0)
                        r = read_file(path, arena, sections, err);
                free(entries[i]);
        }
        free(entries);
        return r;
}

/* The most specific section: the name in full, its repository, what is above, the registry. */
static const struct section *find_section(const struct table *sections,
                                          const struct reference *reference)
{
        char name[2 * REFERENCE_NAME_MAX + REFERENCE_DIGEST_MAX + 4];

        snprintf(name, sizeof(name), "%s/%s%s%s", reference->registry, reference->repository,
                 reference->digest[0] ? "@" : ":",
                 reference->digest[0] ? reference->digest : reference->tag);
        const struct section *found = table_get(sections, name);
        snprintf(name, sizeof(name), "%s/%s", reference->registry, reference->repository);
        while (!found) {
                found = table_get(sections, name);
                char *slash = strrchr(name, '/');
                if (!slash)
                        break;
                *slash = '\0';
        }
        return found ? found : table_get(sections, DEFAULT_SECTION);
}

int lookaside_find(const char *directory, const struct reference *reference, struct arena *arena,
                   struct lookaside *lookaside, struct error *err)
{
        struct table *sections = table_new();
        int r = read_all(directory, arena, sections, err);
        if (r == 0) {
                const struct section *section = find_section(sections, reference);
                const char *base = section ? section->url : LOOKASIDE_DEFAULT;
                size_t length = base ? strlen(base) : 0;
                while (length > 0 && base[length - 1] == '/')
                        length--;
                *lookaside = (struct lookaside){
                        .url = base ? arena_printf(arena, "%.*s/%s", (int)length, base,
                                                   reference->repository)
                                    : NULL,
                        .attachments = section && section->attachments,
                };
        }
        table_free(sections);
        return r;
}
