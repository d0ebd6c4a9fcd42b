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

/*
 * Makes the PID namespace and its first process, and tells of it in a struct monitor_report (pid as
 * seen from here) on MONITOR_REPORT_FD. Returns the program's exit status in the caller; the first
 * process never returns and ends only by SIGKILL from outside.
 */
int holder_run(const struct holder_options *options);

#endif
