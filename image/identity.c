#include "image/identity.h"

#include <stdio.h>
#include <string.h>

/* A name as it was written: registry/repository, and what follows. */
struct name {
        char text[2 * REFERENCE_NAME_MAX + 2];
        char tag[REFERENCE_TAG_MAX + 1];
        char digest[REFERENCE_DIGEST_MAX + 1];
};

static bool has_tag(const char *text)
{
        const char *slash = strrchr(text, '/');
        const char *end = strchr(text, '@');
        const char *colon = strchr(slash && (!end || slash < end) ? slash : text, ':');
        return colon && (!end || colon < end);
}

static bool read_name(const char *text, struct name *name)
{
        struct reference reference;
        if (reference_parse(text, &reference, NULL) < 0)
                return false;
        snprintf(name->text, sizeof(name->text), "%s/%s", reference.registry, reference.repository);
        memcpy(name->tag, reference.tag, sizeof(name->tag));
        memcpy(name->digest, reference.digest, sizeof(name->digest));
        /* What was completed was not said. */
        if (!has_tag(text))
                name->tag[0] = '\0';
        return true;
}

static struct name name_of(const struct reference *reference)
{
        struct name name = {0};
        snprintf(name.text, sizeof(name.text), "%s/%s", reference->registry, reference->repository);
        memcpy(name.digest, reference->digest, sizeof(name.digest));
        if (!name.digest[0])
                memcpy(name.tag, reference->tag, sizeof(name.tag));
        return name;
}

static bool same_repository(const struct name *a, const struct name *b)
{
        return strcmp(a->text, b->text) == 0;
}

/* To the letter; a name without tag and digest is like none. */
static bool same(const struct name *a, const struct name *b)
{
        return (a->tag[0] || a->digest[0]) && same_repository(a, b) &&
               strcmp(a->tag, b->tag) == 0 && strcmp(a->digest, b->digest) == 0;
}

static bool same_or_repository(const struct name *asked, const struct name *claimed)
{
        return asked->tag[0] ? same(asked, claimed)
                             : asked->digest[0] && same_repository(asked, claimed);
}

static bool remap(const struct policy_identity *identity, const struct name *asked,
                  struct name *mapped)
{
        size_t length = strlen(identity->value);
        char text[4 * REFERENCE_NAME_MAX];

        *mapped = *asked;
        if (strncmp(asked->text, identity->value, length) != 0 ||
            (asked->text[length] != '\0' && asked->text[length] != '/'))
                return true;
        int written = snprintf(text, sizeof(text), "%s%s%s%s%s%s", identity->signed_prefix,
                               asked->text + length, asked->tag[0] ? ":" : "", asked->tag,
                               asked->digest[0] ? "@" : "", asked->digest);
        return written > 0 && (size_t)written < sizeof(text) && read_name(text, mapped);
}

bool identity_matches(const struct policy_identity *identity, const struct reference *reference,
                      const char *claimed)
{
        struct name asked = name_of(reference), signed_name, other;

        if (!read_name(claimed, &signed_name))
                return false;
        switch (identity->match) {
        case POLICY_MATCH_EXACT:
                return same(&asked, &signed_name);
        case POLICY_MATCH_REPO_DIGEST_OR_EXACT:
                return same_or_repository(&asked, &signed_name);
        case POLICY_MATCH_REPOSITORY:
                return same_repository(&asked, &signed_name);
        case POLICY_EXACT_REFERENCE:
                return read_name(identity->value, &other) && same(&other, &signed_name);
        case POLICY_EXACT_REPOSITORY:
                return read_name(identity->value, &other) && same_repository(&other, &signed_name);
        case POLICY_REMAP_IDENTITY:
                return remap(identity, &asked, &other) && same_or_repository(&other, &signed_name);
        }
        return false;
}

/* ---- the policy's own words ---- */

static int wrong(struct error *err, const char *text, const char *expected)
{
        return error_set(err, ERROR_INVALID_ARGUMENT, "\"%.200s\": expected %s", text, expected);
}

/* host[:port], or the beginning of a repository's name in full: what follows it leaves it as it is.
 */
static bool is_prefix(const char *text)
{
        char probe[2 * REFERENCE_NAME_MAX];
        struct name name;

        if (!text[0] || strchr(text, '@') || strlen(text) > REFERENCE_NAME_MAX)
                return false;
        snprintf(probe, sizeof(probe), "%s/x/x", text);
        return read_name(probe, &name) && strcmp(name.text, probe) == 0;
}

int identity_check(const struct policy_identity *identity, struct error *err)
{
        struct name name;

        switch (identity->match) {
        case POLICY_EXACT_REFERENCE:
                if (!read_name(identity->value, &name) || (!name.tag[0] && !name.digest[0]))
                        return wrong(err, identity->value, "an image's name with tag or digest");
                return 0;
        case POLICY_EXACT_REPOSITORY:
                if (!read_name(identity->value, &name) || name.tag[0] || name.digest[0])
                        return wrong(err, identity->value, "a repository without tag and digest");
                return 0;
        case POLICY_REMAP_IDENTITY:
                if (!is_prefix(identity->value))
                        return wrong(err, identity->value, "host[:port] or a name in full");
                if (!is_prefix(identity->signed_prefix))
                        return wrong(err, identity->signed_prefix, "host[:port] or a name in full");
                return 0;
        default:
                return 0;
        }
}
