#include "conmon/holder.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <grp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/mount.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "conmon/command.h"
#include "conmon/protocol.h"
#include "conmon/report.h"

#define PROGRAM     "crisp-pause" /* its name in the empty root */
#define EMPTY_PLACE "/dev"        /* a folder that is everywhere; the empty root is put over it */

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
 * A mount of the program that we run, attached nowhere, which cannot be written through it. Root of
 * a user namespace may not pass through the folders that lead to the program: whoever is still the
 * host's takes it along.
 */
static int clone_program(void)
{
        struct mount_attr attributes = {.attr_set = MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID |
                                                    MOUNT_ATTR_NODEV,
                                        .propagation = MS_PRIVATE};
        int fd = open_tree(AT_FDCWD, "/proc/self/exe", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);

        if (fd >= 0 && mount_setattr(fd, "", AT_EMPTY_PATH, &attributes, sizeof(attributes)) < 0) {
                close(fd);
                return -1;
        }
        return fd;
}

/* In the folder where we are: the program that we run, which cannot be written through this mount.
 */
static int mount_program(int program, const char *path)
{
        int fd = open(PROGRAM, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0500);
        if (fd < 0)
                return -1;
        close(fd);
        if (program >= 0)
                return move_mount(program, "", AT_FDCWD, PROGRAM, MOVE_MOUNT_F_EMPTY_PATH);
        if (mount(path, PROGRAM, NULL, MS_BIND, NULL) < 0)
                return -1;
        return mount(NULL, PROGRAM, NULL, MS_REMOUNT | MS_BIND | MS_RDONLY | MS_NOSUID | MS_NODEV,
                     NULL);
}

/*
 * A container of the pod that may trace sees this process's root and program in /proc/1. So the
 * root is an empty one with nothing but the program, and what is opened through /proc/1/exe cannot
 * be written, lest the program on the host be replaced. The host's mounts are let go, so that they
 * can be unmounted as if we were not here.
 */
static int enter_empty_root(int program)
{
        const unsigned long flags = MS_NOSUID | MS_NODEV | MS_NOEXEC;
        char path[PATH_MAX];
        /*
         * By its path, because the running program's own mount stays that of the namespace that is
         * left. Asked before that: afterwards the path counts from that namespace's root, which in
         * a chroot is not ours.
         */
        ssize_t length = readlink("/proc/self/exe", path, sizeof(path) - 1);

        if (length < 0)
                return -1;
        path[length] = 0;
        if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
                return -1;
        if (mount(PROGRAM, EMPTY_PLACE, "tmpfs", flags, "size=4k,nr_inodes=2,mode=0555") < 0 ||
            chdir(EMPTY_PLACE) < 0 || mount_program(program, path) < 0)
                return -1;
        /* With the same folder twice the old root comes to lie over the new one; then it is taken
         * off. */
        if (syscall(SYS_pivot_root, ".", ".") < 0 || umount2(".", MNT_DETACH) < 0 || chdir("/") < 0)
                return -1;
        return mount(NULL, "/", NULL, MS_REMOUNT | MS_BIND | MS_RDONLY | flags, NULL);
}

/* All but these two, of which the first may be -1. */
static void close_others(int program, int failure)
{
        int first = program >= 0 && program < failure ? program : failure;
        int second = program > failure ? program : failure;

        if (first > 0)
                close_range(0, (unsigned)first - 1, 0);
        if (first + 1 < second)
                close_range((unsigned)first + 1, (unsigned)second - 1, 0);
        close_range((unsigned)second + 1, ~0U, 0);
}

/* Goes on as holder_hold() of the program in the empty root; the pipe's closing by the exec tells
 * that it did. */
static _Noreturn void become_holder(int program, int failure)
{
        static char name[] = PROGRAM, hold[] = HOLDER_HOLD;
        static char *const arguments[] = {name, hold, NULL};
        static char *const environment[] = {NULL};

        setsid();
        close_others(program, failure);
        if (enter_empty_root(program) == 0)
                execve("/" PROGRAM, arguments, environment);
        if (write(failure, &errno, sizeof(errno)) < 0)
                _exit(2);
        _exit(1);
}

/*
 * The user namespace comes first: the others were made inside it. Who enters it keeps the host's
 * user: it becomes the namespace's own root, so that nothing that traces it is the host's.
 */
static int enter_users(const char *path, int *program)
{
        *program = -1;
        if (!path)
                return 0;
        *program = clone_program();
        return *program < 0 ? -1 : enter(path, CLONE_NEWUSER);
}

static int become_root(const char *user)
{
        if (!user)
                return 0;
        return setgroups(0, NULL) < 0 || setresgid(0, 0, 0) < 0 || setresuid(0, 0, 0) < 0 ? -1 : 0;
}

void holder_wait(void)
{
        char ignored[64];
        ssize_t got;

        do {
                got = read(STDIN_FILENO, ignored, sizeof(ignored));
        } while (got > 0 || (got < 0 && errno == EINTR));
}

void holder_hold(void)
{
        /*
         * The kernel reaps the children of a process that ignores SIGCHLD. All other signals, but
         * SIGKILL and SIGSTOP from outside, do not reach the first process of a PID namespace as
         * long as it has no handlers.
         */
        signal(SIGCHLD, SIG_IGN);
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
        int failure[2], program;
        sigset_t none;
        pid_t pid;

        fcntl(MONITOR_REPORT_FD, F_SETFD, FD_CLOEXEC);
        sigemptyset(&none);
        sigprocmask(SIG_SETMASK, &none, NULL);
        if (enter_users(options->user, &program) < 0)
                return fail("enter user namespace", options->user);
        if (enter(options->net, CLONE_NEWNET) < 0)
                return fail("enter network namespace", options->net);
        if (enter(options->ipc, CLONE_NEWIPC) < 0)
                return fail("enter IPC namespace", options->ipc);
        if (enter(options->uts, CLONE_NEWUTS) < 0)
                return fail("enter UTS namespace", options->uts);
        if (become_root(options->user) < 0)
                return fail("become root of user namespace", options->user);
        if (pipe2(failure, O_CLOEXEC) < 0 || unshare(CLONE_NEWPID) < 0)
                return fail("make a PID namespace", NULL);
        pid = fork();
        if (pid < 0)
                return fail("start the namespace's first process", NULL);
        if (pid == 0) {
                close(failure[0]);
                become_holder(program, failure[1]);
        }
        close(failure[1]);
        if (wait_for_holder(failure[0]) < 0)
                return fail("leave the host's mounts for an empty root", NULL);
        report_ok(pid, command_start_time(pid));
        return 0;
}
