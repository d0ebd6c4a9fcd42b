#include "network/cni_cache.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/base64.h"
#include "base/buffer.h"
#include "base/file.h"
#include "base/json.h"
#include "base/memory.h"

#define KIND           "cniCacheV1"
#define OWNER_KEY      "crispOwner" /* libcni leaves keys alone that it does not know */
#define DIRECTORY_MODE 0700
#define FILE_MODE      0600
#define ARGS_MAX       64
#define NEW_SUFFIX     ".new" /* what file_replace_volatile writes beside */

/* ---- CNI_ARGS as libcni keeps them: pairs ---- */

static json_t *args_to_pairs(const char *args)
{
        json_t *pairs = json_array();
        for (const char *each = args; each && *each;) {
                size_t length = strcspn(each, ";");
                const char *equal = memchr(each, '=', length);
                if (equal)
                        json_array_append_new(
                                pairs, json_pack("[s%s%]", each, (size_t)(equal - each), equal + 1,
                                                 length - (size_t)(equal - each) - 1));
                each += length + (each[length] == ';');
        }
        return pairs;
}

static char *args_from_pairs(const json_t *pairs)
{
        AUTO_BUFFER struct buffer text = BUFFER_INIT;
        for (size_t i = 0; i < json_array_size(pairs) && i < ARGS_MAX; i++) {
                const json_t *pair = json_array_get(pairs, i);
                const char *key = json_string_value(json_array_get(pair, 0));
                const char *value = json_string_value(json_array_get(pair, 1));
                if (key && value)
                        buffer_printf(&text, "%s%s=%s", text.length ? ";" : "", key, value);
        }
        return text.length ? buffer_take(&text) : NULL;
}

/* ---- writing ---- */

int cni_cache_write(const char *directory, const struct cni_cache_entry *entry, struct error *err)
{
        AUTO_FREE char *folder = xprintf("%s/results", directory);
        AUTO_FREE char *path = xprintf("%s/%s-%s-%s", folder, entry->network_name,
                                       entry->container_id, entry->interface);
        AUTO_FREE char *config = json_text(entry->network->json);
        AUTO_FREE char *encoded = base64_encode(config, strlen(config));
        AUTO_JSON json_t *json = json_pack(
                "{s:s, s:s, s:s, s:s, s:s, s:o}", "kind", KIND, "containerId", entry->container_id,
                "config", encoded, "ifName", entry->interface, "networkName", entry->network_name,
                "cniArgs", args_to_pairs(entry->args));
        if (!json)
                return error_set(err, ERROR_INVALID_ARGUMENT,
                                 "CNI cache entry %s: a name is not UTF-8", path);
        if (entry->netns)
                json_object_set_new(json, "netns", json_string(entry->netns));
        if (json_object_size(entry->capability_args))
                json_object_set(json, "capabilityArgs", entry->capability_args);
        if (entry->result)
                json_object_set(json, "result", entry->result);
        if (entry->owner)
                json_object_set_new(json, OWNER_KEY, json_string(entry->owner));
        AUTO_FREE char *text = json_text(json);
        int result = file_make_directories(folder, DIRECTORY_MODE, err);
        if (result == 0)
                result = file_replace_volatile(path, text, strlen(text), FILE_MODE, err);
        return result < 0 ? error_context(err, "CNI cache") : 0;
}

int cni_cache_remove(const struct cni_cache_entry *entry, struct error *err)
{
        if (unlink(entry->path) < 0 && errno != ENOENT)
                return error_errno(err, errno, "CNI cache: remove %s", entry->path);
        return 0;
}

/* ---- reading ---- */

static char *dup_member(const json_t *object, const char *key)
{
        return xstrdup(json_string_value(json_object_get(object, key)));
}

static void entry_fini(struct cni_cache_entry *entry)
{
        free(entry->path);
        free(entry->container_id);
        free(entry->network_name);
        free(entry->interface);
        free(entry->netns);
        free(entry->args);
        free(entry->owner);
        cni_network_unref(entry->network);
        json_decref(entry->capability_args);
        json_decref(entry->result);
}

/* Fills *entry from a file; false where it is none of ours to understand. */
static bool read_entry(const char *path, struct cni_cache_entry *entry)
{
        AUTO_BUFFER struct buffer contents = BUFFER_INIT;
        AUTO_JSON json_t *json = NULL;
        struct stat status;
        if (lstat(path, &status) < 0 || !S_ISREG(status.st_mode) ||
            file_read(path, CNI_CACHE_FILE_MAX, &contents, NULL) < 0 ||
            json_parse(contents.data, contents.length, path, &json, NULL) < 0)
                return false;
        const char *kind = json_string_value(json_object_get(json, "kind"));
        if (!kind || strcmp(kind, KIND) != 0)
                return false;
        struct cni_cache_entry read = {
                .path = xstrdup(path),
                .container_id = dup_member(json, "containerId"),
                .network_name = dup_member(json, "networkName"),
                .interface = dup_member(json, "ifName"),
                .netns = dup_member(json, "netns"),
                .args = args_from_pairs(json_object_get(json, "cniArgs")),
                .owner = dup_member(json, OWNER_KEY),
        };
        if (!read.container_id || !read.network_name || !read.interface) {
                entry_fini(&read);
                return false;
        }
        const json_t *capability_args = json_object_get(json, "capabilityArgs");
        const json_t *result = json_object_get(json, "result");
        if (json_is_object(capability_args))
                read.capability_args = json_incref((json_t *)capability_args);
        if (json_is_object(result))
                read.result = json_incref((json_t *)result);
        const char *encoded = json_string_value(json_object_get(json, "config"));
        /* One plugin that another runtime called by itself is kept as it stood in its file. */
        size_t length = 0;
        AUTO_FREE unsigned char *config =
                encoded ? base64_decode(encoded, strlen(encoded), &length) : NULL;
        if (length > 0 &&
            cni_network_parse((char *)config, length, true, path, &read.network, NULL) < 0)
                read.network = NULL;
        *entry = read;
        return true;
}

/* By the file's name alone: whether the entry may be one of this network and container. */
static bool name_may_match(const char *name, const char *network_name, const char *container_id)
{
        if (network_name && strncmp(name, network_name, strlen(network_name)) != 0)
                return false;
        return name[0] != '.' && (!container_id || strstr(name, container_id));
}

static bool is_leftover(const char *name)
{
        size_t length = strlen(name), size = strlen(NEW_SUFFIX);
        return length > size && strcmp(name + length - size, NEW_SUFFIX) == 0;
}

/* What a power failure leaves of a file that was renamed but not yet written to the disk. */
static bool is_empty(const char *path)
{
        struct stat status;
        return lstat(path, &status) == 0 && S_ISREG(status.st_mode) && status.st_size == 0;
}

int cni_cache_list(const char *directory, const char *network_name, const char *container_id,
                   struct cni_cache_entry **entries, size_t *count, size_t *unread,
                   struct error *err)
{
        AUTO_FREE char *folder = xprintf("%s/results", directory);
        struct cni_cache_entry *list = NULL;
        size_t found = 0, looked_at = 0, strange = 0;
        AUTO_DIR DIR *stream = opendir(folder);
        if (!stream && errno != ENOENT && errno != ENOTDIR)
                return error_errno(err, errno, "CNI cache: read folder %s", folder);
        for (struct dirent *each; stream && (each = readdir(stream));) {
                if (!name_may_match(each->d_name, network_name, container_id))
                        continue;
                /* Half a list would be taken for all: what is not on it would be freed. */
                if (++looked_at > CNI_CACHE_ENTRIES_MAX) {
                        cni_cache_free(list, found);
                        return error_set(err, ERROR_RESOURCE_EXHAUSTED,
                                         "CNI cache: more than %d files in %s",
                                         CNI_CACHE_ENTRIES_MAX, folder);
                }
                AUTO_FREE char *path = xprintf("%s/%s", folder, each->d_name);
                if (is_leftover(each->d_name) || (container_id && is_empty(path))) {
                        /* Of a write that a crash cut off; this container has no other one under
                         * way. */
                        if (container_id)
                                unlink(path);
                        continue;
                }
                struct cni_cache_entry entry;
                if (!read_entry(path, &entry)) {
                        strange++;
                        continue;
                }
                if ((network_name && strcmp(entry.network_name, network_name) != 0) ||
                    (container_id && strcmp(entry.container_id, container_id) != 0)) {
                        entry_fini(&entry);
                        continue;
                }
                list = xrealloc(list, (found + 1) * sizeof *list);
                list[found++] = entry;
        }
        *entries = list;
        *count = found;
        if (unread)
                *unread = strange;
        return 0;
}

void cni_cache_free(struct cni_cache_entry *entries, size_t count)
{
        for (size_t i = 0; i < count; i++)
                entry_fini(&entries[i]);
        free(entries);
}
