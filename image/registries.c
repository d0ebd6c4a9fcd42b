#include "image/registries.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/buffer.h"
#include "base/memory.h"
#include "image/registries_private.h"

/* ---- the object ---- */

struct registries *registries_new(void)
{
        struct registries *registries = xcalloc(1, sizeof(*registries));
        atomic_init(&registries->references, 1);
        registries->aliases = table_new();
        return registries;
}

struct registries *registries_ref(struct registries *registries)
{
        atomic_fetch_add(&registries->references, 1);
        return registries;
}

void registries_entry_fini(struct registries_entry *entry)
{
        free(entry->prefix);
        free(entry->file);
        free(entry->primary.location);
        for (size_t i = 0; i < entry->mirror_count; i++)
                free(entry->mirrors[i].location);
        free(entry->mirrors);
}

void registries_unref(struct registries *registries)
{
        size_t cursor = 0;
        char *name;

        if (!registries || atomic_fetch_sub(&registries->references, 1) > 1)
                return;
        for (size_t i = 0; i < registries->entry_count; i++)
                registries_entry_fini(&registries->entries[i]);
        free(registries->entries);
        strv_free(registries->search);
        free(registries->search_file);
        while ((name = table_next(registries->aliases, &cursor, NULL)))
                free(name);
        table_free(registries->aliases);
        strv_free(registries->helpers);
        free(registries);
}

char *const *registries_credential_helpers(const struct registries *registries)
{
        return registries->helpers;
}

/* ---- short names ---- */

/* Where a name's tag or digest begins, with its sign; the name's end where it has neither. */
static const char *name_end(const char *name)
{
        const char *end = name + strcspn(name, "@");
        const char *last = end; /* the part after the last slash: a colon before it is a port's */

        while (last > name && last[-1] != '/')
                last--;
        const char *colon = memchr(last, ':', (size_t)(end - last));
        return colon ? colon : end;
}

static int add_candidate(struct reference *candidates, size_t *count, const char *text,
                         const char *name, struct error *err)
{
        int r = reference_parse(text, &candidates[*count], err);
        if (r < 0)
                return error_context(err, "short name %.300s", name);
        (*count)++;
        return 0;
}

static int search(const struct registries *registries, const char *name,
                  struct reference *candidates, size_t *count, struct error *err)
{
        char **registry = registries->search;
        int r;

        if (!registry)
                return add_candidate(candidates, count, name, name, err);
        for (; *registry; registry++) {
                AUTO_FREE char *text = xprintf("%s/%s", *registry, name);
                if ((r = add_candidate(candidates, count, text, name, err)) < 0)
                        return r;
        }
        if (*count == 0)
                return error_set(err, ERROR_FAILED_PRECONDITION,
                                 "short name %.300s: unqualified-search-registries in %s is empty: "
                                 "write the registry before the name, or add an alias",
                                 name, registries->search_file);
        return 0;
}

static int refuse_choice(const struct registries *registries, const char *name,
                         const struct reference *candidates, size_t count, struct error *err)
{
        AUTO_BUFFER struct buffer names = BUFFER_INIT;

        for (size_t i = 0; i < count; i++) {
                AUTO_FREE char *text = reference_text(&candidates[i]);
                buffer_printf(&names, "%s%s", i == 0 ? "" : i + 1 < count ? ", " : " or ", text);
        }
        return error_set(err, ERROR_FAILED_PRECONDITION,
                         "short name %.300s: it may be %s, and short-name-mode is \"enforcing\": "
                         "use one of these names, or add an alias to %s",
                         name, names.data, registries->search_file);
}

int registries_candidates(const struct registries *registries, const char *name, bool wanting,
                          struct reference **candidates, size_t *count, struct error *err)
{
        AUTO_FREE struct reference *list = xcalloc(REGISTRIES_SEARCH_MAX, sizeof(*list));
        size_t found = 0;

        /* As if it were docker.io's: for what is no name at all. */
        int r = reference_parse(name, &list[0], err);
        if (r < 0)
                return r;
        if (!reference_is_short(name)) {
                found = 1;
        } else {
                const char *end = name_end(name);
                AUTO_FREE char *bare = xstrndup(name, (size_t)(end - name));
                const char *alias = table_get(registries->aliases, bare);
                AUTO_FREE char *full = alias ? xprintf("%s%s", alias, end) : NULL;
                r = full ? add_candidate(list, &found, full, name, err)
                         : search(registries, name, list, &found, err);
                if (r < 0)
                        return r;
                if (wanting && found > 1 && registries->mode == MODE_ENFORCING)
                        return refuse_choice(registries, name, list, found, err);
        }
        *candidates = take_ptr(list);
        *count = found;
        return 0;
}

/* ---- where an image is ---- */

/* Bytes of text that prefix stands for; 0 where it does not match. */
static size_t match_prefix(const char *prefix, const char *text)
{
        static const char separators[] = ":/@";

        if (strncmp(prefix, "*.", 2) != 0) {
                size_t length = strlen(prefix);
                bool same = strncmp(prefix, text, length) == 0;
                return same && (!text[length] || strchr(separators, text[length])) ? length : 0;
        }
        /* A subdomain: what the asterisk stands for is within the host. */
        size_t host = strcspn(text, "/"), length = strlen(prefix + 1);
        for (const char *at = text; (at = strstr(at, prefix + 1)); at++) {
                size_t end = (size_t)(at - text) + length;
                if ((size_t)(at - text) >= host)
                        return 0;
                if (at > text && (!text[end] || strchr(separators, text[end])))
                        return end;
        }
        return 0;
}

static const struct registries_entry *find_entry(const struct registries *registries,
                                                 const char *text, size_t *matched)
{
        const struct registries_entry *best = NULL;
        size_t longest = 0;

        for (size_t i = 0; i < registries->entry_count; i++) {
                const struct registries_entry *entry = &registries->entries[i];
                size_t length = match_prefix(entry->prefix, text);
                if (length == 0 || strlen(entry->prefix) <= longest)
                        continue;
                best = entry;
                longest = strlen(entry->prefix);
                *matched = length;
        }
        return best;
}

static int no_name(const struct registries_entry *entry, const char *location, const char *text,
                   struct error *err)
{
        return error_set(err, ERROR_FAILED_PRECONDITION,
                         "%s:%u: location \"%.200s\" makes \"%.300s\" of it, which is not an "
                         "image's full name",
                         entry->file, entry->line, location, text);
}

/* text is the whole name, of which matched bytes stand for the prefix. */
static int rewrite(const struct registries_entry *entry, const struct registries_place *place,
                   const struct reference *reference, const char *text, size_t matched,
                   struct registries_source *source, struct error *err)
{
        struct reference there;

        source->insecure = place->insecure;
        if (!place->location) {
                source->registry = xstrdup(reference->registry);
                source->repository = xstrdup(reference->repository);
                return 0;
        }
        AUTO_FREE char *name = xprintf("%s%s", place->location, text + matched);
        char *slash = strchr(name, '/');
        if (!slash)
                return no_name(entry, place->location, name, err);
        /* Its tag and digest are asked for as they are. */
        *(char *)(uintptr_t)name_end(name) = '\0';
        if (reference_is_short(name) || reference_parse(name, &there, NULL) < 0)
                return no_name(entry, place->location, name, err);
        source->registry = xstrdup(there.registry);
        source->repository = xstrdup(there.repository);
        return 0;
}

static bool is_used(const struct registries_entry *entry, const struct registries_place *mirror,
                    bool by_digest)
{
        if (entry->mirror_by_digest_only)
                return by_digest;
        return mirror->use == MIRROR_ALL || (mirror->use == MIRROR_DIGEST_ONLY) == by_digest;
}

int registries_sources(const struct registries *registries, const struct reference *reference,
                       struct registries_source **sources, size_t *count, struct error *err)
{
        AUTO_FREE char *text = reference_text(reference);
        size_t matched = 0, made = 0;
        bool by_digest = reference->digest[0] != '\0';
        const struct registries_entry *entry = find_entry(registries, text, &matched);

        *sources = NULL;
        *count = 0;
        if (!entry)
                return 0;
        if (entry->blocked)
                return error_set(err, ERROR_PERMISSION_DENIED, "%s is blocked by %s:%u (prefix %s)",
                                 text, entry->file, entry->line, entry->prefix);

        struct registries_source *list = xcalloc(entry->mirror_count + 1, sizeof(*list));
        int r = 0;
        for (size_t i = 0; r == 0 && i <= entry->mirror_count; i++) {
                const struct registries_place *place =
                        i < entry->mirror_count ? &entry->mirrors[i] : &entry->primary;
                if (place != &entry->primary && !is_used(entry, place, by_digest))
                        continue;
                r = rewrite(entry, place, reference, text, matched, &list[made++], err);
        }
        if (r < 0) {
                registries_sources_free(list, made);
                return r;
        }
        *sources = list;
        *count = made;
        return 0;
}

void registries_sources_free(struct registries_source *sources, size_t count)
{
        for (size_t i = 0; i < count; i++) {
                free(sources[i].registry);
                free(sources[i].repository);
        }
        free(sources);
}
