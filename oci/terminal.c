#include "oci/terminal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/memory.h"
#include "base/task.h"

int terminal_listen(struct terminal *terminal, const char *folder, const char *name,
                    struct error *err)
{
        struct sockaddr_un address = {.sun_family = AF_UNIX};
        *terminal = (struct terminal)TERMINAL_NONE;
        snprintf(terminal->name, sizeof terminal->name, "%s", name);
        terminal->folder = open(folder, O_PATH | O_DIRECTORY | O_CLOEXEC);
        if (terminal->folder < 0)
                return error_errno(err, errno, "open %s", folder);
        terminal->path =
                xprintf("/proc/%d/fd/%d/%s", (int)getpid(), terminal->folder, terminal->name);
        if (strlen(terminal->path) >= sizeof address.sun_path)
                return error_set(err, ERROR_INTERNAL, "%s: too long for a socket", terminal->path);
        memcpy(address.sun_path, terminal->path, strlen(terminal->path) + 1);
        terminal->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        if (terminal->listener < 0 ||
            bind(terminal->listener, (struct sockaddr *)&address, sizeof address) < 0 ||
            listen(terminal->listener, 1) < 0)
                return error_errno(err, errno, "listen for the terminal in %s", folder);
        return 0;
}

/* -EAGAIN: not yet. The runtime sends the terminal's name with it, which nobody needs. */
static int receive_descriptor(int connection, int *fd)
{
        char name[64];
        union {
                struct cmsghdr header;
                char space[CMSG_SPACE(sizeof(int))];
        } control;
        struct iovec part = {.iov_base = name, .iov_len = sizeof name};
        struct msghdr message = {.msg_iov = &part,
                                 .msg_iovlen = 1,
                                 .msg_control = &control,
                                 .msg_controllen = sizeof control};
        ssize_t got = recvmsg(connection, &message, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
        if (got < 0)
                return errno == EINTR ? -EAGAIN : -errno;
        struct cmsghdr *header = CMSG_FIRSTHDR(&message);
        if (!header || header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS ||
            header->cmsg_len != CMSG_LEN(sizeof *fd))
                return -EPROTO;
        memcpy(fd, CMSG_DATA(header), sizeof *fd);
        return fcntl(*fd, F_SETFL, fcntl(*fd, F_GETFL) | O_NONBLOCK) < 0 ? -errno : 0;
}

int terminal_receive(struct terminal *terminal, int64_t deadline, int *fd, struct error *err)
{
        int result = task_wait_fd(terminal->listener, EPOLLIN, deadline, NULL);
        if (result < 0)
                return error_errno(err, result, "wait for the terminal");
        AUTO_FD int connection =
                accept4(terminal->listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
        if (connection < 0)
                return error_errno(err, errno, "wait for the terminal");
        do {
                result = task_wait_fd(connection, EPOLLIN, deadline, NULL);
                if (result == 0)
                        result = receive_descriptor(connection, fd);
        } while (result == -EAGAIN);
        return result < 0 ? error_errno(err, result, "receive the terminal") : 0;
}

void terminal_fini(struct terminal *terminal)
{
        if (terminal->listener >= 0) {
                close(terminal->listener);
                unlinkat(terminal->folder, terminal->name, 0);
        }
        if (terminal->folder >= 0)
                close(terminal->folder);
        free(terminal->path);
        *terminal = (struct terminal)TERMINAL_NONE;
}

int terminal_resize(int fd, uint16_t rows, uint16_t columns)
{
        struct winsize size = {.ws_row = rows, .ws_col = columns};
        return ioctl(fd, TIOCSWINSZ, &size) < 0 ? -errno : 0;
}
