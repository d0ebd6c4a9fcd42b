/*
 * handshake: which of its protocols a client and we speak.
 *
 * Pure; any thread.
 */
#ifndef CRISP_CRI_STREAM_HANDSHAKE_H
#define CRISP_CRI_STREAM_HANDSHAKE_H

#include <stdbool.h>
#include <stddef.h>

#include "cri/stream/backend.h"
#include "cri/stream/session.h"

#define HANDSHAKE_PROTOCOLS_MAX 16  /* that a client may offer; further ones are passed over */
#define HANDSHAKE_PROTOCOL_MAX  64  /* bytes of one */
#define HANDSHAKE_KEY_MAX       128 /* bytes of a Sec-WebSocket-Key */
#define HANDSHAKE_TEXT_MAX      256 /* bytes of a refusal */

struct handshake_names {
        char names[HANDSHAKE_PROTOCOLS_MAX][HANDSHAKE_PROTOCOL_MAX];
        size_t count;
};

/* What a request says of it. Zeroes are one without headers. */
struct handshake_request {
        bool upgrade; /* Connection has the word */
        bool spdy, websocket;
        struct handshake_names stream_protocols; /* X-Stream-Protocol-Version */
        struct handshake_names web_protocols;    /* Sec-WebSocket-Protocol */
        char web_key[HANDSHAKE_KEY_MAX];
        bool web_version_13;
};

/* Notes a header; those of other names are passed over. */
void handshake_header(struct handshake_request *request, const char *name, const char *value);

struct handshake_answer {
        unsigned status; /* of HTTP: 101, or the refusal's */
        char text[HANDSHAKE_TEXT_MAX];
        enum session_framing framing;
        unsigned version;
        const char *protocol;        /* a literal: to be told to the client; "" for none */
        const char *const *accepted; /* with 403: what we would have spoken, null-terminated */
};

void handshake_decide(const struct handshake_request *request, enum stream_kind kind,
                      struct handshake_answer *answer);

#endif
