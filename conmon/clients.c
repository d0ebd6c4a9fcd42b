#include "conmon/clients.h"

#include <errno.h>
#include <stddef.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "conmon/place.h"

void clients_init(struct clients *clients)
{
        clients->listener = -1;
        for (unsigned i = 0; i < MONITOR_CLIENTS_MAX; i++)
                clients->fds[i] = -1;
}

int clients_listen(struct clients *clients, const char *path)
{
        int fd = place_listen(path, SOCK_SEQPACKET, MONITOR_CLIENTS_MAX, NULL, NULL);

        if (fd < 0)
                return fd;
        clients->listener = fd;
        return 0;
}

int clients_accept(struct clients *clients)
{
        int fd = accept4(clients->listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

        if (fd < 0)
                return -1;
        for (unsigned i = 0; i < MONITOR_CLIENTS_MAX; i++) {
                if (clients->fds[i] < 0) {
                        clients->fds[i] = fd;
                        return (int)i;
                }
        }
        close(fd);
        return -1;
}

static void drop(struct clients *clients, unsigned index)
{
        close(clients->fds[index]);
        clients->fds[index] = -1;
}

static void take_fds(struct msghdr *message, struct clients_fds *fds)
{
        fds->count = 0;
        for (struct cmsghdr *header = CMSG_FIRSTHDR(message); header;
             header = CMSG_NXTHDR(message, header)) {
                if (header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS)
                        continue;
                fds->count = (unsigned)((header->cmsg_len - CMSG_LEN(0)) / sizeof(int));
                memcpy(fds->fds, CMSG_DATA(header), fds->count * sizeof(int));
        }
}

bool clients_receive(struct clients *clients, unsigned index, struct monitor_message *request,
                     struct clients_fds *fds)
{
        union {
                struct cmsghdr header;
                char space[CMSG_SPACE(sizeof(int) * MONITOR_ATTACH_FDS)];
        } control;
        struct iovec part = {.iov_base = request, .iov_len = sizeof(*request)};
        struct msghdr message = {
                .msg_iov = &part,
                .msg_iovlen = 1,
                .msg_control = &control,
                .msg_controllen = sizeof(control),
        };
        /* A newer client's longer message is cut here, which is what protocol.h says a receiver
         * does; and so are descriptors beyond those that there is room for. */
        ssize_t got = recvmsg(clients->fds[index], &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);

        if (got < 0 && (errno == EAGAIN || errno == EINTR))
                return false;
        if (got >= 0)
                take_fds(&message, fds);
        if (got == (ssize_t)sizeof(*request) && request->version >= 1)
                return true;
        for (unsigned i = 0; got >= 0 && i < fds->count; i++)
                close(fds->fds[i]);
        drop(clients, index);
        return false;
}

void clients_send(struct clients *clients, unsigned index, struct monitor_message *message)
{
        message->version = MONITOR_PROTOCOL_VERSION;
        if (send(clients->fds[index], message, sizeof(*message), MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
                drop(clients, index);
}

void clients_send_all(struct clients *clients, struct monitor_message *message)
{
        for (unsigned i = 0; i < MONITOR_CLIENTS_MAX; i++) {
                if (clients->fds[i] >= 0)
                        clients_send(clients, i, message);
        }
}

void clients_close(struct clients *clients)
{
        for (unsigned i = 0; i < MONITOR_CLIENTS_MAX; i++) {
                if (clients->fds[i] >= 0)
                        drop(clients, i);
        }
        if (clients->listener >= 0)
                close(clients->listener);
        clients->listener = -1;
}
