#include "image/auth_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/json.h"
#include "base/memory.h"
#include "base/sha256.h"
#include "image/host.h"
#include "image/secret.h"

#define DOCKER_SERVER "https://index.docker.io/v1/" /* what `docker login` calls it */
#define KEY_SHOWN     200                           /* bytes of a key in an error */

/* Of auths. */
struct entry {
        char *key; /* as it stands in the file */
        char host[HOST_LENGTH_MAX + 1];
        char *path; /* below the host, without slashes at its ends; empty: the whole registry */
        struct fetch_credentials credentials;
};

/* Of credHelpers. */
struct helper {
        char *key;
        char host[HOST_LENGTH_MAX + 1];
        char *name;
};

struct auth_file {
        char *name;
        struct entry *entries;
        size_t entry_count;
        struct helper *helpers;
        size_t helper_count;
        char *store;
        char digest[SHA256_HEX + 1]; /* of its bytes */
};

void auth_file_free(struct auth_file *file)
{
        if (!file)
                return;
        for (size_t i = 0; i < file->entry_count; i++) {
                free(file->entries[i].key);
                free(file->entries[i].path);
                secret_wipe(&file->entries[i].credentials);
        }
        for (size_t i = 0; i < file->helper_count; i++) {
                free(file->helpers[i].key);
                free(file->helpers[i].name);
        }
        free(file->entries);
        free(file->helpers);
        free(file->store);
        free(file->name);
        explicit_bzero(file->digest, sizeof(file->digest));
        free(file);
}

bool auth_file_same(const struct auth_file *a, const struct auth_file *b)
{
        return strcmp(a->digest, b->digest) == 0;
}

/* ---- keys ---- */

static const char *skip_scheme(const char *address)
{
        if (strncasecmp(address, "https://", 8) == 0)
                return address + 8;
        if (strncasecmp(address, "http://", 7) == 0)
                return address + 7;
        return address;
}

/*
 * The path of a key. Old clients wrote the URL of the registry's interface: with a scheme, or where
 * only the interface's version follows, the path says nothing about repositories.
 */
static char *path_of(const char *key)
{
        const char *rest = skip_scheme(key);
        const char *path = rest + strcspn(rest, "/");

        if (rest != key)
                return xstrdup("");
        path += strspn(path, "/");
        size_t length = strlen(path);
        while (length > 0 && path[length - 1] == '/')
                length--;
        if (length == 2 && path[0] == 'v' && (path[1] == '1' || path[1] == '2'))
                length = 0;
        return xstrndup(path, length);
}

/* Whether repository is path or below it. */
static bool is_below(const char *repository, const char *path)
{
        size_t length = strlen(path);
        return length == 0 || (strncmp(repository, path, length) == 0 &&
                               (repository[length] == '/' || repository[length] == '\0'));
}

/* ---- reading ---- */

static int read_text(const json_t *object, const char *key, const char *place, const char **text,
                     struct error *err)
{
        const char *found = NULL;
        int r = json_get_string(object, key, place, &found, err);
        if (r < 0)
                return r;
        if (found && strlen(found) > AUTH_FILE_TEXT_MAX)
                return error_set(err, ERROR_INVALID_ARGUMENT, "%s: %s: more than %u bytes", place,
                                 key, AUTH_FILE_TEXT_MAX);
        *text = found;
        return 0;
}

static int read_entry(struct entry *entry, const char *key, const json_t *value, struct error *err)
{
        struct fetch_credentials found = {0};
        AUTO_FREE char *place = xprintf("auths: \"%.*s\"", KEY_SHOWN, key);
        int r;

        entry->key = xstrdup(key);
        entry->path = path_of(key);
        host_name(key, entry->host);
        if (!json_is_object(value))
                return error_set(err, ERROR_INVALID_ARGUMENT, "%s: expected an object", place);
        if ((r = read_text(value, "username", place, &found.username, err)) < 0 ||
            (r = read_text(value, "password", place, &found.password, err)) < 0 ||
            (r = read_text(value, "auth", place, &found.auth, err)) < 0 ||
            (r = read_text(value, "identitytoken", place, &found.identity_token, err)) < 0 ||
            (r = read_text(value, "registrytoken", place, &found.registry_token, err)) < 0)
                return r;
        /* Docker and its kin read a name and a password beside auth as what auth says. */
        if (found.auth && found.auth[0])
                found.username = found.password = NULL;
        else
                found.auth = NULL;
        secret_copy(&entry->credentials, &found);
        return 0;
}

static int read_entries(struct auth_file *file, const json_t *root, struct error *err)
{
        json_t *auths = NULL;
        const char *key;
        json_t *value;
        int r = json_get_object(root, "auths", "top level", &auths, err);
        if (r < 0 || !auths)
                return r;
        if (json_object_size(auths) > AUTH_FILE_ENTRIES_MAX)
                return error_set(err, ERROR_INVALID_ARGUMENT, "auths: more than %d entries",
                                 AUTH_FILE_ENTRIES_MAX);
        file->entries = xcalloc(json_object_size(auths) + 1, sizeof(file->entries[0]));
        json_object_foreach (auths, key, value) {
                r = read_entry(&file->entries[file->entry_count++], key, value, err);
                if (r < 0)
                        return r;
        }
        return 0;
}

static int read_helpers(struct auth_file *file, const json_t *root, struct error *err)
{
        json_t *helpers = NULL;
        const char *key;
        json_t *value;
        int r = json_get_object(root, "credHelpers", "top level", &helpers, err);
        if (r < 0 || !helpers)
                return r;
        if (json_object_size(helpers) > AUTH_FILE_ENTRIES_MAX)
                return error_set(err, ERROR_INVALID_ARGUMENT, "credHelpers: more than %d entries",
                                 AUTH_FILE_ENTRIES_MAX);
        file->helpers = xcalloc(json_object_size(helpers) + 1, sizeof(file->helpers[0]));
        json_object_foreach (helpers, key, value) {
                struct helper *helper = &file->helpers[file->helper_count++];
                const char *name = NULL;
                if ((r = read_text(helpers, key, "credHelpers", &name, err)) < 0)
                        return r;
                helper->key = xstrdup(key);
                helper->name = xstrdup(name ? name : "");
                host_name(key, helper->host);
        }
        return 0;
}

/* jansson frees its copies as they are. */
static void wipe_values(json_t *value)
{
        const char *key;
        json_t *member;
        size_t i;

        if (json_is_string(value))
                explicit_bzero((char *)(uintptr_t)json_string_value(value),
                               json_string_length(value));
        json_object_foreach (value, key, member)
                wipe_values(member);
        json_array_foreach (value, i, member)
                wipe_values(member);
}

/* Where it is no JSON. jansson's own words quote what it stumbles over: that may be a password. */
static int refuse_text(const char *bytes, size_t length, struct error *err)
{
        json_error_t why;
        json_t *again = json_loadb(bytes, length, JSON_REJECT_DUPLICATES, &why);

        if (again) {
                wipe_values(again);
                json_decref(again);
                return error_set(err, ERROR_INVALID_ARGUMENT, "not valid JSON: nested too deep");
        }
        return error_set(err, ERROR_INVALID_ARGUMENT, "not valid JSON: line %d, column %d%s",
                         why.line, why.column,
                         json_error_code(&why) == json_error_duplicate_key
                                 ? ": the same key stands there twice"
                         : json_error_code(&why) == json_error_premature_end_of_input
                                 ? ": it ends too early"
                                 : "");
}

static int read_members(struct auth_file *file, const json_t *root, struct error *err)
{
        const char *store = NULL;
        int r;

        if (!json_is_object(root))
                return error_set(err, ERROR_INVALID_ARGUMENT, "expected an object");
        if ((r = read_entries(file, root, err)) < 0 || (r = read_helpers(file, root, err)) < 0 ||
            (r = read_text(root, "credsStore", "top level", &store, err)) < 0)
                return r;
        if (store && store[0])
                file->store = xstrdup(store);
        return 0;
}

int auth_file_parse(const char *bytes, size_t length, const char *name, struct auth_file **file,
                    struct error *err)
{
        AUTO_AUTH_FILE struct auth_file *new = xcalloc(1, sizeof(*new));
        AUTO_JSON json_t *root = NULL;
        int r;

        new->name = xstrdup(name);
        sha256_hex(bytes, length, new->digest);
        r = json_parse(bytes, length, name, &root, NULL) < 0 ? refuse_text(bytes, length, err)
                                                             : read_members(new, root, err);
        wipe_values(root);
        if (r < 0)
                return error_context(err, "%s", name);
        *file = take_ptr(new);
        return 0;
}

int auth_file_read(const char *path, struct auth_file **file, struct error *err)
{
        AUTO_SECRET_BUFFER struct buffer contents = BUFFER_INIT;
        struct stat status;
        /* A pipe in its place must not hold the pull up. */
        AUTO_FD int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
        if (fd < 0)
                return error_errno(err, errno, "open %s", path);
        if (fstat(fd, &status) < 0)
                return error_errno(err, errno, "stat %s", path);
        if (!S_ISREG(status.st_mode))
                return error_set(err, ERROR_INVALID_ARGUMENT, "%s: not a file", path);

        /* Reserved as a whole, since what grows leaves its bytes behind. */
        char *start = buffer_reserve(&contents, AUTH_FILE_MAX + 1);
        while (contents.length <= AUTH_FILE_MAX) {
                ssize_t count =
                        read(fd, start + contents.length, AUTH_FILE_MAX + 1 - contents.length);
                if (count < 0 && errno == EINTR)
                        continue;
                if (count < 0)
                        return error_errno(err, errno, "read %s", path);
                if (count == 0)
                        return auth_file_parse(start, contents.length, path, file, err);
                contents.length += (size_t)count;
        }
        return error_set(err, ERROR_INVALID_ARGUMENT, "%s: more than %u bytes", path,
                         AUTH_FILE_MAX);
}

/* ---- finding ---- */

static int base64_value(char c)
{
        if (c >= 'A' && c <= 'Z')
                return c - 'A';
        if (c >= 'a' && c <= 'z')
                return c - 'a' + 26;
        if (c >= '0' && c <= '9')
                return c - '0' + 52;
        return c == '+' ? 62 : c == '/' ? 63 : -1;
}

/* Whether text is base64 of something with a colon in it; nothing is kept of what it says. */
static bool is_login(const char *text)
{
        size_t length = strlen(text);
        bool colon = false;

        if (length == 0 || length % 4 != 0)
                return false;
        for (int i = 0; i < 2 && text[length - 1] == '='; i++)
                length--;
        uint32_t bits = 0;
        for (size_t i = 0; i < length; i++) {
                int value = base64_value(text[i]);
                if (value < 0)
                        return false;
                bits = bits << 6 | (uint32_t)value;
                /* A byte is whole with the second, third and fourth digit of each four. */
                if (i % 4 > 0 && (bits >> (6 - 2 * (i % 4)) & 0xff) == ':')
                        colon = true;
        }
        explicit_bzero(&bits, sizeof(bits));
        return colon;
}

static const struct entry *find_entry(const struct auth_file *file, const char *host,
                                      const char *repository)
{
        const struct entry *best = NULL;

        for (size_t i = 0; i < file->entry_count; i++) {
                const struct entry *entry = &file->entries[i];
                if (!entry->host[0] || strcmp(entry->host, host) != 0 ||
                    !is_below(repository, entry->path) || secret_is_empty(&entry->credentials))
                        continue;
                /* Of two that say the same place the one without a scheme is the newer form. */
                size_t length = strlen(entry->path), other = best ? strlen(best->path) : 0;
                if (!best || length > other ||
                    (length == other && skip_scheme(best->key) != best->key))
                        best = entry;
        }
        return best;
}

static const struct helper *find_helper(const struct auth_file *file, const char *host)
{
        for (size_t i = 0; i < file->helper_count; i++)
                if (host[0] && strcmp(file->helpers[i].host, host) == 0)
                        return &file->helpers[i];
        return NULL;
}

int auth_file_find(const struct auth_file *file, const char *host, const char *repository,
                   struct auth_file_answer *answer, struct error *err)
{
        char plain[HOST_LENGTH_MAX + 1];

        *answer = (struct auth_file_answer){0};
        host_name(host, plain);
        const struct helper *helper = find_helper(file, plain);
        if (helper && helper->name[0]) {
                answer->helper = helper->name;
                answer->server = helper->key;
                return 0;
        }
        const struct entry *entry = find_entry(file, plain, repository);
        if (entry) {
                const char *auth = entry->credentials.auth;
                if (auth && !is_login(auth))
                        return error_set(err, ERROR_INVALID_ARGUMENT,
                                         "%s: auths: \"%.*s\": auth is not base64 of "
                                         "username:password",
                                         file->name, KEY_SHOWN, entry->key);
                answer->credentials = entry->credentials;
        } else if (file->store && plain[0] && !helper) {
                /* A helper without a name switches the store off for its registry. */
                answer->helper = file->store;
                answer->server = strcmp(plain, HOST_DOCKER) == 0 ? DOCKER_SERVER : host;
        }
        return 0;
}
