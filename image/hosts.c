#include "image/hosts.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

#include "base/buffer.h"
#include "base/cleanup.h"
#include "base/file.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/toml.h"
#include "image/host.h"
#include "image/setting.h"

#define HOSTS_FILE "hosts.toml"
#define API_PATH   "/v2"

/* A hosts.toml that is being read. */
struct reading {
        const char *file;
        const char *registry;
        struct arena *arena;
};

/* ---- its values ---- */

static const char *absolute(const struct reading *reading, const char *path)
{
        const char *slash = strrchr(reading->file, '/');
        if (path[0] == '/' || !slash)
                return arena_strdup(reading->arena, path);
        return arena_printf(reading->arena, "%.*s/%s", (int)(slash - reading->file), reading->file,
                            path);
}

/* A string, or a list of them: an strv on the heap. */
static int read_one_or_more(const struct reading *reading, const struct toml_node *node,
                            char ***list, struct error *err)
{
        const char *text;
        if (node->kind != TOML_STRING)
                return setting_texts(node, reading->file, list, err);
        int r = setting_text(node, reading->file, &text, err);
        if (r == 0)
                strv_push(list, text);
        return r;
}

static int read_authorities(const struct reading *reading, const struct toml_node *node,
                            struct fetch_endpoint *endpoint, struct error *err)
{
        char **paths = NULL;
        int r = read_one_or_more(reading, node, &paths, err);
        size_t count = strv_length(paths);

        if (r == 0 && count > REQUEST_FILES_MAX)
                r = setting_refuse(node, reading->file, err, "more than %d files",
                                   REQUEST_FILES_MAX);
        if (r == 0) {
                const char **list = arena_array(reading->arena, count + 1, sizeof(*list));
                for (size_t i = 0; i < count; i++)
                        list[i] = absolute(reading, paths[i]);
                endpoint->authorities = list;
                endpoint->authority_count = count;
        }
        strv_free(paths);
        return r;
}

/* "both.pem" or ["client.cert", "client.key"]. */
static int read_pair(const struct reading *reading, const struct toml_node *node,
                     struct fetch_endpoint *endpoint, struct error *err)
{
        char **paths = NULL;
        int r = read_one_or_more(reading, node, &paths, err);

        if (r == 0 && node->kind != TOML_STRING && strv_length(paths) != 2)
                r = setting_refuse(node, reading->file, err,
                                   "expected a certificate's file and its key's");
        if (r == 0) {
                endpoint->certificate = absolute(reading, paths[0]);
                if (paths[1] && paths[1][0])
                        endpoint->key = absolute(reading, paths[1]);
        }
        strv_free(paths);
        return r;
}

static int read_client(const struct reading *reading, const struct toml_node *node,
                       struct fetch_endpoint *endpoint, struct error *err)
{
        if (node->kind != TOML_ARRAY)
                return read_pair(reading, node, endpoint, err);
        if (!node->first)
                return 0;
        if (node->first->next)
                log_warning("the first client certificate is taken, the others are not", "file",
                            reading->file, NULL);
        return read_pair(reading, node->first, endpoint, err);
}

static int read_headers(const struct reading *reading, const struct toml_node *table,
                        struct fetch_endpoint *endpoint, struct error *err)
{
        const char **list = arena_array(reading->arena, REQUEST_FILES_MAX, sizeof(*list));
        int r = setting_need(table, TOML_TABLE, reading->file, err);

        endpoint->headers = list;
        for (const struct toml_node *node = table->first; r == 0 && node; node = node->next) {
                char **values = NULL;
                r = read_one_or_more(reading, node, &values, err);
                for (size_t i = 0; r == 0 && values && values[i]; i++) {
                        if (endpoint->header_count == REQUEST_FILES_MAX)
                                r = setting_refuse(node, reading->file, err, "more than %d headers",
                                                   REQUEST_FILES_MAX);
                        else
                                list[endpoint->header_count++] = arena_printf(
                                        reading->arena, "%s: %s", node->key, values[i]);
                }
                strv_free(values);
        }
        return r;
}

static int read_capabilities(const struct reading *reading, const struct toml_node *node,
                             bool *pull, bool *resolve, struct error *err)
{
        char **list = NULL;
        int r = setting_texts(node, reading->file, &list, err);

        if (r == 0 && list[0])
                *pull = *resolve = false;
        for (size_t i = 0; r == 0 && list[i]; i++) {
                if (strcasecmp(list[i], "pull") == 0)
                        *pull = true;
                else if (strcasecmp(list[i], "resolve") == 0)
                        *resolve = true;
                else if (strcasecmp(list[i], "push") != 0)
                        r = setting_refuse(node, reading->file, err,
                                           "\"%.100s\" is none of \"pull\", \"resolve\" and "
                                           "\"push\"",
                                           list[i]);
        }
        strv_free(list);
        return r;
}

/* A duration as Go writes it: "1m30s", "500ms". */
static bool parse_duration(const char *text, int64_t *ms)
{
        static const struct {
                const char *name;
                double ms;
        } UNITS[] = {{"ns", 1e-6}, {"us", 1e-3}, {"ms", 1}, {"s", 1e3}, {"m", 6e4}, {"h", 3.6e6}};
        double sum = 0;

        do {
                char *end;
                size_t i = 0;
                if (!isdigit((unsigned char)*text) && *text != '.')
                        return false;
                if (strspn(text, "0123456789.") > 18)
                        return false;
                double number = strtod(text, &end);
                size_t length = strspn(end, "nusmh");
                while (i < sizeof(UNITS) / sizeof(UNITS[0]) &&
                       (strlen(UNITS[i].name) != length ||
                        strncmp(UNITS[i].name, end, length) != 0))
                        i++;
                if (i == sizeof(UNITS) / sizeof(UNITS[0]))
                        return false;
                sum += number * UNITS[i].ms;
                text = end + length;
        } while (*text && sum <= HOSTS_DIAL_MAX);
        if (sum < 1 || sum > HOSTS_DIAL_MAX)
                return false;
        *ms = (int64_t)sum;
        return true;
}

static int read_dial_timeout(const struct reading *reading, const struct toml_node *node,
                             struct fetch_endpoint *endpoint, struct error *err)
{
        const char *text;
        int r = setting_text(node, reading->file, &text, err);
        if (r < 0)
                return r;
        if (!parse_duration(text, &endpoint->connect_timeout))
                return setting_refuse(node, reading->file, err,
                                      "expected a time of at most an hour: \"30s\", \"500ms\"");
        return 0;
}

/* ---- a host ---- */

static int read_key(const struct reading *reading, const struct toml_node *node,
                    struct fetch_endpoint *endpoint, bool *pull, bool *resolve, struct error *err)
{
        if (strcmp(node->key, "capabilities") == 0)
                return read_capabilities(reading, node, pull, resolve, err);
        if (strcmp(node->key, "ca") == 0)
                return read_authorities(reading, node, endpoint, err);
        if (strcmp(node->key, "client") == 0)
                return read_client(reading, node, endpoint, err);
        if (strcmp(node->key, "skip_verify") == 0)
                return setting_bool(node, reading->file, &endpoint->insecure, err);
        if (strcmp(node->key, "override_path") == 0)
                return setting_bool(node, reading->file, &endpoint->exact_path, err);
        if (strcmp(node->key, "header") == 0)
                return read_headers(reading, node, endpoint, err);
        if (strcmp(node->key, "dial_timeout") == 0)
                return read_dial_timeout(reading, node, endpoint, err);
        setting_unknown(node, reading->file);
        return 0;
}

/* address: a URL, or HOST[:PORT][/PATH] for https. */
static int set_address(const struct reading *reading, const struct toml_node *node,
                       const char *address, struct fetch_endpoint *endpoint, struct error *err)
{
        const char *scheme = strstr(address, "://");
        AUTO_FREE char *url = scheme ? xstrdup(address) : xprintf("https://%s", address);
        if (strncasecmp(url, "https://", 8) != 0 && strncasecmp(url, "http://", 7) != 0)
                return setting_refuse(node, reading->file, err,
                                      "\"%.200s\": expected https:// or http://", address);
        size_t length = strlen(url);
        char *host = strstr(url, "://") + 3;
        while (url + length > host && url[length - 1] == '/')
                url[--length] = '\0';
        size_t host_length = strcspn(host, "/?#");
        if (host_length == 0 || memchr(host, '@', host_length) || strpbrk(host, "?#"))
                return setting_refuse(node, reading->file, err,
                                      "\"%.200s\": expected a host and at most a path", address);

        const char *path = host + host_length;
        size_t api = strlen(API_PATH), path_length = strlen(path);
        bool has_api = path_length >= api && strcmp(path + path_length - api, API_PATH) == 0;
        /* Where the path is not to be taken as it stands, /v2 comes after it: unlike anywhere else.
         */
        endpoint->url = arena_printf(reading->arena, "%s%s", url,
                                     endpoint->exact_path || has_api ? "" : API_PATH);
        endpoint->exact_path = true;
        if (!host_is_same(endpoint->url, reading->registry))
                endpoint->ns = arena_strdup(reading->arena, reading->registry);
        return 0;
}

/* *used is false where nothing may be pulled from it. address null: the registry itself. */
static int read_host(const struct reading *reading, const struct toml_node *table,
                     const char *address, struct fetch_endpoint *endpoint, bool *used,
                     struct error *err)
{
        bool pull = true, resolve = true, is_root = table->parent == NULL;
        AUTO_FREE char *own = NULL;
        int r = 0;

        *endpoint = (struct fetch_endpoint){0};
        for (const struct toml_node *node = table->first; r == 0 && node; node = node->next) {
                if (is_root && (strcmp(node->key, "server") == 0 || strcmp(node->key, "host") == 0))
                        continue;
                r = read_key(reading, node, endpoint, &pull, &resolve, err);
        }
        if (!address) {
                own = host_url(reading->registry);
                address = own;
        }
        if (r == 0)
                r = set_address(reading, table, address, endpoint, err);
        if (r < 0)
                return r;
        endpoint->digests_only = !resolve;
        *used = pull;
        if (!pull)
                log_warning("a host without the capability \"pull\" is not asked", "file",
                            reading->file, "host", address, NULL);
        return 0;
}

int hosts_parse(const char *bytes, size_t length, const char *file, const char *registry,
                struct arena *arena, struct fetch_endpoint **endpoints, size_t *count,
                struct error *err)
{
        AUTO_TOML struct toml *document = NULL;
        struct reading reading = {.file = file, .registry = registry, .arena = arena};
        const char *address = NULL;
        size_t made = 0;
        bool used;

        int r = toml_parse(bytes, length, file, &document, err);
        if (r < 0)
                return r;
        struct fetch_endpoint *list = arena_array(arena, HOSTS_MAX + 1, sizeof(*list));
        const struct toml_node *hosts = toml_member(document->root, "host");
        const struct toml_node *server = toml_member(document->root, "server");
        if ((hosts && (r = setting_need(hosts, TOML_TABLE, file, err)) < 0) ||
            (server && (r = setting_text(server, file, &address, err)) < 0))
                return r;

        for (const struct toml_node *host = hosts ? hosts->first : NULL; host; host = host->next) {
                if (made == HOSTS_MAX)
                        return setting_refuse(host, file, err, "more than %d hosts", HOSTS_MAX);
                if ((r = setting_need(host, TOML_TABLE, file, err)) < 0)
                        return r;
                if (strlen(host->key) != host->key_length)
                        return setting_refuse(hosts, file, err, "a host with a zero byte in it");
                if ((r = read_host(&reading, host, host->key, &list[made], &used, err)) < 0)
                        return r;
                made += used;
        }
        if (address && !address[0])
                address = NULL;
        if ((r = read_host(&reading, document->root, address, &list[made], &used, err)) < 0)
                return r;
        made += used;
        if (made == 0)
                return setting_refuse(document->root, file, err,
                                      "none of its hosts may be pulled from");
        *endpoints = list;
        *count = made;
        return 0;
}

/* ---- folders ---- */

static bool is_folder(const char *path)
{
        struct stat st;
        return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

/* The folder for a registry: HOST_PORT_, HOST:PORT or HOST, _default. */
static const char *find_folder(char *const *dirs, const char *registry, struct arena *arena)
{
        const char *bracket = strrchr(registry, ']');
        const char *colon = strrchr(bracket ? bracket : registry, ':');

        for (; dirs && *dirs; dirs++) {
                const char *names[] = {
                        colon ? arena_printf(arena, "%s/%.*s_%s_", *dirs, (int)(colon - registry),
                                             registry, colon + 1)
                              : NULL,
                        arena_printf(arena, "%s/%s", *dirs, registry),
                        arena_printf(arena, "%s/_default", *dirs),
                };
                for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
                        if (names[i] && is_folder(names[i]))
                                return names[i];
                }
        }
        return NULL;
}

int hosts_endpoints(char *const *dirs, const char *registry, struct arena *arena,
                    struct fetch_endpoint **endpoints, size_t *count, const char **certificates,
                    struct error *err)
{
        AUTO_BUFFER struct buffer bytes = BUFFER_INIT;
        const char *folder = find_folder(dirs, registry, arena);

        *count = 0;
        *certificates = folder;
        if (!folder)
                return 0;
        const char *file = arena_printf(arena, "%s/%s", folder, HOSTS_FILE);
        int r = file_read(file, TOML_SIZE_MAX, &bytes, err);
        if (r == -ENOENT || (r == 0 && bytes.length == 0))
                return 0;
        if (r < 0)
                return r;
        *certificates = NULL;
        return hosts_parse(bytes.data, bytes.length, file, registry, arena, endpoints, count, err);
}

/* ---- certificates ---- */

const char *hosts_certificate_folder(char *const *dirs, const char *host, struct arena *arena)
{
        for (; dirs && *dirs; dirs++) {
                const char *folder = arena_printf(arena, "%s/%s", *dirs, host);
                if (is_folder(folder))
                        return folder;
        }
        return NULL;
}

static bool ends_in(const char *name, const char *suffix)
{
        size_t length = strlen(name), part = strlen(suffix);
        return length > part && strcmp(name + length - part, suffix) == 0;
}

static int by_name(const void *a, const void *b)
{
        return strcmp(*(char *const *)a, *(char *const *)b);
}

/* Names that end in one of the three suffixes, sorted: a strv. */
static int list_certificates(const char *folder, char ***names, struct error *err)
{
        AUTO_DIR DIR *dir = opendir(folder);
        const struct dirent *entry;
        size_t count = 0;

        if (!dir)
                return error_errno(err, errno, "%s", folder);
        *names = xcalloc(1, sizeof(**names));
        while ((entry = readdir(dir))) {
                if (!ends_in(entry->d_name, ".crt") && !ends_in(entry->d_name, ".cert") &&
                    !ends_in(entry->d_name, ".key"))
                        continue;
                if (++count > HOSTS_FOLDER_FILES_MAX)
                        return error_set(err, ERROR_RESOURCE_EXHAUSTED, "%s: more than %d files",
                                         folder, HOSTS_FOLDER_FILES_MAX);
                strv_push(names, entry->d_name);
        }
        qsort(*names, count, sizeof(**names), by_name);
        return 0;
}

/* name is NAME.cert or NAME.key; *other is the path of the other half. */
static int find_half(const char *folder, const char *name, struct arena *arena, const char **other,
                     struct error *err)
{
        const char *dot = strrchr(name, '.');
        bool is_key = strcmp(dot, ".key") == 0;
        *other = arena_printf(arena, "%s/%.*s%s", folder, (int)(dot - name), name,
                              is_key ? ".cert" : ".key");
        if (access(*other, F_OK) == 0)
                return 0;
        return error_set(err, ERROR_FAILED_PRECONDITION, "%s/%s: %s %s is missing", folder, name,
                         is_key ? "its certificate" : "its key", *other);
}

int hosts_add_certificates(const char *folder, struct arena *arena, struct fetch_endpoint *endpoint,
                           struct error *err)
{
        char **names = NULL;
        const char **authorities = arena_array(arena, REQUEST_FILES_MAX, sizeof(*authorities));
        size_t count = endpoint->authority_count;
        const char *other;
        int r = list_certificates(folder, &names, err);

        for (size_t i = 0; i < count; i++)
                authorities[i] = endpoint->authorities[i];
        for (size_t i = 0; r == 0 && names[i]; i++) {
                if (ends_in(names[i], ".crt")) {
                        if (count == REQUEST_FILES_MAX)
                                r = error_set(err, ERROR_RESOURCE_EXHAUSTED,
                                              "%s: more than %d authorities", folder,
                                              REQUEST_FILES_MAX);
                        else
                                authorities[count++] =
                                        arena_printf(arena, "%s/%s", folder, names[i]);
                        continue;
                }
                r = find_half(folder, names[i], arena, &other, err);
                if (r < 0 || endpoint->certificate || ends_in(names[i], ".key"))
                        continue;
                endpoint->certificate = arena_printf(arena, "%s/%s", folder, names[i]);
                endpoint->key = other;
        }
        strv_free(names);
        if (r < 0)
                return r;
        endpoint->authorities = authorities;
        endpoint->authority_count = count;
        return 0;
}
