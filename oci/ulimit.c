#include "oci/ulimit.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

static const struct {
        const char *name, *type;
} names[] = {
        {"as", "RLIMIT_AS"},
        {"core", "RLIMIT_CORE"},
        {"cpu", "RLIMIT_CPU"},
        {"data", "RLIMIT_DATA"},
        {"fsize", "RLIMIT_FSIZE"},
        {"locks", "RLIMIT_LOCKS"},
        {"memlock", "RLIMIT_MEMLOCK"},
        {"msgqueue", "RLIMIT_MSGQUEUE"},
        {"nice", "RLIMIT_NICE"},
        {"nofile", "RLIMIT_NOFILE"},
        {"nproc", "RLIMIT_NPROC"},
        {"rss", "RLIMIT_RSS"},
        {"rtprio", "RLIMIT_RTPRIO"},
        {"rttime", "RLIMIT_RTTIME"},
        {"sigpending", "RLIMIT_SIGPENDING"},
        {"stack", "RLIMIT_STACK"},
};

/* Up to end; false when it is no number, or not all of the text before end. */
static bool parse_number(const char *text, const char *end, uint64_t *number)
{
        char *stop;
        if (end - text == 2 && strncmp(text, "-1", 2) == 0) {
                *number = RLIM_INFINITY;
                return true;
        }
        if (*text < '0' || *text > '9')
                return false;
        errno = 0;
        *number = strtoull(text, &stop, 10);
        return !errno && stop == end;
}

int ulimit_parse(const char *text, struct spec_rlimit *limit, struct error *err)
{
        size_t length = strcspn(text, "=");
        struct spec_rlimit found = {0};
        for (size_t i = 0; i < sizeof names / sizeof *names; i++)
                if (strlen(names[i].name) == length && strncmp(names[i].name, text, length) == 0)
                        found.type = names[i].type;
        if (!found.type || !text[length])
                return error_set(err, ERROR_INVALID_ARGUMENT,
                                 "limit \"%.100s\": not NAME=SOFT:HARD with a name that Linux has",
                                 text);
        const char *soft = text + length + 1, *end = text + strlen(text);
        const char *colon = strchr(soft, ':');
        if (!parse_number(soft, colon ? colon : end, &found.soft) ||
            !parse_number(colon ? colon + 1 : soft, end, &found.hard))
                return error_set(err, ERROR_INVALID_ARGUMENT, "limit \"%.100s\": not a number",
                                 text);
        if (found.soft > found.hard)
                return error_set(err, ERROR_INVALID_ARGUMENT,
                                 "limit \"%.100s\": the soft one is above the hard one", text);
        *limit = found;
        return 0;
}
