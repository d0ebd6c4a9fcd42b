#include "oci/signal.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* glibc keeps 32 and 33 for itself; runtimes and the CRI's own names count from here too. */
#define REALTIME_MIN 34
#define REALTIME_MAX 64
#define STANDARD_MAX 31
/* The CRI names SIGRTMIN+1 to +15, and from there SIGRTMAX-14 to -1. */
#define REALTIME_MIDDLE (REALTIME_MIN + 15)

#define DIGITS_MAX 3

static const struct {
        const char *name;
        int number;
} aliases[] = {
        {"IOT", SIGABRT}, {"CLD", SIGCHLD}, {"IO", SIGIO}, {"POLL", SIGIO}, {"UNUSED", SIGSYS},
};

/* Digits alone, few of them; -1 for anything else. */
static int small_number(const char *text)
{
        size_t length = strspn(text, "0123456789");
        if (length == 0 || length > DIGITS_MAX || text[length])
                return -1;
        return atoi(text);
}

static int realtime_number(const char *name)
{
        if (strncasecmp(name, "RTMIN", 5) == 0) {
                int offset = name[5] == '+' ? small_number(name + 6) : name[5] ? -1 : 0;
                if (offset >= 0 && REALTIME_MIN + offset <= REALTIME_MAX)
                        return REALTIME_MIN + offset;
        } else if (strncasecmp(name, "RTMAX", 5) == 0) {
                int offset = name[5] == '-' ? small_number(name + 6) : name[5] ? -1 : 0;
                if (offset >= 0 && REALTIME_MAX - offset >= REALTIME_MIN)
                        return REALTIME_MAX - offset;
        }
        return -1;
}

static int named_number(const char *name)
{
        for (int number = 1; number <= STANDARD_MAX; number++) {
                const char *known = sigabbrev_np(number);
                if (known && strcasecmp(known, name) == 0)
                        return number;
        }
        for (size_t i = 0; i < sizeof aliases / sizeof *aliases; i++)
                if (strcasecmp(aliases[i].name, name) == 0)
                        return aliases[i].number;
        return realtime_number(name);
}

int signal_parse(const char *text, int *number, struct error *err)
{
        int found = small_number(text);
        if (found < 0)
                found = named_number(strncasecmp(text, "SIG", 3) == 0 ? text + 3 : text);
        if (found <= 0 || found > REALTIME_MAX)
                return error_set(err, ERROR_INVALID_ARGUMENT, "signal \"%.40s\": no such signal",
                                 text);
        *number = found;
        return 0;
}

void signal_name(int number, char out[SIGNAL_NAME_MAX])
{
        const char *known = number <= STANDARD_MAX ? sigabbrev_np(number) : NULL;
        if (known)
                snprintf(out, SIGNAL_NAME_MAX, "SIG%s", known);
        else if (number == REALTIME_MIN || number == REALTIME_MAX)
                snprintf(out, SIGNAL_NAME_MAX, number == REALTIME_MIN ? "SIGRTMIN" : "SIGRTMAX");
        else if (number > REALTIME_MIN && number <= REALTIME_MIDDLE)
                snprintf(out, SIGNAL_NAME_MAX, "SIGRTMIN+%d", number - REALTIME_MIN);
        else if (number > REALTIME_MIDDLE && number < REALTIME_MAX)
                snprintf(out, SIGNAL_NAME_MAX, "SIGRTMAX-%d", REALTIME_MAX - number);
        else
                snprintf(out, SIGNAL_NAME_MAX, "%d", number);
}
