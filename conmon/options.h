/*
 * options: what crisp-monitor is told to do.
 */
#ifndef CRISP_CONMON_OPTIONS_H
#define CRISP_CONMON_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>

/* All strings are borrowed from argv. */
struct conmon_options {
        const char *id;
        const char *directory; /* where the exit record goes */
        const char *socket;    /* where to listen */
        const char *pid_file;  /* where the command writes the container's pid */
        const char *log;       /* CRI log, or null */
        uint64_t log_size_max; /* see struct crilog_bounds */
        uint64_t log_files_max;
        uint64_t log_line_max;
        const char *journal;  /* journald's socket, or null */
        const char *name;     /* what journald is told besides the id, or null */
        const char *oom_file; /* or null */
        const char
                *oom_parent_file; /* of the cgroup above, where it may outlive the own; or null */
        const char *runtime_log;  /* or null */
        /* Where a shim stands for the runtime: its address, and files that hold the requests, as
         * they go over its connection, which create the task and wait for it. Then there is no
         * command. */
        const char *shim;
        const char *shim_create;
        const char *shim_wait;
        const char *shim_close; /* the one that closes its stdin */
        const char *fifos;      /* folder where the task's stdin, stdout and stderr are made */
        bool terminal;
        bool open_stdin;
        bool stdin_once;             /* counts once somebody attaches and detaches */
        uint64_t runtime_stderr_max; /* bytes of the runtime's own output kept for the report */
        char **command;              /* the runtime's create command */
};

/*
 * Reads "--name value" pairs and switches up to "--", after which the command comes. On failure
 * returns -1, with *problem in words and *argument what it is about (or null).
 */
int conmon_options_parse(int argc, char **argv, struct conmon_options *options,
                         const char **problem, const char **argument);

#endif
