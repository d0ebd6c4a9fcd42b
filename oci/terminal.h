/*
 * terminal: the daemon's end of a runtime's --console-socket: where it hands over the master side
 * of a command's terminal. (The monitor's own is conmon/console.h.)
 */
#ifndef CRISP_OCI_TERMINAL_H
#define CRISP_OCI_TERMINAL_H

#include <stdint.h>

#include "base/error.h"

struct terminal {
        int folder; /* keeps a path of any length within reach of sun_path */
        int listener;
        char *path;    /* what the runtime is told: by way of our /proc, heap */
        char name[40]; /* in the folder */
};

#define TERMINAL_NONE                                                                              \
        {                                                                                          \
                .folder = -1, .listener = -1                                                       \
        }

/* Listens at name in the folder. Blocks on a tmpfs alone. */
int terminal_listen(struct terminal *terminal, const char *folder, const char *name,
                    struct error *err);
/* Waits for the terminal; *fd is close-on-exec and non-blocking. Task only, interruptible if the
 * task is. */
int terminal_receive(struct terminal *terminal, int64_t deadline, int *fd, struct error *err);
/* Closes and removes the socket. Zero use is fine after TERMINAL_NONE. */
void terminal_fini(struct terminal *terminal);

/* Gives it a size. -errno when it is gone. */
int terminal_resize(int fd, uint16_t rows, uint16_t columns);

#endif
