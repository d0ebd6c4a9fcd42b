/* What runtimes say when they fail, in their many ways, as one sentence. */
#include <ctype.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/buffer.h"
#include "base/file.h"
#include "base/json.h"
#include "base/memory.h"
#include "oci/runtime_private.h"

#define LINE_MAX_JSON (32 * 1024) /* bytes of a log line that is parsed */

/* How much a line tells: of two, the higher counts, and of equals the later. */
enum weight { WEIGHT_NOTHING, WEIGHT_LINE, WEIGHT_ERROR };

struct finding {
        enum weight weight;
        char *message; /* heap */
};

static void consider(struct finding *finding, enum weight weight, const char *text, size_t length)
{
        while (length && isspace((unsigned char)*text)) {
                text++;
                length--;
        }
        while (length && isspace((unsigned char)text[length - 1]))
                length--;
        if (length == 0 || weight < finding->weight)
                return;
        free(finding->message);
        finding->message = xstrndup(text, length);
        finding->weight = weight;
}

/* {"level":"error","msg":"..."}, as with --log-format json. False when it is something else. */
static bool read_json_line(struct finding *finding, const char *line, size_t length)
{
        AUTO_JSON json_t *value = NULL;
        const char *level = NULL, *message = NULL;
        if (line[0] != '{' || length > LINE_MAX_JSON ||
            json_parse(line, length, "log", &value, NULL) < 0 ||
            json_get_string(value, "level", "log", &level, NULL) < 0 ||
            json_get_string(value, "msg", "log", &message, NULL) < 0 || !message)
                return false;
        bool is_error = !level || strcmp(level, "error") == 0 || strcmp(level, "fatal") == 0;
        if (is_error)
                consider(finding, WEIGHT_ERROR, message, strlen(message));
        return true;
}

/* time="..." level=error msg="...", the same as text; quotes within have a backslash. */
static bool read_text_line(struct finding *finding, const char *line, size_t length)
{
        AUTO_FREE char *copy = xstrndup(line, length);
        char *start = strstr(copy, "level=");
        start = start ? strstr(start, " msg=") : NULL;
        if (!start)
                return false;
        bool is_error = strstr(copy, "level=error") || strstr(copy, "level=fatal");
        start += strlen(" msg=");
        char *out = start;
        if (*start == '"') {
                for (const char *in = start + 1; *in && *in != '"'; in++) {
                        if (in[0] == '\\' && in[1])
                                in++;
                        *out++ = *in;
                }
                *out = '\0';
        }
        if (is_error)
                consider(finding, WEIGHT_ERROR, start, strlen(start));
        return true;
}

static void read_lines(struct finding *finding, const char *text, size_t length)
{
        while (length) {
                const char *newline = memchr(text, '\n', length);
                size_t line = newline ? (size_t)(newline - text) : length;
                if (line && !read_json_line(finding, text, line) &&
                    !read_text_line(finding, text, line))
                        consider(finding, WEIGHT_LINE, text, line);
                size_t passed = newline ? line + 1 : line;
                text += passed;
                length -= passed;
        }
}

/* Bytes of the UTF-8 character at text, which a zero ends; 0 where it is none. */
static size_t utf8_length(const unsigned char *text)
{
        static const uint32_t smallest[] = {0, 0, 0x80, 0x800, 0x10000};
        size_t length = text[0] < 0x80       ? 1
                        : text[0] >> 5 == 6  ? 2
                        : text[0] >> 4 == 14 ? 3
                        : text[0] >> 3 == 30 ? 4
                                             : 0;
        if (length <= 1)
                return length;
        uint32_t character = text[0] & (0x7fu >> length);
        for (size_t i = 1; i < length; i++) {
                if (text[i] >> 6 != 2)
                        return 0;
                character = character << 6 | (text[i] & 0x3f);
        }
        bool surrogate = character >= 0xd800 && character <= 0xdfff;
        return character < smallest[length] || character > 0x10ffff || surrogate ? 0 : length;
}

/* Printable UTF-8 within RUNTIME_MESSAGE_MAX: the message goes to clients that refuse a reply with
 * anything else. */
static char *made_clean(const char *message)
{
        struct buffer out = BUFFER_INIT;
        for (const unsigned char *at = (const unsigned char *)message; *at;) {
                size_t length = utf8_length(at), passed = length ? length : 1;
                if (out.length + passed + sizeof "..." > RUNTIME_MESSAGE_MAX) {
                        buffer_add_text(&out, "...");
                        break;
                }
                if (length == 0 || (length == 1 && iscntrl(*at)))
                        buffer_add_text(&out, length ? " " : "?");
                else
                        buffer_add(&out, at, length);
                at += passed;
        }
        return buffer_take(&out);
}

char *runtime_failure(const char *log_path, const char *errors, size_t length)
{
        struct finding finding = {0};
        AUTO_BUFFER struct buffer log = BUFFER_INIT;
        if (log_path && file_read(log_path, RUNTIME_ERRORS_MAX, &log, NULL) == 0 && log.data)
                read_lines(&finding, log.data, log.length);
        if (finding.weight < WEIGHT_ERROR && errors)
                read_lines(&finding, errors, length);
        char *clean = made_clean(finding.message ? finding.message : "");
        free(finding.message);
        return clean;
}

static bool says_unknown(const char *message)
{
        /* runc; crun's open of its own record; youki. */
        return strstr(message, "container does not exist") ||
               strstr(message, "/status`: No such file or directory") ||
               strstr(message, "cannot open directory") || strstr(message, "not found in root");
}

int runtime_fail(const struct runtime_handler *handler, const char *verb, const char *message,
                 struct error *err)
{
        return error_set(err, says_unknown(message) ? ERROR_NOT_FOUND : ERROR_UNKNOWN, "%s %s: %s",
                         handler->name, verb, message[0] ? message : "it failed and said nothing");
}
