#include "api/ttrpc/wire.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/memory.h"
#include "base/task.h"

#define READ_SIZE (16 * 1024) /* bytes at once; on the loop's own stack */

struct ttrpc_wire {
        int fd;
        struct watch *watch; /* null when the connection has ended */
        ttrpc_frame_function *on_frame;
        ttrpc_end_function *on_end;
        void *argument;
        struct ttrpc_reader reader;
        struct buffer unsent;
        bool deaf;   /* takes no frames for now */
        bool closed; /* the peer sends no more; what is in the reader is still given out */
        bool giving; /* on the stack: freed later */
        bool freed;
};

static void update_watch(struct ttrpc_wire *wire)
{
        if (wire->watch)
                watch_set(wire->watch,
                          (wire->deaf ? 0 : EPOLLIN) | (wire->unsent.length ? EPOLLOUT : 0));
}

static void disconnect(struct ttrpc_wire *wire)
{
        watch_free(wire->watch);
        wire->watch = NULL;
        if (wire->fd >= 0)
                close(take_fd(&wire->fd));
        buffer_fini(&wire->unsent);
}

static void release(struct ttrpc_wire *wire)
{
        disconnect(wire);
        ttrpc_reader_fini(&wire->reader);
        free(wire);
}

static void end(struct ttrpc_wire *wire, const char *why)
{
        disconnect(wire);
        wire->on_end(wire->argument, why);
}

/* False where it has ended or was freed: then nobody may touch it again. */
static bool give_frames(struct ttrpc_wire *wire)
{
        struct ttrpc_frame frame;
        int result = 0;
        wire->giving = true;
        while (!wire->freed && !wire->deaf &&
               (result = ttrpc_reader_next(&wire->reader, &frame)) > 0)
                wire->on_frame(wire->argument, &frame);
        wire->giving = false;
        if (wire->freed) {
                release(wire);
                return false;
        }
        if (result < 0)
                end(wire, "what came is not ttrpc");
        else if (wire->closed && !wire->deaf)
                end(wire, "the connection was closed");
        else
                return true;
        return false;
}

static const char *send_unsent(struct ttrpc_wire *wire)
{
        while (wire->unsent.length) {
                ssize_t sent = send(wire->fd, wire->unsent.data, wire->unsent.length,
                                    MSG_DONTWAIT | MSG_NOSIGNAL);
                if (sent < 0 && errno == EINTR)
                        continue;
                if (sent < 0)
                        return errno == EAGAIN ? NULL : "nobody reads at its other end";
                buffer_consume(&wire->unsent, (size_t)sent);
        }
        buffer_fini(&wire->unsent);
        return NULL;
}

static void receive(struct ttrpc_wire *wire)
{
        char bytes[READ_SIZE];
        ssize_t got = recv(wire->fd, bytes, sizeof bytes, MSG_DONTWAIT);
        if (got < 0 && (errno == EAGAIN || errno == EINTR))
                return;
        if (got > 0)
                ttrpc_reader_add(&wire->reader, bytes, (size_t)got);
        else
                wire->closed = true;
        give_frames(wire);
}

static void on_ready(void *argument, uint32_t events)
{
        struct ttrpc_wire *wire = argument;
        if (events & EPOLLOUT) {
                const char *why = send_unsent(wire);
                /* What came before the end still counts. */
                if (why && !(events & EPOLLIN)) {
                        end(wire, why);
                        return;
                }
                if (why)
                        buffer_fini(&wire->unsent);
                update_watch(wire);
        }
        if (events & EPOLLIN && !wire->deaf)
                receive(wire);
        else if (events & (EPOLLHUP | EPOLLERR))
                end(wire, "the connection was closed");
}

int ttrpc_wire_new(int fd, ttrpc_frame_function *on_frame, ttrpc_end_function *on_end,
                   void *argument, struct ttrpc_wire **wire, struct error *err)
{
        struct ttrpc_wire *made = xcalloc(1, sizeof *made);
        made->fd = fd;
        made->on_frame = on_frame;
        made->on_end = on_end;
        made->argument = argument;
        made->watch = watch_new(fd, EPOLLIN, on_ready, made, err);
        if (!made->watch) {
                release(made);
                return error_context(err, "watch a ttrpc connection");
        }
        *wire = made;
        return 0;
}

void ttrpc_wire_free(struct ttrpc_wire *wire)
{
        if (!wire)
                return;
        if (wire->giving)
                wire->freed = true;
        else
                release(wire);
}

int ttrpc_wire_send(struct ttrpc_wire *wire, uint32_t stream, enum ttrpc_frame_type type,
                    const void *payload, size_t length)
{
        uint8_t header[TTRPC_HEADER_LENGTH];
        if (!wire->watch)
                return -EPIPE;
        if (length > TTRPC_PAYLOAD_MAX)
                return -EMSGSIZE;
        if (wire->unsent.length + length > TTRPC_UNSENT_MAX)
                return -ENOBUFS;
        const struct ttrpc_frame frame = {
                .length = (uint32_t)length, .stream = stream, .type = (uint8_t)type};
        ttrpc_frame_pack(&frame, header);
        buffer_add(&wire->unsent, header, sizeof header);
        buffer_add(&wire->unsent, payload, length);
        /* That nobody reads there is told by the watch. */
        send_unsent(wire);
        update_watch(wire);
        return 0;
}

void ttrpc_wire_listen(struct ttrpc_wire *wire, bool listen)
{
        if (wire->deaf == !listen)
                return;
        wire->deaf = !listen;
        update_watch(wire);
        if (listen && !wire->giving)
                give_frames(wire);
}

bool ttrpc_wire_has_ended(const struct ttrpc_wire *wire)
{
        return !wire->watch;
}
