/* What a server's headers say. */
#include <ctype.h>
#include <curl/curl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#include "base/memory.h"
#include "image/fetch/http_private.h"

/* Bytes of a header's value as text: what is not printable ASCII becomes a question mark. */
static char *header_value(const char *bytes, size_t length)
{
        while (length > 0 && isspace((unsigned char)bytes[0])) {
                bytes++;
                length--;
        }
        while (length > 0 && isspace((unsigned char)bytes[length - 1]))
                length--;
        char *value = xstrndup(bytes, length);
        for (char *c = value; *c; c++) {
                if ((unsigned char)*c < 0x20 || (unsigned char)*c >= 0x7f)
                        *c = '?';
        }
        return value;
}

static void read_content_type(struct http_call *call, const char *value)
{
        size_t length = strcspn(value, "; \t");
        if (length >= sizeof(call->content_type))
                return;
        for (size_t i = 0; i < length; i++)
                call->content_type[i] = (char)tolower((unsigned char)value[i]);
        call->content_type[length] = '\0';
}

static int64_t read_retry_after(const char *value)
{
        char *end;
        long long seconds = strtoll(value, &end, 10);
        if (end != value && *end == '\0')
                return seconds < 0 ? -1 : seconds;
        time_t when = curl_getdate(value, NULL);
        if (when < 0)
                return -1;
        time_t now = time(NULL);
        return when > now ? when - now : 0;
}

/* "0-499/1234", or a star for a total that is not known. */
static void read_content_range(struct http_call *call, const char *value)
{
        char *end;
        long long from = strtoll(value, &end, 10);
        if (end != value && *end == '-' && from >= 0)
                call->range_from = from;
        const char *slash = strchr(value, '/');
        if (!slash)
                return;
        long long total = strtoll(slash + 1, &end, 10);
        if (end != slash + 1 && *end == '\0' && total >= 0)
                call->range_total = total;
}

void http_answer_begin(struct http_call *call)
{
        call->content_type[0] = '\0';
        call->content_length = -1;
        call->range_from = -1;
        call->range_total = -1;
        call->retry_after = -1;
        call->challenges.length = 0;
        call->problem.length = 0;
}

static void read_header(struct http_call *call, const char *name, size_t name_length,
                        const char *value)
{
        char *end;
#define IS(text) (name_length == strlen(text) && strncasecmp(name, text, name_length) == 0)
        if (IS("content-type")) {
                read_content_type(call, value);
        } else if (IS("content-length")) {
                long long length = strtoll(value, &end, 10);
                if (end != value && *end == '\0' && length >= 0)
                        call->content_length = length;
        } else if (IS("content-range") && strncasecmp(value, "bytes ", 6) == 0) {
                read_content_range(call, value + 6);
        } else if (IS("retry-after")) {
                call->retry_after = read_retry_after(value);
        } else if (IS("www-authenticate") && !call->elsewhere) {
                buffer_add_text(&call->challenges, value);
                buffer_add_text(&call->challenges, "\n");
        }
#undef IS
}

void http_answer_add(struct http_call *call, const char *line, size_t length)
{
        const char *colon = memchr(line, ':', length);
        if (!colon)
                return;
        size_t name_length = (size_t)(colon - line);
        AUTO_FREE char *value = header_value(colon + 1, length - name_length - 1);
        read_header(call, line, name_length, value);
}

void http_status_text(long status, char *out, size_t size)
{
        static const struct {
                long status;
                const char *text;
        } TEXTS[] = {
                {400, "Bad Request"},
                {401, "Unauthorized"},
                {403, "Forbidden"},
                {404, "Not Found"},
                {405, "Method Not Allowed"},
                {406, "Not Acceptable"},
                {408, "Request Timeout"},
                {410, "Gone"},
                {416, "Range Not Satisfiable"},
                {429, "Too Many Requests"},
                {500, "Internal Server Error"},
                {501, "Not Implemented"},
                {502, "Bad Gateway"},
                {503, "Service Unavailable"},
                {504, "Gateway Timeout"},
        };

        for (size_t i = 0; i < sizeof(TEXTS) / sizeof(TEXTS[0]); i++) {
                if (TEXTS[i].status == status) {
                        snprintf(out, size, "%ld %s", status, TEXTS[i].text);
                        return;
                }
        }
        snprintf(out, size, "HTTP status %ld%s", status,
                 status == 407 ? ", of a proxy that wants other credentials" : "");
}
