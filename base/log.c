#include "base/log.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"

/* A line fits PIPE_BUF, so that lines of several processes that share a pipe never mix. */
#define LINE_MAX_BYTES 4096
#define LINE_TAIL      8 /* bytes kept free for the end of a line that was cut */

/* Of one message, this many lines are written in each window; the rest is counted and told
 * afterwards. */
#define REPEATS_MAX    100
#define REPEATS_WINDOW NSEC_PER_SEC
#define REPEATS_SLOTS  64  /* messages watched at a time */
#define REPEATS_TEXT   128 /* bytes of a message kept for telling */

static _Atomic int lowest_level = LOG_LEVEL_INFO;

static const char *const level_names[] = {
        [LOG_LEVEL_DEBUG] = "debug",
        [LOG_LEVEL_INFO] = "info",
        [LOG_LEVEL_WARNING] = "warning",
        [LOG_LEVEL_ERROR] = "error",
};
#define LEVELS (sizeof(level_names) / sizeof(level_names[0]))

void log_set_level(enum log_level level)
{
        atomic_store(&lowest_level, (int)level);
}

int log_level_parse(const char *name, enum log_level *level)
{
        for (size_t i = 0; i < LEVELS; i++) {
                if (strcmp(name, level_names[i]) == 0) {
                        *level = (enum log_level)i;
                        return 0;
                }
        }
        return -EINVAL;
}

/* ---- a line ---- */

struct line {
        char bytes[LINE_MAX_BYTES];
        size_t length;
        bool full;   /* something did not fit: nothing more is added */
        bool quoted; /* inside quotes */
};

static void line_add(struct line *line, const char *bytes, size_t length)
{
        if (line->full || length > LINE_MAX_BYTES - LINE_TAIL - line->length) {
                line->full = true;
                return;
        }
        memcpy(line->bytes + line->length, bytes, length);
        line->length += length;
}

static void line_add_text(struct line *line, const char *text)
{
        line_add(line, text, strlen(text));
}

/*
 * Length of the UTF-8 sequence at text and its code point; 0 when it is none (overlong forms,
 * surrogates and what is past U+10FFFF are none). text ends with a zero byte, which no continuation
 * byte equals.
 */
static size_t utf8_decode(const unsigned char *text, uint32_t *point)
{
        size_t length;
        uint32_t value, least;

        if (text[0] < 0x80) {
                *point = text[0];
                return 1;
        }
        if (text[0] >= 0xc2 && text[0] <= 0xdf) {
                length = 2, value = text[0] & 0x1f, least = 0x80;
        } else if ((text[0] & 0xf0) == 0xe0) {
                length = 3, value = text[0] & 0x0f, least = 0x800;
        } else if (text[0] >= 0xf0 && text[0] <= 0xf4) {
                length = 4, value = text[0] & 0x07, least = 0x10000;
        } else {
                return 0;
        }
        for (size_t i = 1; i < length; i++) {
                if ((text[i] & 0xc0) != 0x80)
                        return 0;
                value = value << 6 | (text[i] & 0x3f);
        }
        if (value < least || value > 0x10ffff || (value >= 0xd800 && value <= 0xdfff))
                return 0;
        *point = value;
        return length;
}

/* What would end a line, steer a terminal or turn the reading direction. */
static bool is_control(uint32_t point)
{
        return point < 0x20 || (point >= 0x7f && point < 0xa0) || point == 0x2028 ||
               point == 0x2029 || (point >= 0x202a && point <= 0x202e) ||
               (point >= 0x2066 && point <= 0x2069);
}

static void line_add_escaped(struct line *line, const char *text)
{
        const unsigned char *at = (const unsigned char *)text;

        while (*at) {
                uint32_t point;
                size_t length = utf8_decode(at, &point);
                char escape[16];

                if (length == 0) {
                        snprintf(escape, sizeof(escape), "\\x%02x", *at);
                        length = 1;
                } else if (point == '\n') {
                        strcpy(escape, "\\n");
                } else if (point == '\t') {
                        strcpy(escape, "\\t");
                } else if (point == '\r') {
                        strcpy(escape, "\\r");
                } else if (point == '"' || point == '\\') {
                        snprintf(escape, sizeof(escape), "\\%c", (char)point);
                } else if (is_control(point)) {
                        snprintf(escape, sizeof(escape), point < 0x100 ? "\\x%02x" : "\\u%04x",
                                 point);
                } else {
                        line_add(line, (const char *)at, length);
                        at += length;
                        continue;
                }
                line_add_text(line, escape);
                at += length;
        }
}

/* Whether a value can stand without quotes: printable ASCII that means nothing in the line's own
 * grammar. */
static bool is_plain(const char *text)
{
        if (!*text)
                return false;
        for (; *text; text++)
                if (*text <= ' ' || *text >= 0x7f || strchr("\"\\=", *text))
                        return false;
        return true;
}

static void line_add_field(struct line *line, const char *name, const char *value)
{
        if (line->full)
                return;
        line_add_text(line, " ");
        line_add_text(line, name);
        line_add_text(line, "=");
        if (!value || is_plain(value)) {
                line_add_text(line, value ? value : "-");
                return;
        }
        line_add_text(line, "\"");
        line->quoted = !line->full;
        line_add_escaped(line, value);
        if (!line->full) {
                line_add_text(line, "\"");
                line->quoted = line->full;
        }
}

static void line_begin(struct line *line, enum log_level level, const char *message)
{
        int64_t now = clock_real();
        time_t seconds = (time_t)(now / NSEC_PER_SEC);
        struct tm utc;
        char when[64];

        line->length = 0;
        line->full = false;
        line->quoted = false;
        gmtime_r(&seconds, &utc);
        snprintf(when, sizeof(when), "time=%04d-%02d-%02dT%02d:%02d:%02d.%06dZ level=%s",
                 utc.tm_year + 1900, utc.tm_mon + 1, utc.tm_mday, utc.tm_hour, utc.tm_min,
                 utc.tm_sec, (int)(now % NSEC_PER_SEC / NSEC_PER_USEC), level_names[level]);
        line_add_text(line, when);
        line_add_field(line, "msg", message);
}

static void line_write(struct line *line)
{
        size_t done = 0;

        if (line->full) {
                memcpy(line->bytes + line->length, "...", 3);
                line->length += 3;
                if (line->quoted)
                        line->bytes[line->length++] = '"';
        }
        line->bytes[line->length++] = '\n';
        while (done < line->length) {
                ssize_t wrote = write(STDERR_FILENO, line->bytes + done, line->length - done);

                if (wrote > 0)
                        done += (size_t)wrote;
                else if (wrote == 0 || errno != EINTR)
                        return; /* there is nowhere to tell that the log cannot be written */
        }
}

/* ---- repeats ---- */

/* What is seen of one message since its window began. A slot is free when count is 0. */
struct repeats {
        enum log_level level;
        unsigned written;
        unsigned long dropped;
        int64_t until; /* monotonic, ns */
        char text[REPEATS_TEXT];
};

static pthread_mutex_t repeats_lock = PTHREAD_MUTEX_INITIALIZER;
static struct repeats repeats[REPEATS_SLOTS];
static pthread_once_t repeats_once = PTHREAD_ONCE_INIT;

static void write_summary(const struct repeats *past)
{
        struct line line;
        char count[32];

        snprintf(count, sizeof(count), "%lu", past->dropped);
        line_begin(&line, past->level, past->text);
        line_add_field(&line, "repeated", count);
        line_write(&line);
}

/*
 * Takes one message out of the slots whose window ended before now and of which lines were dropped;
 * its line is written without the lock. False when there is none.
 */
static bool take_past(int64_t now, struct repeats *past)
{
        bool found = false;

        pthread_mutex_lock(&repeats_lock);
        for (size_t i = 0; i < REPEATS_SLOTS && !found; i++) {
                if (repeats[i].dropped == 0 || repeats[i].until > now)
                        continue;
                *past = repeats[i];
                memset(&repeats[i], 0, sizeof(repeats[i]));
                found = true;
        }
        pthread_mutex_unlock(&repeats_lock);
        return found;
}

static void write_past(int64_t now)
{
        struct repeats past;

        while (take_past(now, &past))
                write_summary(&past);
}

static void write_all_past(void)
{
        write_past(INT64_MAX);
}

static void repeats_init(void)
{
        atexit(write_all_past);
}

/* The slot of this message, or one that may be taken for it; null when all are in use. */
static struct repeats *find_slot(enum log_level level, const char *text, int64_t now)
{
        struct repeats *unused = NULL;

        for (size_t i = 0; i < REPEATS_SLOTS; i++) {
                struct repeats *slot = &repeats[i];

                if (slot->written && slot->level == level &&
                    strncmp(slot->text, text, REPEATS_TEXT - 1) == 0)
                        return slot;
                if (!unused && slot->dropped == 0 && (!slot->written || slot->until <= now))
                        unused = slot;
        }
        return unused;
}

/* Counts the message; false when this one is not to be written. With more messages than slots, the
 * rest is written. */
static bool may_write(enum log_level level, const char *text, int64_t now)
{
        struct repeats *slot;
        bool write_it = true;

        pthread_mutex_lock(&repeats_lock);
        slot = find_slot(level, text, now);
        if (slot && (!slot->written || slot->until <= now || slot->level != level ||
                     strncmp(slot->text, text, REPEATS_TEXT - 1) != 0)) {
                slot->level = level;
                slot->written = 0;
                slot->dropped = 0;
                slot->until = now + REPEATS_WINDOW;
                snprintf(slot->text, sizeof(slot->text), "%s", text);
        }
        if (slot && slot->written == REPEATS_MAX) {
                slot->dropped++;
                write_it = false;
        } else if (slot) {
                slot->written++;
        }
        pthread_mutex_unlock(&repeats_lock);
        return write_it;
}

/* ---- what others call ---- */

static void write_message(enum log_level level, const struct error *err, bool failure,
                          const char *message, va_list fields)
{
        int64_t now = clock_monotonic();
        struct line line;
        const char *name;

        /* Also before a message of a level that is not written: it is a chance to tell what was
         * dropped. */
        write_past(now);
        if ((int)level < atomic_load(&lowest_level))
                return;
        pthread_once(&repeats_once, repeats_init);
        if (!may_write(level, message, now))
                return;
        line_begin(&line, level, message);
        while ((name = va_arg(fields, const char *)))
                line_add_field(&line, name, va_arg(fields, const char *));
        if (failure) {
                char text[ERROR_WORD_MAX + ERROR_MESSAGE_MAX + 4];

                if (err)
                        error_render(err, text, sizeof(text));
                line_add_field(&line, "error", err ? text : NULL);
        }
        line_write(&line);
}

void log_write(enum log_level level, const char *message, ...)
{
        int saved = errno;
        va_list fields;

        va_start(fields, message);
        write_message(level, NULL, false, message, fields);
        va_end(fields);
        errno = saved;
}

void log_failure(const struct error *err, const char *message, ...)
{
        int saved = errno;
        va_list fields;

        va_start(fields, message);
        write_message(LOG_LEVEL_ERROR, err, true, message, fields);
        va_end(fields);
        errno = saved;
}
