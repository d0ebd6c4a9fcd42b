/*
 * hostport: ports of the host that lead to pods, by rules of the kernel's packet filter.
 *
 * For networks without a plugin that does it. With nftables all of them are elements of two maps in
 * one table for each family, so that a packet costs one look-up however many there are; where nft
 * is not there they are rules of iptables. Each carries its owner and its pod in a comment: who
 * removes them needs to know nothing else, also after a crash.
 *
 * Connections to an address of the machine are mapped, those from other machines and from this one;
 * from 127.0.0.1 they get through where net.ipv4.conf.*.route_localnet allows that.
 *
 * Task only, waits: programs are run, one at a time.
 */
#ifndef CRISP_NETWORK_HOSTPORT_H
#define CRISP_NETWORK_HOSTPORT_H

#include <stdbool.h>

#include "base/error.h"
#include "network/network.h"

struct hostport_pod {
        const char *owner; /* the daemon's name among others on the machine: its state folder */
        const char *id;
        const struct network_port *ports; /* those with host_port 0 are skipped; they are valid */
        size_t count;
};

/*
 * Maps the pod's ports to the first IPv4 and the first IPv6 address in ips, each port to those of
 * its host_ip's family. All or nothing in each family; after a failure the caller calls
 * hostport_remove. ALREADY_EXISTS where a port leads elsewhere already, with nftables.
 */
int hostport_add(const struct hostport_pod *pod, char *const *ips, struct error *err);

/* Removes all that carries this owner and pod. Idempotent. */
int hostport_remove(const struct hostport_pod *pod, struct error *err);

/* Removes all of this owner's pods that keep(argument, id) does not want to keep. */
int hostport_sweep(const char *owner, bool (*keep)(void *argument, const char *id), void *argument,
                   struct error *err);

/* ---- hostport_rules.c: the texts; pure ---- */

enum hostport_tool { HOSTPORT_NFT, HOSTPORT_IPTABLES };

struct buffer;

/* What the comments begin with: 8 letters and digits that stand for the owner, and a space. */
#define HOSTPORT_MARK_SIZE 16
void hostport_mark(const char *owner, char mark[HOSTPORT_MARK_SIZE]);

/* Adds the input of `nft -f -` or of `iptables-restore --noflush` that maps the pod's ports to ip;
 * nothing where none is of its family. */
void hostport_write_add(enum hostport_tool tool, const struct hostport_pod *pod, const char *ip,
                        struct buffer *text);

/*
 * Adds the input that removes what of listing is to go: the output of `nft -j list table` or of
 * `iptables-save -t nat`. Nothing where there is none. gone(argument, id) is asked for each of the
 * owner's. DATA_LOSS where the listing cannot be understood.
 */
int hostport_write_removal(enum hostport_tool tool, const char *owner, bool v6, const char *listing,
                           size_t length, bool (*gone)(void *argument, const char *id),
                           void *argument, struct buffer *text, struct error *err);

#define HOSTPORT_TABLE "crisp-hostports"

#endif
