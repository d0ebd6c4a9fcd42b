#include "image/secret.h"

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"

static const size_t MEMBERS[] = {
        offsetof(struct fetch_credentials, username),
        offsetof(struct fetch_credentials, password),
        offsetof(struct fetch_credentials, auth),
        offsetof(struct fetch_credentials, identity_token),
        offsetof(struct fetch_credentials, registry_token),
        offsetof(struct fetch_credentials, server_address),
};
#define MEMBER_COUNT (sizeof(MEMBERS) / sizeof(MEMBERS[0]))

static const char **member(struct fetch_credentials *credentials, size_t number)
{
        return (const char **)(void *)((char *)credentials + MEMBERS[number]);
}

static const char *text_of(const struct fetch_credentials *credentials, size_t number)
{
        const char *text =
                credentials ? *(const char *const *)(const void *)((const char *)credentials +
                                                                   MEMBERS[number])
                            : NULL;
        return text ? text : "";
}

void secret_copy(struct fetch_credentials *to, const struct fetch_credentials *from)
{
        struct fetch_credentials source = from ? *from : (struct fetch_credentials){0};
        for (size_t i = 0; i < MEMBER_COUNT; i++)
                *member(to, i) = xstrdup(*member(&source, i));
}

void secret_wipe(struct fetch_credentials *credentials)
{
        for (size_t i = 0; i < MEMBER_COUNT; i++) {
                char *text = (char *)(uintptr_t)*member(credentials, i);
                secret_wipe_text(&text);
                *member(credentials, i) = NULL;
        }
}

bool secret_same(const struct fetch_credentials *a, const struct fetch_credentials *b)
{
        for (size_t i = 0; i < MEMBER_COUNT; i++)
                if (strcmp(text_of(a, i), text_of(b, i)) != 0)
                        return false;
        return true;
}

bool secret_is_empty(const struct fetch_credentials *credentials)
{
        return !credentials || (!(credentials->username && credentials->username[0]) &&
                                !(credentials->auth && credentials->auth[0]) &&
                                !(credentials->identity_token && credentials->identity_token[0]) &&
                                !(credentials->registry_token && credentials->registry_token[0]));
}

void secret_wipe_buffer(struct buffer *buffer)
{
        if (buffer->data)
                explicit_bzero(buffer->data, buffer->capacity);
        buffer_fini(buffer);
}

void secret_wipe_text(char **text)
{
        request_wipe_text(*text);
        free(*text);
        *text = NULL;
}
