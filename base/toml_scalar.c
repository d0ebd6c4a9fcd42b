#include "base/toml_scalar.h"

#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SCALAR_MAX 512 /* bytes of a number or date: far beyond what any of them needs */

int toml_fail(const struct toml_cursor *cursor, unsigned line, const char *format, ...)
{
        va_list arguments;

        va_start(arguments, format);
        error_vset(cursor->err, ERROR_INVALID_ARGUMENT, format, arguments);
        va_end(arguments);
        error_context(cursor->err, "%s:%u", cursor->file, line);
        return -EINVAL;
}

const char *toml_describe(const struct toml_cursor *cursor, char out[16])
{
        unsigned char c;

        if (cursor->at == cursor->end)
                return "the end of the file";
        c = (unsigned char)*cursor->at;
        if (c == '\n' || c == '\r')
                return "the end of the line";
        if (c > ' ' && c < 0x7f)
                snprintf(out, 16, "'%c'", c);
        else if (c == ' ')
                return "a space";
        else
                snprintf(out, 16, "byte 0x%02x", c);
        return out;
}

bool toml_at(const struct toml_cursor *cursor, const char *text)
{
        size_t length = strlen(text);

        return (size_t)(cursor->end - cursor->at) >= length &&
               memcmp(cursor->at, text, length) == 0;
}

bool toml_take_newline(struct toml_cursor *cursor)
{
        if (toml_at(cursor, "\n"))
                cursor->at += 1;
        else if (toml_at(cursor, "\r\n"))
                cursor->at += 2;
        else
                return false;
        cursor->line++;
        return true;
}

bool toml_is_text(char c)
{
        unsigned char byte = (unsigned char)c;

        return byte == '\t' || (byte >= 0x20 && byte != 0x7f);
}

/* ---- strings ---- */

static void add_utf8(struct buffer *out, uint32_t point)
{
        char bytes[4];
        size_t length = 0;

        if (point < 0x80) {
                bytes[length++] = (char)point;
        } else if (point < 0x800) {
                bytes[length++] = (char)(0xc0 | point >> 6);
                bytes[length++] = (char)(0x80 | (point & 0x3f));
        } else if (point < 0x10000) {
                bytes[length++] = (char)(0xe0 | point >> 12);
                bytes[length++] = (char)(0x80 | (point >> 6 & 0x3f));
                bytes[length++] = (char)(0x80 | (point & 0x3f));
        } else {
                bytes[length++] = (char)(0xf0 | point >> 18);
                bytes[length++] = (char)(0x80 | (point >> 12 & 0x3f));
                bytes[length++] = (char)(0x80 | (point >> 6 & 0x3f));
                bytes[length++] = (char)(0x80 | (point & 0x3f));
        }
        buffer_add(out, bytes, length);
}

static int hex_digit(char c)
{
        if (c >= '0' && c <= '9')
                return c - '0';
        if (c >= 'a' && c <= 'f')
                return c - 'a' + 10;
        if (c >= 'A' && c <= 'F')
                return c - 'A' + 10;
        return -1;
}

static int take_code_point(struct toml_cursor *cursor, unsigned digits, struct buffer *out)
{
        uint32_t point = 0;

        for (unsigned i = 0; i < digits; i++) {
                int digit = cursor->at < cursor->end ? hex_digit(*cursor->at) : -1;

                if (digit < 0)
                        return toml_fail(cursor, cursor->line,
                                         "\\%c needs %u hexadecimal digits after it",
                                         digits == 4 ? 'u' : 'U', digits);
                point = point << 4 | (uint32_t)digit;
                cursor->at++;
        }
        if (point > 0x10ffff || (point >= 0xd800 && point <= 0xdfff))
                return toml_fail(cursor, cursor->line, "U+%04X is not a Unicode character", point);
        add_utf8(out, point);
        return 0;
}

/* A backslash at the end of a line takes all white space up to the next text with it. False when
 * this is none. */
static bool take_line_continuation(struct toml_cursor *cursor)
{
        struct toml_cursor ahead = *cursor;

        while (toml_at(&ahead, " ") || toml_at(&ahead, "\t"))
                ahead.at++;
        if (!toml_take_newline(&ahead))
                return false;
        for (;;) {
                if (toml_at(&ahead, " ") || toml_at(&ahead, "\t"))
                        ahead.at++;
                else if (!toml_take_newline(&ahead))
                        break;
        }
        *cursor = ahead;
        return true;
}

/* The cursor stands after a backslash. */
static int take_escape(struct toml_cursor *cursor, bool multiline, struct buffer *out)
{
        static const char from[] = "btnfr\"\\", to[] = "\b\t\n\f\r\"\\";
        char seen[16];
        const char *found;

        if (multiline && take_line_continuation(cursor))
                return 0;
        if (toml_at(cursor, "u") || toml_at(cursor, "U"))
                return take_code_point(cursor, *cursor->at++ == 'u' ? 4 : 8, out);
        found = cursor->at < cursor->end && *cursor->at ? strchr(from, *cursor->at) : NULL;
        if (!found)
                return toml_fail(cursor, cursor->line, "after a backslash, %s is no escape",
                                 toml_describe(cursor, seen));
        cursor->at++;
        buffer_add(out, &to[found - from], 1);
        return 0;
}

static int take_single_line(struct toml_cursor *cursor, char quote, struct buffer *out)
{
        cursor->at++;
        while (cursor->at < cursor->end && *cursor->at != quote) {
                char c = *cursor->at;
                char seen[16];

                if (c == '\\' && quote == '"') {
                        int rc;

                        cursor->at++;
                        rc = take_escape(cursor, false, out);
                        if (rc < 0)
                                return rc;
                } else if (c == '\n' || toml_at(cursor, "\r\n")) {
                        break;
                } else if (!toml_is_text(c)) {
                        return toml_fail(cursor, cursor->line, "%s must not stand in a string",
                                         c == '\r' ? "a carriage return"
                                                   : toml_describe(cursor, seen));
                } else {
                        buffer_add(out, &c, 1);
                        cursor->at++;
                }
        }
        if (cursor->at == cursor->end || *cursor->at != quote)
                return toml_fail(cursor, cursor->line, "the string has no closing %c", quote);
        cursor->at++;
        return 0;
}

/* At a quote of a multi-line string: adds it, or takes the closing three. Up to two quotes may
 * stand before these. */
static bool take_closing(struct toml_cursor *cursor, char quote, struct buffer *out)
{
        size_t count = 0;

        while (count < 5 && cursor->at + count < cursor->end && cursor->at[count] == quote)
                count++;
        cursor->at += count;
        for (size_t i = count >= 3 ? 3 : 0; i < count; i++)
                buffer_add(out, &quote, 1);
        return count >= 3;
}

static int take_multi_line(struct toml_cursor *cursor, char quote, struct buffer *out)
{
        unsigned began = cursor->line;

        cursor->at += 3;
        toml_take_newline(cursor);
        while (cursor->at < cursor->end) {
                const char *start = cursor->at;
                char seen[16];

                if (*start == quote) {
                        if (take_closing(cursor, quote, out))
                                return 0;
                } else if (*start == '\\' && quote == '"') {
                        int rc;

                        cursor->at++;
                        rc = take_escape(cursor, true, out);
                        if (rc < 0)
                                return rc;
                } else if (toml_take_newline(cursor)) {
                        buffer_add(out, start, (size_t)(cursor->at - start));
                } else if (!toml_is_text(*start)) {
                        return toml_fail(cursor, cursor->line, "%s must not stand in a string",
                                         *start == '\r' ? "a lone carriage return"
                                                        : toml_describe(cursor, seen));
                } else {
                        buffer_add(out, start, 1);
                        cursor->at++;
                }
        }
        return toml_fail(cursor, began, "the string has no closing %c%c%c", quote, quote, quote);
}

int toml_take_string(struct toml_cursor *cursor, bool multiline, struct buffer *out)
{
        char quote = *cursor->at;

        if (toml_at(cursor, quote == '"' ? "\"\"\"" : "'''")) {
                if (multiline)
                        return take_multi_line(cursor, quote, out);
                return toml_fail(cursor, cursor->line, "a key cannot be a multi-line string");
        }
        return take_single_line(cursor, quote, out);
}

/* ---- numbers ---- */

static bool is_digit(char c)
{
        return c >= '0' && c <= '9';
}

/* Copies digits of a base at *text to *out without the underscores between them; false when it is
 * no such run. */
static bool copy_digits(const char **text, int base, char **out)
{
        const char *at = *text;
        bool after_digit = false;

        for (;; at++) {
                int digit = hex_digit(*at);

                if (digit >= 0 && digit < base) {
                        *(*out)++ = *at;
                        after_digit = true;
                } else if (*at == '_' && after_digit) {
                        after_digit = false;
                } else {
                        break;
                }
        }
        *text = at;
        return after_digit;
}

static int make_integer(const struct toml_cursor *cursor, const char *word, const char *digits,
                        int base, json_t **value)
{
        long long number;

        errno = 0;
        number = strtoll(digits, NULL, base);
        if (errno == ERANGE)
                return toml_fail(cursor, cursor->line, "%s does not fit 64 bits", word);
        *value = json_integer(number);
        return 0;
}

/* Copies fraction and exponent; false when they are malformed. *text is left at its end. */
static bool copy_float_rest(const char **text, char **out)
{
        if (**text == '.') {
                *(*out)++ = *(*text)++;
                if (!copy_digits(text, 10, out))
                        return false;
        }
        if (**text == 'e' || **text == 'E') {
                *(*out)++ = *(*text)++;
                if (**text == '+' || **text == '-')
                        *(*out)++ = *(*text)++;
                if (!copy_digits(text, 10, out))
                        return false;
        }
        return **text == '\0';
}

static int parse_number(const struct toml_cursor *cursor, const char *word, enum toml_kind *kind,
                        json_t **value)
{
        char digits[SCALAR_MAX], *out = digits, *integer;
        const char *at = word;
        double number;

        if (at[0] == '0' && at[1] != '\0' && strchr("xob", at[1])) {
                int base = at[1] == 'x' ? 16 : at[1] == 'o' ? 8 : 2;

                at += 2;
                if (!copy_digits(&at, base, &out) || *at)
                        goto malformed;
                *out = '\0';
                *kind = TOML_INTEGER;
                return make_integer(cursor, word, digits, base, value);
        }
        if (*at == '+' || *at == '-')
                *out++ = *at++;
        integer = out;
        if (!copy_digits(&at, 10, &out))
                goto malformed;
        if (*integer == '0' && out - integer > 1)
                return toml_fail(cursor, cursor->line, "%s: a number cannot begin with a zero",
                                 word);
        if (*at == '\0') {
                *out = '\0';
                *kind = TOML_INTEGER;
                return make_integer(cursor, word, digits, 10, value);
        }
        if (!copy_float_rest(&at, &out))
                goto malformed;
        *out = '\0';
        number = strtod(digits, NULL);
        if (isinf(number))
                return toml_fail(cursor, cursor->line, "%s does not fit a double", word);
        *kind = TOML_FLOAT;
        *value = json_real(number);
        return 0;
malformed:
        return toml_fail(cursor, cursor->line, "%s is no value (a string needs quotes around it)",
                         word);
}

/* ---- dates and times ---- */

/* Takes count digits whose value lies between least and most. */
static bool take_digits(const char **text, unsigned count, unsigned least, unsigned most,
                        unsigned *number)
{
        unsigned value = 0;

        for (unsigned i = 0; i < count; i++) {
                if (!is_digit((*text)[i]))
                        return false;
                value = value * 10 + (unsigned)((*text)[i] - '0');
        }
        *text += count;
        *number = value;
        return value >= least && value <= most;
}

static bool take_char(const char **text, const char *any)
{
        if (!**text || !strchr(any, **text))
                return false;
        (*text)++;
        return true;
}

static bool take_date(const char **text)
{
        static const unsigned days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
        unsigned year, month, day;
        bool leap;

        if (!take_digits(text, 4, 0, 9999, &year) || !take_char(text, "-") ||
            !take_digits(text, 2, 1, 12, &month) || !take_char(text, "-") ||
            !take_digits(text, 2, 1, 31, &day))
                return false;
        leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
        return day <= days[month - 1] + (month == 2 && leap);
}

static bool take_time(const char **text)
{
        unsigned ignored;

        /* 60 is a leap second, which RFC 3339 section 5.6 allows */
        if (!take_digits(text, 2, 0, 23, &ignored) || !take_char(text, ":") ||
            !take_digits(text, 2, 0, 59, &ignored) || !take_char(text, ":") ||
            !take_digits(text, 2, 0, 60, &ignored))
                return false;
        if (!take_char(text, "."))
                return true;
        if (!is_digit(**text))
                return false;
        while (is_digit(**text))
                (*text)++;
        return true;
}

static bool take_offset(const char **text)
{
        unsigned ignored;

        if (take_char(text, "Zz"))
                return true;
        return take_char(text, "+-") && take_digits(text, 2, 0, 23, &ignored) &&
               take_char(text, ":") && take_digits(text, 2, 0, 59, &ignored);
}

static bool parse_datetime(const char *word, enum toml_kind *kind)
{
        bool has_date = word[2] != ':';

        if (has_date) {
                if (!take_date(&word))
                        return false;
                *kind = TOML_LOCAL_DATE;
                if (!*word)
                        return true;
                if (!take_char(&word, "Tt "))
                        return false;
        }
        if (!take_time(&word))
                return false;
        *kind = has_date ? TOML_LOCAL_DATETIME : TOML_LOCAL_TIME;
        if (!*word)
                return true;
        *kind = TOML_OFFSET_DATETIME;
        return has_date && take_offset(&word) && !*word;
}

static bool looks_like_datetime(const char *word)
{
        return is_digit(word[0]) && is_digit(word[1]) &&
               (word[2] == ':' || (is_digit(word[2]) && is_digit(word[3]) && word[4] == '-'));
}

/* ---- any of them ---- */

static bool is_scalar_char(char c)
{
        return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || is_digit(c) ||
               (c && strchr("_+-.:", c));
}

/* Copies the word at the cursor; a space belongs to it where it parts a date from a time. */
static int take_word(struct toml_cursor *cursor, char word[SCALAR_MAX])
{
        size_t length = 0;
        char seen[16];

        while (cursor->at < cursor->end) {
                char c = *cursor->at;
                bool parts_time = c == ' ' && length == 10 && word[4] == '-' &&
                                  looks_like_datetime(word) && cursor->at + 1 < cursor->end &&
                                  is_digit(cursor->at[1]);

                if (!is_scalar_char(c) && !parts_time)
                        break;
                if (length == SCALAR_MAX - 1)
                        return toml_fail(cursor, cursor->line,
                                         "a number or date is longer than %d characters",
                                         SCALAR_MAX - 1);
                word[length++] = c;
                word[length] = '\0';
                cursor->at++;
        }
        word[length] = '\0';
        if (length == 0)
                return toml_fail(cursor, cursor->line, "expected a value, found %s",
                                 toml_describe(cursor, seen));
        return 0;
}

int toml_take_scalar(struct toml_cursor *cursor, enum toml_kind *kind, json_t **value)
{
        char word[SCALAR_MAX] = "";
        const char *unsigned_word;
        int rc = take_word(cursor, word);

        if (rc < 0)
                return rc;
        if (strcmp(word, "true") == 0 || strcmp(word, "false") == 0) {
                *kind = TOML_BOOLEAN;
                *value = json_boolean(word[0] == 't');
                return 0;
        }
        unsigned_word = word + (word[0] == '+' || word[0] == '-');
        if (strcmp(unsigned_word, "inf") == 0 || strcmp(unsigned_word, "nan") == 0) {
                *kind = TOML_FLOAT;
                *value = json_string(strcmp(word, "-inf") == 0 ? "-inf" : unsigned_word);
                return 0;
        }
        if (!looks_like_datetime(word))
                return parse_number(cursor, word, kind, value);
        if (!parse_datetime(word, kind))
                return toml_fail(cursor, cursor->line, "%s is no date or time", word);
        *value = json_string(word);
        return 0;
}
