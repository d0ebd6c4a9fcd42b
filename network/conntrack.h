/*
 * conntrack: the kernel's memory of flows.
 */
#ifndef CRISP_NETWORK_CONNTRACK_H
#define CRISP_NETWORK_CONNTRACK_H

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

/*
 * Makes the kernel forget all flows of UDP that were begun to this port, of IPv4 and IPv6: what
 * goes on is then looked at anew by the rules. Success where the kernel does not track. Task only:
 * what there is is read on a worker.
 */
int conntrack_forget_udp(uint16_t port, struct error *err);

/* Whether a message of the kernel's list, of length bytes behind its header, is a flow of UDP that
 * was begun to this port: 0 and its original tuple inside message, or -ENOENT. In memory; any bytes
 * do. */
struct nlattr;
int conntrack_match_udp(const void *message, size_t length, uint16_t port,
                        const struct nlattr **tuple);

#endif
