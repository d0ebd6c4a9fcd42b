#include "base/error.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

static const struct {
        enum error_code code;
        const char *name;
        int number; /* what a function returns that set this code by name */
} codes[] = {
        {ERROR_OK, "OK", 0},
        {ERROR_CANCELLED, "CANCELLED", -ECANCELED},
        {ERROR_UNKNOWN, "UNKNOWN", -EIO},
        {ERROR_INVALID_ARGUMENT, "INVALID_ARGUMENT", -EINVAL},
        {ERROR_DEADLINE_EXCEEDED, "DEADLINE_EXCEEDED", -ETIMEDOUT},
        {ERROR_NOT_FOUND, "NOT_FOUND", -ENOENT},
        {ERROR_ALREADY_EXISTS, "ALREADY_EXISTS", -EEXIST},
        {ERROR_PERMISSION_DENIED, "PERMISSION_DENIED", -EPERM},
        {ERROR_RESOURCE_EXHAUSTED, "RESOURCE_EXHAUSTED", -ENOSPC},
        {ERROR_FAILED_PRECONDITION, "FAILED_PRECONDITION", -EBUSY},
        {ERROR_ABORTED, "ABORTED", -EAGAIN},
        {ERROR_OUT_OF_RANGE, "OUT_OF_RANGE", -ERANGE},
        {ERROR_UNIMPLEMENTED, "UNIMPLEMENTED", -ENOSYS},
        {ERROR_INTERNAL, "INTERNAL", -EIO},
        {ERROR_UNAVAILABLE, "UNAVAILABLE", -ECONNREFUSED},
        {ERROR_DATA_LOSS, "DATA_LOSS", -EBADMSG},
        {ERROR_UNAUTHENTICATED, "UNAUTHENTICATED", -EACCES},
};

const char *error_code_name(enum error_code code)
{
        if ((unsigned)code < sizeof codes / sizeof *codes)
                return codes[code].name;
        return "UNKNOWN";
}

static int number_of(enum error_code code)
{
        if (code != ERROR_OK && (unsigned)code < sizeof codes / sizeof *codes)
                return codes[code].number;
        return -EIO;
}

enum error_code error_code_of(int number)
{
        switch (number < 0 ? -number : number) {
        case 0:
                return ERROR_OK;
        case ENOENT:
        case ESRCH:
        case ENXIO:
        case ENODEV:
                return ERROR_NOT_FOUND;
        case EEXIST:
                return ERROR_ALREADY_EXISTS;
        case ENOSPC:
        case EDQUOT:
        case ENOMEM:
        case EMFILE:
        case ENFILE:
                return ERROR_RESOURCE_EXHAUSTED;
        case ETIMEDOUT:
                return ERROR_DEADLINE_EXCEEDED;
        case ECANCELED:
                return ERROR_CANCELLED;
        case EACCES:
        case EPERM:
                return ERROR_PERMISSION_DENIED;
        case EINVAL:
        case ENAMETOOLONG:
                return ERROR_INVALID_ARGUMENT;
        case ENOSYS:
        case EOPNOTSUPP:
                return ERROR_UNIMPLEMENTED;
        default:
                return ERROR_INTERNAL;
        }
}

/* Cuts what is too long at a UTF-8 boundary and says so with three dots. */
static void mark_cut(char *text, size_t size, size_t wanted)
{
        if (wanted < size)
                return;
        size_t end = size - 4;
        while (end > 0 && ((unsigned char)text[end] & 0xc0) == 0x80)
                end--;
        memcpy(text + end, "...", 4);
}

int error_vset(struct error *err, enum error_code code, const char *format, va_list arguments)
{
        int number = number_of(code);
        if (!err)
                return number;
        /* The arguments may point into err itself: build beside it. */
        char message[ERROR_MESSAGE_MAX];
        int wanted = vsnprintf(message, sizeof message, format, arguments);
        mark_cut(message, sizeof message, wanted < 0 ? 0 : (size_t)wanted);
        err->code = code;
        err->number = number;
        err->word[0] = '\0';
        memcpy(err->message, message, sizeof message);
        return number;
}

int error_set(struct error *err, enum error_code code, const char *format, ...)
{
        va_list arguments;
        va_start(arguments, format);
        int number = error_vset(err, code, format, arguments);
        va_end(arguments);
        return number;
}

int error_errno(struct error *err, int number, const char *format, ...)
{
        if (number > 0)
                number = -number;
        if (number == 0)
                number = -EIO;
        if (!err)
                return number;
        va_list arguments;
        va_start(arguments, format);
        error_vset(err, error_code_of(number), format, arguments);
        va_end(arguments);
        size_t length = strlen(err->message);
        int wanted =
                snprintf(err->message + length, sizeof err->message - length, ": %s",
                         strerrordesc_np(-number) ? strerrordesc_np(-number) : "unknown error");
        mark_cut(err->message, sizeof err->message, length + (size_t)wanted);
        err->number = number;
        return number;
}

int error_context(struct error *err, const char *format, ...)
{
        if (!err)
                return -EIO;
        char message[ERROR_MESSAGE_MAX];
        va_list arguments;
        va_start(arguments, format);
        int length = vsnprintf(message, sizeof message, format, arguments);
        va_end(arguments);
        if (length < 0)
                length = 0;
        if ((size_t)length >= sizeof message)
                length = sizeof message - 1;
        int more =
                snprintf(message + length, sizeof message - (size_t)length, ": %s", err->message);
        mark_cut(message, sizeof message, (size_t)length + (size_t)more);
        memcpy(err->message, message, sizeof message);
        return err->number;
}

int error_word(struct error *err, const char *word)
{
        if (!err)
                return -EIO;
        err->code = ERROR_UNKNOWN;
        snprintf(err->word, sizeof err->word, "%s", word);
        return err->number;
}

/* Puts "..." in the place of length bytes at the start of text, which are more than three. */
static void hide(char *text, size_t length)
{
        static const char dots[] = "...";
        memcpy(text, dots, sizeof dots - 1);
        memmove(text + sizeof dots - 1, text + length, strlen(text + length) + 1);
}

/* Signed URLs carry their secret in the query, and some carry a password before the host: both are
 * hidden wherever a URL stands, whoever wrote it into the text. */
static void hide_url_secrets(char *text)
{
        for (char *url = text; (url = strstr(url, "://"));) {
                url += strlen("://");
                size_t authority = strcspn(url, "/?# \t\r\n\"'<>");
                char *at = memrchr(url, '@', authority);
                if (at && at - url > 3)
                        hide(url, (size_t)(at - url));
                char *query = url + strcspn(url, "? \t\r\n\"'<>");
                size_t length = *query == '?' ? strcspn(query + 1, " \t\r\n\"'<>") : 0;
                if (length > 3)
                        hide(query + 1, length);
        }
}

void error_render(const struct error *err, char *out, unsigned long size)
{
        if (err->word[0])
                snprintf(out, size, "%s: %s", err->word, err->message);
        else
                snprintf(out, size, "%s", err->message);
        hide_url_secrets(out);
}
