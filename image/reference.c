#include "image/reference.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/cleanup.h"
#include "base/memory.h"

#define DEFAULT_REGISTRY  "docker.io"
#define DEFAULT_NAMESPACE "library/"
#define DEFAULT_TAG       "latest"
#define SHOWN_MAX         300 /* bytes of a stranger's text in an error */
#define PORT_DIGITS_MAX   5
#define SHA256_HEX_DIGITS 64
#define SHA512_HEX_DIGITS 128
#define ID_HEX_DIGITS     64

/* Locale-free character classes: the grammar is about ASCII. */
static bool is_lower(char c)
{
        return c >= 'a' && c <= 'z';
}

static bool is_upper(char c)
{
        return c >= 'A' && c <= 'Z';
}

static bool is_digit(char c)
{
        return c >= '0' && c <= '9';
}

static bool is_lower_alnum(char c)
{
        return is_lower(c) || is_digit(c);
}

static bool is_alnum(char c)
{
        return is_lower_alnum(c) || is_upper(c);
}

static bool is_hex(const char *text, size_t length)
{
        for (size_t i = 0; i < length; i++) {
                if (!is_digit(text[i]) && !(text[i] >= 'a' && text[i] <= 'f'))
                        return false;
        }
        return true;
}

bool digest_is_valid(const char *text)
{
        size_t digits;

        if (!text)
                return false;
        if (strncmp(text, "sha256:", 7) == 0)
                digits = SHA256_HEX_DIGITS;
        else if (strncmp(text, "sha512:", 7) == 0)
                digits = SHA512_HEX_DIGITS;
        else
                return false;
        return strlen(text + 7) == digits && is_hex(text + 7, digits);
}

static bool port_is_valid(const char *text, size_t length)
{
        if (length < 1 || length > PORT_DIGITS_MAX)
                return false;
        unsigned port = 0;
        for (size_t i = 0; i < length; i++) {
                if (!is_digit(text[i]))
                        return false;
                port = port * 10 + (unsigned)(text[i] - '0');
        }
        return port >= 1 && port <= 65535;
}

/* Letters, digits and inner hyphens, in parts joined by dots. */
static bool host_is_valid(const char *text, size_t length)
{
        bool part_open = false; /* inside a part that began with a letter or digit */

        for (size_t i = 0; i < length; i++) {
                char c = text[i];
                if (is_alnum(c)) {
                        part_open = true;
                } else if (c == '-') {
                        if (!part_open || i + 1 == length || text[i + 1] == '.')
                                return false;
                } else if (c == '.') {
                        if (!part_open || i + 1 == length)
                                return false;
                        part_open = false;
                } else {
                        return false;
                }
        }
        return part_open;
}

static bool ipv6_is_valid(const char *text, size_t length)
{
        size_t colons = 0;

        if (length < 2 || length > 39)
                return false;
        for (size_t i = 0; i < length; i++) {
                if (text[i] == ':')
                        colons++;
                else if (!is_digit(text[i]) &&
                         !((text[i] | 0x20) >= 'a' && (text[i] | 0x20) <= 'f'))
                        return false;
        }
        return colons >= 2;
}

static bool registry_is_valid(const char *text, size_t length)
{
        const char *rest;

        if (text[0] == '[') {
                const char *end = memchr(text, ']', length);
                if (!end || !ipv6_is_valid(text + 1, (size_t)(end - text - 1)))
                        return false;
                rest = end + 1;
        } else {
                const char *colon = memchr(text, ':', length);
                rest = colon ? colon : text + length;
                if (!host_is_valid(text, (size_t)(rest - text)))
                        return false;
        }

        size_t left = (size_t)(text + length - rest);
        return left == 0 || (rest[0] == ':' && port_is_valid(rest + 1, left - 1));
}

/* Parts joined by slashes; a part is runs of a-z0-9 joined by one dot, one or two underscores, or
 * hyphens. */
static bool repository_is_valid(const char *text)
{
        const char *at = text;

        for (;;) {
                if (!is_lower_alnum(*at))
                        return false;
                while (is_lower_alnum(*at))
                        at++;
                if (*at == '\0')
                        return true;
                if (*at == '/' || *at == '.') {
                        at++;
                } else if (*at == '_') {
                        at += at[1] == '_' ? 2 : 1;
                } else if (*at == '-') {
                        while (*at == '-')
                                at++;
                } else {
                        return false;
                }
        }
}

static bool tag_is_valid(const char *text)
{
        size_t length = strlen(text);

        if (length < 1 || length > REFERENCE_TAG_MAX)
                return false;
        for (size_t i = 0; i < length; i++) {
                char c = text[i];
                if (!is_alnum(c) && c != '_' && (i == 0 || (c != '.' && c != '-')))
                        return false;
        }
        return true;
}

static int refuse(struct error *err, const char *text, const char *reason)
{
        return error_set(err, ERROR_INVALID_ARGUMENT, "image name \"%.*s\": %s", SHOWN_MAX, text,
                         reason);
}

/* Whether the part before the first slash names a registry rather than a namespace of docker.io. */
static bool names_registry(const char *part, size_t length)
{
        if (length == strlen("localhost") && strncmp(part, "localhost", length) == 0)
                return true;
        for (size_t i = 0; i < length; i++) {
                if (part[i] == '.' || part[i] == ':' || part[i] == '[' || is_upper(part[i]))
                        return true;
        }
        return false;
}

bool reference_is_short(const char *text)
{
        const char *slash = strchr(text, '/');
        return !slash || !names_registry(text, (size_t)(slash - text));
}

/* Splits name, which has neither tag nor digest, into registry and repository. */
static int split_name(const char *text, const char *name, struct reference *reference,
                      struct error *err)
{
        const char *slash = strchr(name, '/');
        const char *repository = name;
        const char *registry = DEFAULT_REGISTRY;
        size_t registry_length = strlen(DEFAULT_REGISTRY);

        if (slash && names_registry(name, (size_t)(slash - name))) {
                registry = name;
                registry_length = (size_t)(slash - name);
                repository = slash + 1;
                if (registry_length > REFERENCE_NAME_MAX)
                        return refuse(err, text, "longer than 255 bytes");
                if (!registry_is_valid(registry, registry_length))
                        return refuse(err, text, "the part before the first slash is not a host");
        }

        /* index.docker.io is the same place under the name of its first protocol. */
        static const char former[] = "index.docker.io";
        if (registry_length == strlen(former) &&
            strncasecmp(registry, former, registry_length) == 0) {
                registry = DEFAULT_REGISTRY;
                registry_length = strlen(DEFAULT_REGISTRY);
        }
        bool docker = registry_length == strlen(DEFAULT_REGISTRY) &&
                      strncasecmp(registry, DEFAULT_REGISTRY, registry_length) == 0;
        const char *space = docker && !strchr(repository, '/') ? DEFAULT_NAMESPACE : "";

        for (const char *c = repository; *c; c++) {
                if (is_upper(*c))
                        return refuse(err, text, "the repository must be lower-case");
        }
        if (!repository_is_valid(repository))
                return refuse(err, text, "not a valid repository");
        if (registry_length + 1 + strlen(space) + strlen(repository) > REFERENCE_NAME_MAX)
                return refuse(err, text, "longer than 255 bytes");

        memcpy(reference->registry, registry, registry_length);
        reference->registry[registry_length] = '\0';
        if (docker)
                strcpy(reference->registry, DEFAULT_REGISTRY);
        snprintf(reference->repository, sizeof(reference->repository), "%s%s", space, repository);
        return 0;
}

int reference_parse(const char *text, struct reference *reference, struct error *err)
{
        struct reference parsed = {0};

        if (!text || text[0] == '\0')
                return error_set(err, ERROR_INVALID_ARGUMENT, "image name: empty");
        /* The longest name, tag and digest with their separators; longer cannot be valid and is not
         * worth a copy. */
        if (strlen(text) > REFERENCE_NAME_MAX + REFERENCE_TAG_MAX + REFERENCE_DIGEST_MAX + 2)
                return refuse(err, text, "too long");
        if (strstr(text, "://"))
                return refuse(err, text, "a name has no scheme; leave out what is before the host");

        AUTO_FREE char *name = xstrdup(text);
        char *at = strchr(name, '@');
        if (at) {
                *at = '\0';
                if (!digest_is_valid(at + 1))
                        return refuse(err, text, "not a sha256 or sha512 digest after the @");
                strcpy(parsed.digest, at + 1);
        }

        /* A colon belongs to a port while a slash follows it. */
        char *slash = strrchr(name, '/');
        char *colon = strrchr(slash ? slash : name, ':');
        if (colon) {
                *colon = '\0';
                if (!tag_is_valid(colon + 1))
                        return refuse(err, text, "not a valid tag after the colon");
                strcpy(parsed.tag, colon + 1);
        } else if (!at) {
                strcpy(parsed.tag, DEFAULT_TAG);
        }

        if (strlen(name) == ID_HEX_DIGITS && is_hex(name, ID_HEX_DIGITS))
                return refuse(err, text, "this is an image's ID, which no registry can look up");
        int r = split_name(text, name, &parsed, err);
        if (r < 0)
                return r;
        *reference = parsed;
        return 0;
}

char *reference_text(const struct reference *reference)
{
        return xprintf("%s/%s%s%s%s%s", reference->registry, reference->repository,
                       reference->tag[0] ? ":" : "", reference->tag,
                       reference->digest[0] ? "@" : "", reference->digest);
}

char *reference_tagged(const struct reference *reference)
{
        if (!reference->tag[0])
                return NULL;
        return xprintf("%s/%s:%s", reference->registry, reference->repository, reference->tag);
}

char *reference_digested(const struct reference *reference, const char *digest)
{
        return xprintf("%s/%s@%s", reference->registry, reference->repository, digest);
}
