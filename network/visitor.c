#include "network/visitor.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/socket.h>

#include "base/cleanup.h"

#define STACK_SIZE (256 * 1024) /* bytes of address space */

struct visitor {
        int (*function)(void *argument);
        void *argument;
        int result;
};

static void *visitor_main(void *visitor_)
{
        struct visitor *visitor = visitor_;
        visitor->result = visitor->function(visitor->argument);
        return NULL;
}

int visitor_run(int (*function)(void *argument), void *argument, struct error *err)
{
        struct visitor visitor = {.function = function, .argument = argument};
        pthread_attr_t attributes;
        pthread_t thread;
        sigset_t all, before;
        pthread_attr_init(&attributes);
        pthread_attr_setstacksize(&attributes, STACK_SIZE);
        sigfillset(&all);
        pthread_sigmask(SIG_SETMASK, &all, &before);
        int number = pthread_create(&thread, &attributes, visitor_main, &visitor);
        pthread_sigmask(SIG_SETMASK, &before, NULL);
        pthread_attr_destroy(&attributes);
        if (number)
                return error_errno(err, number, "start a thread");
        pthread_join(thread, NULL);
        return visitor.result;
}

struct order {
        const char *path;
        int family, type, protocol;
        int fd;
        struct error *err;
};

static int make_socket(void *order_)
{
        struct order *order = order_;
        AUTO_FD int namespace_fd = open(order->path, O_RDONLY | O_CLOEXEC);
        if (namespace_fd < 0)
                return error_errno(order->err, errno, "open %s", order->path);
        if (setns(namespace_fd, CLONE_NEWNET) < 0)
                return error_errno(order->err, errno, "enter %s", order->path);
        order->fd = socket(order->family, order->type, order->protocol);
        if (order->fd < 0)
                return error_errno(order->err, errno, "make a socket in %s", order->path);
        return 0;
}

int visitor_socket(const char *path, int family, int type, int protocol, int *fd, struct error *err)
{
        struct order order = {path, family, type, protocol, -1, err};
        int result = visitor_run(make_socket, &order, err);
        if (result == 0)
                *fd = order.fd;
        return result;
}
