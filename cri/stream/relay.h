/*
 * relay: TLS in front of the streaming server: what comes in is decrypted and handed to the HTTP
 * server through a pair of sockets, with half-closes both ways.
 */
#ifndef CRISP_CRI_STREAM_RELAY_H
#define CRISP_CRI_STREAM_RELAY_H

#include "cri/stream/pump.h"
#include "cri/stream/tls.h"

#define RELAY_LOOK_TIME      (INT64_C(1000000000))  /* ns for a look at the certificate's files */
#define RELAY_HANDSHAKE_TIME (INT64_C(30000000000)) /* ns from then on */
#define RELAY_GOODBYE_TIME                                                                         \
        (INT64_C(30000000000)) /* ns without the client taking a byte of what is left, or closing  \
                                */

struct relays;

/*
 * Takes connections from listener, which stays the caller's, on the pump's thread from now on: max
 * at a time, further ones wait. deliver gets each one's plain end, which it owns, on that thread.
 * Any thread.
 */
struct relays *relays_start(struct pump *pump, struct tls *tls, int listener, unsigned max,
                            void (*deliver)(void *argument, int fd), void *argument);
/* When the pump has been stopped: ends them all. Null is allowed. */
void relays_free(struct relays *relays);

#endif
