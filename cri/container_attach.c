/* Attach: the container's own streams, which its monitor shares out. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/memory.h"
#include "base/task.h"
#include "cri/container.h"
#include "cri/stream/bounds.h"
#include "cri/streaming.h"

#define ATTACH_TIME (10 * NSEC_PER_SEC) /* for the monitor's answer */

/* From the call to the end of its session. */
struct attachment {
        struct container *container; /* counted */
        bool input, output, errors;
        int control; /* our end; the monitor lets go of who closes it. Or -1 */
};

/* Both ends of a pipe, ours first. */
struct ends {
        int ours, theirs;
};

static void close_one(int *fd)
{
        if (*fd >= 0)
                close(take_fd(fd));
}

static int make_pipe(bool we_read, struct ends *ends, struct error *err)
{
        int fds[2];
        if (pipe2(fds, O_CLOEXEC | O_NONBLOCK) < 0)
                return error_errno(err, errno, "attach: make a pipe");
        *ends = we_read ? (struct ends){fds[0], fds[1]} : (struct ends){fds[1], fds[0]};
        return 0;
}

enum { CONTROL, INPUT, OUTPUT, ERRORS, PIPES };

static int make_pipes(const struct attachment *attachment, struct ends pipes[PIPES],
                      struct error *err)
{
        const bool wanted[PIPES] = {true, attachment->input, attachment->output,
                                    attachment->errors};
        int result = 0;
        for (int i = 0; i < PIPES && result == 0; i++)
                if (wanted[i])
                        result = make_pipe(i != INPUT, &pipes[i], err);
        return result;
}

static int attach(struct attachment *attachment, struct ends pipes[PIPES], struct error *err)
{
        struct container *container = attachment->container;
        bool has_input = false;
        int result = container_require_running(container, err);
        if (result < 0)
                return result;
        if (!container->monitor)
                return error_set(err, ERROR_UNAVAILABLE, "its monitor is not connected");
        result = make_pipes(attachment, pipes, err);
        const struct monitor_ends ends = {pipes[CONTROL].theirs, pipes[INPUT].theirs,
                                          pipes[OUTPUT].theirs, pipes[ERRORS].theirs};
        if (result == 0)
                result = monitor_attach(container->monitor, &ends, clock_after(ATTACH_TIME),
                                        &has_input, err);
        if (result < 0 && err->code == ERROR_RESOURCE_EXHAUSTED)
                bound_reached(BOUND_ATTACH_CLIENTS);
        if (result == 0 && !has_input)
                close_one(&pipes[INPUT].ours);
        return result;
}

static int open_attachment(void *attachment_, struct stream_ends *ends, struct error *err)
{
        struct attachment *attachment = attachment_;
        struct ends pipes[PIPES] = {{-1, -1}, {-1, -1}, {-1, -1}, {-1, -1}};
        bool interruptible = task_set_interruptible(true);
        int result = attach(attachment, pipes, err);
        task_set_interruptible(interruptible);
        if (result == 0) {
                attachment->control = take_fd(&pipes[CONTROL].ours);
                attachment->container->sessions++;
                *ends = (struct stream_ends){take_fd(&pipes[INPUT].ours),
                                             take_fd(&pipes[OUTPUT].ours),
                                             take_fd(&pipes[ERRORS].ours)};
        }
        for (int i = 0; i < PIPES; i++) {
                close_one(&pipes[i].ours);
                close_one(&pipes[i].theirs);
        }
        return result < 0 ? error_context(err, "container %s", attachment->container->id) : 0;
}

/* The container's end is no failure of the attach, however it ended. */
static int wait_attachment(void *attachment_, int *exit_code, struct error *err)
{
        struct attachment *attachment = attachment_;
        char why = 0;
        bool interruptible = task_set_interruptible(true);
        int result = task_wait_fd(attachment->control, EPOLLIN, CLOCK_NEVER, NULL);
        task_set_interruptible(interruptible);
        if (result < 0)
                return error_errno(err, result, "wait for the container's end");
        if (read(attachment->control, &why, 1) == 1 && why == MONITOR_ATTACH_TOO_SLOW) {
                bound_reached(BOUND_ATTACH_PATIENCE);
                return error_set(err, ERROR_RESOURCE_EXHAUSTED,
                                 "container %s: its output was not taken for too long; it goes on "
                                 "without this client",
                                 attachment->container->id);
        }
        *exit_code = 0;
        return 0;
}

static void resize_attachment(void *attachment_, uint16_t rows, uint16_t columns)
{
        struct attachment *attachment = attachment_;
        struct container *container = attachment->container;
        /* One that has ended, or has no terminal, has no size either. */
        const struct runtime_handler *handler = container->pod->handler;
        if (handler && handler->kind == RUNTIME_KIND_SHIM)
                runtime_resize(handler, container->id, rows, columns, clock_after(ATTACH_TIME),
                               NULL);
        else if (container->monitor)
                monitor_resize(container->monitor, rows, columns, clock_after(ATTACH_TIME), NULL);
}

static void attachment_free(void *attachment_)
{
        struct attachment *attachment = attachment_;
        if (attachment->control >= 0)
                attachment->container->sessions--;
        close_one(&attachment->control);
        container_unref(attachment->container);
        free(attachment);
}

static const struct stream_backend backend = {
        .open = open_attachment,
        .resize = resize_attachment,
        .wait = wait_attachment,
        .close = attachment_free,
};

static void *make_attachment(struct container *container, const void *request_)
{
        const Runtime__V1__AttachRequest *request = request_;
        struct attachment *attachment = xcalloc(1, sizeof *attachment);
        *attachment = (struct attachment){
                .container = container_ref(container),
                .input = request->stdin,
                .output = request->stdout,
                /* A terminal has one output. */
                .errors = request->stderr && !container_config(container)->tty,
                .control = -1,
        };
        return attachment;
}

int container_attach_handler(struct rpc *rpc, const void *request_, void *response_,
                             struct error *err)
{
        static const struct streaming_call call = {
                STREAM_ATTACH, "attach", container_require_running, make_attachment, &backend};
        const Runtime__V1__AttachRequest *request = request_;
        Runtime__V1__AttachResponse *response = response_;
        const struct streaming_wish wish = {request->container_id, request->tty, request->stdin,
                                            request->stdout, request->stderr};
        return streaming_offer_container(&call, &wish, request, rpc, &response->url, err);
}
