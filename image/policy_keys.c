/* A policy's keys: read from their files, and on their way to the program that verifies. */
#include "image/policy.h"

#include <stdio.h>
#include <string.h>

#include "base/base64.h"
#include "base/file.h"
#include "base/json.h"
#include "image/line.h"

/* ---- reading ---- */

static int load(const struct policy_keys *keys, const char *place, struct arena *arena,
                size_t *left, struct policy_keys *loaded, struct error *err)
{
        struct policy_key *list =
                arena_array(arena, keys->path_count + keys->count + 1, sizeof(*list));
        size_t count = 0;

        for (size_t i = 0; i < keys->path_count; i++) {
                AUTO_BUFFER struct buffer bytes = BUFFER_INIT;
                int r = file_read(keys->paths[i], POLICY_KEY_BYTES_MAX, &bytes, err);
                if (r < 0)
                        return error_context(err, "%s", place);
                if (bytes.length == 0)
                        return error_set(err, ERROR_FAILED_PRECONDITION, "%s: %s: empty", place,
                                         keys->paths[i]);
                list[count].bytes = arena_memdup(arena, bytes.data, bytes.length);
                list[count++].length = bytes.length;
        }
        for (size_t i = 0; i < keys->count; i++)
                list[count++] = keys->list[i];
        for (size_t i = 0; i < count; i++) {
                if (list[i].length > *left)
                        return error_set(err, ERROR_FAILED_PRECONDITION,
                                         "%s: more than %u bytes of keys", place,
                                         POLICY_KEYS_BYTES_MAX);
                *left -= list[i].length;
        }
        *loaded = (struct policy_keys){.list = list, .count = count};
        return 0;
}

int policy_load_keys(const struct policy_requirements *requirements, struct arena *arena,
                     struct policy_requirements *loaded, struct error *err)
{
        struct policy_requirement *list =
                arena_array(arena, requirements->count + 1, sizeof(*list));
        size_t left = POLICY_KEYS_BYTES_MAX;
        int r;

        for (size_t i = 0; i < requirements->count; i++) {
                const struct policy_requirement *from = &requirements->list[i];
                list[i] = *from;
                if ((r = load(&from->keys, from->place, arena, &left, &list[i].keys, err)) < 0 ||
                    (r = load(&from->ca, from->place, arena, &left, &list[i].ca, err)) < 0 ||
                    (r = load(&from->rekor, from->place, arena, &left, &list[i].rekor, err)) < 0 ||
                    (r = load(&from->roots, from->place, arena, &left, &list[i].roots, err)) < 0 ||
                    (r = load(&from->intermediates, from->place, arena, &left,
                              &list[i].intermediates, err)) < 0)
                        return r;
        }
        *loaded = (struct policy_requirements){requirements->scope, list, requirements->count};
        return 0;
}

/* ---- as JSON ---- */

/* NAMEData where there is one key, as a Fulcio's must be; else NAMEDatas. */
static void put_keys(json_t *object, const char *name, const struct policy_keys *keys)
{
        char member[64];
        json_t *array = json_array();
        for (size_t i = 0; i < keys->count; i++) {
                AUTO_FREE char *text = base64_encode(keys->list[i].bytes, keys->list[i].length);
                json_array_append_new(array, json_string(text));
        }
        snprintf(member, sizeof(member), "%sData%s", name, keys->count > 1 ? "s" : "");
        if (keys->count > 1)
                json_object_set(object, member, array);
        else if (keys->count == 1)
                json_object_set(object, member, json_array_get(array, 0));
        json_decref(array);
}

static void put_identity(json_t *object, const struct policy_identity *identity)
{
        static const struct {
                const char *type, *member;
        } names[] = {
                [POLICY_MATCH_REPO_DIGEST_OR_EXACT] = {"matchRepoDigestOrExact", NULL},
                [POLICY_MATCH_EXACT] = {"matchExact", NULL},
                [POLICY_MATCH_REPOSITORY] = {"matchRepository", NULL},
                [POLICY_EXACT_REFERENCE] = {"exactReference", "dockerReference"},
                [POLICY_EXACT_REPOSITORY] = {"exactRepository", "dockerRepository"},
                [POLICY_REMAP_IDENTITY] = {"remapIdentity", "prefix"},
        };
        json_t *value = json_object();
        line_put_string(value, "type", names[identity->match].type);
        if (names[identity->match].member)
                line_put_string(value, names[identity->match].member, identity->value);
        line_put_string(value, "signedPrefix", identity->signed_prefix);
        json_object_set_new(object, "signedIdentity", value);
}

static void put_sigstore(json_t *object, const struct policy_requirement *requirement)
{
        put_keys(object, "rekorPublicKey", &requirement->rekor);
        if (requirement->has_fulcio) {
                json_t *fulcio = json_object();
                put_keys(fulcio, "ca", &requirement->ca);
                line_put_string(fulcio, "oidcIssuer", requirement->oidc_issuer);
                line_put_string(fulcio, "subjectEmail", requirement->subject_email);
                json_object_set_new(object, "fulcio", fulcio);
        }
        if (requirement->has_pki) {
                json_t *pki = json_object();
                put_keys(pki, "caRoots", &requirement->roots);
                put_keys(pki, "caIntermediates", &requirement->intermediates);
                line_put_string(pki, "subjectEmail", requirement->subject_email);
                line_put_string(pki, "subjectHostname", requirement->subject_hostname);
                json_object_set_new(object, "pki", pki);
        }
}

json_t *policy_to_json(const struct policy_requirements *requirements)
{
        static const char *const types[] = {
                [POLICY_ACCEPT] = "insecureAcceptAnything",
                [POLICY_REJECT] = "reject",
                [POLICY_SIGNED_BY] = "signedBy",
                [POLICY_SIGSTORE_SIGNED] = "sigstoreSigned",
        };
        json_t *array = json_array();
        for (size_t i = 0; i < requirements->count; i++) {
                const struct policy_requirement *requirement = &requirements->list[i];
                json_t *object = json_object();
                line_put_string(object, "type", types[requirement->kind]);
                if (requirement->kind == POLICY_SIGNED_BY)
                        line_put_string(object, "keyType", "GPGKeys");
                if (requirement->kind >= POLICY_SIGNED_BY) {
                        put_keys(object, "key", &requirement->keys);
                        put_identity(object, &requirement->identity);
                }
                if (requirement->kind == POLICY_SIGSTORE_SIGNED)
                        put_sigstore(object, requirement);
                json_array_append_new(array, object);
        }
        return array;
}
