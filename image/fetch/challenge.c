#include "image/fetch/challenge.h"

#include <string.h>
#include <strings.h>

static bool is_token(char c)
{
        return c > ' ' && c < 0x7f && !strchr("()<>@,;:\\\"/[]?={}", c);
}

static size_t token_length(const char *at)
{
        size_t length = 0;
        while (is_token(at[length]))
                length++;
        return length;
}

static const char *skip(const char *at, const char *what)
{
        return at + strspn(at, what);
}

/* Reads a token or a quoted string into out, which is empty where it does not fit. Returns what
 * follows. */
static const char *read_value(const char *at, char out[CHALLENGE_VALUE_MAX])
{
        size_t length = 0;
        bool quoted = *at == '"';

        if (quoted)
                at++;
        while (*at && *at != '\n' && (quoted ? *at != '"' : *at != ',' && *at != ' ')) {
                if (quoted && *at == '\\' && at[1] && at[1] != '\n')
                        at++;
                if (length < CHALLENGE_VALUE_MAX)
                        out[length++] = *at;
                at++;
        }
        if (quoted && *at == '"')
                at++;
        out[length < CHALLENGE_VALUE_MAX ? length : 0] = '\0';
        return at;
}

static bool is_better(const struct challenge *one, const struct challenge *than)
{
        if (one->scheme == CHALLENGE_BEARER && one->realm[0] == '\0')
                return false;
        return one->scheme > than->scheme;
}

static enum challenge_scheme scheme_of(const char *name, size_t length)
{
        if (length == 6 && strncasecmp(name, "bearer", 6) == 0)
                return CHALLENGE_BEARER;
        if (length == 5 && strncasecmp(name, "basic", 5) == 0)
                return CHALLENGE_BASIC;
        return CHALLENGE_NONE;
}

static void set_parameter(struct challenge *challenge, const char *name, size_t length,
                          const char *value)
{
        if (length == 5 && strncasecmp(name, "realm", 5) == 0)
                strcpy(challenge->realm, value);
        else if (length == 7 && strncasecmp(name, "service", 7) == 0)
                strcpy(challenge->service, value);
        else if (length == 5 && strncasecmp(name, "scope", 5) == 0)
                strcpy(challenge->scope, value);
}

bool challenge_parse(const char *lines, struct challenge *challenge)
{
        struct challenge current = {0}, best = {0};
        char value[CHALLENGE_VALUE_MAX];
        const char *at = lines;

        /*
         * Challenges and their parameters are both separated by commas: a token is a parameter
         * where an equals sign follows, else it begins the next challenge.
         */
        while (*(at = skip(at, ", \t\n"))) {
                size_t length = token_length(at);
                if (length == 0) {
                        at++;
                        continue;
                }
                const char *after = skip(at + length, " \t");
                if (*after == '=') {
                        const char *name = at;
                        at = read_value(skip(after + 1, " \t"), value);
                        set_parameter(&current, name, length, value);
                        continue;
                }
                if (is_better(&current, &best))
                        best = current;
                memset(&current, 0, sizeof(current));
                current.scheme = scheme_of(at, length);
                at += length;
        }
        if (is_better(&current, &best))
                best = current;
        *challenge = best;
        return best.scheme != CHALLENGE_NONE;
}
