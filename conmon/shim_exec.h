/*
 * shim_exec: runs a command in a container that a shim has, and is to its caller what a runtime's
 * own exec is: stdin, stdout and stderr are the command's, and so is the exit code.
 */
#ifndef CRISP_CONMON_SHIM_EXEC_H
#define CRISP_CONMON_SHIM_EXEC_H

struct shim_exec {
        const char *address;  /* of the shim */
        const char *service;  /* "containerd.task.v2.Task" */
        const char *id;       /* the container's */
        const char *exec_id;  /* the command's: a name of our own, also of its pipes */
        const char *process;  /* a file: the OCI specification's process, JSON */
        const char *pid_file; /* written when it runs; its pipes are made beside it */
        const char *log;      /* why it could not be run: a JSON line */
        const char *console;  /* a socket that gets a terminal's master side in place of stdio; ""
                                 for none */
};

/*
 * Returns its exit code; another than 0, and no pid file, where it could not be started.
 * EXEC_REPORT_FD is served as exec_run does. A terminal is sized by the daemon, which asks the
 * shim.
 */
int shim_exec_run(const struct shim_exec *exec);

#endif
