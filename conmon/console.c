#include "conmon/console.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "conmon/place.h"

int console_listen(struct console *console, const char *path)
{
        int fd = place_listen(path, SOCK_STREAM, 1, &console->address, &console->folder);

        if (fd < 0)
                return fd;
        console->listener = fd;
        console->path = path;
        return 0;
}

static int receive_descriptor(int connection)
{
        /* The runtime sends the terminal's name with it; it may be cut, nobody reads it. */
        char name[64];
        union {
                struct cmsghdr header;
                char space[CMSG_SPACE(sizeof(int))];
        } control;
        struct iovec part = {.iov_base = name, .iov_len = sizeof(name)};
        struct msghdr message = {
                .msg_iov = &part,
                .msg_iovlen = 1,
                .msg_control = &control,
                .msg_controllen = sizeof(control),
        };
        ssize_t got = recvmsg(connection, &message, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
        struct cmsghdr *header;
        int fd;

        if (got < 0)
                return errno == EINTR ? -EAGAIN : -errno;
        header = CMSG_FIRSTHDR(&message);
        if (!header || header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS ||
            header->cmsg_len != CMSG_LEN(sizeof(fd)))
                return -EPROTO;
        memcpy(&fd, CMSG_DATA(header), sizeof(fd));
        return fd;
}

int console_receive(struct console *console)
{
        int fd;

        if (console->listener < 0)
                return -EBADF;
        if (console->connection < 0) {
                fd = accept4(console->listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
                if (fd < 0)
                        return errno == EINTR || errno == ECONNABORTED ? -EAGAIN : -errno;
                console->connection = fd;
        }
        fd = receive_descriptor(console->connection);
        if (fd == -EAGAIN)
                return fd;
        console_close(console);
        if (fd >= 0 && fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK) < 0) {
                int result = -errno;

                close(fd);
                return result;
        }
        return fd;
}

static void close_one(int *fd)
{
        if (*fd >= 0)
                close(*fd);
        *fd = -1;
}

void console_close(struct console *console)
{
        if (console->listener >= 0)
                unlink(console->path);
        close_one(&console->connection);
        close_one(&console->listener);
        close_one(&console->folder);
}
