/*
 * http: one request to a registry or to what it points at.
 *
 * Redirects are followed here, so that what authorizes to one host is never sent to another. There
 * is no total timeout: a request ends when it does not connect, or brings less than a trickle for
 * too long. Blocking; a client belongs to one thread at a time and keeps its connections.
 */
#ifndef CRISP_IMAGE_FETCH_HTTP_H
#define CRISP_IMAGE_FETCH_HTTP_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buffer.h"
#include "base/cleanup.h"
#include "base/error.h"
#include "image/fetch/stop.h"

struct http_client;

/* The machine's own certificate authorities: a file, and a folder of hashed names. SSL_CERT_FILE
 * and SSL_CERT_DIR go before what libcurl was built with; may be null. */
const char *http_authorities_file(void);
const char *http_authorities_folder(void);

/* stop is borrowed. Times in ms. */
int http_client_new(struct stop *stop, int64_t connect_timeout, int64_t stall_timeout,
                    struct http_client **client, struct error *err);
/* What a transfer brings at least, in each window of the stall timeout. */
void http_client_set_rate(struct http_client *client, int64_t bytes); /* a second */
void http_client_free(struct http_client *client);                    /* null is allowed */

/* Bytes of a certificate or key in PEM. */
struct http_pem {
        char *data;
        size_t length;
};

/* What a server must show, and how long one waits for it. It stays when a request is redirected:
 * whoever could play the server could redirect to himself. */
struct http_trust {
        bool insecure;               /* accept any certificate */
        struct http_pem authorities; /* all that are accepted; empty: the machine's */
        int64_t connect_timeout;     /* ms; 0: the client's */
};

/* What one origin is shown, and no other. */
struct http_identity {
        const char *origin;          /* a URL */
        struct http_pem certificate; /* the client's own; empty: none */
        struct http_pem key;
        char **headers; /* "Name: value" or "Name;" for an empty value; null: none */
};

struct http_call;
/* Gets the body of a 2xx answer in parts; a negative return ends the call with it. call has the
 * headers by then. */
typedef int http_sink(struct http_call *call, const char *bytes, size_t length, struct error *err);

struct http_call {
        /* The request. Strings are borrowed; null where there is none. */
        const char *url;
        const char *authorization; /* the header's value; not sent to another origin */
        const char *accept;
        const char *form;                     /* sent as POST, application/x-www-form-urlencoded */
        bool head;                            /* asks without the body */
        int64_t from;                         /* first byte wanted, 0 for all */
        int64_t to;                           /* and the one after the last; 0: to the end */
        const struct http_trust *trust;       /* null: the machine's authorities */
        const struct http_identity *identity; /* null: none */
        http_sink *sink;
        void *argument; /* for sink */

        /* The answer, valid after http_perform or within sink; http_call_fini frees it. */
        bool reached; /* a connection was made and did not stall: more tries cost little time */
        long status;
        char content_type[128];   /* without parameters, lower-case */
        int64_t content_length;   /* -1 unknown */
        int64_t range_from;       /* of a 206; -1 unknown */
        int64_t range_total;      /* bytes of what it is a range of; -1 unknown */
        int64_t retry_after;      /* seconds; -1 where it was not said */
        bool elsewhere;           /* it is that of another origin, to which a redirect led */
        struct buffer challenges; /* WWW-Authenticate headers, a line each; none from elsewhere: who
                                     is redirected to does not choose whom credentials are shown */
        struct buffer problem;    /* the beginning of the body of what is not 2xx */
};

/*
 * Performs it. 0 when an answer came to its end, whatever its status. UNAVAILABLE when there is
 * none (no connection, a certificate that does not hold, cut off, stalled): a later try may do
 * better, except for a certificate (FAILED_PRECONDITION). CANCELLED after stop, or what the sink
 * returned. Errors do not name the URL.
 */
int http_perform(struct http_client *client, struct http_call *call, struct error *err);
void http_call_fini(struct http_call *call);

/* "503 Service Unavailable"; out is at least 64 bytes. */
void http_status_text(long status, char *out, size_t size);

/* Whether both URLs have the same scheme, host and port. */
bool http_same_origin(const char *a, const char *b);

/* Whether a request may go to url: https, or http where plain says that its origin spoke that
 * already. */
bool http_url_is_allowed(const char *url, bool plain);

static inline void cleanup_http_client(struct http_client **client)
{
        http_client_free(*client);
}
#define AUTO_HTTP_CLIENT CLEANUP(cleanup_http_client)
#define AUTO_HTTP_CALL   CLEANUP(http_call_fini)

#endif
