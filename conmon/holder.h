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

/* Reaps until SIGKILL from outside comes. */
_Noreturn void holder_hold(void);

#endif
