#include "image/fetch/syscalls.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/netlink.h>
#include <sched.h>
#include <seccomp.h>
#include <stddef.h>
#include <netinet/in.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <unistd.h>

#include "base/cleanup.h"

/* What is on one architecture alone is passed over by libseccomp on the other. */
static const int ALWAYS[] = {
        /* memory: PROT_EXEC is judged below */
        SCMP_SYS(brk),
        SCMP_SYS(munmap),
        SCMP_SYS(mremap),
        SCMP_SYS(madvise),
        /* threads, time, signals */
        SCMP_SYS(futex),
        SCMP_SYS(set_robust_list),
        SCMP_SYS(get_robust_list),
        SCMP_SYS(rseq),
        SCMP_SYS(set_tid_address),
        SCMP_SYS(sched_yield),
        SCMP_SYS(sched_getaffinity),
        SCMP_SYS(gettid),
        SCMP_SYS(getpid),
        SCMP_SYS(exit),
        SCMP_SYS(exit_group),
        SCMP_SYS(nanosleep),
        SCMP_SYS(clock_nanosleep),
        SCMP_SYS(clock_gettime),
        SCMP_SYS(clock_getres),
        SCMP_SYS(gettimeofday),
        SCMP_SYS(time),
        SCMP_SYS(rt_sigaction),
        SCMP_SYS(rt_sigprocmask),
        SCMP_SYS(rt_sigreturn),
        SCMP_SYS(sigaltstack),
        SCMP_SYS(restart_syscall),
        SCMP_SYS(getrandom),
        SCMP_SYS(uname),
        SCMP_SYS(sysinfo),
        SCMP_SYS(getuid),
        SCMP_SYS(geteuid),
        SCMP_SYS(getgid),
        SCMP_SYS(getegid),
        SCMP_SYS(getrusage),
        SCMP_SYS(membarrier),
        /* for a program that was started before */
        SCMP_SYS(wait4),
        SCMP_SYS(waitid),
        /* descriptors */
        SCMP_SYS(read),
        SCMP_SYS(readv),
        SCMP_SYS(pread64),
        SCMP_SYS(preadv),
        SCMP_SYS(write),
        SCMP_SYS(writev),
        SCMP_SYS(pwrite64),
        SCMP_SYS(pwritev),
        SCMP_SYS(lseek),
        SCMP_SYS(close),
        SCMP_SYS(close_range),
        SCMP_SYS(dup),
        SCMP_SYS(dup2),
        SCMP_SYS(dup3),
        SCMP_SYS(poll),
        SCMP_SYS(ppoll),
        SCMP_SYS(select),
        SCMP_SYS(pselect6),
        SCMP_SYS(epoll_create1),
        SCMP_SYS(epoll_ctl),
        SCMP_SYS(epoll_wait),
        SCMP_SYS(epoll_pwait),
        SCMP_SYS(pipe),
        SCMP_SYS(pipe2),
        SCMP_SYS(eventfd2),
        SCMP_SYS(copy_file_range),
        SCMP_SYS(splice),
        SCMP_SYS(sendfile),
        /* files */
        SCMP_SYS(open),
        SCMP_SYS(openat),
        SCMP_SYS(openat2),
        SCMP_SYS(creat),
        SCMP_SYS(access),
        SCMP_SYS(faccessat),
        SCMP_SYS(faccessat2),
        SCMP_SYS(stat),
        SCMP_SYS(lstat),
        SCMP_SYS(fstat),
        SCMP_SYS(newfstatat),
        SCMP_SYS(statx),
        SCMP_SYS(statfs),
        SCMP_SYS(fstatfs),
        SCMP_SYS(getdents64),
        SCMP_SYS(readlink),
        SCMP_SYS(readlinkat),
        SCMP_SYS(getcwd),
        SCMP_SYS(chdir),
        SCMP_SYS(fchdir),
        SCMP_SYS(mkdir),
        SCMP_SYS(mkdirat),
        SCMP_SYS(mknod),
        SCMP_SYS(mknodat),
        SCMP_SYS(symlink),
        SCMP_SYS(symlinkat),
        SCMP_SYS(link),
        SCMP_SYS(linkat),
        SCMP_SYS(unlink),
        SCMP_SYS(unlinkat),
        SCMP_SYS(rmdir),
        SCMP_SYS(rename),
        SCMP_SYS(renameat),
        SCMP_SYS(renameat2),
        SCMP_SYS(truncate),
        SCMP_SYS(ftruncate),
        SCMP_SYS(fallocate),
        SCMP_SYS(fadvise64),
        SCMP_SYS(readahead),
        SCMP_SYS(chmod),
        SCMP_SYS(fchmod),
        SCMP_SYS(fchmodat),
        SCMP_SYS(chown),
        SCMP_SYS(lchown),
        SCMP_SYS(fchown),
        SCMP_SYS(fchownat),
        SCMP_SYS(utimensat),
        SCMP_SYS(umask),
        SCMP_SYS(setxattr),
        SCMP_SYS(lsetxattr),
        SCMP_SYS(fsetxattr),
        SCMP_SYS(getxattr),
        SCMP_SYS(lgetxattr),
        SCMP_SYS(fgetxattr),
        SCMP_SYS(listxattr),
        SCMP_SYS(llistxattr),
        SCMP_SYS(flistxattr),
        SCMP_SYS(removexattr),
        SCMP_SYS(lremovexattr),
        SCMP_SYS(fremovexattr),
        SCMP_SYS(flock),
        SCMP_SYS(fsync),
        SCMP_SYS(fdatasync),
        SCMP_SYS(syncfs),
        SCMP_SYS(sync_file_range),
};

/* socket and socketpair are judged below. */
static const int NETWORK[] = {
        SCMP_SYS(connect),    SCMP_SYS(bind),       SCMP_SYS(getsockname), SCMP_SYS(getpeername),
        SCMP_SYS(getsockopt), SCMP_SYS(setsockopt), SCMP_SYS(sendto),      SCMP_SYS(recvfrom),
        SCMP_SYS(sendmsg),    SCMP_SYS(recvmsg),    SCMP_SYS(sendmmsg),    SCMP_SYS(recvmmsg),
        SCMP_SYS(shutdown),
};

/* What libraries try and can do without: memory for debuggers' names of it, limits, resources. */
static const struct {
        int call, number;
} REFUSED[] = {
        /* Its flags are in memory, where no filter sees them; glibc then takes clone. */
        {SCMP_SYS(clone3), ENOSYS},
        {SCMP_SYS(prctl), EPERM},
        {SCMP_SYS(prlimit64), EPERM},
        {SCMP_SYS(sched_getparam), EPERM},
        {SCMP_SYS(sched_getscheduler), EPERM},
        {SCMP_SYS(get_mempolicy), ENOSYS},
};

/* Of whole requests: ioctl is a door to every driver, but there are no devices in the box. */
static const unsigned long IOCTLS[] = {FIONREAD, FIONBIO};

#define NAMESPACES                                                                                 \
        (CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWCGROUP |              \
         CLONE_NEWNET | CLONE_NEWUSER)

#define ALLOW(filter, call, count, ...)                                                            \
        seccomp_rule_add((filter), SCMP_ACT_ALLOW, SCMP_SYS(call), (count), __VA_ARGS__)

static int allow_all(scmp_filter_ctx filter, const int *calls, size_t count)
{
        int r = 0;
        for (size_t i = 0; i < count && r == 0; i++)
                r = seccomp_rule_add(filter, SCMP_ACT_ALLOW, calls[i], 0);
        return r;
}

/* Threads, but no processes; memory, but none to write and then to run. */
static int add_process_rules(scmp_filter_ctx filter)
{
        int r;

        if ((r = ALLOW(filter, clone, 1,
                       SCMP_A0(SCMP_CMP_MASKED_EQ, CLONE_THREAD | CLONE_VM | NAMESPACES,
                               CLONE_THREAD | CLONE_VM))) < 0 ||
            (r = ALLOW(filter, mmap, 1, SCMP_A2(SCMP_CMP_MASKED_EQ, PROT_EXEC, 0))) < 0 ||
            (r = ALLOW(filter, mprotect, 1, SCMP_A2(SCMP_CMP_MASKED_EQ, PROT_EXEC, 0))) < 0 ||
            /* abort(3), to itself */
            (r = ALLOW(filter, tgkill, 1, SCMP_A0(SCMP_CMP_EQ, (scmp_datum_t)getpid()))) < 0)
                return r;
        for (size_t i = 0; i < sizeof(REFUSED) / sizeof(REFUSED[0]) && r == 0; i++)
                r = seccomp_rule_add(filter, SCMP_ACT_ERRNO((unsigned)REFUSED[i].number),
                                     REFUSED[i].call, 0);
        return r;
}

static int add_descriptor_rules(scmp_filter_ctx filter)
{
        static const int commands[] = {F_GETFD, F_SETFD,         F_GETFL,
                                       F_SETFL, F_DUPFD_CLOEXEC, F_DUPFD};
        int r = 0;

        for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]) && r == 0; i++)
                r = ALLOW(filter, fcntl, 1, SCMP_A1(SCMP_CMP_EQ, (scmp_datum_t)commands[i]));
        for (size_t i = 0; i < sizeof(IOCTLS) / sizeof(IOCTLS[0]) && r == 0; i++)
                r = ALLOW(filter, ioctl, 1, SCMP_A1(SCMP_CMP_MASKED_EQ, UINT32_MAX, IOCTLS[i]));
        /* isatty(3) */
        return r < 0 ? r
                     : seccomp_rule_add(filter, SCMP_ACT_ERRNO(ENOTTY), SCMP_SYS(ioctl), 1,
                                        SCMP_A1(SCMP_CMP_EQ, TCGETS));
}

/* TCP and UDP: whoever may ask for any protocol makes the kernel load the module that has it. */
static int allow_ip(scmp_filter_ctx filter, int family)
{
        static const struct {
                int type, protocol;
        } sockets[] = {{SOCK_STREAM, 0},
                       {SOCK_STREAM, IPPROTO_TCP},
                       {SOCK_DGRAM, 0},
                       {SOCK_DGRAM, IPPROTO_UDP}};
        int r = 0;
        for (size_t i = 0; i < sizeof(sockets) / sizeof(sockets[0]) && r == 0; i++)
                r = ALLOW(filter, socket, 3, SCMP_A0(SCMP_CMP_EQ, (scmp_datum_t)family),
                          SCMP_A1(SCMP_CMP_MASKED_EQ,
                                  UINT32_MAX & ~(scmp_datum_t)(SOCK_CLOEXEC | SOCK_NONBLOCK),
                                  (scmp_datum_t)sockets[i].type),
                          SCMP_A2(SCMP_CMP_EQ, (scmp_datum_t)sockets[i].protocol));
        return r;
}

/*
 * Registries are asked over IP; getaddrinfo asks the kernel over netlink which addresses there are,
 * and tries a caching daemon's UNIX socket, which is refused like all other families. A pair of
 * UNIX sockets leads nowhere.
 */
static int add_network_rules(scmp_filter_ctx filter)
{
        int r;

        if ((r = allow_ip(filter, AF_INET)) < 0 || (r = allow_ip(filter, AF_INET6)) < 0 ||
            (r = allow_all(filter, NETWORK, sizeof(NETWORK) / sizeof(NETWORK[0]))) < 0 ||
            (r = ALLOW(filter, socket, 2, SCMP_A0(SCMP_CMP_EQ, AF_NETLINK),
                       SCMP_A2(SCMP_CMP_EQ, NETLINK_ROUTE))) < 0 ||
            (r = ALLOW(filter, socketpair, 1, SCMP_A0(SCMP_CMP_EQ, AF_UNIX))) < 0)
                return r;
        static const int others[] = {AF_UNSPEC, AF_UNIX};
        for (size_t i = 0; i < sizeof(others) / sizeof(others[0]) && r == 0; i++)
                r = seccomp_rule_add(filter, SCMP_ACT_ERRNO(EAFNOSUPPORT), SCMP_SYS(socket), 1,
                                     SCMP_A0(SCMP_CMP_EQ, (scmp_datum_t)others[i]));
        return r;
}

static void free_filter(scmp_filter_ctx *filter)
{
        if (*filter)
                seccomp_release(*filter);
}

static int load(scmp_filter_ctx filter, bool network)
{
        int r;

        if ((r = seccomp_attr_set(filter, SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_KILL_PROCESS)) < 0 ||
            /* A tree, not a list, and no slower memory accesses: what it guards has no secrets of
             * others in its address space. */
            (r = seccomp_attr_set(filter, SCMP_FLTATR_CTL_OPTIMIZE, 2)) < 0 ||
            (r = seccomp_attr_set(filter, SCMP_FLTATR_CTL_SSB, 1)) < 0 ||
            (r = allow_all(filter, ALWAYS, sizeof(ALWAYS) / sizeof(ALWAYS[0]))) < 0 ||
            (r = add_process_rules(filter)) < 0 || (r = add_descriptor_rules(filter)) < 0 ||
            (r = network ? add_network_rules(filter) : 0) < 0)
                return r;
        return seccomp_load(filter);
}

int syscalls_limit(bool network, struct error *err)
{
        CLEANUP(free_filter) scmp_filter_ctx filter = seccomp_init(SCMP_ACT_KILL_PROCESS);
        if (!filter)
                return error_errno(err, ENOMEM, "system call filter");
        int r = load(filter, network);
        return r < 0 ? error_errno(err, r, "system call filter") : 0;
}
