/*
 * holder: the first process of a pod's shared PID namespace.
 *
 * It does nothing, which it has to do as long as the pod lives: when it ends, the kernel ends the
 * namespace with all in it. Whom the containers leave behind it reaps.
 */
#ifndef CRISP_CONMON_HOLDER_H
#define CRISP_CONMON_HOLDER_H

/* Pinned namespaces to enter first, or null. */
struct holder_options {
        const char *user; /* then the PID namespace is made inside it, and its root holds it */
        const char *net;
        const char *ipc;
        const char *uts;
};

#define HOLDER_HOLD                                                                                \
        "--hold" /* the program's argument with which it is the first process, and calls           \
                    holder_hold() */

/*
 * Makes the PID namespace and its first process, and tells of it in a struct monitor_report (pid as
 * seen from here) on MONITOR_REPORT_FD. The first process runs this very program anew, in a root
 * that has nothing else: so the program has to be static. Returns the program's exit status.
 */
int holder_run(const struct holder_options *options);

#define HOLDER_WAIT                                                                                \
        "--wait" /* the program's argument with which it does nothing until its standard input     \
                    ends: somebody pins the namespaces that it was started in */

/* Returns at the end of the standard input. */
void holder_wait(void);

/* Reaps until SIGKILL from outside comes. */
_Noreturn void holder_hold(void);

#endif
