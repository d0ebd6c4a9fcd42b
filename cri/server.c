#include "cri/server.h"

#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/un.h>

#include <grpc/grpc.h>
#include <grpc/grpc_security.h>
#include <grpc/support/log.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/task.h"
#include "cri/call.h"

#define SOCKET_UMASK 0117 /* leaves 0660 */

/* What calls that were cancelled at the end get to let go of what they hold. */
#define UNWIND_TIME (200 * NSEC_PER_MSEC)

/* Of gRPC's threads, which we cannot give attributes, and of ours: address space, and a bound on
 * what a huge page may take. */
#define THREAD_STACK_SIZE (512 * 1024)

struct server {
        struct dispatch *dispatch;
        struct call_set calls;
        grpc_server *grpc;
        grpc_completion_queue *queue;
        pthread_t thread;
        bool thread_started;
        bool shut_down; /* asked to */
        struct call_operation shutdown_done;
};

/* ---- gRPC's own words ---- */

/* The last error that gRPC logged: a bind that fails has its reason nowhere else. */
static struct {
        pthread_mutex_t lock;
        char text[512];
} last_words = {.lock = PTHREAD_MUTEX_INITIALIZER};

static void log_grpc(gpr_log_func_args *line)
{
        const char *file = strrchr(line->file, '/');
        char place[128];

        if (line->severity == GPR_LOG_SEVERITY_ERROR) {
                pthread_mutex_lock(&last_words.lock);
                snprintf(last_words.text, sizeof last_words.text, "%s", line->message);
                pthread_mutex_unlock(&last_words.lock);
        }
        snprintf(place, sizeof place, "%s:%d", file ? file + 1 : line->file, line->line);
        log_write(line->severity == GPR_LOG_SEVERITY_ERROR ? LOG_LEVEL_WARNING : LOG_LEVEL_DEBUG,
                  "grpc", "text", line->message, "place", place, NULL);
}

/* ---- the server's thread ---- */

static void *server_main(void *argument)
{
        struct server *server = argument;

        for (;;) {
                grpc_event event = grpc_completion_queue_next(
                        server->queue, gpr_inf_future(GPR_CLOCK_MONOTONIC), NULL);
                if (event.type == GRPC_QUEUE_SHUTDOWN)
                        return NULL;
                if (event.type != GRPC_OP_COMPLETE)
                        continue;
                call_operation_end(&server->calls, event.tag, event.success);
        }
}

/* All connections are gone. Tasks may still have calls in their hands. */
static void shutdown_done(void *owner, bool ok)
{
        struct server *server = owner;

        (void)ok;
        call_set_server_gone(&server->calls);
}

static int start_thread(struct server *server, struct error *err)
{
        int result = pthread_create(&server->thread, NULL, server_main, server);

        if (result)
                return error_errno(err, result, "start the CRI server's thread");
        server->thread_started = true;
        pthread_setname_np(server->thread, "cri-server");
        return 0;
}

/* ---- start ---- */

static grpc_arg integer_arg(const char *name, int value)
{
        return (grpc_arg){.type = GRPC_ARG_INTEGER, .key = (char *)name, .value.integer = value};
}

static grpc_server *new_grpc_server(size_t message_max)
{
        grpc_arg args[] = {
                integer_arg(GRPC_ARG_MAX_RECEIVE_MESSAGE_LENGTH, (int)message_max),
                integer_arg(GRPC_ARG_MAX_SEND_MESSAGE_LENGTH, (int)message_max),
                /* A unix socket has no bandwidth to estimate, and who may open it may ping it. */
                integer_arg(GRPC_ARG_HTTP2_BDP_PROBE, 0),
                integer_arg(GRPC_ARG_HTTP2_MAX_PING_STRIKES, 0),
                /* Tables about the server that nobody asks for. */
                integer_arg(GRPC_ARG_ENABLE_CHANNELZ, 0),
                integer_arg(GRPC_ARG_MAX_CHANNEL_TRACE_EVENT_MEMORY_PER_NODE, 0),
                integer_arg(GRPC_ARG_ENABLE_CENSUS, 0),
        };
        grpc_channel_args list = {sizeof args / sizeof *args, args};

        return grpc_server_create(&list, NULL);
}

/* The path of "unix:///PATH" or "/PATH". */
static int listen_path(const char *listen, const char **path, struct error *err)
{
        const char *start = strncmp(listen, "unix://", 7) == 0 ? listen + 7 : listen;
        struct sockaddr_un address;

        if (*start != '/')
                return error_set(err, ERROR_INVALID_ARGUMENT,
                                 "listen on %s: not an absolute path of a unix socket", listen);
        if (strlen(start) >= sizeof address.sun_path)
                return error_set(err, ERROR_INVALID_ARGUMENT,
                                 "listen on %s: a unix socket's path has at most %zu bytes", listen,
                                 sizeof address.sun_path - 1);
        *path = start;
        return 0;
}

static int bind_socket(struct server *server, const char *path, struct error *err)
{
        AUTO_FREE char *address = xprintf("unix:%s", path);
        grpc_server_credentials *credentials = grpc_insecure_server_credentials_create();
        char reason[sizeof last_words.text];

        pthread_mutex_lock(&last_words.lock);
        last_words.text[0] = '\0';
        pthread_mutex_unlock(&last_words.lock);
        /* gRPC binds with the umask, and a chmod afterwards would leave a moment in which others
         * may connect. */
        mode_t before = umask(SOCKET_UMASK);
        int bound = grpc_server_add_http2_port(server->grpc, address, credentials);
        umask(before);
        grpc_server_credentials_release(credentials);
        if (bound)
                return 0;
        pthread_mutex_lock(&last_words.lock);
        snprintf(reason, sizeof reason, "%s", last_words.text);
        pthread_mutex_unlock(&last_words.lock);
        return error_set(err, ERROR_INTERNAL, "listen on %s: %s", path,
                         *reason ? reason : "the socket could not be made");
}

/* With all signals blocked, which every thread started here inherits. */
static int start(struct server *server, const struct server_options *options, struct error *err)
{
        const char *path = NULL;
        int result = listen_path(options->listen, &path, err);

        if (result < 0)
                return result;
        server->grpc = new_grpc_server(server->calls.message_max);
        server->queue = grpc_completion_queue_create_for_next(NULL);
        grpc_server_register_completion_queue(server->grpc, server->queue, NULL);
        server->calls.server = server->grpc;
        server->calls.queue = server->queue;
        result = bind_socket(server, path, err);
        if (result < 0)
                return result;
        result = start_thread(server, err);
        if (result < 0)
                return result;
        grpc_server_start(server->grpc);
        call_request(&server->calls);
        return 0;
}

int server_start(const struct server_options *options, struct server **server, struct error *err)
{
        struct server *made = xcalloc(1, sizeof *made);
        sigset_t all, before;

        made->dispatch = dispatch_new(options->services, options->service_count);
        made->shutdown_done = (struct call_operation){shutdown_done, made};
        made->calls.dispatch = made->dispatch;
        made->calls.message_max = options->message_max ? options->message_max : SERVER_MESSAGE_MAX;
        made->calls.calls_max = options->calls_max ? options->calls_max : SERVER_CALLS_MAX;
        call_set_init(&made->calls);

#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
        pthread_attr_t attributes;
        pthread_attr_init(&attributes);
        pthread_attr_setstacksize(&attributes, THREAD_STACK_SIZE);
        pthread_setattr_default_np(&attributes);
        pthread_attr_destroy(&attributes);
#endif
        sigfillset(&all);
        pthread_sigmask(SIG_SETMASK, &all, &before);
        gpr_set_log_function(log_grpc);
        grpc_init();
        int result = start(made, options, err);
        pthread_sigmask(SIG_SETMASK, &before, NULL);
        if (result < 0) {
                server_free(made);
                return result;
        }
        *server = made;
        return 0;
}

/* ---- stop ---- */

static void shut_down(struct server *server)
{
        if (server->shut_down)
                return;
        server->shut_down = true;
        grpc_server_shutdown_and_notify(server->grpc, server->queue, &server->shutdown_done);
}

void server_stop(struct server *server, int64_t deadline)
{
        shut_down(server);
        if (call_set_drain(&server->calls, deadline) == 0)
                return;
        grpc_server_cancel_all_calls(server->grpc);
        call_set_drain(&server->calls, clock_after(UNWIND_TIME));
}

/* Whether gRPC has nothing under way any more; then its queue is empty and the thread has ended. */
static bool end(struct server *server)
{
        shut_down(server);
        if (!server->thread_started) {
                /* A start that failed: here is nobody else to take the event. */
                grpc_completion_queue_next(server->queue, gpr_inf_future(GPR_CLOCK_MONOTONIC),
                                           NULL);
                grpc_completion_queue_shutdown(server->queue);
                return true;
        }
        grpc_server_cancel_all_calls(server->grpc);
        if (call_set_end(&server->calls, clock_real() + SERVER_END_MAX) < 0)
                return false;
        grpc_completion_queue_shutdown(server->queue);
        pthread_join(server->thread, NULL);
        return true;
}

void server_free(struct server *server)
{
        if (!server)
                return;
        if (server->grpc && !end(server)) {
                /* The daemon is about to end, and the thread with it; what it still uses must stay.
                 */
                log_warning("the CRI server has connections that do not end", NULL);
                return;
        }
        if (server->grpc)
                grpc_server_destroy(server->grpc);
        if (server->queue)
                grpc_completion_queue_destroy(server->queue);
        grpc_shutdown_blocking();
        call_set_fini(&server->calls);
        dispatch_free(server->dispatch);
        free(server);
}
