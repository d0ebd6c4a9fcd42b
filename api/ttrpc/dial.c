#include "api/ttrpc/client.h"

#include <errno.h>
#include <stddef.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "base/task.h"

#define BACKLOG_PAUSE (10 * NSEC_PER_MSEC)

static const char *skip(const char *address, const char *prefix)
{
        size_t length = strlen(prefix);
        return strncmp(address, prefix, length) == 0 ? address + length : NULL;
}

static int make_address(const char *text, struct sockaddr_un *address, socklen_t *length,
                        struct error *err)
{
        const char *path = skip(text, "unix://");
        if (!path)
                path = skip(text, "unix:");
        if (!path && strstr(text, "://"))
                return error_set(err, ERROR_INVALID_ARGUMENT,
                                 "address %.200s: only unix sockets are spoken to", text);
        bool bare = !path;
        if (bare)
                path = text;
        size_t size = strlen(path);
        if (size < 2 || size >= sizeof address->sun_path)
                return error_set(err, ERROR_INVALID_ARGUMENT,
                                 "address %.200s: a socket's path has 2 to %d bytes", text,
                                 TTRPC_ADDRESS_MAX - 1);
        address->sun_family = AF_UNIX;
        /* An abstract name has no final zero; all that its length covers counts. */
        if (*path == '@')
                memcpy(address->sun_path + 1, path + 1, --size);
        else if (bare && *path != '/')
                memcpy(address->sun_path + 1, path, size);
        else
                memcpy(address->sun_path, path, size);
        *length = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + size + 1);
        return 0;
}

int ttrpc_dial(const char *text, int64_t deadline, int *fd, struct error *err)
{
        struct sockaddr_un address = {0};
        socklen_t length = 0;
        int result = make_address(text, &address, &length, err);
        if (result < 0)
                return result;
        AUTO_FD int made = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        if (made < 0)
                return error_errno(err, errno, "connect to %s: make a socket", text);
        while (connect(made, (struct sockaddr *)&address, length) < 0) {
                int number = errno;
                if (number == EAGAIN && clock_monotonic() < deadline)
                        result = task_sleep_until(clock_after(BACKLOG_PAUSE));
                else if (number != EINTR)
                        result = -number;
                if (result == -ECONNREFUSED) {
                        error_set(err, ERROR_NOT_FOUND, "connect to %s: nobody listens", text);
                        return -ENOENT;
                }
                if (result < 0)
                        return error_errno(err, result, "connect to %s", text);
        }
        *fd = take_fd(&made);
        return 0;
}
