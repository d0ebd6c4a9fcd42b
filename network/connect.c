#include "network/connect.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/task.h"
#include "network/visitor.h"

#define TYPE (SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK)

struct order {
        const char *path;
        int family;
        int *fd;
        struct error *err;
};

/* On a worker. */
static int make_there(void *order_)
{
        struct order *order = order_;
        return visitor_socket(order->path, order->family, TYPE, 0, order->fd, order->err);
}

static int make_socket(const char *path, int family, int *fd, struct error *err)
{
        struct order order = {path, family, fd, err};
        if (path)
                return task_offload(make_there, &order);
        *fd = socket(family, TYPE, 0);
        return *fd < 0 ? error_errno(err, errno, "make a socket") : 0;
}

static int finish_connect(int fd, int64_t deadline)
{
        int number = 0;
        socklen_t length = sizeof number;
        int result = task_wait_fd(fd, EPOLLOUT, deadline, NULL);
        if (result < 0)
                return result;
        getsockopt(fd, SOL_SOCKET, SO_ERROR, &number, &length);
        return -number;
}

static int try_family(const char *path, int family, uint16_t port, int64_t deadline, int *result,
                      struct error *err)
{
        const struct sockaddr_in four = {.sin_family = AF_INET,
                                         .sin_port = htons(port),
                                         .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
        const struct sockaddr_in6 six = {.sin6_family = AF_INET6,
                                         .sin6_port = htons(port),
                                         .sin6_addr = IN6ADDR_LOOPBACK_INIT};
        bool is_four = family == AF_INET;
        const void *address = is_four ? (const void *)&four : &six;
        AUTO_FD int fd = -1;
        int yes = 1;
        int status = make_socket(path, family, &fd, err);
        if (status < 0)
                return status;
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
        status = connect(fd, address, is_four ? sizeof four : sizeof six) < 0 ? -errno : 0;
        if (status == -EINPROGRESS)
                status = finish_connect(fd, deadline);
        if (status < 0)
                return error_errno(err, status, "connect to %s port %u",
                                   is_four ? "127.0.0.1" : "::1", port);
        *result = take_fd(&fd);
        return 0;
}

int connect_loopback(const char *path, uint16_t port, int64_t deadline, int *fd, struct error *err)
{
        struct error four = {0}, six = {0};
        int result = try_family(path, AF_INET, port, deadline, fd, &four);
        if (result == 0)
                return 0;
        if (result == -ECANCELED || try_family(path, AF_INET6, port, deadline, fd, &six) == 0) {
                if (err && result == -ECANCELED)
                        *err = four;
                return result == -ECANCELED ? result : 0;
        }
        return error_set(err, ERROR_UNAVAILABLE, "%s; %s", four.message, six.message);
}
