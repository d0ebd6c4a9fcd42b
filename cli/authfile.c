#include "cli/authfile.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/buffer.h"
#include "base/file.h"
#include "base/json.h"
#include "base/memory.h"

#define DOCKER_IO     "docker.io"
#define DOCKER_LEGACY "index.docker.io"

char *authfile_scope(const char *reference)
{
        size_t length = strcspn(reference, "@");
        const char *slash = memrchr(reference, '/', length);
        const char *from = slash ? slash : reference;
        const char *tag = memchr(from, ':', length - (size_t)(from - reference));

        if (tag)
                length = (size_t)(tag - reference);
        AUTO_FREE char *name = xstrndup(reference, length);
        size_t first = strcspn(name, "/");
        if (!name[first])
                return xprintf(DOCKER_IO "/library/%s", name);
        bool registry = memchr(name, '.', first) || memchr(name, ':', first) ||
                        (first == strlen("localhost") && strncmp(name, "localhost", first) == 0);
        return registry ? xstrdup(name) : xprintf(DOCKER_IO "/%s", name);
}

/* A key without what docker used to put around a registry: "https://HOST/v1/". Its length. */
static size_t plain_key(const char **key)
{
        const char *scheme = strstr(*key, "://");

        if (scheme)
                *key = scheme + strlen("://");
        return scheme ? strcspn(*key, "/") : strlen(*key);
}

static bool key_is(const char *key, const char *scope, size_t length)
{
        size_t own = plain_key(&key);

        if (own == length && strncmp(key, scope, own) == 0)
                return true;
        /* docker.io under the name that it has in docker's own files */
        return length == strlen(DOCKER_IO) && strncmp(scope, DOCKER_IO, length) == 0 &&
               own == strlen(DOCKER_LEGACY) && strncmp(key, DOCKER_LEGACY, own) == 0;
}

/* The member for the longest leading part of scope; null where there is none. */
static json_t *longest(json_t *object, const char *scope)
{
        size_t length = strlen(scope);
        const char *key;
        json_t *value;

        while (object && length > 0) {
                json_object_foreach (object, key, value)
                        if (key_is(key, scope, length))
                                return value;
                const char *slash = memrchr(scope, '/', length);
                length = slash ? (size_t)(slash - scope) : 0;
        }
        return NULL;
}

/* A copy of a member; "" is as if it were not there. */
static int copy_text(const json_t *object, const char *key, const char *place, char **text,
                     struct error *err)
{
        const char *value = NULL;
        int result = json_get_string(object, key, place, &value, err);

        if (result == 0 && value && *value)
                *text = xstrdup(value);
        return result;
}

static int read_entry(const json_t *root, const char *path, const char *scope,
                      struct authfile_entry *entry, struct error *err)
{
        json_t *auths = NULL, *helpers = NULL, *found;
        int result;

        if ((result = json_get_object(root, "auths", path, &auths, err)) < 0 ||
            (result = json_get_object(root, "credHelpers", path, &helpers, err)) < 0)
                return result;
        found = longest(auths, scope);
        if (found && json_object_size(found) > 0) {
                if ((result = copy_text(found, "auth", path, &entry->auth, err)) < 0 ||
                    (result = copy_text(found, "identitytoken", path, &entry->identity_token,
                                        err)) < 0)
                        return result;
                return copy_text(found, "registrytoken", path, &entry->registry_token, err);
        }
        if (longest(helpers, scope) || json_object_get(root, "credsStore"))
                return error_set(err, ERROR_FAILED_PRECONDITION,
                                 "%s: leaves the password for %s to a credential helper, which "
                                 "this command does not run: give it with --creds",
                                 path, scope);
        return 0;
}

int authfile_find(const char *path, const char *reference, struct authfile_entry *entry,
                  struct error *err)
{
        AUTO_BUFFER struct buffer text = BUFFER_INIT;
        AUTO_FREE char *scope = authfile_scope(reference);
        json_t *root = NULL;
        int result = file_read(path, AUTHFILE_MAX, &text, err);

        if (result == 0)
                result = json_parse(text.data ? text.data : "", text.length, path, &root, err);
        if (result == 0)
                result = read_entry(root, path, scope, entry, err);
        if (text.data)
                explicit_bzero(text.data, text.capacity);
        json_decref(root);
        return result;
}
