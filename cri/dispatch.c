#include "cri/dispatch.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "cri/wire.h"
#include "base/table.h"

struct dispatch {
        struct table *methods; /* path to struct dispatch_method *, which is one of entries */
        struct dispatch_method *entries;
};

static const struct rpc_method *find_handler(const struct rpc_service *service, const char *name)
{
        for (size_t i = 0; i < service->count; i++)
                if (strcmp(service->methods[i].name, name) == 0)
                        return &service->methods[i];
        return NULL;
}

static void add_service(struct dispatch *dispatch, const struct rpc_service *service,
                        struct dispatch_method *entries)
{
        const ProtobufCServiceDescriptor *descriptor = service->descriptor;
        size_t handled = 0;

        for (unsigned i = 0; i < descriptor->n_methods; i++) {
                const char *name = descriptor->methods[i].name;
                AUTO_FREE char *path = xprintf("/%s/%s", descriptor->name, name);

                entries[i].descriptor = &descriptor->methods[i];
                entries[i].rpc = find_handler(service, name);
                if (entries[i].rpc)
                        handled++;
                table_put(dispatch->methods, path, &entries[i]);
        }
        /* Each handler has found its method: a misspelt name, or one given twice, would not answer.
         */
        assert(handled == service->count);
}

struct dispatch *dispatch_new(const struct rpc_service *services, size_t count)
{
        struct dispatch *dispatch = xcalloc(1, sizeof *dispatch);
        size_t total = 0;

        for (size_t i = 0; i < count; i++)
                total += services[i].descriptor->n_methods;
        dispatch->entries = xcalloc(total ? total : 1, sizeof *dispatch->entries);
        dispatch->methods = table_new();
        total = 0;
        for (size_t i = 0; i < count; i++) {
                add_service(dispatch, &services[i], dispatch->entries + total);
                total += services[i].descriptor->n_methods;
        }
        return dispatch;
}

void dispatch_free(struct dispatch *dispatch)
{
        if (!dispatch)
                return;
        table_free(dispatch->methods);
        free(dispatch->entries);
        free(dispatch);
}

const struct dispatch_method *dispatch_find(const struct dispatch *dispatch, const char *path,
                                            struct error *err)
{
        const struct dispatch_method *method = table_get(dispatch->methods, path);

        if (!method) {
                error_set(err, ERROR_UNIMPLEMENTED, "unknown method %s", path);
                return NULL;
        }
        if (!method->rpc) {
                error_set(err, ERROR_UNIMPLEMENTED, "method %s is not implemented", path);
                return NULL;
        }
        return method;
}

/* protobuf-c's allocator on an arena, which it may fill up to a bound. */
struct bounded_arena {
        struct arena *arena;
        size_t left; /* bytes */
        bool full;
};

static void *bounded_alloc(void *data, size_t size)
{
        struct bounded_arena *bounded = data;

        if (size > bounded->left) {
                bounded->full = true;
                return NULL;
        }
        bounded->left -= size;
        return arena_alloc(bounded->arena, size);
}

static void bounded_free(void *data, void *pointer)
{
        (void)data; /* goes with the arena */
        (void)pointer;
}

int dispatch_decode(const struct dispatch_method *method, struct arena *arena, const void *bytes,
                    size_t length, size_t memory_max, const ProtobufCMessage **message,
                    struct error *err)
{
        const ProtobufCMessageDescriptor *input = method->descriptor->input;
        struct bounded_arena bounded = {.arena = arena, .left = memory_max};
        ProtobufCAllocator allocator = {bounded_alloc, bounded_free, &bounded};
        /* No bytes are a message too, the empty one; a null pointer would be undefined. */
        const ProtobufCMessage *decoded =
                protobuf_c_message_unpack(input, &allocator, length, length ? bytes : "");

        if (!decoded && bounded.full)
                return error_set(err, ERROR_RESOURCE_EXHAUSTED,
                                 "%s: %zu bytes of request need more than %zu bytes of memory",
                                 method->descriptor->name, length, memory_max);
        if (!decoded)
                return error_set(err, ERROR_INVALID_ARGUMENT,
                                 "%s: the request's %zu bytes are not a %s",
                                 method->descriptor->name, length, input->name);
        int result = wire_check_strings(input, bytes, length, err);
        if (result == 0)
                *message = decoded;
        return result;
}

ProtobufCMessage *dispatch_response(const struct dispatch_method *method, struct arena *arena)
{
        const ProtobufCMessageDescriptor *output = method->descriptor->output;
        ProtobufCMessage *response = arena_alloc(arena, output->sizeof_message);

        protobuf_c_message_init(output, response);
        return response;
}
