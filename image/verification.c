#include "image/verification.h"

#include <string.h>

#include "base/json.h"
#include "base/memory.h"
#include "image/line.h"

static const char PLACE[] = "verification";

char *verification_encode(const struct reference *reference, const char *manifest_digest,
                          const char *index_digest, const char *requirements,
                          const struct signatures *signatures)
{
        AUTO_JSON json_t *line = json_object();
        AUTO_FREE char *name = reference_text(reference);
        line_put_string(line, "reference", name);
        line_put_string(line, "manifest_digest", manifest_digest);
        line_put_string(line, "index_digest", index_digest);
        json_object_set_new(line, "requirements",
                            json_loads(requirements, JSON_REJECT_DUPLICATES, NULL));
        json_object_set_new(line, "signatures", signatures_to_json(signatures));
        return line_finish(line);
}

static int get_digest(const json_t *object, const char *key, struct arena *arena,
                      const char **digest, struct error *err)
{
        int r = line_get_text(object, key, PLACE, arena, digest, err);
        if (r == 0 && *digest && !digest_is_valid(*digest))
                return error_set(err, ERROR_INVALID_ARGUMENT, "%s: %s: not a digest", PLACE, key);
        return r;
}

int verification_decode(const char *line, size_t length, struct arena *arena,
                        struct verification *verification, struct error *err)
{
        AUTO_JSON json_t *value = NULL;
        struct verification decoded = {0};
        const char *name = "";
        int r = json_parse(line, length, PLACE, &value, err);

        if (r < 0)
                return r;
        if (!json_is_object(value))
                return error_set(err, ERROR_INVALID_ARGUMENT, "%s: expected an object", PLACE);
        if ((r = line_need_text(value, "reference", PLACE, arena, &name, err)) < 0 ||
            (r = reference_parse(name, &decoded.reference, err)) < 0 ||
            (r = get_digest(value, "manifest_digest", arena, &decoded.manifest_digest, err)) < 0 ||
            (r = get_digest(value, "index_digest", arena, &decoded.index_digest, err)) < 0 ||
            (r = policy_from_json(json_object_get(value, "requirements"), arena,
                                  &decoded.requirements, err)) < 0 ||
            (r = signatures_from_json(json_object_get(value, "signatures"), arena,
                                      &decoded.signatures, err)) < 0)
                return r;
        if (!decoded.manifest_digest)
                return error_set(err, ERROR_INVALID_ARGUMENT, "%s: manifest_digest: missing",
                                 PLACE);
        *verification = decoded;
        return 0;
}

char *verification_encode_reply(const char *why)
{
        AUTO_JSON json_t *line = json_object();
        if (!why) {
                json_object_set_new(line, "accepted", json_true());
                return line_finish(line);
        }
        /* It quotes strangers. */
        AUTO_FREE char *text = xstrdup(why);
        for (char *c = text; *c; c++)
                if ((unsigned char)*c < 0x20 || (unsigned char)*c >= 0x7f)
                        *c = '?';
        line_put_string(line, "refused", text);
        return line_finish(line);
}

int verification_decode_reply(const char *line, size_t length, struct error *err)
{
        AUTO_JSON json_t *value = NULL;
        bool accepted = false;
        const char *why = NULL;

        if (json_parse(line, length, "crisp-trust", &value, NULL) < 0 ||
            json_get_bool(value, "accepted", PLACE, &accepted, NULL) < 0 ||
            json_get_string(value, "refused", PLACE, &why, NULL) < 0 || accepted == (why != NULL))
                return error_set(err, ERROR_INTERNAL, "crisp-trust speaks rubbish");
        return accepted ? 0 : error_set(err, ERROR_FAILED_PRECONDITION, "%s", why);
}
