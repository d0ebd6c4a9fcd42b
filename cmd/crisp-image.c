/*
 * crisp-image: fetches one image for the daemon, or runs another errand of its with images.
 * image/request.h and image/offline_request.h say how the two speak.
 */
#include <curl/curl.h>
#include <errno.h>
#include <jansson.h>
#include <locale.h>
#include <malloc.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/arena.h"
#include "base/buffer.h"
#include "image/fetch/confine.h"
#include "image/fetch/desk.h"
#include "image/fetch/errand.h"
#include "image/fetch/fetch.h"
#include "image/fetch/limits.h"
#include "image/fetch/load.h"
#include "image/fetch/stop.h"
#include "image/request.h"

#define READ_SIZE      4096
#define TRUST_WAIT     1000 /* ms, between two looks */
#define EXIT_RESULT    0
#define EXIT_ERROR     1
#define EXIT_USAGE     2
#define EXIT_CANCELLED 3

static pthread_mutex_t output_mutex = PTHREAD_MUTEX_INITIALIZER;

/* Secrets pass through jansson; what it frees is overwritten. */
static void wiping_free(void *pointer)
{
        if (pointer)
                explicit_bzero(pointer, malloc_usable_size(pointer));
        free(pointer);
}

/* A reply is written as a whole: the lock orders the lines of several threads. */
static void say_line(const char *line)
{
        size_t length = strlen(line);

        pthread_mutex_lock(&output_mutex);
        for (size_t at = 0; at < length;) {
                ssize_t written = write(STDOUT_FILENO, line + at, length - at);
                if (written < 0 && errno == EINTR)
                        continue;
                if (written < 0)
                        break; /* the daemon is gone, and the layers go on */
                at += (size_t)written;
        }
        pthread_mutex_unlock(&output_mutex);
}

static void say(const struct fetch_reply *reply)
{
        AUTO_FREE char *line = reply_encode(reply);
        say_line(line);
}

static void say_offline(void *argument, const struct offline_reply *reply)
{
        (void)argument;
        AUTO_FREE char *line = offline_reply_encode(reply);
        say_line(line);
}

static void say_progress(void *argument, const struct fetch_progress *progress)
{
        struct fetch_reply reply = {.kind = FETCH_PROGRESS, .progress = *progress};
        say(&reply);
}

static int say_error(const struct error *err)
{
        struct fetch_reply reply = {.kind = FETCH_ERROR, .error = *err};
        say(&reply);
        return EXIT_ERROR;
}

static int read_line(struct buffer *line, struct error *err)
{
        for (;;) {
                char *space = buffer_reserve(line, READ_SIZE);
                ssize_t count = read(STDIN_FILENO, space, READ_SIZE);
                if (count < 0 && errno == EINTR)
                        continue;
                if (count < 0)
                        return error_errno(err, errno, "request");
                if (count == 0)
                        return error_set(err, ERROR_INVALID_ARGUMENT,
                                         "request: expected a line of JSON");
                char *end = memchr(space, '\n', (size_t)count);
                line->length += (size_t)(end ? end - space : count);
                if (end)
                        return 0;
                if (line->length > REQUEST_LINE_MAX)
                        return error_set(err, ERROR_INVALID_ARGUMENT, "request: more than %u bytes",
                                         REQUEST_LINE_MAX);
        }
}

static struct stop trusted; /* set when the daemon has said so */
static struct stop never;
static struct desk desk;

static void hear_line(const char *line, size_t length)
{
        AUTO_ARENA struct arena *arena = arena_new();
        enum fetch_verdict verdict;
        const char *diff_id;
        struct error err;

        if (length == 0)
                stop_set(&trusted);
        else if (answer_decode(line, length, arena, &diff_id, &verdict, &err) == 0)
                desk_answer(&desk, diff_id, verdict);
}

/*
 * The daemon holds the other end of stdin; the kernel closes it when the daemon dies. What is half
 * done then goes on for a while: the next daemon takes over the layers that are whole. Nothing of
 * ours is worth an orderly end: the staging folder goes as a whole.
 */
static void *watch_stdin(void *argument)
{
        char line[ANSWER_LINE_MAX];
        size_t length = 0;

        for (;;) {
                ssize_t count = read(STDIN_FILENO, line + length, sizeof(line) - length);
                if (count < 0 && errno == EINTR)
                        continue;
                if (count <= 0)
                        break;
                length += (size_t)count;
                char *end;
                while ((end = memchr(line, '\n', length))) {
                        hear_line(line, (size_t)(end - line));
                        length -= (size_t)(end + 1 - line);
                        memmove(line, end + 1, length);
                }
                if (length == sizeof(line))
                        break;
        }
        desk_close(&desk);
        stop_wait(&never, FETCH_DETACHED_TIME);
        _exit(EXIT_CANCELLED);
        return argument;
}

static void say_want(void *argument, const struct fetch_want *want)
{
        struct fetch_reply reply = {.kind = FETCH_WANT, .want = *want};
        say(&reply);
}

static void say_layer(void *argument, const struct fetch_layer *layer)
{
        struct fetch_reply reply = {.kind = FETCH_LAYER, .layer = *layer};
        say(&reply);
}

/* The daemon has what was signed verified by a process that has no network, and kills us where it
 * does not hold. */
static int say_signatures(void *argument, const struct fetch_signatures *found, struct error *err)
{
        struct fetch_reply reply = {.kind = FETCH_SIGNATURES, .found = *found};
        say(&reply);
        while (!stop_wait(&trusted, TRUST_WAIT))
                if (desk_is_closed(&desk))
                        return error_set(err, ERROR_CANCELLED, "the daemon is gone");
        return 0;
}

/* libcurl reads the proxy of plain http in small letters only, for the sake of CGI programs; who
 * sets up a node writes it as the others. Before there are threads. */
static void complete_proxy(void)
{
        const char *proxy = getenv("HTTP_PROXY");
        if (proxy && *proxy && !getenv("http_proxy"))
                setenv("http_proxy", proxy, 0);
}

static int set_up(struct error *err)
{
        int r = confine_start(OFFLINE_FD + 1, err);
        if (r < 0)
                return r;
        signal(SIGPIPE, SIG_IGN);
        /* Without it libarchive cannot read names in PAX headers. */
        if (!setlocale(LC_CTYPE, "C.UTF-8"))
                return error_set(err, ERROR_INTERNAL, "the locale C.UTF-8 is missing");
        json_set_alloc_funcs(malloc, wiping_free);
        complete_proxy();
        if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK)
                return error_set(err, ERROR_INTERNAL, "libcurl does not start");
        return 0;
}

static int pull(const struct buffer *line, struct error *err)
{
        static const struct fetch_listener LISTENER = {.progress = say_progress,
                                                       .found = say_signatures,
                                                       .want = say_want,
                                                       .layer = say_layer,
                                                       .desk = &desk};
        AUTO_ARENA struct arena *arena = arena_new();
        AUTO_LOADED struct loaded loaded = {0};
        struct fetch_request request = {0};
        struct fetch_reply reply = {.kind = FETCH_RESULT};
        struct stop stop;
        pthread_t watcher;

        int r = request_decode(line->data ? line->data : "", line->length, arena, &request, err);
        if (r != 0)
                return r;
        r = load_request(&request, &loaded, err);
        request_wipe(&request);
        if (r < 0)
                return r;
        if (request.staging[0] != '/')
                return error_set(err, ERROR_INVALID_ARGUMENT, "request: staging: no such folder");
        struct confine_box box = {
                .folders = {{.path = request.staging, .place = CONFINE_STAGING, .writable = true}},
                .folder_count = 1,
                .network = true,
        };
        if ((r = confine_close(&box, err)) < 0)
                return r;
        request.staging = box.folders[0].path;
        stop_init(&trusted);
        stop_init(&never);
        desk_init(&desk);
        int number = pthread_create(&watcher, NULL, watch_stdin, NULL);
        if (number != 0)
                return error_errno(err, number, "starting a thread");

        stop_init(&stop);
        r = fetch_run(&request, &loaded, &stop, &LISTENER, arena, &reply.result, err);
        if (r == 0)
                say(&reply);
        return r;
}

/* An errand ends with whoever asked for it. */
static void *watch_asker(void *argument)
{
        char byte;
        ssize_t count;

        do
                count = read(STDIN_FILENO, &byte, 1);
        while (count > 0 || (count < 0 && errno == EINTR));
        _exit(EXIT_CANCELLED);
        return argument;
}

static int run_errand(const struct buffer *line, struct error *err)
{
        AUTO_ARENA struct arena *arena = arena_new();
        struct confine_box box;
        struct errand errand;
        pthread_t watcher;

        int r = errand_open(line->data, line->length, arena, &errand, &box, err);
        if (r < 0)
                return r;
        r = confine_close(&box, err);
        if (r == 0) {
                int number = pthread_create(&watcher, NULL, watch_asker, NULL);
                r = number == 0 ? errand_run(&errand, &box, say_offline, NULL, arena, err)
                                : error_errno(err, number, "starting a thread");
        }
        errand_fini(&errand);
        return r;
}

static int run(struct error *err)
{
        struct buffer line = BUFFER_INIT;
        enum offline_kind kind = OFFLINE_PULL;

        int r = read_line(&line, err);
        if (r == 0)
                r = offline_request_kind(line.data ? line.data : "", line.length, &kind, err);
        if (r == 0)
                r = kind == OFFLINE_PULL ? pull(&line, err) : run_errand(&line, err);
        if (line.data)
                explicit_bzero(line.data, line.capacity);
        buffer_fini(&line);
        return r;
}

int main(int argc, char **argv)
{
        struct error err = {0};

        if (argc != 1 || isatty(STDIN_FILENO)) {
                fprintf(stderr, "crisp-image is started by crisp, once for each task; it takes no "
                                "arguments and reads its request from standard input.\n");
                return EXIT_USAGE;
        }
        int r = set_up(&err);
        if (r == 0)
                r = run(&err);
        return r < 0 ? say_error(&err) : EXIT_RESULT;
}
