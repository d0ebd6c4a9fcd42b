#include "image/fetcher.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "base/buffer.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/json.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/process.h"
#include "base/task.h"
#include "image/box.h"

#define READ_STEP       65536
#define DECODE_INLINE   16384 /* bytes of a line that is decoded on the loop's thread */
#define DRAIN_READS_MAX 64
#define READS_AT_A_TIME 8    /* before other tasks get their turn */
#define WANTS_MAX       4096 /* questions about layers: each is remembered, and asked once */

struct fetcher {
        const struct fetcher_options *options;
        const struct fetcher_errand *errand; /* null: a pull */
        struct process process;
        int request_fd; /* open until the end: closing it tells crisp-image to give up */
        int reply_fd;
        int log_fd;
        struct watch *log_watch;
        char log_line[FETCHER_LOG_LINE_MAX + 1]; /* the last one, or the one that is coming */
        size_t log_length;
        bool log_line_ended;
        unsigned log_lines;
        struct buffer replies;
        struct arena *arena;
        enum fetch_reply_kind last; /* FETCH_RESULT or FETCH_ERROR once it came */
        bool wants_signatures;      /* and has not heard of them yet */
        bool deaf;                  /* killed because it does not read the answers */
        unsigned wants;             /* questions about layers */
        struct fetch_result result;
        struct error told;
};

/* ---- its log ---- */

static void log_line(struct fetcher *fetcher)
{
        fetcher->log_line[fetcher->log_length] = '\0';
        fetcher->log_line_ended = true;
        if (fetcher->log_length == 0 || fetcher->log_lines > FETCHER_LOG_LINES_MAX)
                return;
        if (fetcher->log_lines++ == FETCHER_LOG_LINES_MAX)
                log_info("crisp-image says more than is logged", NULL);
        else
                log_info("crisp-image", "says", fetcher->log_line, NULL);
}

static void log_bytes(struct fetcher *fetcher, const char *bytes, size_t length)
{
        for (size_t i = 0; i < length; i++) {
                if (bytes[i] == '\n') {
                        if (!fetcher->log_line_ended)
                                log_line(fetcher);
                        continue;
                }
                if (fetcher->log_line_ended) {
                        fetcher->log_line_ended = false;
                        fetcher->log_length = 0;
                }
                if (fetcher->log_length < FETCHER_LOG_LINE_MAX)
                        fetcher->log_line[fetcher->log_length++] = bytes[i];
        }
}

static void read_log(void *argument, uint32_t events)
{
        struct fetcher *fetcher = argument;
        char bytes[4096];
        ssize_t count = read(fetcher->log_fd, bytes, sizeof(bytes));
        if (count > 0) {
                log_bytes(fetcher, bytes, (size_t)count);
                return;
        }
        if (count < 0 && (errno == EAGAIN || errno == EINTR))
                return;
        watch_free(fetcher->log_watch);
        fetcher->log_watch = NULL;
}

/* Hears what is left after its end. */
static void drain_log(struct fetcher *fetcher)
{
        char bytes[4096];
        ssize_t count;
        for (int i = 0; i < DRAIN_READS_MAX; i++) {
                count = read(fetcher->log_fd, bytes, sizeof(bytes));
                if (count <= 0)
                        break;
                log_bytes(fetcher, bytes, (size_t)count);
        }
        if (!fetcher->log_line_ended)
                log_line(fetcher);
}

/* What it said last, for an error. */
static const char *last_words(struct fetcher *fetcher)
{
        fetcher->log_line[fetcher->log_length] = '\0';
        return fetcher->log_length ? fetcher->log_line : "it said nothing";
}

/* ---- start and end ---- */

static int start(struct fetcher *fetcher, struct error *err)
{
        const struct fetcher_options *options = fetcher->options;
        struct process_options child = PROCESS_OPTIONS_INIT;
        char *argv[] = {(char *)(uintptr_t) "crisp-image", NULL};
        int in[2], out[2], errors[2];

        /* A socket, since writing to one whose reader is gone can be had without a signal. */
        if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, in) < 0)
                return error_errno(err, errno, "start crisp-image: socket");
        AUTO_FD int their_in = in[1];
        fetcher->request_fd = in[0];
        if (pipe2(out, O_CLOEXEC) < 0)
                return error_errno(err, errno, "start crisp-image: pipe");
        AUTO_FD int their_out = out[1];
        fetcher->reply_fd = out[0];
        if (pipe2(errors, O_CLOEXEC) < 0)
                return error_errno(err, errno, "start crisp-image: pipe");
        AUTO_FD int their_errors = errors[1];
        fetcher->log_fd = errors[0];
        fcntl(fetcher->reply_fd, F_SETFL, O_NONBLOCK);
        fcntl(fetcher->log_fd, F_SETFL, O_NONBLOCK);

        fetcher->log_watch = watch_new(fetcher->log_fd, EPOLLIN, read_log, fetcher, err);
        if (!fetcher->log_watch)
                return error_context(err, "start crisp-image");
        child.path = options->program;
        child.argv = argv;
        child.environment = options->environment;
        child.stdin_fd = their_in;
        child.stdout_fd = their_out;
        child.stderr_fd = their_errors;
        if (fetcher->errand && fetcher->errand->fd >= 0)
                child.extra_fds[child.extra_fd_count++] = fetcher->errand->fd;
        child.namespaces = BOX_NAMESPACES;
        if (options->place) {
                child.cgroup_fd = options->place->cgroup_fd;
                child.cgroup_v1_tasks = options->place->cgroup_v1_tasks;
        }
        return process_start(&child, &fetcher->process, err);
}

/*
 * Ends the process if it has not ended by itself. Gives its status, or -EAGAIN where even a kill
 * does not end it (its disk hangs): then it is left to be reaped whenever it ends.
 */
static int end(struct fetcher *fetcher, bool kill_now, int *status)
{
        bool was = task_set_interruptible(false);
        for (int i = 0; i < 2; i++) {
                if (kill_now || i > 0)
                        process_kill(&fetcher->process);
                if (task_wait_fd(fetcher->process.pidfd, EPOLLIN, clock_after(FETCHER_END_WAIT),
                                 NULL) == 0)
                        break;
        }
        /* Its group goes with it: nobody may write to the staging folder any more. Before the
         * reaping, while the number is still its own. */
        process_kill(&fetcher->process);
        int result = process_reap(&fetcher->process, status);
        if (result < 0)
                process_abandon(&fetcher->process);
        task_set_interruptible(was);
        return result;
}

struct record_job {
        char *path;
        char *text;
        struct error *err;
};

static int record_work(void *argument)
{
        struct record_job *job = argument;
        return file_replace_volatile(job->path, job->text, strlen(job->text), 0600, job->err);
}

/* By what the next daemon knows whose folder it is. Without, it removes the folder. */
static void record(struct fetcher *fetcher, const struct fetch_request *request)
{
        AUTO_JSON json_t *object = json_object();
        AUTO_BUFFER struct buffer boot_id = BUFFER_INIT;
        struct error err;
        json_object_set_new(object, "pid", json_integer(fetcher->process.pid));
        json_object_set_new(object, "start_time",
                            json_integer((json_int_t)process_start_time(fetcher->process.pid)));
        if (file_read(FETCHER_BOOT_ID, 64, &boot_id, NULL) == 0)
                boot_id.data[strcspn(boot_id.data, "\n")] = '\0';
        json_object_set_new(object, "boot_id", json_string(boot_id.data ? boot_id.data : ""));
        json_object_set_new(object, "reference", json_string(request->reference));
        AUTO_FREE char *path = xprintf("%s/" FETCHER_RECORD, request->staging);
        AUTO_FREE char *text = json_text(object);
        struct record_job job = {path, text, &err};
        if (task_offload(record_work, &job) < 0)
                log_failure(&err, "crisp-image's process could not be recorded", NULL);
}

static void fini(struct fetcher *fetcher)
{
        watch_free(fetcher->log_watch);
        if (fetcher->request_fd >= 0)
                close(fetcher->request_fd);
        if (fetcher->reply_fd >= 0)
                close(fetcher->reply_fd);
        if (fetcher->log_fd >= 0)
                close(fetcher->log_fd);
        buffer_fini(&fetcher->replies);
}

/* ---- what is said ---- */

static int64_t sooner(const struct fetcher *fetcher)
{
        int64_t stall = clock_after(fetcher->options->stall);
        return stall < fetcher->options->deadline ? stall : fetcher->options->deadline;
}

static int why_waiting_ended(const struct fetcher *fetcher, int result, struct error *err)
{
        if (result == -ECANCELED)
                return error_set(err, ERROR_CANCELLED, "nobody waits for it any more");
        if (clock_monotonic() >= fetcher->options->deadline)
                return error_set(err, ERROR_DEADLINE_EXCEEDED, "it took too long");
        return error_set(err, ERROR_DEADLINE_EXCEEDED, "nothing came for %lld s",
                         (long long)(fetcher->options->stall / NSEC_PER_SEC));
}

/* Wipes and frees text. */
static int send_request(struct fetcher *fetcher, char *text, struct error *err)
{
        size_t length = strlen(text), sent = 0;
        int result = 0;
        while (sent < length) {
                ssize_t count = send(fetcher->request_fd, text + sent, length - sent,
                                     MSG_DONTWAIT | MSG_NOSIGNAL);
                if (count >= 0) {
                        sent += (size_t)count;
                        continue;
                }
                if (errno == EINTR)
                        continue;
                if (errno != EAGAIN)
                        break; /* it has gone: its replies or its end say why */
                result = task_wait_fd(fetcher->request_fd, EPOLLOUT, sooner(fetcher), NULL);
                if (result < 0) {
                        why_waiting_ended(fetcher, result, err);
                        break;
                }
        }
        request_wipe_text(text);
        free(text);
        return result;
}

struct decode_job {
        const char *line;
        size_t length;
        struct arena *arena;
        struct fetch_reply *reply;
        struct offline_reply *errand; /* in place of reply */
        struct error *err;
};

static int decode_work(void *argument)
{
        struct decode_job *job = argument;
        if (job->errand)
                return offline_reply_decode(job->line, job->length, job->arena, job->errand,
                                            job->err);
        return reply_decode(job->line, job->length, job->arena, job->reply, job->err);
}

static int broken(struct error *err, const char *how)
{
        return error_set(err, ERROR_INTERNAL, "crisp-image %s", how);
}

/* It waits for a word before it fetches the first layer. */
static int hear_signatures(struct fetcher *fetcher, const struct fetch_signatures *found,
                           struct error *err)
{
        if (!fetcher->wants_signatures)
                return broken(err, "tells of signatures that nobody asked for");
        fetcher->wants_signatures = false;
        int result = fetcher->options->on_signatures(fetcher->options->argument, found, err);
        if (result < 0)
                return result;
        /* Where it has gone, its end says why. */
        send(fetcher->request_fd, "\n", 1, MSG_DONTWAIT | MSG_NOSIGNAL);
        return 0;
}

void fetcher_answer(struct fetcher *fetcher, const char *diff_id, enum fetch_verdict verdict)
{
        AUTO_FREE char *line = answer_encode(diff_id, verdict);
        size_t length = strlen(line);
        ssize_t sent = send(fetcher->request_fd, line, length, MSG_DONTWAIT | MSG_NOSIGNAL);
        /* It reads all the time: one that does not is broken. One that has gone has its end heard
         * elsewhere. */
        if (sent >= 0 ? (size_t)sent != length : errno == EAGAIN) {
                fetcher->deaf = true;
                process_kill(&fetcher->process);
        }
}

/* Whether the reply was about a layer. */
static bool hear_layer(struct fetcher *fetcher, const struct fetch_reply *reply)
{
        const struct fetcher_options *options = fetcher->options;
        if (reply->kind == FETCH_PROGRESS)
                options->on_progress(options->argument, &reply->progress);
        else if (reply->kind == FETCH_WANT && options->on_want)
                options->on_want(options->argument, fetcher, &reply->want);
        else if (reply->kind == FETCH_WANT)
                fetcher_answer(fetcher, reply->want.diff_id, FETCH_ANSWER_FETCH);
        else if (reply->kind == FETCH_LAYER && options->on_layer)
                options->on_layer(options->argument, &reply->layer);
        else
                return reply->kind == FETCH_LAYER;
        return true;
}

static int decode(struct fetcher *fetcher, struct decode_job *job, struct error *err)
{
        if (fetcher->last)
                return broken(err, "speaks on after its last word");
        int result =
                job->length > DECODE_INLINE ? task_offload(decode_work, job) : decode_work(job);
        if (result == 0)
                return 0;
        struct error why = *err;
        return error_set(err, ERROR_INTERNAL, "crisp-image speaks rubbish: %s", why.message);
}

static int hear_errand(struct fetcher *fetcher, const char *line, size_t length, struct error *err)
{
        AUTO_ARENA struct arena *arena = arena_new();
        struct offline_reply reply;
        struct decode_job job = {line, length, arena, NULL, &reply, err};
        int result = decode(fetcher, &job, err);
        if (result < 0)
                return result;
        if (reply.kind == OFFLINE_SAYS_ERROR) {
                fetcher->last = FETCH_ERROR;
                fetcher->told = reply.error;
                return 0;
        }
        if (reply.kind == OFFLINE_SAYS_DONE)
                fetcher->last = FETCH_RESULT;
        return fetcher->errand->on_reply(fetcher->errand->argument, &reply, &arena, err);
}

static int hear_line(struct fetcher *fetcher, const char *line, size_t length, struct error *err)
{
        AUTO_ARENA struct arena *arena = arena_new();
        struct fetch_reply reply;
        struct decode_job job = {line, length, arena, &reply, NULL, err};
        int result = decode(fetcher, &job, err);
        if (result < 0)
                return result;
        if (reply.kind == FETCH_WANT && ++fetcher->wants > WANTS_MAX)
                return broken(err, "asks about too many layers");
        if (hear_layer(fetcher, &reply))
                return 0;
        if (reply.kind == FETCH_SIGNATURES)
                return hear_signatures(fetcher, &reply.found, err);
        if (reply.kind == FETCH_RESULT && fetcher->wants_signatures)
                return broken(err, "has a result without having told of signatures");
        fetcher->last = reply.kind;
        if (reply.kind == FETCH_ERROR) {
                fetcher->told = reply.error;
                return 0;
        }
        /* The result outlives this line: its arena takes the place of the caller's empty one. */
        fetcher->result = reply.result;
        fetcher->arena = take_ptr(arena);
        return 0;
}

static int hear_lines(struct fetcher *fetcher, size_t from, struct error *err)
{
        struct buffer *replies = &fetcher->replies;
        size_t start_of_line = 0;
        char *newline;
        while ((newline = memchr(replies->data + from, '\n', replies->length - from))) {
                size_t end_of_line = (size_t)(newline - replies->data);
                int (*hear_one)(struct fetcher *, const char *, size_t, struct error *) =
                        fetcher->errand ? hear_errand : hear_line;
                int result = hear_one(fetcher, replies->data + start_of_line,
                                      end_of_line - start_of_line, err);
                if (result < 0)
                        return result;
                from = start_of_line = end_of_line + 1;
        }
        buffer_consume(replies, start_of_line);
        if (replies->length >= REPLY_LINE_MAX)
                return broken(err, "sends a line without end");
        return 0;
}

/* Until it closes its end, or has said its last word and somebody else holds that open. */
static int hear(struct fetcher *fetcher, struct error *err)
{
        for (;;) {
                int64_t deadline = fetcher->last ? clock_after(FETCHER_END_WAIT) : sooner(fetcher);
                int result = task_wait_fd(fetcher->reply_fd, EPOLLIN, deadline, NULL);
                if (result == -ETIMEDOUT && fetcher->last)
                        return 0;
                if (result < 0)
                        return why_waiting_ended(fetcher, result, err);
                for (int i = 0; i < READS_AT_A_TIME; i++) {
                        size_t before = fetcher->replies.length;
                        char *to = buffer_reserve(&fetcher->replies, READ_STEP);
                        ssize_t count = read(fetcher->reply_fd, to, READ_STEP);
                        if (count < 0 && (errno == EAGAIN || errno == EINTR))
                                break;
                        if (count < 0)
                                return error_errno(err, errno, "read crisp-image's replies");
                        if (count == 0)
                                return before ? broken(err, "ends within a line") : 0;
                        fetcher->replies.length += (size_t)count;
                        result = hear_lines(fetcher, before, err);
                        if (result < 0)
                                return result;
                }
        }
}

static int judge_end(struct fetcher *fetcher, int status, struct error *err)
{
        if (fetcher->last == FETCH_ERROR) {
                if (err)
                        *err = fetcher->told;
                return fetcher->told.number;
        }
        if (WIFSIGNALED(status) && WTERMSIG(status) == SIGSYS)
                return error_set(err, ERROR_INTERNAL,
                                 "crisp-image was stopped at a system call that its box does not "
                                 "allow (the kernel's audit log, type=1326, names it): %s",
                                 last_words(fetcher));
        if (fetcher->deaf)
                return broken(err, "does not read what it is told");
        if (WIFSIGNALED(status))
                return error_set(err, ERROR_INTERNAL, "crisp-image was killed by signal %d: %s",
                                 WTERMSIG(status), last_words(fetcher));
        if (WEXITSTATUS(status) != 0)
                return error_set(err, ERROR_INTERNAL, "crisp-image ended with status %d: %s",
                                 WEXITSTATUS(status), last_words(fetcher));
        if (fetcher->last != FETCH_RESULT)
                return error_set(err, ERROR_INTERNAL, "crisp-image ended without a result: %s",
                                 last_words(fetcher));
        return 0;
}

/* The whole conversation, about a pull or (null) an errand; wipes and frees text. */
static int converse(struct fetcher *fetcher, const struct fetch_request *pull, char *text,
                    bool *ended, struct error *err)
{
        int status = 0;
        fetcher->process.pidfd = fetcher->request_fd = fetcher->reply_fd = fetcher->log_fd = -1;
        *ended = true;

        int r = start(fetcher, err);
        if (r < 0) {
                request_wipe_text(text);
                free(text);
                return r;
        }
        if (pull)
                record(fetcher, pull);
        r = send_request(fetcher, text, err);
        if (r == 0)
                r = hear(fetcher, err);
        *ended = end(fetcher, r < 0, &status) == 0;
        drain_log(fetcher);
        if (r == 0)
                r = *ended ? judge_end(fetcher, status, err) : broken(err, "does not end");
        return r;
}

int fetcher_run(const struct fetcher_options *options, const struct fetch_request *request,
                struct arena **arena, struct fetch_result *result, bool *ended, struct error *err)
{
        struct fetcher *fetcher = xcalloc(1, sizeof(*fetcher));
        fetcher->options = options;
        fetcher->wants_signatures = request->wants_signatures;

        int r = converse(fetcher, request, request_encode(request), ended, err);
        if (r == 0) {
                *result = fetcher->result;
                *arena = take_ptr(fetcher->arena);
        }
        arena_free(fetcher->arena);
        fini(fetcher);
        free(fetcher);
        return r;
}

int fetcher_run_errand(const struct fetcher_options *options, const struct fetcher_errand *errand,
                       bool *ended, struct error *err)
{
        struct fetcher *fetcher = xcalloc(1, sizeof(*fetcher));
        fetcher->options = options;
        fetcher->errand = errand;

        int r = converse(fetcher, NULL, offline_request_encode(errand->request), ended, err);
        fini(fetcher);
        free(fetcher);
        return r;
}
