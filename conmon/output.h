/*
 * output: our ends of the container's stdio, and what comes out of them into the log and to those
 * who are attached.
 *
 * They are kept in the places of our own stdio, which we do not use: so no stray write of libc to
 * descriptor 2 can meet a client, and we hold no more descriptors than needed.
 */
#ifndef CRISP_CONMON_OUTPUT_H
#define CRISP_CONMON_OUTPUT_H

#include <stdbool.h>
#include <stddef.h>

#include "conmon/attach.h"
#include "conmon/crilog.h"
#include "conmon/protocol.h"
#include "conmon/text.h"

#define OUTPUT_READ_SIZE (64 * 1024) /* bytes; what a pipe holds */

enum output_place { PLACE_STDIN = 0, PLACE_STDOUT = 1, PLACE_STDERR = 2 };

/* Indexes of what is read. With a terminal the first is the terminal. */
enum { OUTPUT_STDOUT, OUTPUT_STDERR, OUTPUTS };
_Static_assert(ATTACH_STREAMS == OUTPUTS, "who is attached gets all of them");

struct output {
        bool open[OUTPUTS];
        bool from_runtime;   /* what comes is the runtime's, not the container's: it goes to
                                runtime_text */
        bool terminal_stays; /* the first output is a terminal that may be opened again: its hang-up
                                is no end */
        bool hung_up;        /* nobody has the terminal open just now: polling it would spin */
        struct crilog log;
        struct journal journal;
        struct text runtime_text; /* the end of what the runtime wrote */
        struct crilog_stream streams[OUTPUTS];
        /* Last, so that only those pages are touched that are needed. */
        char chunk[OUTPUT_READ_SIZE];
        char pending[OUTPUTS][CRILOG_LINE_MAX];
        char runtime_text_memory[MONITOR_REPORT_TEXT_MAX + 1];
        struct attach attach;
};

/* Expects zeroes. runtime_text_max: bytes. */
void output_init(struct output *output, size_t runtime_text_max);

/* Moves a descriptor into a place, and makes it close-on-exec. Returns 0 or a negative errno; fd is
 * closed either way. */
int output_settle(int fd, enum output_place place);

/* The descriptor to poll, or -1: also while somebody who is attached is behind. */
int output_poll_fd(const struct output *output, unsigned which);

/* One read, never waiting. Returns its bytes; 0 when there is nothing, or nothing more, in which
 * case the output is closed. */
size_t output_read(struct output *output, unsigned which);

/*
 * Reads all that was written up to now, and not what others go on to write: so that whoever learns
 * of the container's end finds the whole output in the log.
 */
void output_drain(struct output *output);

/* Writes what is pending to the log. */
void output_close(struct output *output, unsigned which);

bool output_any_open(const struct output *output);

#endif
