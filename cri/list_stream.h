/*
 * list_stream: a list as a stream of messages of bounded size.
 *
 * The List calls answer in one message, which has to fit the client's bound; the Stream calls send
 * the same items in as many as it takes, and then end. A streaming handler of CRI whose response is
 * one repeated field uses it so:
 *
 *     AUTO_LIST_STREAM struct list_stream stream;
 *     list_stream_init(&stream, rpc, &runtime__v1__stream_containers_response__descriptor);
 *     for each item: list_stream_add(&stream, &item->base, err)
 *     list_stream_end(&stream, err)
 *
 * Adding may wait for the client, and what is listed may change or go meanwhile: the caller notes
 * first what there is, holds it by references or finds it again by its id. In the handler's task
 * only.
 */
#ifndef CRISP_CRI_LIST_STREAM_H
#define CRISP_CRI_LIST_STREAM_H

#include <stddef.h>
#include <stdint.h>

#include <protobuf-c/protobuf-c.h>

#include "base/arena.h"
#include "base/cleanup.h"
#include "cri/rpc.h"

#define LIST_STREAM_BYTES                                                                          \
        ((size_t)256 * 1024)   /* of items in a message, unless one alone is more                  \
                                */
#define LIST_STREAM_ITEMS 1000 /* in a message */

struct list_stream {
        struct rpc *rpc;
        const ProtobufCMessageDescriptor *descriptor;
        struct arena *arena; /* the packed items of the next message */
        ProtobufCMessageUnknownField *fields;
        size_t count, bytes;
};

/* descriptor is of the stream's messages; their first field takes the items. */
void list_stream_init(struct list_stream *stream, struct rpc *rpc,
                      const ProtobufCMessageDescriptor *descriptor);
void list_stream_fini(struct list_stream *stream);

#define AUTO_LIST_STREAM CLEANUP(list_stream_fini)

/* Adds an item, which is packed before this waits. CANCELLED when the client has gone away. */
int list_stream_add(struct list_stream *stream, const ProtobufCMessage *item, struct error *err);

/* The same for an item that packed_message packed; the bytes are copied before this waits. */
int list_stream_add_packed(struct list_stream *stream, const uint8_t *bytes, size_t size,
                           struct error *err);

/* Sends what is left. */
int list_stream_end(struct list_stream *stream, struct error *err);

#endif
