/*
 * http_private: what the files of HTTP share. Nobody else includes it.
 */
#ifndef CRISP_IMAGE_FETCH_HTTP_PRIVATE_H
#define CRISP_IMAGE_FETCH_HTTP_PRIVATE_H

#include "image/fetch/http.h"

/* Whether the URL's host is this machine itself: no proxy is asked for it. */
bool http_url_is_loopback(const char *url);

/* Forgets what an answer before said: a new one begins. */
void http_answer_begin(struct http_call *call);
/* Takes a header's line into the call; one without a colon is passed over. */
void http_answer_add(struct http_call *call, const char *line, size_t length);

#endif
