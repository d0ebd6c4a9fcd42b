/*
 * secret: a registry's credentials held on the heap.
 *
 * struct fetch_credentials only points; here are copies of its strings that are overwritten before
 * they are freed. Any thread; nothing blocks.
 */
#ifndef CRISP_IMAGE_SECRET_H
#define CRISP_IMAGE_SECRET_H

#include <stdbool.h>

#include "base/buffer.h"
#include "base/cleanup.h"
#include "image/request.h"

/* Copies of all strings; from null gives none. What to held before is not looked at. */
void secret_copy(struct fetch_credentials *to, const struct fetch_credentials *from);

/* Overwrites and frees copies, and forgets them. */
void secret_wipe(struct fetch_credentials *credentials);

/* Whether both say the same; a string that is empty and one that is not there are the same. Null
 * is no credentials. */
bool secret_same(const struct fetch_credentials *a, const struct fetch_credentials *b);

/* Whether there is nothing in it that could be shown to a registry. Null is empty. */
bool secret_is_empty(const struct fetch_credentials *credentials);

/* Overwrites the whole buffer and frees it. */
void secret_wipe_buffer(struct buffer *buffer);

/* Overwrites a string and frees it, for CLEANUP. */
void secret_wipe_text(char **text);

#define AUTO_SECRETS       CLEANUP(secret_wipe)
#define AUTO_SECRET_BUFFER CLEANUP(secret_wipe_buffer)
#define AUTO_SECRET_TEXT   CLEANUP(secret_wipe_text)

#endif
