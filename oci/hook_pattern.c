/* Patterns written for Go's regexp, as POSIX extended regular expressions. */
#include <regex.h>
#include <stdlib.h>
#include <string.h>

#include "base/buffer.h"
#include "oci/hook_private.h"

#define PATTERN_MAX 4096 /* bytes */
/* All {N} of a pattern multiplied, and 2 for each group with a plus: regcomp copies what is
 * repeated as often, and copies the copies. */
#define REPETITIONS_MAX 1000

struct translation {
        const char *pattern, *at;
        struct buffer out;
        bool ignore_case;
        unsigned repetitions;
        struct error *err;
};

static int refuse(const struct translation *translation, const char *what)
{
        return error_set(translation->err, ERROR_INVALID_ARGUMENT,
                         "pattern \"%.200s\": %s not supported", translation->pattern, what);
}

/* The members of a class like \d, as they stand in a bracket; null for another letter. */
static const char *members_of(char letter)
{
        switch (letter) {
        case 'd':
                return "0-9";
        case 'w':
                return "0-9A-Za-z_";
        case 's':
                return "\t\n\f\r ";
        default:
                return NULL;
        }
}

/* \n and the like; 0 for what is no such letter. */
static char control_of(char letter)
{
        static const char letters[] = "ntrfva", controls[] = "\n\t\r\f\v\a";
        const char *found = letter ? strchr(letters, letter) : NULL;
        return found ? controls[found - letters] : 0;
}

static bool is_letter_or_digit(char c)
{
        return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

/* at stands behind a backslash. */
static int escape(struct translation *translation)
{
        char letter = *translation->at;
        if (!letter)
                return refuse(translation, "a backslash at the end is");
        translation->at++;
        char small = letter >= 'A' && letter <= 'Z' ? (char)(letter - 'A' + 'a') : letter;
        const char *members = members_of(small);
        if (members) {
                buffer_printf(&translation->out, "[%s%s]", small == letter ? "" : "^", members);
        } else if (control_of(letter)) {
                char control = control_of(letter);
                buffer_add(&translation->out, &control, 1);
        } else if (letter == 'A' || letter == 'z') {
                buffer_add_text(&translation->out, letter == 'A' ? "^" : "$");
        } else if (!is_letter_or_digit(letter) || small == 'b') {
                buffer_printf(&translation->out, "\\%c", letter);
        } else {
                return refuse(translation, "an escape of a letter or digit in it is");
        }
        return 0;
}

/* In a bracket a backslash is nothing special to POSIX; what is special there has another way. */
static int escape_in_bracket(struct translation *translation)
{
        char letter = *translation->at;
        if (!letter)
                return refuse(translation, "a backslash at the end is");
        translation->at++;
        if (members_of(letter)) {
                buffer_add_text(&translation->out, members_of(letter));
        } else if (control_of(letter)) {
                char control = control_of(letter);
                buffer_add(&translation->out, &control, 1);
        } else if (is_letter_or_digit(letter)) {
                return refuse(translation, "an escape of a letter or digit in a bracket is");
        } else {
                buffer_printf(&translation->out, "[.%c.]", letter);
        }
        return 0;
}

/* at stands behind the opening one. */
static int bracket(struct translation *translation)
{
        const char **at = &translation->at;
        buffer_add_text(&translation->out, "[");
        if (**at == '^')
                buffer_add(&translation->out, (*at)++, 1);
        if (**at == ']')
                buffer_add(&translation->out, (*at)++, 1);
        while (**at && **at != ']') {
                const char *end = strncmp(*at, "[:", 2) == 0 ? strstr(*at, ":]") : NULL;
                if (end) {
                        buffer_add(&translation->out, *at, (size_t)(end + 2 - *at));
                        *at = end + 2;
                } else if (**at == '\\') {
                        (*at)++;
                        int result = escape_in_bracket(translation);
                        if (result < 0)
                                return result;
                } else if (**at == '[') {
                        buffer_add_text(&translation->out, "[.[.]");
                        (*at)++;
                } else {
                        buffer_add(&translation->out, (*at)++, 1);
                }
        }
        if (!**at)
                return refuse(translation, "a bracket without its end is");
        buffer_add(&translation->out, (*at)++, 1);
        return 0;
}

/* at stands behind "(?". */
static int group(struct translation *translation)
{
        if (*translation->at == ':') {
                translation->at++;
                buffer_add_text(&translation->out, "(");
                return 0;
        }
        if (translation->at == translation->pattern + 2 && strncmp(translation->at, "i)", 2) == 0) {
                translation->at += 2;
                translation->ignore_case = true;
                return 0;
        }
        return refuse(translation, "a group that begins with (? is");
}

static int repeat(struct translation *translation, unsigned long times)
{
        if (times > REPETITIONS_MAX || translation->repetitions * times > REPETITIONS_MAX)
                return refuse(translation, "so many repetitions are");
        translation->repetitions *= (unsigned)times;
        return 0;
}

/* at stands behind "{". */
static int braces(struct translation *translation)
{
        unsigned long most = 1;
        for (const char *at = translation->at; *at && *at != '}'; at++) {
                char *end = NULL;
                unsigned long number = *at >= '0' && *at <= '9' ? strtoul(at, &end, 10) : 0;
                most = number > most ? number : most;
                if (end)
                        at = end - 1;
        }
        return repeat(translation, most);
}

/* at stands behind a repetition, whose last character is c. */
static int end_repetition(struct translation *translation, char c, bool of_group)
{
        const char **at = &translation->at;
        /* How much a part takes is all the same to who only asks whether it is there. */
        if (**at == '?')
                (*at)++;
        if (**at && strchr("*+?{", **at))
                return refuse(translation, "a repetition of a repetition is");
        return c == '+' && of_group ? repeat(translation, 2) : 0;
}

static int translate(struct translation *translation)
{
        const char **at = &translation->at;
        int result = 0;
        bool in_braces = false, after_group = false;
        while (**at && result == 0) {
                char c = *(*at)++;
                bool of_group = after_group;
                after_group = false;
                if (c == '\\') {
                        result = escape(translation);
                } else if (c == '[') {
                        result = bracket(translation);
                } else if (c == '(' && **at == '?') {
                        (*at)++;
                        result = group(translation);
                } else {
                        buffer_add(&translation->out, &c, 1);
                        after_group = c == ')';
                        if (c == '{')
                                result = braces(translation);
                        if (strchr("*+?", c) || (c == '}' && in_braces))
                                result = end_repetition(translation, c, of_group);
                        in_braces = c == '{' || (in_braces && c != '}');
                }
        }
        return result;
}

static int search(const struct translation *translation, const char *text)
{
        regex_t regex;
        char reason[100];
        int flags = REG_EXTENDED | REG_NOSUB | (translation->ignore_case ? REG_ICASE : 0);
        int code = regcomp(&regex, translation->out.data ? translation->out.data : "", flags);
        if (code) {
                regerror(code, &regex, reason, sizeof reason);
                return error_set(translation->err, ERROR_INVALID_ARGUMENT, "pattern \"%.200s\": %s",
                                 translation->pattern, reason);
        }
        int found = regexec(&regex, text, 0, NULL, 0) == 0;
        regfree(&regex);
        return found;
}

int hook_pattern_matches(const char *pattern, const char *text, struct error *err)
{
        struct translation translation = {.pattern = pattern,
                                          .at = pattern,
                                          .out = BUFFER_INIT,
                                          .repetitions = 1,
                                          .err = err};
        int result = strlen(pattern) > PATTERN_MAX ? refuse(&translation, "its length is")
                                                   : translate(&translation);
        if (result == 0)
                result = search(&translation, text);
        buffer_fini(&translation.out);
        return result;
}
