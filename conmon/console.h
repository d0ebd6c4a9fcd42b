/*
 * console: the socket on which an OCI runtime hands over the master side of a container's terminal
 * (--console-socket).
 */
#ifndef CRISP_CONMON_CONSOLE_H
#define CRISP_CONMON_CONSOLE_H

#include <sys/un.h>

struct console {
        int listener;
        int connection;             /* the runtime's, -1 until it came */
        int folder;                 /* keeps a long path reachable, or -1 */
        struct sockaddr_un address; /* sun_path is what the runtime is told */
        const char *path;           /* borrowed */
};

#define CONSOLE_NONE                                                                               \
        {                                                                                          \
                .listener = -1, .connection = -1, .folder = -1                                     \
        }

/* Listens at path. Returns 0 or a negative errno. */
int console_listen(struct console *console, const char *path);

/*
 * Goes as far as it can without waiting: accepts the runtime's connection, receives the terminal
 * (close-on-exec, non-blocking) and returns it, and closes everything else. -EAGAIN as long as it
 * has not come; another negative errno when it will not.
 */
int console_receive(struct console *console);

/* Closes and removes the socket. */
void console_close(struct console *console);

#endif
