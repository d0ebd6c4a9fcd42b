#include "api/ttrpc/server.h"

#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "api/ttrpc/ttrpc.pb-c.h"
#include "api/ttrpc/wire.h"
#include "base/memory.h"
#include "base/task.h"

#define BACKLOG 128

struct connection {
        struct connection *next;
        struct ttrpc_server *server; /* null when it has gone */
        struct ttrpc_wire *wire;     /* null when the connection has ended */
        unsigned serving;            /* calls; each holds it */
};

struct ttrpc_server {
        const struct ttrpc_method *methods;
        void *argument;
        struct connection *connections;
        unsigned count;
        int listener; /* or -1 */
        struct watch *watch;
        char *path;
};

struct ttrpc_reply {
        struct buffer payload;
};

/* A call, for its task. */
struct served {
        struct connection *connection;
        const struct ttrpc_method *method;
        uint32_t stream;
        ProtobufCMessage *request;
};

void ttrpc_reply_set(struct ttrpc_reply *reply, const ProtobufCMessage *message)
{
        size_t size = protobuf_c_message_get_packed_size(message);
        buffer_fini(&reply->payload);
        reply->payload.length =
                protobuf_c_message_pack(message, (uint8_t *)buffer_reserve(&reply->payload, size));
}

/* ---- connections ---- */

static void release_if_idle(struct connection *connection)
{
        if (!connection->wire && !connection->serving)
                free(connection);
}

/* Takes it from its server; it goes when the last of its calls is answered. */
static void drop(struct connection *connection)
{
        if (connection->server) {
                struct connection **place = &connection->server->connections;
                while (*place != connection)
                        place = &(*place)->next;
                *place = connection->next;
                connection->server->count--;
                connection->server = NULL;
        }
        ttrpc_wire_free(connection->wire);
        connection->wire = NULL;
        release_if_idle(connection);
}

static void on_end(void *argument, const char *why)
{
        (void)why;
        drop(argument);
}

/* ---- answers ---- */

static void send_response(struct connection *connection, uint32_t stream,
                          const Ttrpc__Response *response)
{
        if (!connection->wire)
                return;
        AUTO_BUFFER struct buffer packed = BUFFER_INIT;
        size_t size = ttrpc__response__get_packed_size(response);
        packed.length = ttrpc__response__pack(response, (uint8_t *)buffer_reserve(&packed, size));
        /* One that cannot be sent is late at the other side, which has a deadline. */
        ttrpc_wire_send(connection->wire, stream, TTRPC_RESPONSE, packed.data, packed.length);
}

static void refuse(struct connection *connection, uint32_t stream, const struct error *err)
{
        Ttrpc__Response response = TTRPC__RESPONSE__INIT;
        Google__Rpc__Status status = GOOGLE__RPC__STATUS__INIT;
        status.code = err->code;
        status.message = (char *)err->message;
        response.status = &status;
        send_response(connection, stream, &response);
}

static void serve(void *argument)
{
        struct served *served = argument;
        struct connection *connection = served->connection;
        AUTO_FREE struct error *err = xcalloc(1, sizeof *err);
        struct ttrpc_reply reply = {BUFFER_INIT};
        Ttrpc__Response response = TTRPC__RESPONSE__INIT;
        int result = -ECANCELED;
        if (connection->server)
                result = served->method->handle(connection->server->argument, served->request,
                                                &reply, err);
        response.payload.data = (uint8_t *)reply.payload.data;
        response.payload.len = reply.payload.length;
        if (result < 0)
                refuse(connection, served->stream, err);
        else
                send_response(connection, served->stream, &response);
        buffer_fini(&reply.payload);
        protobuf_c_message_free_unpacked(served->request, NULL);
        free(served);
        connection->serving--;
        if (connection->wire)
                ttrpc_wire_listen(connection->wire, true);
        else
                release_if_idle(connection);
}

static const struct ttrpc_method *find_method(const struct ttrpc_server *server,
                                              const Ttrpc__Request *request, struct error *err)
{
        for (const struct ttrpc_method *method = server->methods; method->service; method++) {
                if (strcmp(method->service, request->service) == 0 &&
                    strcmp(method->name, request->method) == 0)
                        return method;
        }
        error_set(err, ERROR_UNIMPLEMENTED, "/%.200s/%.200s: there is no such method",
                  request->service, request->method);
        return NULL;
}

/* The call that a frame is, or null with why it is none. */
static struct served *read_call(struct connection *connection, const struct ttrpc_frame *frame,
                                struct error *err)
{
        if (!frame->payload) {
                error_set(err, ERROR_RESOURCE_EXHAUSTED, "the request is longer than %d bytes",
                          TTRPC_PAYLOAD_MAX);
                return NULL;
        }
        if (frame->stream % 2 != 1) {
                error_set(err, ERROR_INVALID_ARGUMENT,
                          "streams that a client begins have odd numbers");
                return NULL;
        }
        Ttrpc__Request *request = ttrpc__request__unpack(NULL, frame->length, frame->payload);
        if (!request) {
                error_set(err, ERROR_INVALID_ARGUMENT, "the request cannot be read");
                return NULL;
        }
        struct served *served = NULL;
        const struct ttrpc_method *method = find_method(connection->server, request, err);
        ProtobufCMessage *message = NULL;
        if (method) {
                message = protobuf_c_message_unpack(method->request, NULL, request->payload.len,
                                                    request->payload.data);
                if (!message)
                        error_set(err, ERROR_INVALID_ARGUMENT, "%s: the request cannot be read",
                                  method->name);
        }
        if (message) {
                served = xcalloc(1, sizeof *served);
                *served = (struct served){.connection = connection,
                                          .method = method,
                                          .stream = frame->stream,
                                          .request = message};
        }
        ttrpc__request__free_unpacked(request, NULL);
        return served;
}

static void on_frame(void *argument, const struct ttrpc_frame *frame)
{
        struct connection *connection = argument;
        struct error err;
        /* What a later protocol has is passed over, as the protocol wants. */
        if (frame->type != TTRPC_REQUEST)
                return;
        struct served *served = read_call(connection, frame, &err);
        if (!served) {
                refuse(connection, frame->stream, &err);
                return;
        }
        if (++connection->serving >= TTRPC_SERVED_MAX)
                ttrpc_wire_listen(connection->wire, false);
        task_start("ttrpc call", serve, served);
}

/* ---- the server ---- */

struct ttrpc_server *ttrpc_server_new(const struct ttrpc_method *methods, void *argument)
{
        struct ttrpc_server *server = xcalloc(1, sizeof *server);
        server->methods = methods;
        server->argument = argument;
        server->listener = -1;
        return server;
}

int ttrpc_server_add(struct ttrpc_server *server, int fd, struct error *err)
{
        if (server->count >= TTRPC_CONNECTIONS_MAX) {
                close(fd);
                return error_set(err, ERROR_RESOURCE_EXHAUSTED, "%d ttrpc connections are open",
                                 TTRPC_CONNECTIONS_MAX);
        }
        struct connection *connection = xcalloc(1, sizeof *connection);
        int result = ttrpc_wire_new(fd, on_frame, on_end, connection, &connection->wire, err);
        if (result < 0) {
                free(connection);
                return result;
        }
        connection->server = server;
        connection->next = server->connections;
        server->connections = connection;
        server->count++;
        return 0;
}

static void on_connection(void *argument, uint32_t events)
{
        struct ttrpc_server *server = argument;
        (void)events;
        int fd = accept4(server->listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
        if (fd >= 0)
                ttrpc_server_add(server, fd, NULL);
}

int ttrpc_server_listen(struct ttrpc_server *server, const char *path, struct error *err)
{
        struct sockaddr_un address = {.sun_family = AF_UNIX};
        if (strlen(path) >= sizeof address.sun_path)
                return error_set(err, ERROR_INVALID_ARGUMENT,
                                 "listen at %s: a socket's path has at most %zu bytes", path,
                                 sizeof address.sun_path - 1);
        strcpy(address.sun_path, path);
        AUTO_FD int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        if (fd < 0)
                return error_errno(err, errno, "listen at %s: make a socket", path);
        if (unlink(path) < 0 && errno != ENOENT)
                return error_errno(err, errno, "listen at %s: remove an old socket", path);
        /* Before the bind, so that there is no moment in which others may connect. */
        if (fchmod(fd, 0600) < 0 || bind(fd, (struct sockaddr *)&address, sizeof address) < 0 ||
            listen(fd, BACKLOG) < 0)
                return error_errno(err, errno, "listen at %s", path);
        server->watch = watch_new(fd, EPOLLIN, on_connection, server, err);
        if (!server->watch)
                return error_context(err, "listen at %s", path);
        server->listener = take_fd(&fd);
        server->path = xstrdup(path);
        return 0;
}

void ttrpc_server_free(struct ttrpc_server *server)
{
        if (!server)
                return;
        watch_free(server->watch);
        if (server->listener >= 0) {
                unlink(server->path);
                close(server->listener);
        }
        while (server->connections)
                drop(server->connections);
        free(server->path);
        free(server);
}
