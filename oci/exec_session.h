/*
 * exec_session: a command in a running container whose stdin, stdout and stderr, or whose terminal,
 * somebody else reads and writes.
 */
#ifndef CRISP_OCI_EXEC_SESSION_H
#define CRISP_OCI_EXEC_SESSION_H

#include "oci/exec.h"

struct exec_session;

/* Our ends of the command's; close-on-exec and non-blocking. With a terminal, input and output are
 * two descriptors of it, and errors is -1. */
struct exec_ends {
        int input, output, errors;
};

/*
 * Starts options->command, with a terminal if options->terminal; options->helper must be there.
 * When it returns 0 the command runs, and *ends are the caller's to close. Errors are those of
 * exec_sync. options->deadline is for the start alone; what options points to is not needed
 * afterwards but for the handler and the cgroup system. Task only; interruptible if the task is:
 * then all is killed.
 */
int exec_session_start(const struct exec_options *options, struct exec_session **session,
                       struct exec_ends *ends, struct error *err);

/*
 * Waits for the command's end; its exit code as in struct exec_result. Interrupted (-ECANCELED) it
 * kills all that the command started. Once. Task only.
 */
int exec_session_wait(struct exec_session *session, int *exit_code, struct error *err);

/* Sizes its terminal; nothing without one. Two at once may be done in either order. Task only. */
void exec_session_resize(struct exec_session *session, uint16_t rows, uint16_t columns);

/* After exec_session_wait; null is allowed. */
void exec_session_free(struct exec_session *session);

#endif
