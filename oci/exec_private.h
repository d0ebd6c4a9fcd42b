/*
 * exec_private: a command in a container while it is under way; what the files of oci/exec*.c
 * share. For nobody else.
 */
#ifndef CRISP_OCI_EXEC_PRIVATE_H
#define CRISP_OCI_EXEC_PRIVATE_H

#include "oci/cgroup_private.h"
#include "oci/exec.h"

#define EXEC_NAME_SIZE 32 /* bytes of a command's name with its zero */

/* One command under way. */
struct exec_run {
        const struct exec_options *options;
        char name[EXEC_NAME_SIZE];
        char *id;     /* the container's, for as long as the run is there */
        char *cgroup; /* its own, below the container's; null where the runtime cannot use one */
        struct cgroup_child child;
        char *sub_cgroup; /* as --cgroup wants it */
        char *log;
        char *pid_file;
        char *process_file;
        char *console;               /* as the runtime is told it; null without a terminal */
        bool kill;                   /* all that it started is to die */
        bool started;                /* the pid file is there: the command itself ran */
        char *message;               /* why it did not */
        const struct buffer *errors; /* what came on stderr */
        struct error *err;
};

void exec_run_init(struct exec_run *run, const struct exec_options *options, struct error *err);
void exec_run_fini(struct exec_run *run);

/* On a worker: makes its cgroup and its process file. argument is the run. */
int exec_run_prepare(void *argument);
/*
 * The words that start it, on the heap (strv_free): the helper's, where there is one, and the
 * runtime's. Fills in sub_cgroup.
 */
char **exec_run_argv(struct exec_run *run);
/*
 * On a worker, when the runtime has ended or was killed. Only now is what is in the cgroup all that
 * there will be: the runtime puts the command there before it lets it go, and waits no more.
 */
int exec_run_finish(void *argument);
/*
 * Kills what is in its cgroup. While crisp-exec lives it reaps the command; left to the machine's
 * first process, the command might be seen as a zombie for a while. What comes into the cgroup
 * after this, exec_run_finish kills. Task only.
 */
void exec_run_kill(void *argument);

#endif
