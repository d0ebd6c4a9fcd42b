#include "cri/stream/handshake.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

#define SWITCHING_PROTOCOLS 101
#define BAD_REQUEST         400
#define FORBIDDEN           403

struct protocol {
        const char *name;
        enum session_framing framing;
        unsigned version;
};

static const struct protocol spdy_commands[] = {
        {"v4.channel.k8s.io", SESSION_SPDY, 4},
        {"v3.channel.k8s.io", SESSION_SPDY, 3},
        {"v2.channel.k8s.io", SESSION_SPDY, 2},
        {"channel.k8s.io", SESSION_SPDY, 1},
        {NULL},
};
static const struct protocol spdy_ports[] = {
        {"portforward.k8s.io", SESSION_SPDY, 1},
        {NULL},
};
static const struct protocol web_commands[] = {
        {"v5.channel.k8s.io", SESSION_WEBSOCKET, 5},
        {"v4.channel.k8s.io", SESSION_WEBSOCKET, 4},
        {"v4.base64.channel.k8s.io", SESSION_WEBSOCKET_BASE64, 4},
        {"channel.k8s.io", SESSION_WEBSOCKET, 1},
        {"base64.channel.k8s.io", SESSION_WEBSOCKET_BASE64, 1},
        {"", SESSION_WEBSOCKET, 1},
        {NULL},
};
static const struct protocol web_ports[] = {
        {"SPDY/3.1+portforward.k8s.io", SESSION_TUNNEL, 1},
        {"v4.channel.k8s.io", SESSION_WEBSOCKET, 4},
        {"v4.base64.channel.k8s.io", SESSION_WEBSOCKET_BASE64, 4},
        {"", SESSION_WEBSOCKET, 4},
        {NULL},
};
static const char *const accepted_commands[] = {"v4.channel.k8s.io", "v3.channel.k8s.io",
                                                "v2.channel.k8s.io", "channel.k8s.io", NULL};
static const char *const accepted_ports[] = {"portforward.k8s.io", NULL};

/* Calls for each word of a list with commas. */
static const char *next_word(const char **list, size_t *length)
{
        *list += strspn(*list, ", \t");
        const char *word = *list;
        *length = strcspn(word, ",");
        *list += *length;
        while (*length && (word[*length - 1] == ' ' || word[*length - 1] == '\t'))
                --*length;
        return word;
}

static bool has_word(const char *list, const char *wanted)
{
        size_t length;
        for (const char *word = next_word(&list, &length); length; word = next_word(&list, &length))
                if (length == strlen(wanted) && strncasecmp(word, wanted, length) == 0)
                        return true;
        return false;
}

static void add_names(struct handshake_names *names, const char *list)
{
        size_t length;
        for (const char *word = next_word(&list, &length); length;
             word = next_word(&list, &length)) {
                if (length >= HANDSHAKE_PROTOCOL_MAX || names->count == HANDSHAKE_PROTOCOLS_MAX)
                        continue;
                memcpy(names->names[names->count], word, length);
                names->names[names->count++][length] = '\0';
        }
}

void handshake_header(struct handshake_request *request, const char *name, const char *value)
{
        if (!value)
                return;
        if (strcasecmp(name, "Connection") == 0)
                request->upgrade |= has_word(value, "upgrade");
        else if (strcasecmp(name, "Upgrade") == 0) {
                request->spdy |= has_word(value, "SPDY/3.1");
                request->websocket |= has_word(value, "websocket");
        } else if (strcasecmp(name, "X-Stream-Protocol-Version") == 0)
                add_names(&request->stream_protocols, value);
        else if (strcasecmp(name, "Sec-WebSocket-Protocol") == 0)
                add_names(&request->web_protocols, value);
        else if (strcasecmp(name, "Sec-WebSocket-Key") == 0)
                snprintf(request->web_key, sizeof request->web_key, "%s", value);
        else if (strcasecmp(name, "Sec-WebSocket-Version") == 0)
                request->web_version_13 = strcmp(value, "13") == 0;
}

static void refuse(struct handshake_answer *answer, unsigned status, const char *text)
{
        answer->status = status;
        snprintf(answer->text, sizeof answer->text, "unable to upgrade: %s", text);
}

/* The first of the client's that we speak too. */
static bool choose(const struct handshake_names *names, const struct protocol *ours,
                   struct handshake_answer *answer)
{
        size_t count = names->count ? names->count : 1; /* none is one without a name */
        for (size_t i = 0; i < count; i++) {
                for (const struct protocol *protocol = ours; protocol->name; protocol++) {
                        if (strcmp(names->names[i], protocol->name) != 0)
                                continue;
                        answer->status = SWITCHING_PROTOCOLS;
                        answer->framing = protocol->framing;
                        answer->version = protocol->version;
                        answer->protocol = protocol->name;
                        return true;
                }
        }
        return false;
}

static void decide_web(const struct handshake_request *request, enum stream_kind kind,
                       struct handshake_answer *answer)
{
        if (!*request->web_key || !request->web_version_13)
                refuse(answer, BAD_REQUEST,
                       "a WebSocket needs Sec-WebSocket-Key and Sec-WebSocket-Version 13");
        else if (!choose(&request->web_protocols,
                         kind == STREAM_PORT_FORWARD ? web_ports : web_commands, answer))
                refuse(answer, FORBIDDEN,
                       "none of the protocols in Sec-WebSocket-Protocol is supported");
}

void handshake_decide(const struct handshake_request *request, enum stream_kind kind,
                      struct handshake_answer *answer)
{
        bool ports = kind == STREAM_PORT_FORWARD;
        *answer = (struct handshake_answer){.protocol = ""};
        if (request->upgrade && request->websocket) {
                decide_web(request, kind, answer);
                return;
        }
        if (!request->upgrade || !request->spdy) {
                refuse(answer, BAD_REQUEST,
                       "the request has neither Upgrade: SPDY/3.1 nor Upgrade: websocket");
                return;
        }
        if (!request->stream_protocols.count) {
                refuse(answer, BAD_REQUEST, "X-Stream-Protocol-Version is missing");
                return;
        }
        if (!choose(&request->stream_protocols, ports ? spdy_ports : spdy_commands, answer)) {
                refuse(answer, FORBIDDEN,
                       "none of the protocols in X-Stream-Protocol-Version is supported");
                answer->accepted = ports ? accepted_ports : accepted_commands;
        }
}
