/*
 * exec: waits for a command that an OCI runtime starts in a container and leaves to us.
 *
 * A runtime that stays until its command ends also waits until everybody has let go of the
 * command's pipes (runc copies them), and keeps its memory all the time. So it is told to detach;
 * this program, its subreaper, inherits the command, waits for it alone, and ends as it did.
 */
#ifndef CRISP_CONMON_EXEC_H
#define CRISP_CONMON_EXEC_H

/*
 * Runs command (null-terminated, an absolute path first), which writes the pid of what it started
 * into pid_file and ends; then waits for that pid. Returns its exit code, 128 + signal where a
 * signal ended it; the runtime's own exit code where it failed, and then there is no pid file;
 * EXEC_FAILED for our own failure, told on stderr.
 */
#define EXEC_FAILED 127
/* If this descriptor is open, a byte is written to it when the command runs, and it is closed. */
#define EXEC_REPORT_FD 3
int exec_run(const char *pid_file, char **command);

/* For others that run a command: keeps the descriptor from it, and whether it is open; writes the
 * byte. */
int exec_keep_report(void);
void exec_report_start(void);

#endif
