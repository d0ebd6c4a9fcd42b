#include "network/connect.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/task.h"

#define STACK_SIZE (64 * 1024)

/* A socket belongs to the namespace that it was made in. */
struct maker {
        const char *path;
        int family;
        int fd;
        int number; /* errno of a failure */
};

static void *make(void *maker_)
{
        struct maker *maker = maker_;
        AUTO_FD int namespace = open(maker->path, O_RDONLY | O_CLOEXEC);
        if (namespace < 0 || setns(namespace, CLONE_NEWNET) < 0) {
                maker->number = errno;
                return NULL;
        }
        maker->fd = socket(maker->family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        if (maker->fd < 0)
                maker->number = errno;
        return NULL;
}

/* On a worker. A thread that ends afterwards, instead of a setns back: where the way back failed, a
 * worker would do later work in the pod's namespace. */
static int make_in_thread(void *maker_)
{
        struct maker *maker = maker_;
        pthread_attr_t attributes;
        pthread_t thread;
        sigset_t all, before;
        pthread_attr_init(&attributes);
        pthread_attr_setstacksize(&attributes, STACK_SIZE);
        sigfillset(&all);
        pthread_sigmask(SIG_SETMASK, &all, &before);
        int number = pthread_create(&thread, &attributes, make, maker);
        pthread_sigmask(SIG_SETMASK, &before, NULL);
        pthread_attr_destroy(&attributes);
        if (number)
                maker->number = number;
        else
                pthread_join(thread, NULL);
        return 0;
}

static int make_socket(const char *path, int family, int *fd, struct error *err)
{
        struct maker maker = {.path = path, .family = family, .fd = -1};
        if (path) {
                task_offload(make_in_thread, &maker);
        } else {
                maker.fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
                maker.number = errno;
        }
        if (maker.fd < 0)
                return error_errno(err, maker.number, "socket in the pod's network namespace");
        *fd = maker.fd;
        return 0;
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
