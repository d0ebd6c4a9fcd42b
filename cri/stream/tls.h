/*
 * tls: the certificate of the streaming server, and the TLS library, which is loaded only where
 * there is one.
 *
 * libmicrohttpd's own TLS loses half-closes on an upgraded connection and crawls; so TLS is ours,
 * and in front of it (relay.h). On the pump's thread, once that runs.
 */
#ifndef CRISP_CRI_STREAM_TLS_H
#define CRISP_CRI_STREAM_TLS_H

#include <openssl/err.h>
#include <openssl/ssl.h>
#include <stdbool.h>

#include "base/error.h"
#include "cri/stream/pump.h"

struct stream_tls_options {
        const char *cert, *key;  /* PEM files, the chain in the first; "" is no TLS */
        const char *client_ca;   /* PEM file: clients need a certificate of one of these; or "" */
        const char *min_version; /* "1.2" or "1.3" */
        const char *const *ciphers; /* strv of IANA's or OpenSSL's names; null for the default */
};

struct tls;

/* Everything is read and checked now. Errors name the key of the configuration. Blocks on the disk.
 */
int tls_open(const struct stream_tls_options *options, struct tls **tls, struct error *err);
/* When the pump and the loop have ended. Null is allowed. */
void tls_free(struct tls *tls);

/*
 * Looks at the files, on a worker of the loop's: that may take as long as a disk likes. Those that
 * have changed are used from then on; where that fails the ones before stay in use, and that is
 * logged once. done is called afterwards; until then there is no second look.
 */
void tls_refresh(struct tls *tls, struct pump *pump, void (*done)(void *argument), void *argument);

/* The server's side of a new connection, of which fd stays the caller's; null when memory is out.
 */
SSL *tls_session(struct tls *tls, int fd);

/* The functions of the library that others need, without their SSL_. */
struct tls_library {
        __typeof__(&SSL_accept) accept;
        __typeof__(&SSL_read) read;
        __typeof__(&SSL_write) write;
        __typeof__(&SSL_shutdown) shutdown;
        __typeof__(&SSL_get_error) get_error;
        __typeof__(&SSL_free) free;
        __typeof__(&ERR_clear_error) clear_error;
};
const struct tls_library *tls_library(const struct tls *tls);

#endif
