/*
 * protocol: what the daemon and its small static programs (crisp-monitor, crisp-pause) say to each
 * other.
 *
 * Monitors outlive daemons, so an old monitor may meet a newer daemon and the other way round.
 * Everything here has a fixed layout in the machine's own byte order. A later version only puts
 * fields into what is reserved or adds them at the end; a receiver takes longer messages, reads
 * what it knows, and answers -ENOSYS to a type that it does not know.
 *
 * On the socket (AF_UNIX, SOCK_SEQPACKET) each message is one struct monitor_message. A client
 * sends requests with a sequence number of its choice; each gets exactly one reply of the same type
 * and number, in order. MONITOR_EXITED comes by itself, once on each connection, with sequence 0:
 * when the container ends, or at once to who connects later. Who does not read loses the
 * connection: the monitor never waits for a client.
 */
#ifndef CRISP_CONMON_PROTOCOL_H
#define CRISP_CONMON_PROTOCOL_H

#include <stdint.h>

#define MONITOR_PROTOCOL_VERSION 1
#define MONITOR_CLIENTS_MAX      8 /* connections at a time; a further one is closed at once */

/* The runtime's command may have this argument: with --terminal the monitor puts its console
 * socket's path there. */
#define MONITOR_CONSOLE_SOCKET "@console-socket@"
#define MONITOR_CONSOLE_SUFFIX                                                                     \
        ".console" /* that socket's name is the monitor's own with this; gone when the terminal    \
                      came */

enum monitor_message_type {
        MONITOR_STATUS = 1, /* request empty; reply: status */
        MONITOR_RESIZE = 2, /* request: resize; -ENOTTY without a terminal */
        MONITOR_REOPEN_LOG =
                3, /* request empty; opens the log's path anew; -ESRCH after the container's end */
        MONITOR_ATTACH = 4,  /* request: attach, with descriptors; see below */
        MONITOR_EXITED = 64, /* from the monitor: status */
};

enum monitor_state {
        MONITOR_CREATING = 0, /* the runtime's create command runs; no pid yet */
        MONITOR_RUNNING = 1,  /* from create's end to the end of the container's first process */
        MONITOR_ENDED = 2,
};

struct monitor_status {
        uint32_t state;      /* enum monitor_state */
        int32_t pid;         /* of the container's first process, 0 while creating */
        uint64_t start_time; /* its start, clock ticks since boot: field 22 of /proc/PID/stat */
        /* the rest, except lost lines, counts in MONITOR_ENDED only */
        int32_t exit_code;   /* 0 to 255; 128 + signal when a signal ended it */
        int32_t signal;      /* or 0 */
        int64_t finished_at; /* ns since 1970 */
        uint8_t oom_killed;
        uint8_t recorded; /* 0: the exit record could not be written yet (disk full); the monitor
                             goes on trying */
        uint8_t reserved[6];
        uint64_t log_lost_lines;     /* log lines that could not be written */
        uint64_t journal_lost_lines; /* that journald did not take; older monitors leave 0 */
};

struct monitor_resize {
        uint16_t rows;
        uint16_t columns;
};

/*
 * An attach request carries descriptors (SCM_RIGHTS) in this order: control, and of the others
 * those that flags name. Each is one end of a pipe or a socket whose other end the daemon, or who
 * it serves, has: the container's input is read from input, and its output written to output and
 * errors from then on (with a terminal all of it to output). control is written to and never read:
 * who closes its other end is let go, and when the monitor lets go it closes it, after a byte
 * MONITOR_ATTACH_TOO_SLOW where that is why. Replies: -EAGAIN before the container runs, -ESRCH
 * after its end, -EUSERS when MONITOR_ATTACH_MAX are attached.
 */
#define MONITOR_ATTACH_MAX      8 /* clients attached at a time */
#define MONITOR_ATTACH_FDS      4
#define MONITOR_ATTACH_INPUT    1u
#define MONITOR_ATTACH_OUTPUT   2u
#define MONITOR_ATTACH_ERRORS   4u
#define MONITOR_ATTACH_TOO_SLOW 's'

struct monitor_attach {
        uint32_t
                flags; /* in a reply MONITOR_ATTACH_INPUT says whether the container has an input */
};

struct monitor_message {
        uint16_t version; /* MONITOR_PROTOCOL_VERSION */
        uint16_t type;    /* enum monitor_message_type */
        uint32_t sequence;
        int32_t result; /* in a reply: 0 or a negative errno; 0 in a request */
        uint32_t reserved;
        union {
                struct monitor_status status;
                struct monitor_resize resize;
                struct monitor_attach attach;
                uint8_t bytes[112];
        } body;
};
_Static_assert(sizeof(struct monitor_message) == 128, "the layout is fixed");

/*
 * What both programs write, once, to the descriptor that they were started with (number
 * MONITOR_REPORT_FD), and then close it. From crisp-monitor: that the container is created, or why
 * not. From crisp-pause: that the namespace's first process stands.
 */
#define MONITOR_REPORT_FD       3
#define MONITOR_REPORT_TEXT_MAX 4096

enum monitor_report_type {
        MONITOR_REPORT_OK = 1,
        MONITOR_REPORT_RUNTIME_FAILED = 2, /* status and text tell */
        MONITOR_REPORT_FAILED =
                3, /* our own failure before the runtime's: number and text (the step) tell */
};

struct monitor_report {
        uint32_t version; /* MONITOR_PROTOCOL_VERSION */
        uint32_t type;    /* enum monitor_report_type */
        int32_t pid;
        int32_t status; /* of the runtime, as of waitpid(2) */
        uint64_t start_time;
        int32_t number;       /* errno value, positive */
        uint32_t text_length; /* at most MONITOR_REPORT_TEXT_MAX; no final zero */
        char text[MONITOR_REPORT_TEXT_MAX];
};
_Static_assert(sizeof(struct monitor_report) == 32 + MONITOR_REPORT_TEXT_MAX,
               "the layout is fixed");

/*
 * The exit record: file MONITOR_EXIT_RECORD in the container's folder, written whole (synced,
 * renamed, folder synced) before anybody is told. Lines of "name=number", in this order; a later
 * version adds lines.
 *
 *     version=1
 *     pid=4711
 *     start_time=123456
 *     exit_code=137
 *     signal=9
 *     oom_killed=1
 *     finished_at=1700000000123456789
 */
#define MONITOR_EXIT_RECORD         "exit"
#define MONITOR_EXIT_RECORD_VERSION 1
#define MONITOR_EXIT_RECORD_MAX     4096 /* bytes */

#endif
