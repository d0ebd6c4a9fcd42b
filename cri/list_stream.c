#include "cri/list_stream.h"

#include <string.h>

#include "base/memory.h"
#include "cri/packed.h"

static void begin_message(struct list_stream *stream)
{
        stream->arena = arena_new();
        stream->fields = arena_array(stream->arena, LIST_STREAM_ITEMS, sizeof *stream->fields);
        stream->count = 0;
        stream->bytes = 0;
}

void list_stream_init(struct list_stream *stream, struct rpc *rpc,
                      const ProtobufCMessageDescriptor *descriptor)
{
        stream->rpc = rpc;
        stream->descriptor = descriptor;
        begin_message(stream);
}

void list_stream_fini(struct list_stream *stream)
{
        arena_free(take_ptr(stream->arena));
}

int list_stream_end(struct list_stream *stream, struct error *err)
{
        if (stream->count == 0)
                return 0;
        ProtobufCMessage *message = arena_alloc(stream->arena, stream->descriptor->sizeof_message);
        stream->descriptor->message_init(message);
        message->unknown_fields = stream->fields;
        message->n_unknown_fields = (unsigned)stream->count;
        int result = rpc_send(stream->rpc, message, err);
        arena_free(take_ptr(stream->arena));
        begin_message(stream);
        return result;
}

int list_stream_add_packed(struct list_stream *stream, const uint8_t *bytes, size_t size,
                           struct error *err)
{
        AUTO_FREE uint8_t *kept = NULL;
        int result = 0;

        if (stream->count == LIST_STREAM_ITEMS ||
            (stream->count && stream->bytes + size > LIST_STREAM_BYTES)) {
                kept = xcalloc(1, size);
                bytes = memcpy(kept, bytes, size);
                result = list_stream_end(stream, err);
        }
        if (result < 0)
                return result;
        stream->fields[stream->count++] = packed_field(
                stream->descriptor->fields[0].id, arena_memdup(stream->arena, bytes, size), size);
        stream->bytes += size;
        return 0;
}

int list_stream_add(struct list_stream *stream, const ProtobufCMessage *item, struct error *err)
{
        size_t size;
        AUTO_FREE uint8_t *bytes = packed_message(item, &size);

        return list_stream_add_packed(stream, bytes, size, err);
}
