/*
 * events: what happens to pods and containers, as GetContainerEvents tells it.
 *
 * Each pod and container that a client may know is told of when it was created, started, stopped
 * and deleted: once each, in this order, in the order in which it happened. An event carries the
 * pod's status and those of all its containers, as they were then. A pod's own events have its ID
 * as the container's, as CRI-O's and containerd's have; its deletion still carries its metadata,
 * and the deletion of a container the statuses of the others. What nobody was told of yet (its
 * client went away before the answer) has no events until somebody claims it.
 *
 * Events of one daemon: who loses the stream lists again. So that nothing falls between that list
 * and the new stream, the newest events are kept for a while when nobody listens, and go to who
 * comes next; what recovery found is among them. The statuses of these are of when they are taken.
 *
 * A client that does not read holds up nobody. When as much waits for it as a bound allows, its
 * events are dropped and counted, and its stream ends in RESOURCE_EXHAUSTED: the kubelet then lists
 * again and comes back. To leave some events out and go on would leave it with a wrong idea of its
 * pods until its next relist, minutes later.
 *
 * The loop's thread only; nothing here waits but the stream's handler.
 */
#ifndef CRISP_CRI_EVENTS_H
#define CRISP_CRI_EVENTS_H

#include <stdint.h>

#include "cri/rpc.h"

#define EVENTS_CLIENTS_MAX 32                 /* streams at once */
#define EVENTS_WAITING_MAX 4096               /* events that wait for one client */
#define EVENTS_BYTES_MAX   ((size_t)16 << 20) /* of them, and of those that nobody heard */
#define EVENTS_UNHEARD_MAX 1000               /* events kept while nobody listens ... */
#define EVENTS_UNHEARD_TIME                                                                        \
        (INT64_C(300000000000)) /* ... and for how many ns after the last one                      \
                                 */

struct pod;
struct container;

/* What was told of an object last; it only goes up. */
enum event_kind { EVENT_NONE, EVENT_CREATED, EVENT_STARTED, EVENT_STOPPED, EVENT_DELETED };

/* Tells of it, unless this or a later event was told before, or the object is not claimed. */
void events_tell_pod(struct pod *pod, enum event_kind kind);
void events_tell_container(struct container *container, enum event_kind kind);

/*
 * Recovery: until events_recovered nothing is told, as a pod's containers are not all there. Then
 * what has stopped since its record was written is told of. Once, after node_recover; needs the
 * loop.
 */
void events_recovered(void);

/* Ends all streams with UNAVAILABLE: the daemon stops, and no client should have to be waited for.
 */
void events_stop(void);

/* Frees what was kept. After the loop; no stream may be left. */
void events_close(void);

struct events_counts {
        uint64_t told[EVENT_DELETED + 1];
        uint64_t dropped_slow;    /* waited for a client that was too slow */
        uint64_t dropped_unheard; /* were kept for nobody, beyond the bound */
        unsigned clients;
};

void events_count(struct events_counts *counts);

/* GetContainerEvents. */
rpc_handler events_stream_handler;

#endif
