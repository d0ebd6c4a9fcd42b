/*
 * command: the OCI runtime's create command, run once by the monitor.
 */
#ifndef CRISP_CONMON_COMMAND_H
#define CRISP_CONMON_COMMAND_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "conmon/text.h"

/*
 * Starts the command (absolute path, null-terminated) with these descriptors as its standard input,
 * output and error; they must be 3 or more. Signals are as at a program's start. That it cannot be
 * executed is written to its standard error, exit status 127. Returns its pid or a negative errno.
 */
pid_t command_start(char *const *command, int input, int output, int errors);

/* Reads the pid file. Returns the pid, or a negative errno: -EINVAL when no pid is in it. */
pid_t command_read_pid(const char *path);

/* Start time of a process (field 22 of /proc/PID/stat, clock ticks since boot), 0 if there is none.
 * Zombies have one. */
uint64_t command_start_time(pid_t pid);

/*
 * Adds to text why the runtime failed, from its log (JSON lines): the message of the last line of
 * level error or worse. Adds nothing where there is none. memory is for reading the log's end into.
 */
void command_explain(const char *log, char *memory, size_t size, struct text *text);

#endif
