#include "conmon/holder.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "conmon/protocol.h"
#include "conmon/command.h"
#include "conmon/report.h"

#define HOLDER_NAME "crisp-pause"
#define EMPTY_PLACE "/proc" /* a folder that is everywhere; the empty root is put over it */

static int fail(const char *step, const char *path)
{
        report_failed(errno, step, path);
        return 1;
}

static int enter(const char *path, int type)
{
        int fd, result;

        if (!path)
                return 0;
        fd = open(path, O_RDONLY | O_CLOEXEC);
        if (fd < 0)
                return -1;
        result = setns(fd, type);
        close(fd);
        return result;
}

/*
 * A container of the pod that may trace sees this process's root in /proc/1/root: it must not be
 * the host's. The host's mounts are let go, so that they can be unmounted as if we were not here.
 */
static int enter_empty_root(void)
{
        if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
                return -1;
        if (mount(HOLDER_NAME, EMPTY_PLACE, "tmpfs", MS_NOSUID | MS_NODEV | MS_NOEXEC,
                  "size=0,nr_inodes=1,mode=0555") < 0 ||
            chdir(EMPTY_PLACE) < 0)
                return -1;
        /* With the same folder twice the old root comes to lie over the new one; then it is taken
         * off. */
        if (syscall(SYS_pivot_root, ".", ".") < 0 || umount2(".", MNT_DETACH) < 0)
                return -1;
        return mount(NULL, "/", NULL, MS_REMOUNT | MS_BIND | MS_RDONLY, NULL) < 0 ? -1 : chdir("/");
}

static _Noreturn void hold(int failure)
{
        if (enter_empty_root() < 0) {
                if (write(failure, &errno, sizeof(errno)) < 0)
                        _exit(2);
                _exit(1);
        }
        /*
         * The kernel reaps the children of a process that ignores SIGCHLD. All other signals, but
         * SIGKILL and SIGSTOP from outside, do not reach the first process of a PID namespace as
         * long as it has no handlers.
         */
        signal(SIGCHLD, SIG_IGN);
        prctl(PR_SET_NAME, HOLDER_NAME);
        setsid();
        close_range(0, ~0U, 0); /* the pipe as well: that it stands is told so */
        for (;;)
                pause();
}

/* Waits until the first process stands: 0, or -1 with errno why it does not. */
static int wait_for_holder(int failure)
{
        int number;
        ssize_t got;

        do {
                got = read(failure, &number, sizeof(number));
        } while (got < 0 && errno == EINTR);
        if (got == 0)
                return 0;
        if (got == sizeof(number))
                errno = number;
        return -1;
}

int holder_run(const struct holder_options *options)
{
        int failure[2];
        sigset_t none;
        pid_t pid;

        fcntl(MONITOR_REPORT_FD, F_SETFD, FD_CLOEXEC);
        sigemptyset(&none);
        sigprocmask(SIG_SETMASK, &none, NULL);
        if (enter(options->net, CLONE_NEWNET) < 0)
                return fail("enter network namespace", options->net);
        if (enter(options->ipc, CLONE_NEWIPC) < 0)
                return fail("enter IPC namespace", options->ipc);
        if (enter(options->uts, CLONE_NEWUTS) < 0)
                return fail("enter UTS namespace", options->uts);
        if (pipe2(failure, O_CLOEXEC) < 0 || unshare(CLONE_NEWPID) < 0)
                return fail("make a PID namespace", NULL);
        pid = fork();
        if (pid < 0)
                return fail("start the namespace's first process", NULL);
        if (pid == 0) {
                close(failure[0]);
                hold(failure[1]);
        }
        close(failure[1]);
        if (wait_for_holder(failure[0]) < 0)
                return fail("leave the host's mounts", NULL);
        report_ok(pid, command_start_time(pid));
        return 0;
}
