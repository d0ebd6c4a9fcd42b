#include "image/policy.h"

#include <stdio.h>
#include <string.h>

#include "base/json.h"
#include "image/policy_private.h"

#define TRANSPORTS_MAX 64
#define SCOPES_MAX     10000 /* of one transport */

struct transport {
        const char *name;
        const struct policy_requirements *scopes;
        const char *const *names; /* of the scopes */
        size_t count;
};

struct policy {
        struct policy_requirements fallback; /* "default" */
        const struct transport *transports;
        size_t count;
};

/* ---- the file ---- */

static int get_transport(const char *name, const json_t *object, struct arena *arena,
                         struct transport *transport, struct error *err)
{
        const char *place = arena_printf(arena, "transports.%.100s", name), *scope;
        size_t count = json_object_size(object), i = 0;
        json_t *value;

        if (!json_is_object(object) || count > SCOPES_MAX)
                return error_set(err, ERROR_INVALID_ARGUMENT,
                                 "%s: expected an object with at most %d scopes", place,
                                 SCOPES_MAX);
        struct policy_requirements *scopes = arena_array(arena, count + 1, sizeof(*scopes));
        const char **names = arena_array(arena, count + 1, sizeof(*names));
        json_object_foreach ((json_t *)(uintptr_t)object, scope, value) {
                const char *where = arena_printf(arena, "%s.\"%.300s\"", place, scope);
                names[i] = arena_strdup(arena, scope);
                scopes[i].scope =
                        arena_printf(arena, "%s%s%.300s", name, scope[0] ? " " : "", scope);
                int r = policy_get_requirements(value, false, where, arena, &scopes[i], err);
                if (r < 0)
                        return r;
                i++;
        }
        *transport = (struct transport){.name = arena_strdup(arena, name),
                                        .scopes = scopes,
                                        .names = names,
                                        .count = count};
        return 0;
}

static int get_policy(const json_t *file, struct arena *arena, struct policy *policy,
                      struct error *err)
{
        static const char *const names[] = {"default", "transports", NULL};
        const json_t *fallback = json_object_get(file, "default");
        json_t *transports = json_object_get(file, "transports"), *value;
        const char *name;
        int r = policy_allow(file, "policy", names, err);

        if (r < 0)
                return r;
        if (!fallback)
                return policy_wrong(err, "default", "missing");
        policy->fallback.scope = "default";
        if ((r = policy_get_requirements(fallback, false, "default", arena, &policy->fallback,
                                         err)) < 0)
                return r;
        if (!transports)
                return 0;
        if (!json_is_object(transports) || json_object_size(transports) > TRANSPORTS_MAX)
                return error_set(err, ERROR_INVALID_ARGUMENT,
                                 "transports: expected an object with at most %d members",
                                 TRANSPORTS_MAX);
        struct transport *list =
                arena_array(arena, json_object_size(transports) + 1, sizeof(*list));
        json_object_foreach (transports, name, value) {
                r = get_transport(name, value, arena, &list[policy->count], err);
                if (r < 0)
                        return r;
                policy->count++;
        }
        policy->transports = list;
        return 0;
}

int policy_parse(const char *bytes, size_t length, const char *file, struct arena *arena,
                 struct policy **policy, struct error *err)
{
        AUTO_JSON json_t *value = NULL;
        struct policy *parsed = arena_alloc(arena, sizeof(*parsed));

        int r = json_parse(bytes, length, file, &value, err);
        if (r < 0)
                return r;
        r = get_policy(value, arena, parsed, err);
        if (r < 0)
                return error_context(err, "%s", file);
        *policy = parsed;
        return 0;
}

/* ---- scopes ---- */

static const struct transport *find_transport(const struct policy *policy, const char *name)
{
        for (size_t i = 0; i < policy->count; i++)
                if (strcmp(policy->transports[i].name, name) == 0)
                        return &policy->transports[i];
        return NULL;
}

static const struct policy_requirements *find_scope(const struct transport *transport,
                                                    const char *name)
{
        for (size_t i = 0; transport && i < transport->count; i++)
                if (strcmp(transport->names[i], name) == 0)
                        return &transport->scopes[i];
        return NULL;
}

static const struct policy_requirements *or_default(const struct policy *policy,
                                                    const struct transport *transport,
                                                    const struct policy_requirements *found)
{
        if (!found)
                found = find_scope(transport, "");
        return found ? found : &policy->fallback;
}

const struct policy_requirements *policy_for_name(const struct policy *policy,
                                                  const struct reference *reference)
{
        const struct transport *docker = find_transport(policy, "docker");
        const struct policy_requirements *found;
        char name[2 * REFERENCE_NAME_MAX + REFERENCE_DIGEST_MAX + 4];

        /* The digest decides where both are given. */
        snprintf(name, sizeof(name), "%s/%s%s%s", reference->registry, reference->repository,
                 reference->digest[0] ? "@" : ":",
                 reference->digest[0] ? reference->digest : reference->tag);
        found = find_scope(docker, name);
        snprintf(name, sizeof(name), "%s/%s", reference->registry, reference->repository);
        for (char *slash = name; !found && slash;) {
                found = find_scope(docker, name);
                slash = strrchr(name, '/');
                if (slash)
                        *slash = '\0';
        }
        /* *.example.com stands for subdomains with any port. */
        char host[REFERENCE_NAME_MAX + 1];
        snprintf(host, sizeof(host), "%.*s", (int)strcspn(reference->registry, ":"),
                 reference->registry);
        for (const char *dot = strchr(host, '.'); !found && dot; dot = strchr(dot + 1, '.')) {
                snprintf(name, sizeof(name), "*%s", dot);
                found = find_scope(docker, name);
        }
        return or_default(policy, docker, found);
}

const struct policy_requirements *policy_for_nameless(const struct policy *policy)
{
        return or_default(policy, find_transport(policy, "docker"), NULL);
}

enum policy_kind policy_decides(const struct policy_requirements *requirements)
{
        enum policy_kind decides = POLICY_ACCEPT;
        for (size_t i = 0; i < requirements->count; i++) {
                if (requirements->list[i].kind == POLICY_REJECT)
                        return POLICY_REJECT;
                if (requirements->list[i].kind != POLICY_ACCEPT)
                        decides = requirements->list[i].kind;
        }
        return decides;
}
