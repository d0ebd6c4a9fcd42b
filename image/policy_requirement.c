/* The requirements of a policy, member by member. */
#include <string.h>

#include "base/base64.h"
#include "base/json.h"
#include "image/identity.h"
#include "image/policy_private.h"

/* ---- members ---- */

int policy_wrong(struct error *err, const char *place, const char *what)
{
        return error_set(err, ERROR_INVALID_ARGUMENT, "%s: %s", place, what);
}

/* Nothing but what is listed, and nothing that is null. */
int policy_allow(const json_t *object, const char *place, const char *const *names,
                 struct error *err)
{
        const char *key;
        json_t *value;

        if (!json_is_object(object))
                return policy_wrong(err, place, "expected an object");
        json_object_foreach ((json_t *)(uintptr_t)object, key, value) {
                const char *const *name = names;
                while (*name && strcmp(*name, key) != 0)
                        name++;
                if (!*name)
                        return error_set(err, ERROR_INVALID_ARGUMENT,
                                         "%s: %.100s: there is no such member", place, key);
                if (json_is_null(value))
                        return error_set(err, ERROR_INVALID_ARGUMENT, "%s: %.100s: null", place,
                                         key);
        }
        return 0;
}

static int get_text(const json_t *object, const char *key, const char *place, bool needed,
                    struct arena *arena, const char **value, struct error *err)
{
        const char *text = NULL;
        int r = json_get_string(object, key, place, &text, err);
        if (r < 0)
                return r;
        if (needed && (!text || !text[0]))
                return error_set(err, ERROR_INVALID_ARGUMENT, "%s: %s: missing", place, key);
        *value = arena_strdup(arena, text);
        return 0;
}

/* ---- keys ---- */

enum { KEYS_PATH = 1, KEYS_PATHS = 2, KEYS_DATA = 4, KEYS_DATAS = 8 };

static int add_key(const char *text, const char *place, struct arena *arena, struct policy_key *key,
                   struct error *err)
{
        size_t length = 0;
        AUTO_FREE unsigned char *bytes = strlen(text) > 2 * POLICY_KEY_BYTES_MAX
                                                 ? NULL
                                                 : base64_decode(text, strlen(text), &length);
        if (length == 0)
                return policy_wrong(err, place, "not base64");
        key->bytes = arena_memdup(arena, bytes, length);
        key->length = length;
        return 0;
}

/* The texts of one member, which is a text or, in the plural, an array of them. */
static int get_texts(const json_t *member, const char *place, struct arena *arena,
                     const char ***texts, size_t *count, struct error *err)
{
        size_t size = json_is_array(member) ? json_array_size(member) : 1;
        if (size == 0 || size > POLICY_KEYS_MAX)
                return error_set(err, ERROR_INVALID_ARGUMENT, "%s: expected 1 to %d members", place,
                                 POLICY_KEYS_MAX);
        const char **list = arena_array(arena, size, sizeof(*list));
        for (size_t i = 0; i < size; i++) {
                const json_t *each = json_is_array(member) ? json_array_get(member, i) : member;
                const char *text = json_string_value(each);
                if (!text || !text[0])
                        return policy_wrong(err, place, "expected text that is not empty");
                list[i] = arena_strdup(arena, text);
        }
        *texts = list;
        *count = size;
        return 0;
}

static int get_variant(const json_t *object, const char *name, bool path, bool plural,
                       const char *place, struct arena *arena, struct policy_keys *keys,
                       struct error *err)
{
        const json_t *member = json_object_get(object, name);
        const char *where = arena_printf(arena, "%s: %s", place, name);
        const char **texts = NULL;
        size_t count = 0;

        if (json_is_array(member) != plural)
                return policy_wrong(err, where, plural ? "expected an array" : "expected text");
        int r = get_texts(member, where, arena, &texts, &count, err);
        if (r < 0)
                return r;
        if (path) {
                for (size_t i = 0; i < count; i++)
                        if (texts[i][0] != '/')
                                return policy_wrong(err, where, "expected an absolute path");
                keys->paths = texts;
                keys->path_count = count;
                return 0;
        }
        struct policy_key *list = arena_array(arena, count, sizeof(*list));
        for (size_t i = 0; i < count; i++)
                if ((r = add_key(texts[i], where, arena, &list[i], err)) < 0)
                        return r;
        keys->list = list;
        keys->count = count;
        return 0;
}

/* At most one of NAMEPath, NAMEPaths, NAMEData and NAMEDatas, as far as variants allows them. */
static int get_keys(const json_t *object, const char *name, unsigned variants, const char *place,
                    struct arena *arena, struct policy_keys *keys, struct error *err)
{
        static const char *const suffixes[] = {"Path", "Paths", "Data", "Datas"};
        const char *found = NULL;

        for (unsigned i = 0; i < sizeof(suffixes) / sizeof(suffixes[0]); i++) {
                const char *full = arena_printf(arena, "%s%s", name, suffixes[i]);
                if (!(variants & 1U << i) || !json_object_get(object, full))
                        continue;
                if (found)
                        return error_set(err, ERROR_INVALID_ARGUMENT,
                                         "%s: %s and %s exclude each other", place, found, full);
                found = full;
                int r = get_variant(object, full, i < 2, i % 2 == 1, place, arena, keys, err);
                if (r < 0)
                        return r;
        }
        return 0;
}

static bool has_keys(const struct policy_keys *keys)
{
        return keys->path_count + keys->count > 0;
}

/* ---- signedIdentity ---- */

static const struct {
        const char *type;
        enum policy_match match;
        const char *member; /* that it needs */
} MATCHES[] = {
        {"matchExact", POLICY_MATCH_EXACT, NULL},
        {"matchRepoDigestOrExact", POLICY_MATCH_REPO_DIGEST_OR_EXACT, NULL},
        {"matchRepository", POLICY_MATCH_REPOSITORY, NULL},
        {"exactReference", POLICY_EXACT_REFERENCE, "dockerReference"},
        {"exactRepository", POLICY_EXACT_REPOSITORY, "dockerRepository"},
        {"remapIdentity", POLICY_REMAP_IDENTITY, "prefix"},
};
#define MATCH_COUNT (sizeof(MATCHES) / sizeof(MATCHES[0]))

static int get_identity(const json_t *requirement, const char *outer, struct arena *arena,
                        struct policy_identity *identity, struct error *err)
{
        const json_t *object = json_object_get(requirement, "signedIdentity");
        const char *place = arena_printf(arena, "%s: signedIdentity", outer);
        const char *type = NULL;
        size_t i = 0;
        int r;

        if (!object)
                return 0;
        if (!json_is_object(object))
                return policy_wrong(err, place, "expected an object");
        if ((r = get_text(object, "type", place, true, arena, &type, err)) < 0)
                return r;
        while (i < MATCH_COUNT && strcmp(MATCHES[i].type, type) != 0)
                i++;
        if (i == MATCH_COUNT)
                return error_set(err, ERROR_INVALID_ARGUMENT,
                                 "%s: type: \"%.100s\" is not supported", place, type);
        identity->match = MATCHES[i].match;
        bool remaps = identity->match == POLICY_REMAP_IDENTITY;
        const char *const names[] = {"type", MATCHES[i].member, remaps ? "signedPrefix" : NULL,
                                     NULL};
        if ((r = policy_allow(object, place, names, err)) < 0)
                return r;
        if (MATCHES[i].member && (r = get_text(object, MATCHES[i].member, place, true, arena,
                                               &identity->value, err)) < 0)
                return r;
        if (remaps && (r = get_text(object, "signedPrefix", place, true, arena,
                                    &identity->signed_prefix, err)) < 0)
                return r;
        return identity_check(identity, err) < 0 ? error_context(err, "%s", place) : 0;
}

/* ---- requirements ---- */

static int get_signed_by(const json_t *object, bool loaded, struct arena *arena,
                         struct policy_requirement *requirement, struct error *err)
{
        static const char *const names[] = {"type",    "keyType",        "keyPath", "keyPaths",
                                            "keyData", "signedIdentity", NULL};
        static const char *const loaded_names[] = {"type",     "keyType",        "keyData",
                                                   "keyDatas", "signedIdentity", NULL};
        const char *place = requirement->place, *type = NULL;
        unsigned variants = loaded ? KEYS_DATA | KEYS_DATAS : KEYS_PATH | KEYS_PATHS | KEYS_DATA;
        int r;

        if ((r = policy_allow(object, place, loaded ? loaded_names : names, err)) < 0 ||
            (r = get_text(object, "keyType", place, true, arena, &type, err)) < 0)
                return r;
        if (strcmp(type, "GPGKeys") != 0)
                return error_set(err, ERROR_INVALID_ARGUMENT,
                                 "%s: keyType: \"%.100s\" is not supported, GPGKeys is", place,
                                 type);
        if ((r = get_keys(object, "key", variants, place, arena, &requirement->keys, err)) < 0)
                return r;
        if (!has_keys(&requirement->keys))
                return policy_wrong(err, place, "one of keyPath, keyPaths and keyData is needed");
        return get_identity(object, place, arena, &requirement->identity, err);
}

static int get_fulcio(const json_t *object, const char *outer, struct arena *arena,
                      struct policy_requirement *requirement, struct error *err)
{
        static const char *const names[] = {"caPath", "caData", "oidcIssuer", "subjectEmail", NULL};
        const char *place = arena_printf(arena, "%s: fulcio", outer);
        int r;

        if ((r = policy_allow(object, place, names, err)) < 0 ||
            (r = get_keys(object, "ca", KEYS_PATH | KEYS_DATA, place, arena, &requirement->ca,
                          err)) < 0 ||
            (r = get_text(object, "oidcIssuer", place, true, arena, &requirement->oidc_issuer,
                          err)) < 0 ||
            (r = get_text(object, "subjectEmail", place, true, arena, &requirement->subject_email,
                          err)) < 0)
                return r;
        if (!has_keys(&requirement->ca))
                return policy_wrong(err, place, "one of caPath and caData is needed");
        requirement->has_fulcio = true;
        return 0;
}

static int get_pki(const json_t *object, const char *outer, struct arena *arena,
                   struct policy_requirement *requirement, struct error *err)
{
        static const char *const names[] = {"caRootsPath",
                                            "caRootsData",
                                            "caIntermediatesPath",
                                            "caIntermediatesData",
                                            "subjectEmail",
                                            "subjectHostname",
                                            NULL};
        const char *place = arena_printf(arena, "%s: pki", outer);
        int r;

        if ((r = policy_allow(object, place, names, err)) < 0 ||
            (r = get_keys(object, "caRoots", KEYS_PATH | KEYS_DATA, place, arena,
                          &requirement->roots, err)) < 0 ||
            (r = get_keys(object, "caIntermediates", KEYS_PATH | KEYS_DATA, place, arena,
                          &requirement->intermediates, err)) < 0 ||
            (r = get_text(object, "subjectEmail", place, false, arena, &requirement->subject_email,
                          err)) < 0 ||
            (r = get_text(object, "subjectHostname", place, false, arena,
                          &requirement->subject_hostname, err)) < 0)
                return r;
        if (!has_keys(&requirement->roots))
                return policy_wrong(err, place, "one of caRootsPath and caRootsData is needed");
        if (!requirement->subject_email && !requirement->subject_hostname)
                return policy_wrong(err, place,
                                    "one of subjectEmail and subjectHostname is needed");
        requirement->has_pki = true;
        return 0;
}

static int get_sigstore(const json_t *object, struct arena *arena,
                        struct policy_requirement *requirement, struct error *err)
{
        static const char *const names[] = {"type",
                                            "keyPath",
                                            "keyPaths",
                                            "keyData",
                                            "keyDatas",
                                            "fulcio",
                                            "pki",
                                            "rekorPublicKeyPath",
                                            "rekorPublicKeyPaths",
                                            "rekorPublicKeyData",
                                            "rekorPublicKeyDatas",
                                            "signedIdentity",
                                            NULL};
        const char *place = requirement->place;
        const unsigned variants = KEYS_PATH | KEYS_PATHS | KEYS_DATA | KEYS_DATAS;
        int r;

        if ((r = policy_allow(object, place, names, err)) < 0 ||
            (r = get_keys(object, "key", variants, place, arena, &requirement->keys, err)) < 0 ||
            (r = get_keys(object, "rekorPublicKey", variants, place, arena, &requirement->rekor,
                          err)) < 0)
                return r;
        const json_t *fulcio = json_object_get(object, "fulcio");
        const json_t *pki = json_object_get(object, "pki");
        if (fulcio && (r = get_fulcio(fulcio, place, arena, requirement, err)) < 0)
                return r;
        if (pki && (r = get_pki(pki, place, arena, requirement, err)) < 0)
                return r;
        if (has_keys(&requirement->keys) + (fulcio != NULL) + (pki != NULL) != 1)
                return policy_wrong(
                        err, place,
                        "exactly one of keyPath, keyPaths, keyData, keyDatas, fulcio and pki "
                        "is needed");
        if (fulcio && !has_keys(&requirement->rekor))
                return policy_wrong(err, place,
                                    "fulcio needs a rekorPublicKeyPath or rekorPublicKeyData");
        if (pki && has_keys(&requirement->rekor))
                return policy_wrong(err, place, "pki and rekorPublicKey... exclude each other");
        return get_identity(object, place, arena, &requirement->identity, err);
}

static int get_requirement(const json_t *object, bool loaded, struct arena *arena,
                           struct policy_requirement *requirement, struct error *err)
{
        static const char *const names[] = {"type", NULL};
        const char *type = NULL;

        if (!json_is_object(object))
                return policy_wrong(err, requirement->place, "expected an object");
        int r = get_text(object, "type", requirement->place, true, arena, &type, err);
        if (r < 0)
                return r;
        if (strcmp(type, "insecureAcceptAnything") == 0 || strcmp(type, "reject") == 0) {
                requirement->kind = type[0] == 'r' ? POLICY_REJECT : POLICY_ACCEPT;
                return policy_allow(object, requirement->place, names, err);
        }
        if (strcmp(type, "signedBy") == 0) {
                requirement->kind = POLICY_SIGNED_BY;
                return get_signed_by(object, loaded, arena, requirement, err);
        }
        if (strcmp(type, "sigstoreSigned") == 0) {
                requirement->kind = POLICY_SIGSTORE_SIGNED;
                return get_sigstore(object, arena, requirement, err);
        }
        return error_set(err, ERROR_INVALID_ARGUMENT, "%s: type: \"%.100s\" is not supported",
                         requirement->place, type);
}

int policy_get_requirements(const json_t *array, bool loaded, const char *place,
                            struct arena *arena, struct policy_requirements *requirements,
                            struct error *err)
{
        size_t count = json_array_size(array);

        if (!json_is_array(array) || count == 0 || count > POLICY_REQUIREMENTS_MAX)
                return error_set(err, ERROR_INVALID_ARGUMENT,
                                 "%s: expected an array of 1 to %d requirements", place,
                                 POLICY_REQUIREMENTS_MAX);
        struct policy_requirement *list = arena_array(arena, count, sizeof(*list));
        for (size_t i = 0; i < count; i++) {
                list[i].place = arena_printf(arena, "%s[%zu]", place, i);
                int r = get_requirement(json_array_get(array, i), loaded, arena, &list[i], err);
                if (r < 0)
                        return r;
        }
        requirements->list = list;
        requirements->count = count;
        return 0;
}

int policy_from_json(const json_t *array, struct arena *arena,
                     struct policy_requirements *requirements, struct error *err)
{
        struct policy_requirements read = {.scope = "policy"};
        int r = policy_get_requirements(array, true, "policy", arena, &read, err);
        if (r == 0)
                *requirements = read;
        return r;
}
