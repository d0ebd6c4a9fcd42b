/*
 * Our own profile.
 *
 * What is in no list is ENOSYS, so that a program takes a newer kernel's call that we do not know
 * for one that is not there; what is known and kept back is EPERM.
 */
#include <errno.h>
#include <linux/sched.h>
#include <string.h>

#include "oci/seccomp_profile.h"

#define LIST(...) ((const char *const[]){__VA_ARGS__, NULL})

/* What programs do within their container. */
static const char *const always[] = {
        "_llseek",
        "_newselect",
        "accept",
        "accept4",
        "access",
        "adjtimex",
        "alarm",
        "bind",
        "brk",
        "cachestat",
        "capget",
        "capset",
        "chdir",
        "chmod",
        "chown",
        "chown32",
        "clock_adjtime",
        "clock_adjtime64",
        "clock_getres",
        "clock_getres_time64",
        "clock_gettime",
        "clock_gettime64",
        "clock_nanosleep",
        "clock_nanosleep_time64",
        "close",
        "close_range",
        "connect",
        "copy_file_range",
        "creat",
        "dup",
        "dup2",
        "dup3",
        "epoll_create",
        "epoll_create1",
        "epoll_ctl",
        "epoll_ctl_old",
        "epoll_pwait",
        "epoll_pwait2",
        "epoll_wait",
        "epoll_wait_old",
        "eventfd",
        "eventfd2",
        "execve",
        "execveat",
        "exit",
        "exit_group",
        "faccessat",
        "faccessat2",
        "fadvise64",
        "fadvise64_64",
        "fallocate",
        "fanotify_mark",
        "fchdir",
        "fchmod",
        "fchmodat",
        "fchmodat2",
        "fchown",
        "fchown32",
        "fchownat",
        "fcntl",
        "fcntl64",
        "fdatasync",
        "fgetxattr",
        "file_getattr",
        "flistxattr",
        "flock",
        "fork",
        "fremovexattr",
        "fsetxattr",
        "fstat",
        "fstat64",
        "fstatat64",
        "fstatfs",
        "fstatfs64",
        "fsync",
        "ftruncate",
        "ftruncate64",
        "futex",
        "futex_requeue",
        "futex_time64",
        "futex_wait",
        "futex_waitv",
        "futex_wake",
        "futimesat",
        "get_robust_list",
        "get_thread_area",
        "getcpu",
        "getcwd",
        "getdents",
        "getdents64",
        "getegid",
        "getegid32",
        "geteuid",
        "geteuid32",
        "getgid",
        "getgid32",
        "getgroups",
        "getgroups32",
        "getitimer",
        "getpeername",
        "getpgid",
        "getpgrp",
        "getpid",
        "getppid",
        "getpriority",
        "getrandom",
        "getresgid",
        "getresgid32",
        "getresuid",
        "getresuid32",
        "getrlimit",
        "getrusage",
        "getsid",
        "getsockname",
        "getsockopt",
        "gettid",
        "gettimeofday",
        "getuid",
        "getuid32",
        "getxattr",
        "getxattrat",
        "inotify_add_watch",
        "inotify_init",
        "inotify_init1",
        "inotify_rm_watch",
        "io_cancel",
        "io_destroy",
        "io_getevents",
        "io_pgetevents",
        "io_pgetevents_time64",
        "io_setup",
        "io_submit",
        "ioctl",
        "ioprio_get",
        "ioprio_set",
        "ipc",
        "kill",
        "landlock_add_rule",
        "landlock_create_ruleset",
        "landlock_restrict_self",
        "lchown",
        "lchown32",
        "lgetxattr",
        "link",
        "linkat",
        "listen",
        "listmount",
        "listxattr",
        "listxattrat",
        "llistxattr",
        "lremovexattr",
        "lseek",
        "lsetxattr",
        "lsm_get_self_attr",
        "lsm_list_modules",
        "lsm_set_self_attr",
        "lstat",
        "lstat64",
        "madvise",
        "map_shadow_stack",
        "membarrier",
        "memfd_create",
        "memfd_secret",
        "mincore",
        "mkdir",
        "mkdirat",
        "mknod",
        "mknodat",
        "mlock",
        "mlock2",
        "mlockall",
        "mmap",
        "mmap2",
        "mprotect",
        "mq_getsetattr",
        "mq_notify",
        "mq_open",
        "mq_timedreceive",
        "mq_timedreceive_time64",
        "mq_timedsend",
        "mq_timedsend_time64",
        "mq_unlink",
        "mremap",
        "mseal",
        "msgctl",
        "msgget",
        "msgrcv",
        "msgsnd",
        "msync",
        "munlock",
        "munlockall",
        "munmap",
        "name_to_handle_at",
        "nanosleep",
        "newfstatat",
        "open",
        "openat",
        "openat2",
        "pause",
        "pidfd_open",
        "pidfd_send_signal",
        "pipe",
        "pipe2",
        "pkey_alloc",
        "pkey_free",
        "pkey_mprotect",
        "poll",
        "ppoll",
        "ppoll_time64",
        "prctl",
        "pread64",
        "preadv",
        "preadv2",
        "prlimit64",
        "process_mrelease",
        "pselect6",
        "pselect6_time64",
        "pwrite64",
        "pwritev",
        "pwritev2",
        "read",
        "readahead",
        "readdir",
        "readlink",
        "readlinkat",
        "readv",
        "recv",
        "recvfrom",
        "recvmmsg",
        "recvmmsg_time64",
        "recvmsg",
        "remap_file_pages",
        "removexattr",
        "removexattrat",
        "rename",
        "renameat",
        "renameat2",
        "restart_syscall",
        "rmdir",
        "rseq",
        "rt_sigaction",
        "rt_sigpending",
        "rt_sigprocmask",
        "rt_sigqueueinfo",
        "rt_sigreturn",
        "rt_sigsuspend",
        "rt_sigtimedwait",
        "rt_sigtimedwait_time64",
        "rt_tgsigqueueinfo",
        "sched_get_priority_max",
        "sched_get_priority_min",
        "sched_getaffinity",
        "sched_getattr",
        "sched_getparam",
        "sched_getscheduler",
        "sched_rr_get_interval",
        "sched_rr_get_interval_time64",
        "sched_setaffinity",
        "sched_setattr",
        "sched_setparam",
        "sched_setscheduler",
        "sched_yield",
        "seccomp",
        "select",
        "semctl",
        "semget",
        "semop",
        "semtimedop",
        "semtimedop_time64",
        "send",
        "sendfile",
        "sendfile64",
        "sendmmsg",
        "sendmsg",
        "sendto",
        "set_robust_list",
        "set_thread_area",
        "set_tid_address",
        "setfsgid",
        "setfsgid32",
        "setfsuid",
        "setfsuid32",
        "setgid",
        "setgid32",
        "setgroups",
        "setgroups32",
        "setitimer",
        "setpgid",
        "setpriority",
        "setregid",
        "setregid32",
        "setresgid",
        "setresgid32",
        "setresuid",
        "setresuid32",
        "setreuid",
        "setreuid32",
        "setrlimit",
        "setsid",
        "setsockopt",
        "setuid",
        "setuid32",
        "setxattr",
        "setxattrat",
        "shmat",
        "shmctl",
        "shmdt",
        "shmget",
        "shutdown",
        "sigaction",
        "sigaltstack",
        "signal",
        "signalfd",
        "signalfd4",
        "sigpending",
        "sigprocmask",
        "sigreturn",
        "sigsuspend",
        "socketcall",
        "socketpair",
        "splice",
        "stat",
        "stat64",
        "statfs",
        "statfs64",
        "statmount",
        "statx",
        "symlink",
        "symlinkat",
        "sync",
        "sync_file_range",
        "syncfs",
        "sysinfo",
        "tee",
        "tgkill",
        "time",
        "timer_create",
        "timer_delete",
        "timer_getoverrun",
        "timer_gettime",
        "timer_gettime64",
        "timer_settime",
        "timer_settime64",
        "timerfd_create",
        "timerfd_gettime",
        "timerfd_gettime64",
        "timerfd_settime",
        "timerfd_settime64",
        "times",
        "tkill",
        "truncate",
        "truncate64",
        "ugetrlimit",
        "umask",
        "uname",
        "unlink",
        "unlinkat",
        "uretprobe",
        "utime",
        "utimensat",
        "utimensat_time64",
        "utimes",
        "vfork",
        "vmsplice",
        "wait4",
        "waitid",
        "waitpid",
        "write",
        "writev",
        NULL,
};

/* What no container may: it reaches the whole machine, or is old or young and often broken. */
static const char *const never[] = {
        "_sysctl",
        "add_key",
        "afs_syscall",
        "bdflush",
        "break",
        "create_module",
        "ftime",
        "get_kernel_syms",
        "getpmsg",
        "gtty",
        "idle",
        "io_uring_enter",
        "io_uring_register",
        "io_uring_setup",
        "kexec_file_load",
        "kexec_load",
        "keyctl",
        "lock",
        "migrate_pages",
        "move_pages",
        "mpx",
        "nfsservctl",
        "nice",
        "oldfstat",
        "oldlstat",
        "oldolduname",
        "oldstat",
        "olduname",
        "prof",
        "profil",
        "putpmsg",
        "query_module",
        "request_key",
        "security",
        "sgetmask",
        "ssetmask",
        "stty",
        "sysfs",
        "tuxcall",
        "ulimit",
        "uselib",
        "userfaultfd",
        "ustat",
        "vm86",
        "vm86old",
        "vserver",
        NULL,
};

/* What the kernel asks one of these capabilities for; without, the filter is one more wall. */
static const struct {
        const char *capability;
        const char *const *names;
} guarded[] = {
        {"CAP_SYS_ADMIN",
         LIST("bpf", "fanotify_init", "fsconfig", "fsmount", "fsopen", "fspick", "lookup_dcookie",
              "mount", "mount_setattr", "move_mount", "open_tree", "perf_event_open", "pivot_root",
              "quotactl", "quotactl_fd", "setdomainname", "sethostname", "setns", "swapoff",
              "swapon", "syslog", "umount", "umount2")},
        {"CAP_BPF", LIST("bpf")},
        {"CAP_PERFMON", LIST("perf_event_open")},
        {"CAP_SYSLOG", LIST("syslog")},
        {"CAP_DAC_READ_SEARCH", LIST("open_by_handle_at")},
        {"CAP_SYS_BOOT", LIST("reboot")},
        {"CAP_SYS_CHROOT", LIST("chroot")},
        {"CAP_SYS_MODULE", LIST("delete_module", "finit_module", "init_module")},
        {"CAP_SYS_NICE",
         LIST("get_mempolicy", "mbind", "set_mempolicy", "set_mempolicy_home_node")},
        {"CAP_SYS_PACCT", LIST("acct")},
        {"CAP_SYS_PTRACE", LIST("kcmp", "pidfd_getfd", "process_madvise")},
        {"CAP_SYS_RAWIO", LIST("ioperm", "iopl")},
        {"CAP_SYS_TIME", LIST("clock_settime", "clock_settime64", "settimeofday", "stime")},
        {"CAP_SYS_TTY_CONFIG", LIST("vhangup")},
};
#define GUARDED_COUNT (sizeof guarded / sizeof *guarded)

/* What only some machines have. */
static const struct {
        const char *const *arches;
        const char *const *names;
} native[] = {
        {LIST("amd64", "x32"), LIST("arch_prctl")},
        {LIST("amd64", "x32", "x86"), LIST("modify_ldt")},
        {LIST("arm", "arm64"), LIST("arm_fadvise64_64", "arm_sync_file_range", "breakpoint",
                                    "cacheflush", "set_tls", "sync_file_range2")},
};

/* personality(2): Linux with or without ADDR_NO_RANDOMIZE's neighbours UNAME26 and PER_LINUX32,
 * and asking. */
static const unsigned personalities[] = {0x0, 0x8, 0x20000, 0x20008, 0xffffffff};

#define FAMILY_ALG   38 /* AF_ALG: the kernel's cryptography, a wide door */
#define FAMILY_VSOCK 40 /* AF_VSOCK: knows no namespaces, so it reaches the host and its guests */

static const unsigned namespace_flags[] = {
        CLONE_NEWNS,   CLONE_NEWCGROUP, CLONE_NEWUTS, CLONE_NEWIPC,
        CLONE_NEWUSER, CLONE_NEWPID,    CLONE_NEWNET,
};
#define NAMESPACE_FLAGS                                                                            \
        (CLONE_NEWNS | CLONE_NEWCGROUP | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWUSER |             \
         CLONE_NEWPID | CLONE_NEWNET)

static json_t *list_of(const char *const *names)
{
        json_t *list = json_array();
        for (; *names; names++)
                json_array_append_new(list, json_string(*names));
        return list;
}

static json_t *allow(json_t *rules, const char *const *names)
{
        json_t *rule = json_object();
        json_object_set_new(rule, "names", list_of(names));
        json_object_set_new(rule, "action", json_string("SCMP_ACT_ALLOW"));
        json_array_append_new(rules, rule);
        return rule;
}

static json_t *deny(json_t *rules, const char *const *names, int number)
{
        json_t *rule = json_object();
        json_object_set_new(rule, "names", list_of(names));
        json_object_set_new(rule, "action", json_string("SCMP_ACT_ERRNO"));
        json_object_set_new(rule, "errnoRet", json_integer(number));
        json_array_append_new(rules, rule);
        return rule;
}

/* kind is "includes" or "excludes", key "caps" or "arches". */
static void only(json_t *rule, const char *kind, const char *key, const char *const *names)
{
        json_t *condition = json_object();
        json_object_set_new(condition, key, list_of(names));
        json_object_set_new(rule, kind, condition);
}

static void where(json_t *rule, json_int_t index, const char *operator, json_int_t value,
                  json_int_t second)
{
        json_t *argument = json_object();
        json_object_set_new(argument, "index", json_integer(index));
        json_object_set_new(argument, "value", json_integer(value));
        json_object_set_new(argument, "valueTwo", json_integer(second));
        json_object_set_new(argument, "op", json_string(operator));
        json_t *arguments = json_array();
        json_array_append_new(arguments, argument);
        json_object_set_new(rule, "args", arguments);
}

/* EPERM for a call of this row where the container has none of the capabilities that allow it. */
static void deny_without(json_t *rules, size_t row, const char *name)
{
        const char *capabilities[GUARDED_COUNT + 1];
        size_t count = 0;
        for (size_t i = 0; i < GUARDED_COUNT; i++)
                for (const char *const *each = guarded[i].names; *each; each++)
                        if (strcmp(*each, name) == 0)
                                capabilities[count++] = guarded[i].capability;
        capabilities[count] = NULL;
        if (capabilities[0] != guarded[row].capability)
                return; /* an earlier row has done it */
        only(deny(rules, LIST(name), EPERM), "excludes", "caps", capabilities);
}

static void add_guarded(json_t *rules)
{
        for (size_t i = 0; i < GUARDED_COUNT; i++) {
                only(allow(rules, guarded[i].names), "includes", "caps",
                     LIST(guarded[i].capability));
                for (const char *const *name = guarded[i].names; *name; name++)
                        deny_without(rules, i, *name);
        }
}

/*
 * Three ranges around the two families: with "not this" and "not that" in one rule runc would let
 * both through, and beside an ERRNO rule libseccomp may drop one of them.
 */
static void add_sockets(json_t *rules)
{
        where(allow(rules, LIST("socket")), 0, "SCMP_CMP_LT", FAMILY_ALG, 0);
        where(allow(rules, LIST("socket")), 0, "SCMP_CMP_EQ", FAMILY_ALG + 1, 0);
        where(allow(rules, LIST("socket")), 0, "SCMP_CMP_GT", FAMILY_VSOCK, 0);
}

/* Before 4.8 a tracer could change a call behind the filter's back. */
static void add_tracing(json_t *rules)
{
        json_t *rule = allow(rules, LIST("process_vm_readv", "process_vm_writev", "ptrace"));
        json_t *condition = json_object();
        json_object_set_new(condition, "minKernel", json_string("4.8"));
        json_object_set_new(rule, "includes", condition);
}

static json_t *architectures(void)
{
        return json_pack("[{s:s, s:[s, s]}, {s:s, s:[s]}]", "architecture", "SCMP_ARCH_X86_64",
                         "subArchitectures", "SCMP_ARCH_X86", "SCMP_ARCH_X32", "architecture",
                         "SCMP_ARCH_AARCH64", "subArchitectures", "SCMP_ARCH_ARM");
}

/* The calls that make namespaces. */
static void add_namespaces(json_t *rules)
{
        static const char *const admin[] = {"CAP_SYS_ADMIN", NULL};
        only(allow(rules, LIST("clone", "clone3", "unshare")), "includes", "caps", admin);
        json_t *rule = allow(rules, LIST("clone"));
        where(rule, 0, "SCMP_CMP_MASKED_EQ", NAMESPACE_FLAGS, 0);
        only(rule, "excludes", "caps", admin);
        for (size_t i = 0; i < sizeof namespace_flags / sizeof *namespace_flags; i++) {
                rule = deny(rules, LIST("clone"), EPERM);
                where(rule, 0, "SCMP_CMP_MASKED_EQ", namespace_flags[i], namespace_flags[i]);
                only(rule, "excludes", "caps", admin);
        }
        only(deny(rules, LIST("clone3"), ENOSYS), "excludes", "caps", admin);
        only(deny(rules, LIST("unshare"), EPERM), "excludes", "caps", admin);
}

static bool makes_namespaces(const char *name)
{
        return strcmp(name, "clone") == 0 || strcmp(name, "clone3") == 0 ||
               strcmp(name, "unshare") == 0;
}

void seccomp_profile_guard(json_t *profile)
{
        json_t *rules = json_object_get(profile, "syscalls");
        size_t index;
        json_t *rule;
        json_array_foreach (rules, index, rule) {
                json_t *names = json_object_get(rule, "names");
                for (size_t i = json_array_size(names); i-- > 0;)
                        if (makes_namespaces(json_string_value(json_array_get(names, i))))
                                json_array_remove(names, i);
                const char *name = json_string_value(json_object_get(rule, "name"));
                if (name && makes_namespaces(name))
                        json_object_del(rule, "name");
        }
        if (!json_is_array(rules)) {
                rules = json_array();
                json_object_set_new(profile, "syscalls", rules);
        }
        add_namespaces(rules);
}

json_t *seccomp_profile_default(void)
{
        json_t *profile = json_object();
        json_t *rules = json_array();
        json_object_set_new(profile, "defaultAction", json_string("SCMP_ACT_ERRNO"));
        json_object_set_new(profile, "defaultErrnoRet", json_integer(ENOSYS));
        json_object_set_new(profile, "archMap", architectures());
        json_object_set_new(profile, "syscalls", rules);
        allow(rules, always);
        deny(rules, never, EPERM);
        add_guarded(rules);
        for (size_t i = 0; i < sizeof native / sizeof *native; i++)
                only(allow(rules, native[i].names), "includes", "arches", native[i].arches);
        for (size_t i = 0; i < sizeof personalities / sizeof *personalities; i++)
                where(allow(rules, LIST("personality")), 0, "SCMP_CMP_EQ", personalities[i], 0);
        add_sockets(rules);
        add_tracing(rules);
        add_namespaces(rules);
        return profile;
}
