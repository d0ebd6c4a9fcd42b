#include "conmon/clients.h"

#include <errno.h>
#include <stddef.h>
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

bool clients_receive(struct clients *clients, unsigned index, struct monitor_message *request)
{
        /* A newer client's longer message is cut here, which is what protocol.h says a receiver
         * does. */
        ssize_t got = recv(clients->fds[index], request, sizeof(*request), MSG_DONTWAIT);

        if (got == (ssize_t)sizeof(*request) && request->version >= 1)
                return true;
        if (got < 0 && (errno == EAGAIN || errno == EINTR))
                return false;
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
