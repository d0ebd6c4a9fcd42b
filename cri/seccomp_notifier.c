#include "cri/seccomp_notifier.h"

#include <errno.h>
#include <linux/seccomp.h>
#include <seccomp.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/json.h"
#include "base/log.h"
#include "base/memory.h"
#include "cri/annotation.h"
#include "cri/container.h"
#include "cri/metric_text.h"

#define ANNOTATION    "seccomp-notifier-action.crio.io"
#define ID_PART       32 /* digits of the container's ID in its socket's name: sun_path is short */
#define STATE_MAX     (64 * 1024) /* bytes of a runtime's message */
#define FDS_MAX       8           /* descriptors in it */
#define SOURCES_MAX   64          /* processes of one container that brought a descriptor each */
#define CALLS_MAX     512         /* names of one container; there are fewer */
#define MESSAGE_MAX   4000        /* bytes of what is told of them */
#define SEND_DEADLINE (10 * NSEC_PER_SEC)
#define STOP_DELAY    (5 * NSEC_PER_SEC)

/* One descriptor on which the kernel asks. */
struct source {
        int fd; /* or -1 */
        struct watch *watch;
        struct seccomp_notifier *notifier;
};

struct call {
        char *name;
        unsigned long long count;
};

struct seccomp_notifier {
        struct container *container; /* which owns this */
        int fd;
        struct watch *watch;
        bool stops;
        struct source sources[SOURCES_MAX];
        struct call calls[CALLS_MAX];
        size_t call_count;
        struct timer *timer;
};

/* Of all containers, ended ones too. */
static struct call totals[CALLS_MAX];
static size_t total_count;

static unsigned long long count_call(struct call *calls, size_t *count, const char *name)
{
        for (size_t i = 0; i < *count; i++)
                if (strcmp(calls[i].name, name) == 0)
                        return ++calls[i].count;
        if (*count == CALLS_MAX)
                return 0;
        calls[(*count)++] = (struct call){xstrdup(name), 1};
        return 1;
}

/* ---- stopping ---- */

static int by_name(const void *a, const void *b)
{
        const struct call *left = a, *right = b;
        return strcmp(left->name, right->name);
}

/* "Used forbidden syscalls: keyctl (1x), swapoff (2x)" */
static char *describe(struct seccomp_notifier *notifier)
{
        AUTO_BUFFER struct buffer text = BUFFER_INIT;
        qsort(notifier->calls, notifier->call_count, sizeof *notifier->calls, by_name);
        buffer_add_text(&text, "Used forbidden syscalls: ");
        for (size_t i = 0; i < notifier->call_count && text.length < MESSAGE_MAX; i++)
                buffer_printf(&text, "%s%s (%llux)", i ? ", " : "", notifier->calls[i].name,
                              notifier->calls[i].count);
        return xstrdup(text.data);
}

static void stop_container(void *argument)
{
        AUTO_CONTAINER struct container *container = argument;
        struct error err;
        /* Why comes first, into both records (after a reboot there is but one): the next daemon
         * finds the exit alone. */
        task_lock(&container->lock, CLOCK_NEVER);
        if (container_may_run(container) &&
            (container_save_run(container, &err) < 0 || container_save(container, true, &err) < 0))
                log_failure(&err, "the container's record is not up to date", "container",
                            container->id, NULL);
        task_unlock(&container->lock);
        if (container_may_run(container) && container_end(container, &err) < 0)
                log_failure(&err, "stopping a container for its system calls", "container",
                            container->id, NULL);
}

static void time_is_over(void *argument)
{
        struct seccomp_notifier *notifier = argument;
        struct container *container = notifier->container;
        timer_free(take_ptr(notifier->timer));
        if (!container_may_run(container) || container->forbidden_calls)
                return;
        container->forbidden_calls = describe(notifier);
        log_warning("stopping the container for its system calls", "container", container->id,
                    "calls", container->forbidden_calls, NULL);
        task_start("stop for system calls", stop_container, container_ref(container));
}

/* ---- calls ---- */

static void note_call(struct seccomp_notifier *notifier, const struct seccomp_notif *asked)
{
        char number[32];
        char *known = seccomp_syscall_resolve_num_arch(asked->data.arch, asked->data.nr);
        snprintf(number, sizeof number, "%d", asked->data.nr);
        const char *name = known ? known : number;
        if (count_call(notifier->calls, &notifier->call_count, name) == 1)
                log_warning("seccomp keeps a system call back", "container",
                            notifier->container->id, "call", name, NULL);
        count_call(totals, &total_count, name);
        free(known);
        if (notifier->stops) {
                timer_free(notifier->timer);
                notifier->timer = timer_new(clock_after(STOP_DELAY), time_is_over, notifier);
        }
}

static void drop_source(struct source *source)
{
        watch_free(take_ptr(source->watch));
        if (source->fd >= 0)
                close(source->fd);
        source->fd = -1;
}

/*
 * One call. It is answered even when it has gone meanwhile: then nobody hears it. The kernel wants
 * the structure zeroed. Reading does not wait: whenever the kernel says that there is a call it has
 * counted it, and tells ENOENT where its process was killed since.
 */
static void answer_one(struct source *source)
{
        struct seccomp_notif asked = {0};
        if (ioctl(source->fd, SECCOMP_IOCTL_NOTIF_RECV, &asked) < 0) {
                if (errno != ENOENT && errno != EINTR)
                        drop_source(source);
                return;
        }
        note_call(source->notifier, &asked);
        struct seccomp_notif_resp answer = {.id = asked.id, .error = -ENOSYS};
        ioctl(source->fd, SECCOMP_IOCTL_NOTIF_SEND, &answer);
}

static void source_ready(void *argument, uint32_t events)
{
        struct source *source = argument;
        if (events & EPOLLIN)
                answer_one(source);
        else if (events & (EPOLLHUP | EPOLLERR)) /* nobody is under this filter any more */
                drop_source(source);
}

static int add_source(struct seccomp_notifier *notifier, int fd, struct error *err)
{
        for (size_t i = 0; i < SOURCES_MAX; i++) {
                struct source *source = &notifier->sources[i];
                if (source->fd >= 0)
                        continue;
                source->watch = watch_new(fd, EPOLLIN, source_ready, source, err);
                if (!source->watch)
                        return err->number;
                source->fd = fd;
                return 0;
        }
        return error_set(err, ERROR_RESOURCE_EXHAUSTED,
                         "more than %d processes of it are traced already", SOURCES_MAX);
}

/* ---- what a runtime brings ---- */

/* Which of the descriptors is the one, as the message's fds name them; -1 where none is. */
static int find_named(const char *message, size_t length, struct error *err)
{
        AUTO_JSON json_t *state = NULL;
        json_t *names = NULL;
        size_t index;
        const json_t *name;
        if (json_parse(message, length, "container process state", &state, err) < 0 ||
            json_get_array(state, "fds", "container process state", &names, err) < 0)
                return -1;
        json_array_foreach (names, index, name)
                if (json_is_string(name) && strcmp(json_string_value(name), "seccompFd") == 0)
                        return (int)index;
        error_set(err, ERROR_INVALID_ARGUMENT, "container process state: no seccompFd");
        return -1;
}

/* The descriptor, or -1. */
static int take_message(int connection, struct error *err)
{
        AUTO_FREE char *message = xcalloc(1, STATE_MAX);
        union {
                char bytes[CMSG_SPACE(FDS_MAX * sizeof(int))];
                struct cmsghdr align;
        } control;
        struct iovec part = {.iov_base = message, .iov_len = STATE_MAX};
        struct msghdr header = {.msg_iov = &part,
                                .msg_iovlen = 1,
                                .msg_control = control.bytes,
                                .msg_controllen = sizeof control.bytes};
        ssize_t length = recvmsg(connection, &header, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
        if (length < 0)
                return error_errno(err, errno, "receive"), -1;
        struct cmsghdr *first = CMSG_FIRSTHDR(&header);
        int fds[FDS_MAX];
        size_t count = 0;
        if (first && first->cmsg_level == SOL_SOCKET && first->cmsg_type == SCM_RIGHTS) {
                count = (first->cmsg_len - CMSG_LEN(0)) / sizeof(int);
                memcpy(fds, CMSG_DATA(first), count * sizeof(int));
        }
        int wanted = find_named(message, (size_t)length, err);
        if (wanted >= (int)count) {
                error_set(err, ERROR_INVALID_ARGUMENT, "a descriptor is missing");
                wanted = -1;
        }
        for (size_t i = 0; i < count; i++)
                if ((int)i != wanted)
                        close(fds[i]);
        return wanted < 0 ? -1 : fds[wanted];
}

struct delivery {
        struct container *container;
        int connection;
};

static int receive(struct container *container, int connection, struct error *err)
{
        int result = task_wait_fd(connection, EPOLLIN, clock_after(SEND_DEADLINE), NULL);
        if (result < 0)
                return error_errno(err, result, "wait for the runtime");
        int fd = take_message(connection, err);
        if (fd < 0)
                return err->number;
        result = container->notifier ? add_source(container->notifier, fd, err) : -ECANCELED;
        if (result < 0)
                close(fd);
        return result == -ECANCELED ? 0 : result;
}

static void receive_task(void *argument)
{
        struct delivery *delivery = argument;
        struct error err = {0};
        if (receive(delivery->container, delivery->connection, &err) < 0)
                log_failure(&err, "system calls of a process are not traced", "container",
                            delivery->container->id, NULL);
        close(delivery->connection);
        container_unref(delivery->container);
        free(delivery);
}

static void connection_ready(void *argument, uint32_t events)
{
        struct seccomp_notifier *notifier = argument;
        (void)events;
        int connection = accept4(notifier->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
        if (connection < 0)
                return;
        struct delivery *delivery = xcalloc(1, sizeof *delivery);
        *delivery = (struct delivery){container_ref(notifier->container), connection};
        task_start("receive a seccomp descriptor", receive_task, delivery);
}

/* ---- its life ---- */

bool seccomp_notifier_is_wanted(const struct container *container)
{
        return annotation_of_container(container, ANNOTATION) != NULL;
}

char *seccomp_notifier_path(const struct container *container)
{
        return xprintf("%s/seccomp/%.*s", node.config->run_dir, ID_PART, container->id);
}

static int listen_at(const char *path, struct error *err)
{
        struct sockaddr_un address = {.sun_family = AF_UNIX};
        if (strlen(path) >= sizeof address.sun_path)
                return error_set(err, ERROR_FAILED_PRECONDITION, "%s: too long for a socket", path),
                       -1;
        strcpy(address.sun_path, path);
        AUTO_FREE char *folder = xstrndup(path, (size_t)(strrchr(path, '/') - path));
        if (mkdir(folder, 0700) < 0 && errno != EEXIST)
                return error_errno(err, errno, "make folder %s", folder), -1;
        AUTO_FD int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        unlink(path); /* an earlier daemon's */
        if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof address) < 0 ||
            listen(fd, SOMAXCONN) < 0)
                return error_errno(err, errno, "listen on %s", path), -1;
        return take_fd(&fd);
}

int seccomp_notifier_open(struct container *container, struct error *err)
{
        if (container->notifier)
                return 0;
        AUTO_FREE char *path = seccomp_notifier_path(container);
        int fd = listen_at(path, err);
        if (fd < 0)
                return error_context(err, "seccomp notifier");
        const char *action = annotation_of_container(container, ANNOTATION);
        struct seccomp_notifier *notifier = xcalloc(1, sizeof *notifier);
        notifier->container = container;
        notifier->fd = fd;
        notifier->stops = action && strcmp(action, "stop") == 0;
        for (size_t i = 0; i < SOURCES_MAX; i++) {
                notifier->sources[i].fd = -1;
                notifier->sources[i].notifier = notifier;
        }
        container->notifier = notifier;
        notifier->watch = watch_new(fd, EPOLLIN, connection_ready, notifier, err);
        if (notifier->watch)
                return 0;
        seccomp_notifier_close(container);
        return error_context(err, "seccomp notifier");
}

void seccomp_notifier_close(struct container *container)
{
        struct seccomp_notifier *notifier = take_ptr(container->notifier);
        if (!notifier)
                return;
        AUTO_FREE char *path = seccomp_notifier_path(container);
        unlink(path);
        watch_free(notifier->watch);
        close(notifier->fd);
        for (size_t i = 0; i < SOURCES_MAX; i++)
                drop_source(&notifier->sources[i]);
        for (size_t i = 0; i < notifier->call_count; i++)
                free(notifier->calls[i].name);
        timer_free(notifier->timer);
        free(notifier);
}

void seccomp_notifier_write_metrics(struct buffer *text)
{
        static const char name[] = "crisp_seccomp_notified_calls_total";
        metric_head(text, name, METRIC_COUNTER,
                    "System calls that a traced container's seccomp profile kept back, by name.");
        for (size_t i = 0; i < total_count; i++)
                metric_sample(text, name, "syscall", totals[i].name, (double)totals[i].count);
}
