#include "cri/users_mode.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/memory.h"
#include "oci/idmap.h"

#define SIZE_DIGITS 10

void users_mode_fini(struct users_mode *mode)
{
        free(mode->uids.maps);
        free(mode->gids.maps);
        *mode = (struct users_mode){0};
}

static int read_size(const char *text, uint32_t *size, struct error *err)
{
        size_t digits = strspn(text, "0123456789");
        unsigned long long value = strtoull(text, NULL, 10);
        if (digits == 0 || digits > SIZE_DIGITS || text[digits] || value == 0 ||
            value >= UINT32_MAX)
                return error_set(err, ERROR_INVALID_ARGUMENT, "size: \"%.40s\" is no number of IDs",
                                 text);
        *size = (uint32_t)value;
        return 0;
}

static int read_maps(const char *text, struct users_maps *maps, struct error *err)
{
        free(maps->maps);
        *maps = (struct users_maps){0};
        return idmap_parse(text, &maps->maps, &maps->count, err);
}

static int read_word(struct users_mode *mode, const char *name, const char *value,
                     struct error *err)
{
        if (strcmp(name, "uidmapping") == 0)
                return read_maps(value, &mode->uids, err);
        if (strcmp(name, "gidmapping") == 0)
                return read_maps(value, &mode->gids, err);
        if (mode->automatic && strcmp(name, "size") == 0)
                return read_size(value, &mode->size, err);
        bool *flag = strcmp(name, "keep-id") == 0       ? &mode->keep_id
                     : strcmp(name, "map-to-root") == 0 ? &mode->map_to_root
                                                        : NULL;
        if (!mode->automatic || !flag)
                return error_set(err, ERROR_INVALID_ARGUMENT, "\"%.40s\" is not known here", name);
        *flag = strcmp(value, "true") == 0;
        return 0;
}

static int read_words(struct users_mode *mode, char *words, struct error *err)
{
        for (char *word; (word = strsep(&words, ";"));) {
                char *value = strchr(word, '=');
                if (!value)
                        return error_set(err, ERROR_INVALID_ARGUMENT, "\"%.40s\" is not NAME=VALUE",
                                         word);
                *value++ = '\0';
                int result = read_word(mode, word, value, err);
                if (result < 0)
                        return result;
        }
        return 0;
}

int users_mode_parse(const char *text, struct users_mode *mode, struct error *err)
{
        struct users_mode read = {.size = USERS_MODE_SIZE};
        AUTO_FREE char *words = xstrdup(text);
        char *rest = words;
        const char *kind = strsep(&rest, ":");
        int result = 0;
        read.automatic = strcmp(kind, "auto") == 0;
        if (!read.automatic && strcmp(kind, "private") != 0)
                return error_set(err, ERROR_INVALID_ARGUMENT,
                                 "\"%.40s\" is neither auto nor private", kind);
        if (rest)
                result = read_words(&read, rest, err);
        if (result == 0 && read.keep_id && read.map_to_root)
                result = error_set(err, ERROR_INVALID_ARGUMENT,
                                   "keep-id and map-to-root exclude each other");
        if (result < 0) {
                users_mode_fini(&read);
                return result;
        }
        *mode = read;
        return 0;
}

/* ---- maps ---- */

void users_maps_add(struct users_maps *maps, uint32_t container, uint32_t host, uint32_t length)
{
        maps->maps = xrealloc(maps->maps, (maps->count + 1) * sizeof *maps->maps);
        maps->maps[maps->count++] =
                (struct spec_id_map){.container_id = container, .host_id = host, .length = length};
}

void users_maps_add_host(struct users_maps *maps, uint32_t host)
{
        uint32_t ignored, next = 0;
        if (idmap_to_container(maps->maps, maps->count, host, &ignored))
                return;
        for (size_t i = 0; i < maps->count; i++)
                if (maps->maps[i].container_id + maps->maps[i].length > next)
                        next = maps->maps[i].container_id + maps->maps[i].length;
        users_maps_add(maps, next, host, 1);
}

/* The range of the first `known` that holds the container's ID, or the next one above it. */
static const struct spec_id_map *next_range(const struct users_maps *maps, size_t known,
                                            uint64_t id)
{
        const struct spec_id_map *next = NULL;
        for (size_t i = 0; i < known; i++) {
                const struct spec_id_map *map = &maps->maps[i];
                if ((uint64_t)map->container_id + map->length > id &&
                    (!next || map->container_id < next->container_id))
                        next = map;
        }
        return next;
}

void users_maps_fill(struct users_maps *maps, uint32_t first, uint32_t size)
{
        size_t known = maps->count;
        for (uint64_t at = 0; at < size;) {
                const struct spec_id_map *next = next_range(maps, known, at);
                uint64_t until = next && next->container_id < size ? next->container_id : size;
                uint64_t after = next ? (uint64_t)next->container_id + next->length : size;
                if (until > at)
                        users_maps_add(maps, (uint32_t)at, first + (uint32_t)at,
                                       (uint32_t)(until - at));
                at = until == size ? size : after;
        }
}
