#include "oci/monitor.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/memory.h"
#include "base/task.h"

/* One that waits for its reply; owned by its task. */
struct request {
        struct request *next;
        uint32_t sequence;
        bool done; /* reply is here, or failure says why there will be none */
        int failure;
        struct monitor_message reply;
        struct event changed;
};

struct monitor {
        int fd; /* -1 when the connection has ended */
        struct watch *watch;
        monitor_exit_function *on_exit;
        void *argument;
        struct request *requests;
        uint32_t sequence; /* of the last request */
};

/* ---- what comes from the monitor ---- */

static void finish_request(struct monitor *monitor, struct request **place, int failure)
{
        struct request *request = *place;

        *place = request->next;
        request->done = true;
        request->failure = failure;
        event_signal(&request->changed);
}

static void disconnect(struct monitor *monitor, int failure)
{
        watch_free(monitor->watch);
        monitor->watch = NULL;
        if (monitor->fd >= 0)
                close(take_fd(&monitor->fd));
        while (monitor->requests)
                finish_request(monitor, &monitor->requests, failure);
}

/* The callback is the last that happens: it may free the monitor. */
static void end(struct monitor *monitor, const struct monitor_exit *exit)
{
        disconnect(monitor, -EPIPE);
        monitor->on_exit(monitor->argument, exit);
}

static struct monitor_exit exit_of(const struct monitor_status *status)
{
        return (struct monitor_exit){
                .pid = status->pid,
                .start_time = status->start_time,
                .exit_code = status->exit_code,
                .signal = status->signal,
                .oom_killed = status->oom_killed,
                .finished_at = status->finished_at,
                .log_lost_lines = status->log_lost_lines,
                .journal_lost_lines = status->journal_lost_lines,
        };
}

static void take_reply(struct monitor *monitor, const struct monitor_message *message)
{
        for (struct request **place = &monitor->requests; *place; place = &(*place)->next) {
                if ((*place)->sequence == message->sequence) {
                        (*place)->reply = *message;
                        finish_request(monitor, place, 0);
                        return;
                }
        }
        /* Nobody waits any more: its deadline has passed. */
}

static void receive(void *argument, uint32_t events)
{
        struct monitor *monitor = argument;

        for (;;) {
                struct monitor_message message;
                /* A newer monitor's message may be longer; what we do not know is cut off. */
                ssize_t got = recv(monitor->fd, &message, sizeof(message), MSG_DONTWAIT);

                if (got < 0 && errno == EAGAIN)
                        return;
                /*
                 * A monitor that ends with a request of ours unread leaves ECONNRESET, which comes
                 * once and before what it sent: the exit may still follow.
                 */
                if (got < 0 && (errno == EINTR || errno == ECONNRESET))
                        continue;
                if (got != (ssize_t)sizeof(message)) {
                        end(monitor, NULL);
                        return;
                }
                if (message.type == MONITOR_EXITED) {
                        struct monitor_exit exit = exit_of(&message.body.status);

                        end(monitor, &exit);
                        return;
                }
                take_reply(monitor, &message);
        }
}

/* ---- connecting ---- */

/* A path that is too long for an address is reached through a descriptor of its folder. */
static int make_address(const char *path, struct sockaddr_un *address, int *folder,
                        struct error *err)
{
        const char *name = strrchr(path, '/');
        AUTO_FREE char *directory = NULL;
        int length;

        address->sun_family = AF_UNIX;
        if (strlen(path) < sizeof(address->sun_path)) {
                strcpy(address->sun_path, path);
                return 0;
        }
        directory = name ? xstrndup(path, (size_t)(name - path)) : xstrdup(".");
        *folder = open(directory, O_PATH | O_DIRECTORY | O_CLOEXEC);
        if (*folder < 0)
                return error_errno(err, errno, "connect to monitor: %s", directory);
        length = snprintf(address->sun_path, sizeof(address->sun_path), "/proc/self/fd/%d/%s",
                          *folder, name ? name + 1 : path);
        if (length < 0 || (size_t)length >= sizeof(address->sun_path))
                return error_errno(err, ENAMETOOLONG, "connect to monitor: %s", path);
        return 0;
}

int monitor_connect(const char *socket_path, monitor_exit_function *on_exit, void *argument,
                    struct monitor **monitor, struct error *err)
{
        struct sockaddr_un address = {0};
        AUTO_FD int folder = -1;
        AUTO_FD int fd = -1;
        struct monitor *made;
        int result;

        result = make_address(socket_path, &address, &folder, err);
        if (result < 0)
                return result;
        fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        if (fd < 0)
                return error_errno(err, errno, "connect to monitor: make a socket");
        if (connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0) {
                int number = errno;

                if (number == ECONNREFUSED) {
                        error_set(err, ERROR_NOT_FOUND, "connect to monitor: %s: nobody listens",
                                  socket_path);
                        if (err)
                                err->number = -number;
                        return -number;
                }
                return error_errno(err, number, "connect to monitor: %s", socket_path);
        }

        made = xcalloc(1, sizeof(*made));
        made->on_exit = on_exit;
        made->argument = argument;
        made->fd = fd;
        made->watch = watch_new(fd, EPOLLIN, receive, made, err);
        if (!made->watch) {
                free(made);
                return error_context(err, "connect to monitor");
        }
        take_fd(&fd);
        *monitor = made;
        return 0;
}

pid_t monitor_pid(const struct monitor *monitor)
{
        struct ucred peer;
        socklen_t size = sizeof(peer);

        if (monitor->fd < 0 || getsockopt(monitor->fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) < 0)
                return 0;
        return peer.pid;
}

void monitor_free(struct monitor *monitor)
{
        if (!monitor)
                return;
        disconnect(monitor, -ECANCELED);
        free(monitor);
}

/* ---- requests ---- */

static void forget(struct monitor *monitor, const struct request *request)
{
        for (struct request **place = &monitor->requests; *place; place = &(*place)->next) {
                if (*place == request) {
                        *place = request->next;
                        return;
                }
        }
}

static int send_request(const struct monitor *monitor, const struct monitor_message *request,
                        const int *fds, size_t count)
{
        union {
                struct cmsghdr header;
                char space[CMSG_SPACE(sizeof(int) * MONITOR_ATTACH_FDS)];
        } control = {0};
        struct iovec part = {.iov_base = (void *)request, .iov_len = sizeof(*request)};
        struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};

        if (count) {
                control.header.cmsg_level = SOL_SOCKET;
                control.header.cmsg_type = SCM_RIGHTS;
                control.header.cmsg_len = CMSG_LEN(sizeof(int) * count);
                memcpy(CMSG_DATA(&control.header), fds, sizeof(int) * count);
                message.msg_control = &control;
                message.msg_controllen = CMSG_SPACE(sizeof(int) * count);
        }
        return sendmsg(monitor->fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL) < 0 ? -errno : 0;
}

/* Sends the message, with descriptors, and waits; on success *message is the reply, whatever its
 * result. */
static int ask_with(struct monitor *monitor, const char *what, struct monitor_message *message,
                    const int *fds, size_t count, int64_t deadline, struct error *err)
{
        AUTO_FREE struct request *request = xcalloc(1, sizeof(*request));

        request->sequence = ++monitor->sequence;
        message->version = MONITOR_PROTOCOL_VERSION;
        message->sequence = request->sequence;
        if (monitor->fd < 0 || send_request(monitor, message, fds, count) < 0)
                return error_set(err, ERROR_UNAVAILABLE, "monitor: %s: the connection has ended",
                                 what);
        request->next = monitor->requests;
        monitor->requests = request;
        while (!request->done) {
                int result = task_wait(&request->changed, deadline);

                /* Once it is done it is off the list, and the monitor may be gone. */
                if (result < 0 && !request->done) {
                        forget(monitor, request);
                        return error_errno(err, result, "monitor: %s", what);
                }
        }
        if (request->failure == -ECANCELED)
                return error_errno(err, request->failure, "monitor: %s", what);
        if (request->failure)
                return error_set(err, ERROR_UNAVAILABLE, "monitor: %s: the connection has ended",
                                 what);
        *message = request->reply;
        return 0;
}

static int ask(struct monitor *monitor, const char *what, struct monitor_message *message,
               int64_t deadline, struct error *err)
{
        return ask_with(monitor, what, message, NULL, 0, deadline, err);
}

static int check_result(const char *what, const struct monitor_message *reply, struct error *err)
{
        switch (reply->result) {
        case 0:
                return 0;
        case -ESRCH:
                return error_set(err, ERROR_FAILED_PRECONDITION,
                                 "monitor: %s: the container has ended", what);
        case -ENOTTY:
                return error_set(err, ERROR_FAILED_PRECONDITION,
                                 "monitor: %s: the container has no terminal", what);
        case -ENOSYS:
                return error_set(
                        err, ERROR_UNIMPLEMENTED,
                        "monitor: %s: the container's monitor is of an older version, which "
                        "cannot; a container that is started anew can",
                        what);
        default:
                return error_errno(err, reply->result, "monitor: %s", what);
        }
}

int monitor_get_status(struct monitor *monitor, int64_t deadline, struct monitor_status *status,
                       struct error *err)
{
        struct monitor_message message = {.type = MONITOR_STATUS};
        int result = ask(monitor, "status", &message, deadline, err);

        if (!result)
                result = check_result("status", &message, err);
        if (!result)
                *status = message.body.status;
        return result;
}

int monitor_resize(struct monitor *monitor, uint16_t rows, uint16_t columns, int64_t deadline,
                   struct error *err)
{
        struct monitor_message message = {
                .type = MONITOR_RESIZE,
                .body.resize = {.rows = rows, .columns = columns},
        };
        int result = ask(monitor, "resize", &message, deadline, err);

        return result ? result : check_result("resize", &message, err);
}

int monitor_reopen_log(struct monitor *monitor, int64_t deadline, struct error *err)
{
        struct monitor_message message = {.type = MONITOR_REOPEN_LOG};
        int result = ask(monitor, "reopen the log", &message, deadline, err);

        return result ? result : check_result("reopen the log", &message, err);
}

int monitor_attach(struct monitor *monitor, const struct monitor_ends *ends, int64_t deadline,
                   bool *has_input, struct error *err)
{
        const int all[] = {ends->input, ends->output, ends->errors};
        struct monitor_message message = {.type = MONITOR_ATTACH};
        int fds[MONITOR_ATTACH_FDS] = {ends->control};
        size_t count = 1;
        int result;

        for (unsigned i = 0; i < sizeof(all) / sizeof(*all); i++) {
                if (all[i] < 0)
                        continue;
                message.body.attach.flags |= MONITOR_ATTACH_INPUT << i;
                fds[count++] = all[i];
        }
        result = ask_with(monitor, "attach", &message, fds, count, deadline, err);
        if (!result && message.result == -EUSERS)
                return error_set(err, ERROR_RESOURCE_EXHAUSTED,
                                 "monitor: attach: %d clients are attached already, which is the "
                                 "most that a container has",
                                 MONITOR_ATTACH_MAX);
        if (!result)
                result = check_result("attach", &message, err);
        if (!result)
                *has_input = message.body.attach.flags & MONITOR_ATTACH_INPUT;
        return result;
}
