#include "image/trust/payload.h"

#include <stdbool.h>
#include <string.h>

#include "base/json.h"
#include "image/reference.h"

static const char PLACE[] = "what was signed";

static int wrong(struct error *err, const char *what)
{
        return error_set(err, ERROR_INVALID_ARGUMENT, "%s: %s", PLACE, what);
}

/* Exactly these members. */
static bool has_exactly(const json_t *object, const char *const *names)
{
        size_t count = 0;
        for (; names[count]; count++)
                if (!json_object_get(object, names[count]))
                        return false;
        return json_object_size(object) == count;
}

static const char *only_text(const json_t *object, const char *name)
{
        return has_exactly(object, (const char *const[]){name, NULL})
                       ? json_string_value(json_object_get(object, name))
                       : NULL;
}

int payload_parse(const char *bytes, size_t length, const char *type, struct arena *arena,
                  struct payload *payload, struct error *err)
{
        static const char *const outer[] = {"critical", "optional", NULL};
        static const char *const inner[] = {"type", "image", "identity", NULL};
        AUTO_JSON json_t *document = NULL;

        int r = json_parse(bytes, length, PLACE, &document, err);
        if (r < 0)
                return r;
        const json_t *critical = json_object_get(document, "critical");
        const json_t *optional = json_object_get(document, "optional");
        if (!has_exactly(document, outer) || !has_exactly(critical, inner))
                return wrong(err, "other members than critical (type, image, identity), optional");
        /* cosign writes null where nothing was added. */
        if (!json_is_object(optional) &&
            !(json_is_null(optional) && strcmp(type, PAYLOAD_SIGSTORE) == 0))
                return wrong(err, "optional: expected an object");
        const char *its_type = json_string_value(json_object_get(critical, "type"));
        const char *digest =
                only_text(json_object_get(critical, "image"), "docker-manifest-digest");
        const char *reference =
                only_text(json_object_get(critical, "identity"), "docker-reference");
        if (!its_type || strcmp(its_type, type) != 0)
                return error_set(err, ERROR_INVALID_ARGUMENT, "%s: type: expected \"%s\"", PLACE,
                                 type);
        if (!digest_is_valid(digest))
                return wrong(err, "image: expected docker-manifest-digest alone, and a digest");
        if (!reference || !reference[0])
                return wrong(err, "identity: expected docker-reference alone");
        *payload = (struct payload){arena_strdup(arena, digest), arena_strdup(arena, reference)};
        return 0;
}
