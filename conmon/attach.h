/*
 * attach: clients who get the container's output beside the log, and write its input.
 *
 * What is read of the container goes into the log first and then to each of them. While one of them
 * has not taken all of it, nothing more is read: so a client gets whole what it can take at its own
 * pace, as from a terminal, and the container waits meanwhile as it would for any reader. But
 * nobody is waited for who does not move: whoever takes nothing for ATTACH_PATIENCE is let go.
 */
#ifndef CRISP_CONMON_ATTACH_H
#define CRISP_CONMON_ATTACH_H

#include <poll.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "conmon/clock.h"
#include "conmon/protocol.h"

#define ATTACH_STREAMS     2                  /* stdout (or the terminal) and stderr */
#define ATTACH_PATIENCE    (10 * NANOSECONDS) /* without a byte taken by one who is behind */
#define ATTACH_INPUT_SIZE  4096               /* bytes read of a client at a time */
#define ATTACH_BACKLOG_MAX (2 * 1024 * 1024)  /* bytes: a drained pipe of 1 MiB, twice over */
#define ATTACH_SLOTS       (1 + MONITOR_ATTACH_MAX * MONITOR_ATTACH_FDS) /* of what is polled */

struct attached {
        bool used;                   /* the rest counts only then */
        int control;                 /* see protocol.h */
        int input;                   /* what the client writes; -1: nothing, or no more */
        int outputs[ATTACH_STREAMS]; /* -1 likewise */
        size_t done[ATTACH_STREAMS]; /* bytes of the backlog that it has got */
        int64_t patience;            /* monotonic ns; 0 while it is not behind */
};

/* Expects zeroes. */
struct attach {
        struct attached clients[MONITOR_ATTACH_MAX];
        unsigned count;
        bool ended[ATTACH_STREAMS];     /* nothing more comes */
        size_t backlog[ATTACH_STREAMS]; /* bytes of it that somebody has not got yet */
        bool has_input;                 /* the container's input is open at input_fd */
        bool once;                      /* it is closed when the first client's input ends */
        bool closes;                    /* that is so; what is pending is still written */
        int input_fd;
        size_t input_length, input_done;
        /* Last, so that only those pages are touched that are needed. */
        char input[ATTACH_INPUT_SIZE];
        char bytes[ATTACH_STREAMS][ATTACH_BACKLOG_MAX];
};

/* The container has an input, whose other end is ours: a pipe or a terminal, non-blocking. */
void attach_open_input(struct attach *attach, int fd, bool once);

/*
 * Takes a client: control and then those that flags (MONITOR_ATTACH_*) name, in their order. The
 * descriptors are its own, also when it fails: -EINVAL where their number is not what flags say,
 * -EUSERS when MONITOR_ATTACH_MAX are there. The input of a container without one is closed at
 * once.
 */
int attach_add(struct attach *attach, unsigned flags, const int *fds, unsigned count);

/* What came of the container, whose log has it. */
void attach_write(struct attach *attach, unsigned stream, const char *bytes, size_t length);
/* Nothing more comes on the stream. */
void attach_end(struct attach *attach, unsigned stream);

/* Somebody has not got all yet: nothing is to be read of the container. */
bool attach_is_behind(const struct attach *attach);

void attach_fill(const struct attach *attach, struct pollfd slots[ATTACH_SLOTS]);
void attach_serve(struct attach *attach, const struct pollfd slots[ATTACH_SLOTS]);
/* When attach_expire has to be called; INT64_MAX for never. */
int64_t attach_deadline(const struct attach *attach);
/* Lets go of those whose time is over. */
void attach_expire(struct attach *attach, int64_t now);

/* Lets go of all. */
void attach_close(struct attach *attach);

#endif
