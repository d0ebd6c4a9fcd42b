/*
 * conmon_private: what conmon/conmon*.c share: the monitor's state, and what is done when something
 * happens. For nobody else.
 */
#ifndef CRISP_CONMON_CONMON_PRIVATE_H
#define CRISP_CONMON_CONMON_PRIVATE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "conmon/clients.h"
#include "conmon/conmon.h"
#include "conmon/console.h"
#include "conmon/oom.h"
#include "conmon/output.h"
#include "conmon/record.h"
#include "conmon/shim.h"

#define CONMON_NEVER INT64_MAX

enum state {
        CREATING,   /* the runtime's command runs, or the shim is asked */
        RUNNING,    /* the container's first process lives */
        FLUSHING,   /* the shim has told its end; its last output is on the way */
        UNRECORDED, /* it ended; the record could not be written yet */
        LINGERING,  /* it ended and that is recorded; its output is still open */
        DONE,
        STATES = DONE,
};

enum happening {
        CHILD_CHANGED, /* SIGCHLD came */
        OUTPUT_READY,
        ATTACH_SERVED, /* those who are attached have taken or given something, or were let go */
        CONSOLE_READY,
        REQUEST_CAME,
        SHIM_READY, /* there is something to read from the shim */
        TIME_CAME,  /* the deadline that the state has set */
        HAPPENINGS,
};

struct conmon {
        const struct conmon_options *options;
        enum state state;
        int64_t deadline; /* monotonic ns, or CONMON_NEVER */
        int64_t linger_end;
        pid_t runtime;
        struct exit_record end; /* pid and start time at first */
        struct oom_watch memory;
        bool ended;
        bool recorded;
        bool has_terminal;
        int shim;             /* the connection to it, or -1 */
        bool shim_stdin;      /* the container's stdin is open, and the shim keeps it so */
        unsigned shim_losses; /* one after the other, without an answer between them */
        struct shim_reader shim_reader;
        struct clients clients;
        struct console console;
        struct output output;
};

/* What is done when something happens; returns the next state. which: an output's or a client's
 * index, and 0 elsewhere. */
typedef enum state conmon_handler(struct conmon *m, unsigned which);

/* ---- conmon_creating.c: until the container is there ---- */

conmon_handler conmon_runtime_changed, conmon_receive_console, conmon_collect_output;

/* ---- conmon_end.c: from its end on ---- */

conmon_handler conmon_container_changed, conmon_reap_others, conmon_record_end;
conmon_handler conmon_linger_output, conmon_linger_attached, conmon_finish;
/* How it ended is in m->end: writes that down, tells it, and returns the next state. */
enum state conmon_tell_end(struct conmon *m);
/* Whether what ended it was a kill for want of memory. */
bool conmon_oom_killed(const struct conmon *m);
/* Writes the exit record. False where it could not be written: on a full disk. */
bool conmon_write_record(const struct conmon *m);
/* From now on its last words are waited for, to a bound. */
void conmon_expect_last_words(struct conmon *m);

/* ---- conmon_shim.c: a container that a shim runs ---- */

conmon_handler conmon_shim_created, conmon_shim_told, conmon_shim_attach_served;
conmon_handler conmon_shim_flush, conmon_shim_flushed;
/* Ends the connection, where there is one. */
void conmon_shim_close(struct conmon *m);

/* ---- conmon_requests.c: what is asked over the socket ---- */

/* which is a client's index, or MONITOR_CLIENTS_MAX: somebody new. */
conmon_handler conmon_reply;
/* Tells all clients how the container ended. */
void conmon_announce_end(struct conmon *m);

#endif
