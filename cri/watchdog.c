#include "cri/watchdog.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/task.h"

#define ROUNDS 3                  /* calls in the time that the service manager allows */
#define SAID   "a call to itself" /* for errors */

/* HTTP/2 (RFC 9113), as much of it as one call needs. */
#define FRAME_HEADER  9     /* bytes: length (3), type, flags, stream (4) */
#define FRAME_MAX     16384 /* bytes of a frame, where nobody asked for more */
#define FRAMES_MAX    64    /* of an answer; it has about six */
#define FRAME_DATA    0
#define FRAME_RESET   3
#define FRAME_GOAWAY  7
#define STREAM        1
#define MESSAGE_START 5 /* bytes before each gRPC message: compressed or not, length */

/*
 * The whole request, ready: the preface, empty SETTINGS, HEADERS without Huffman codes or table
 * (RFC 7541, 6.2.2 and indexed fields of the static table), and DATA with an empty message.
 */
#define PATH         "/runtime.v1.RuntimeService/Version"
#define CONTENT_TYPE "application/grpc"
/* clang-format off */
static const char request[] =
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
        "\0\0\0" "\4" "\0" "\0\0\0\0"
        "\0\0\x51" "\1" "\4" "\0\0\0\1"
        "\x83"                                /* :method: POST */
        "\x86"                                /* :scheme: http */
        "\x04" "\x22" PATH                    /* :path */
        "\x01" "\x09" "localhost"             /* :authority */
        "\x0f\x10" "\x10" CONTENT_TYPE        /* content-type */
        "\x00" "\x02" "te" "\x08" "trailers"
        "\0\0\5" "\0" "\1" "\0\0\0\1"
        "\0\0\0\0\0";
/* clang-format on */
#define HEADERS_LENGTH                                                                             \
        (2 + 2 + (sizeof PATH - 1) + 2 + sizeof "localhost" - 1 + 3 + sizeof CONTENT_TYPE - 1 +    \
         2 + 2 + 1 + 8)
_Static_assert(sizeof PATH - 1 == 0x22 && sizeof CONTENT_TYPE - 1 == 0x10, "lengths in request");
_Static_assert(HEADERS_LENGTH == 0x51, "the length of the HEADERS frame in request");

static int connect_to(const char *path, struct error *err)
{
        struct sockaddr_un address = {.sun_family = AF_UNIX};
        if (strlen(path) >= sizeof address.sun_path)
                return error_set(err, ERROR_INVALID_ARGUMENT, "%s: too long for a socket", path);
        memcpy(address.sun_path, path, strlen(path) + 1);
        AUTO_FD int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        if (fd < 0)
                return error_errno(err, errno, SAID ": socket");
        /* EAGAIN: more wait to be accepted than the socket holds, which is no answer either. */
        if (connect(fd, (struct sockaddr *)&address, sizeof address) < 0)
                return error_errno(err, errno, SAID ": connect to %s", path);
        return take_fd(&fd);
}

static int wait_for(int fd, uint32_t events, int64_t deadline, struct error *err)
{
        int result = task_wait_fd(fd, events, deadline, NULL);
        return result < 0 ? error_errno(err, -result, SAID) : 0;
}

static int send_all(int fd, const char *data, size_t length, int64_t deadline, struct error *err)
{
        while (length) {
                ssize_t count = send(fd, data, length, MSG_NOSIGNAL);
                if (count < 0 && errno != EAGAIN && errno != EINTR)
                        return error_errno(err, errno, SAID ": send");
                if (count > 0) {
                        data += count;
                        length -= (size_t)count;
                        continue;
                }
                int result = wait_for(fd, EPOLLOUT, deadline, err);
                if (result < 0)
                        return result;
        }
        return 0;
}

static int receive_all(int fd, char *data, size_t length, int64_t deadline, struct error *err)
{
        while (length) {
                ssize_t count = recv(fd, data, length, 0);
                if (count == 0)
                        return error_set(err, ERROR_UNAVAILABLE, SAID ": hung up");
                if (count < 0 && errno != EAGAIN && errno != EINTR)
                        return error_errno(err, errno, SAID ": receive");
                if (count > 0) {
                        data += count;
                        length -= (size_t)count;
                        continue;
                }
                int result = wait_for(fd, EPOLLIN, deadline, err);
                if (result < 0)
                        return result;
        }
        return 0;
}

/* A gRPC error has no DATA: what has some of ours is the answer, and the rest need not be read. */
static int receive_answer(int fd, int64_t deadline, struct error *err)
{
        AUTO_FREE char *body = malloc(FRAME_MAX);
        if (!body)
                return error_set(err, ERROR_RESOURCE_EXHAUSTED, SAID ": out of memory");
        for (int frames = 0; frames < FRAMES_MAX; frames++) {
                unsigned char head[FRAME_HEADER];
                int result = receive_all(fd, (char *)head, sizeof head, deadline, err);
                if (result < 0)
                        return result;
                size_t length = (size_t)head[0] << 16 | (size_t)head[1] << 8 | head[2];
                if (length > FRAME_MAX)
                        return error_set(err, ERROR_INTERNAL, SAID ": a frame of %zu bytes",
                                         length);
                result = receive_all(fd, body, length, deadline, err);
                if (result < 0)
                        return result;
                if (head[3] == FRAME_RESET || head[3] == FRAME_GOAWAY)
                        break;
                if (head[3] == FRAME_DATA && head[8] == STREAM && length > MESSAGE_START)
                        return 0;
        }
        return error_set(err, ERROR_INTERNAL, SAID ": refused");
}

int watchdog_ask(const char *socket, int64_t deadline, struct error *err)
{
        AUTO_FD int fd = connect_to(socket, err);
        if (fd < 0)
                return fd;
        int result = send_all(fd, request, sizeof request - 1, deadline, err);
        return result < 0 ? result : receive_answer(fd, deadline, err);
}

struct watchdog {
        const char *socket;
        int64_t pause; /* ns between two calls, and the time that one has */
};

static void watch_task(void *argument)
{
        struct watchdog *watchdog = argument;
        for (;;) {
                struct error err = {0};
                int64_t next = clock_monotonic() + watchdog->pause;
                if (watchdog_ask(watchdog->socket, next, &err) == 0)
                        sd_notify(0, "WATCHDOG=1");
                else
                        log_failure(&err, "the watchdog got no answer", NULL);
                task_sleep_until(next);
        }
}

void watchdog_start(const char *socket)
{
        static struct watchdog watchdog;
        uint64_t allowed = 0; /* us */
        if (sd_watchdog_enabled(0, &allowed) <= 0)
                return;
        watchdog = (struct watchdog){.socket = socket,
                                     .pause = (int64_t)(allowed / ROUNDS) * NSEC_PER_USEC};
        task_start("watchdog", watch_task, &watchdog);
}
