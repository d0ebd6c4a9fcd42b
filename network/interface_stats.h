/*
 * interface_stats: what went over a network namespace's interfaces.
 *
 * A netlink socket belongs to the namespace that it was made in, whoever reads it later. So the
 * namespace is entered once, by a thread that ends afterwards, and never again.
 *
 * An open socket keeps its namespace, with the interfaces in it: close it before the pod's
 * namespaces are unpinned. All of this blocks, for microseconds (the kernel's lock on
 * configuration changes; seconds while interfaces are being removed). Any thread.
 */
#ifndef CRISP_NETWORK_INTERFACE_STATS_H
#define CRISP_NETWORK_INTERFACE_STATS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

#define INTERFACE_NAME_MAX  16  /* bytes with the final zero, the kernel's IFNAMSIZ */
#define INTERFACE_STATS_MAX 256 /* of one namespace; further ones are left out */

struct interface_stats {
        char name[INTERFACE_NAME_MAX];
        bool loopback;
        uint64_t rx_bytes, rx_packets, rx_errors, rx_dropped;
        uint64_t tx_bytes, tx_packets, tx_errors, tx_dropped;
};

/* A socket in the namespace that is pinned at path: a descriptor for interface_stats_read. */
int interface_stats_open(const char *path, struct error *err);

/*
 * Reads all interfaces into *list (heap; null where there are none) and *count. fd is of
 * interface_stats_open; one thread at a time.
 */
int interface_stats_read(int fd, struct interface_stats **list, size_t *count, struct error *err);

/*
 * Adds the interfaces that one message of the kernel's describes (netlink, RTM_NEWLINK) to list,
 * which has room for INTERFACE_STATS_MAX. *done becomes true at the end of the answer. A negative
 * errno where the kernel answered with an error, or with what is no answer.
 */
int interface_stats_parse(const void *bytes, size_t length, struct interface_stats *list,
                          size_t *count, bool *done);

#endif
