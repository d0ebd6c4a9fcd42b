/* Reading registries.conf and its drop-ins. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/buffer.h"
#include "base/file.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/toml.h"
#include "image/registries_private.h"
#include "image/setting.h"

#define DROP_IN_SUFFIX ".conf"

/* ---- locations ---- */

/* host[:port][/path] without slashes at its end. with_tag: may end in a tag or digest. */
static int read_location(const struct toml_node *node, const char *file, bool with_tag,
                         char **location, struct error *err)
{
        const char *text;
        int r = setting_text(node, file, &text, err);
        if (r < 0)
                return r;
        if (strstr(text, "://"))
                return setting_refuse(node, file, err,
                                      "a scheme does not belong here (\"insecure = true\" allows "
                                      "what is not https)");
        size_t length = strlen(text);
        while (length > 0 && text[length - 1] == '/')
                length--;
        const char *slash = strchr(text, '/');
        if (!with_tag && (strchr(text, '@') || (slash && strchr(slash, ':'))))
                return setting_refuse(node, file, err, "a tag or digest does not belong here");
        free(*location);
        *location = length > 0 ? xstrndup(text, length) : NULL;
        return 0;
}

static int read_use(const struct toml_node *node, const char *file, struct registries_place *place,
                    struct error *err)
{
        const char *text;
        int r = setting_text(node, file, &text, err);
        if (r < 0)
                return r;
        place->use_said = text[0] != '\0';
        if (text[0] == '\0' || strcmp(text, "all") == 0)
                place->use = MIRROR_ALL;
        else if (strcmp(text, "digest-only") == 0)
                place->use = MIRROR_DIGEST_ONLY;
        else if (strcmp(text, "tag-only") == 0)
                place->use = MIRROR_TAG_ONLY;
        else
                return setting_refuse(node, file, err,
                                      "expected \"all\", \"digest-only\" or \"tag-only\"");
        return 0;
}

/* ---- [[registry]] ---- */

static int read_mirror(const struct toml_node *table, const char *file,
                       struct registries_place *mirror, struct error *err)
{
        int r = setting_need(table, TOML_TABLE, file, err);

        for (const struct toml_node *node = table->first; r == 0 && node; node = node->next) {
                if (strcmp(node->key, "location") == 0)
                        r = read_location(node, file, false, &mirror->location, err);
                else if (strcmp(node->key, "insecure") == 0)
                        r = setting_bool(node, file, &mirror->insecure, err);
                else if (strcmp(node->key, "pull-from-mirror") == 0)
                        r = read_use(node, file, mirror, err);
                else
                        setting_unknown(node, file);
        }
        if (r == 0 && !mirror->location)
                r = setting_refuse(table, file, err, "a mirror needs a location");
        return r;
}

static int read_mirrors(const struct toml_node *array, const char *file,
                        struct registries_entry *entry, struct error *err)
{
        int r = setting_need(array, TOML_ARRAY, file, err);

        if (r < 0)
                return r;
        entry->mirrors = xcalloc(REGISTRIES_MIRRORS_MAX, sizeof(*entry->mirrors));
        for (const struct toml_node *table = array->first; r == 0 && table; table = table->next) {
                if (entry->mirror_count == REGISTRIES_MIRRORS_MAX)
                        return setting_refuse(table, file, err, "more than %d mirrors",
                                              REGISTRIES_MIRRORS_MAX);
                r = read_mirror(table, file, &entry->mirrors[entry->mirror_count++], err);
        }
        return r;
}

static int read_entry_key(const struct toml_node *node, const char *file,
                          struct registries_entry *entry, struct error *err)
{
        if (strcmp(node->key, "prefix") == 0)
                return read_location(node, file, true, &entry->prefix, err);
        if (strcmp(node->key, "location") == 0)
                return read_location(node, file, false, &entry->primary.location, err);
        if (strcmp(node->key, "insecure") == 0)
                return setting_bool(node, file, &entry->primary.insecure, err);
        if (strcmp(node->key, "blocked") == 0)
                return setting_bool(node, file, &entry->blocked, err);
        if (strcmp(node->key, "mirror-by-digest-only") == 0)
                return setting_bool(node, file, &entry->mirror_by_digest_only, err);
        if (strcmp(node->key, "mirror") == 0)
                return read_mirrors(node, file, entry, err);
        setting_unknown(node, file);
        return 0;
}

static int check_entry(const struct toml_node *table, const char *file,
                       struct registries_entry *entry, struct error *err)
{
        if (!entry->prefix && !entry->primary.location)
                return setting_refuse(table, file, err, "a registry needs a prefix or a location");
        if (!entry->prefix)
                entry->prefix = xstrdup(entry->primary.location);
        if (strchr(entry->prefix, '*') && (strncmp(entry->prefix, "*.", 2) != 0 ||
                                           !entry->prefix[2] || strchr(entry->prefix + 1, '*')))
                return setting_refuse(table, file, err,
                                      "prefix \"%.200s\": an asterisk stands for subdomains: "
                                      "\"*.example.com\"",
                                      entry->prefix);
        for (size_t i = 0; entry->mirror_by_digest_only && i < entry->mirror_count; i++) {
                if (entry->mirrors[i].use_said)
                        return setting_refuse(table, file, err,
                                              "mirror-by-digest-only and a mirror's "
                                              "pull-from-mirror exclude each other");
        }
        return 0;
}

/* Takes the entry, in the place of an earlier one of its prefix. */
static void keep_entry(struct registries *registries, struct registries_entry *entry)
{
        size_t i = 0;

        while (i < registries->entry_count &&
               strcmp(registries->entries[i].prefix, entry->prefix) != 0)
                i++;
        if (i < registries->entry_count) {
                registries_entry_fini(&registries->entries[i]);
        } else {
                registries->entries =
                        xrealloc(registries->entries, (i + 1) * sizeof(*registries->entries));
                registries->entry_count++;
        }
        registries->entries[i] = *entry;
        *entry = (struct registries_entry){0};
}

static int read_entries(struct registries *registries, const struct toml_node *array,
                        const char *file, struct error *err)
{
        int r = setting_need(array, TOML_ARRAY, file, err);

        for (const struct toml_node *table = array->first; r == 0 && table; table = table->next) {
                CLEANUP(registries_entry_fini)
                struct registries_entry entry = {.file = xstrdup(file), .line = table->line};
                r = setting_need(table, TOML_TABLE, file, err);
                for (const struct toml_node *node = table->first; r == 0 && node; node = node->next)
                        r = read_entry_key(node, file, &entry, err);
                if (r == 0)
                        r = check_entry(table, file, &entry, err);
                if (r == 0 && registries->entry_count == REGISTRIES_ENTRIES_MAX)
                        r = setting_refuse(table, file, err, "more than %d registries",
                                           REGISTRIES_ENTRIES_MAX);
                if (r == 0)
                        keep_entry(registries, &entry);
        }
        return r;
}

/* ---- short names ---- */

static int read_search(struct registries *registries, const struct toml_node *array,
                       const char *file, struct error *err)
{
        int r = setting_texts(array, file, &registries->search, err);
        if (r < 0)
                return r;
        if (strv_length(registries->search) > REGISTRIES_SEARCH_MAX)
                return setting_refuse(array, file, err, "more than %d registries",
                                      REGISTRIES_SEARCH_MAX);
        for (char **registry = registries->search; *registry; registry++) {
                struct reference reference;
                AUTO_FREE char *name = xprintf("%s/name", *registry);
                if (strchr(*registry, '/') || reference_is_short(name) ||
                    reference_parse(name, &reference, NULL) < 0)
                        return setting_refuse(array, file, err,
                                              "\"%.200s\" is not a registry's host", *registry);
        }
        free(registries->search_file);
        registries->search_file = xstrdup(file);
        return 0;
}

static int read_mode(struct registries *registries, const struct toml_node *node, const char *file,
                     struct error *err)
{
        const char *text;
        int r = setting_text(node, file, &text, err);
        if (r < 0)
                return r;
        if (strcmp(text, "enforcing") == 0)
                registries->mode = MODE_ENFORCING;
        else if (strcmp(text, "permissive") == 0)
                registries->mode = MODE_PERMISSIVE;
        else if (strcmp(text, "disabled") == 0)
                registries->mode = MODE_DISABLED;
        else if (text[0])
                return setting_refuse(node, file, err,
                                      "expected \"enforcing\", \"permissive\" or \"disabled\"");
        return 0;
}

/* Whether text is a name without tag and digest. */
static bool is_bare(const char *text, bool is_short)
{
        struct reference reference;
        const char *slash = strrchr(text, '/');

        return reference_is_short(text) == is_short && !strchr(text, '@') &&
               !strchr(slash ? slash : text, ':') && reference_parse(text, &reference, NULL) == 0;
}

static int read_aliases(struct registries *registries, const struct toml_node *table,
                        const char *file, struct error *err)
{
        int r = setting_need(table, TOML_TABLE, file, err);

        for (const struct toml_node *node = table->first; r == 0 && node; node = node->next) {
                const char *value;
                r = setting_text(node, file, &value, err);
                if (r < 0)
                        return r;
                if (strlen(node->key) != node->key_length || !is_bare(node->key, true))
                        return setting_refuse(node, file, err,
                                              "an alias is a short name without tag and digest");
                if (value[0] && !is_bare(value, false))
                        return setting_refuse(node, file, err,
                                              "expected a full name without tag and digest");
                free(value[0] ? table_put(registries->aliases, node->key, xstrdup(value))
                              : table_remove(registries->aliases, node->key));
        }
        return r;
}

/* ---- a file ---- */

/* Version 1 had [registries.search], [registries.insecure] and [registries.block]. Those that come
 * with a package and are empty say nothing. */
static int read_version_1(const struct toml_node *table, const char *file, struct error *err)
{
        for (const struct toml_node *kind = table->first; kind; kind = kind->next) {
                const struct toml_node *list =
                        kind->kind == TOML_TABLE ? toml_member(kind, "registries") : NULL;
                if (list && list->first)
                        return setting_refuse(
                                list, file, err,
                                "this is version 1 of the format, which is not read: write "
                                "unqualified-search-registries and [[registry]] "
                                "(containers-registries.conf(5))");
        }
        setting_unknown(table, file);
        return 0;
}

static int read_key(struct registries *registries, const struct toml_node *node, const char *file,
                    struct error *err)
{
        if (strcmp(node->key, "unqualified-search-registries") == 0)
                return read_search(registries, node, file, err);
        if (strcmp(node->key, "short-name-mode") == 0)
                return read_mode(registries, node, file, err);
        if (strcmp(node->key, "aliases") == 0)
                return read_aliases(registries, node, file, err);
        if (strcmp(node->key, "registry") == 0)
                return read_entries(registries, node, file, err);
        if (strcmp(node->key, "credential-helpers") == 0)
                return setting_texts(node, file, &registries->helpers, err);
        if (strcmp(node->key, "registries") == 0)
                return read_version_1(node, file, err);
        setting_unknown(node, file);
        return 0;
}

int registries_add(struct registries *registries, const char *bytes, size_t length,
                   const char *file, struct error *err)
{
        AUTO_TOML struct toml *document = NULL;
        int r = toml_parse(bytes, length, file, &document, err);

        if (r < 0)
                return r;
        for (const struct toml_node *node = document->root->first; r == 0 && node;
             node = node->next)
                r = read_key(registries, node, file, err);
        return r;
}

/* ---- the files ---- */

static int by_name(const void *a, const void *b)
{
        return strcmp(*(char *const *)a, *(char *const *)b);
}

/* The file itself, if it is there, and its drop-ins in order: paths, a strv. */
static int list_files(const char *path, char ***files, struct error *err)
{
        AUTO_FREE char *folder = xprintf("%s.d", path);
        AUTO_DIR DIR *dir = opendir(folder);
        char **list = xcalloc(1, sizeof(*list));
        size_t count = 0;
        const struct dirent *entry;

        if (!dir && errno != ENOENT && errno != ENOTDIR) {
                strv_free(list);
                return error_errno(err, errno, "%s", folder);
        }
        while (dir && (entry = readdir(dir))) {
                size_t length = strlen(entry->d_name), suffix = strlen(DROP_IN_SUFFIX);
                if (length < suffix || strcmp(entry->d_name + length - suffix, DROP_IN_SUFFIX) != 0)
                        continue;
                if (++count > REGISTRIES_FILES_MAX) {
                        strv_free(list);
                        return error_set(err, ERROR_RESOURCE_EXHAUSTED, "%s: more than %d files",
                                         folder, REGISTRIES_FILES_MAX);
                }
                AUTO_FREE char *file = xprintf("%s/%s", folder, entry->d_name);
                strv_push(&list, file);
        }
        qsort(list, count, sizeof(*list), by_name);
        *files = list;
        return 0;
}

static int add_file(struct registries *registries, const char *file, bool needed, struct error *err)
{
        AUTO_BUFFER struct buffer bytes = BUFFER_INIT;
        int r = file_read(file, TOML_SIZE_MAX, &bytes, err);

        if (r == -ENOENT && !needed)
                return 0;
        if (r < 0)
                return r;
        return registries_add(registries, bytes.data ? bytes.data : "", bytes.length, file, err);
}

int registries_load(const char *path, struct registries **registries, struct error *err)
{
        AUTO_REGISTRIES struct registries *new = registries_new();
        char **files = NULL;
        int r = add_file(new, path, false, err);

        if (r == 0)
                r = list_files(path, &files, err);
        for (char **file = files; r == 0 && *file; file++)
                r = add_file(new, *file, true, err);
        strv_free(files);
        if (r < 0)
                return r;
        *registries = take_ptr(new);
        return 0;
}

static void add_print(struct buffer *print, const char *path)
{
        struct stat st;

        if (stat(path, &st) < 0) {
                buffer_printf(print, "%s: %d\n", path, errno);
                return;
        }
        buffer_printf(print, "%s: %llx %llx %lld %lld.%ld %lld.%ld\n", path,
                      (unsigned long long)st.st_dev, (unsigned long long)st.st_ino,
                      (long long)st.st_size, (long long)st.st_mtim.tv_sec, st.st_mtim.tv_nsec,
                      (long long)st.st_ctim.tv_sec, st.st_ctim.tv_nsec);
}

char *registries_fingerprint(const char *path)
{
        AUTO_BUFFER struct buffer print = BUFFER_INIT;
        char **files = NULL;

        add_print(&print, path);
        if (list_files(path, &files, NULL) < 0)
                buffer_add_text(&print, "unreadable\n");
        for (char **file = files; file && *file; file++)
                add_print(&print, *file);
        strv_free(files);
        return take_ptr(print.data);
}
