#include "image/fetch/refusal.h"

#include <stdio.h>
#include <string.h>

#include "base/json.h"

#define STATUS_TEXT_MAX 64
#define SECRET_MIN      4 /* shorter ones are in any text */
#define CODE_SHOWN_MAX  60
#define TEXT_SHOWN_MAX  180

/* The first of the object's members that is a string; empty where there is none. */
static const char *first_string(const json_t *object, const char *const *keys)
{
        for (; *keys; keys++) {
                const char *text = json_string_value(json_object_get(object, *keys));
                if (text)
                        return text;
        }
        return "";
}

/* Bytes that could mean something to a terminal or a log become spaces. */
static void append_plain(char *out, size_t size, const char *text, int most)
{
        size_t at = strlen(out);
        int written = snprintf(out + at, size - at, ": %.*s", most, text);

        if (written < 0)
                return;
        for (char *c = out + at; *c; c++) {
                if ((unsigned char)*c < 0x20 || (unsigned char)*c >= 0x7f)
                        *c = ' ';
        }
}

static bool has_secret(const char *text, const char *const *secrets)
{
        for (; *secrets; secrets++) {
                if (strlen(*secrets) >= SECRET_MIN && strstr(text, *secrets))
                        return true;
        }
        return false;
}

/* A header of the operator's may be as secret as a password: its value, and the word after its
 * scheme. */
static bool has_header(const char *text, const struct http_call *call)
{
        char **header = call->identity ? call->identity->headers : NULL;

        for (; header && *header; header++) {
                const char *colon = strchr(*header, ':');
                const char *value = colon ? colon + 1 + strspn(colon + 1, " \t") : "";
                const char *blank = strchr(value, ' ');
                const char *values[] = {value, blank ? blank + 1 : value, NULL};
                if (has_secret(text, values))
                        return true;
        }
        return false;
}

void refusal_text(const struct http_call *call, const char *const *secrets,
                  char out[REFUSAL_TEXT_MAX])
{
        static const char *const code_keys[] = {"code", "error", NULL};
        static const char *const text_keys[] = {"message", "details", "error_description", NULL};
        AUTO_JSON json_t *body = NULL;
        char status[STATUS_TEXT_MAX];

        http_status_text(call->status, status, sizeof(status));
        snprintf(out, REFUSAL_TEXT_MAX, "%s", status);
        if (call->problem.length == 0 ||
            json_parse(call->problem.data, call->problem.length, "answer", &body, NULL) < 0)
                return;

        const json_t *place = json_array_get(json_object_get(body, "errors"), 0);
        if (!place)
                place = body;
        const char *code = first_string(place, code_keys);
        const char *text = first_string(place, text_keys);
        if (has_secret(code, secrets) || has_secret(text, secrets) || has_header(code, call) ||
            has_header(text, call))
                return;
        if (code[0])
                append_plain(out, REFUSAL_TEXT_MAX, code, CODE_SHOWN_MAX);
        if (text[0])
                append_plain(out, REFUSAL_TEXT_MAX, text, TEXT_SHOWN_MAX);
}

enum error_code refusal_code(long status)
{
        switch (status) {
        case 401:
                return ERROR_UNAUTHENTICATED;
        case 403:
                return ERROR_PERMISSION_DENIED;
        case 404:
        case 410:
                return ERROR_NOT_FOUND;
        default:
                /* Also 429: RESOURCE_EXHAUSTED is for this node's own bounds, above all its disk.
                 */
                return refusal_is_passing(status) ? ERROR_UNAVAILABLE : ERROR_UNKNOWN;
        }
}

bool refusal_is_passing(long status)
{
        return status == 408 || status == 429 || status >= 500;
}
