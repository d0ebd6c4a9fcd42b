/* What crisp-image can still do when it meets strangers' bytes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/landlock.h>
#include <netdb.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/ptrace.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "base/file.h"
#include "base/memory.h"
#include "image/box.h"
#include "image/fetch/confine.h"

static char folder[] = "/tmp/crisp-confine-XXXXXX";

/* In a child, which stays confined: the line where an expectation fails is its exit code. */
#define EXPECT(condition)                                                                          \
        do {                                                                                       \
                if (!(condition))                                                                  \
                        _exit(__LINE__ & 0x7f ? __LINE__ & 0x7f : 1);                              \
        } while (0)

static struct confine_box box_of(const char *staging, const char *store, bool network)
{
        return (struct confine_box){
                .folders = {{.path = staging, .place = CONFINE_STAGING, .writable = true},
                            {.path = store, .place = CONFINE_STORE}},
                .folder_count = 2,
                .network = network,
        };
}

static char *inside, *outside;

/* All that unpacking does, in the current folder. */
static void unpack_something(void)
{
        struct error err;

        EXPECT(mkdir("a", 0700) == 0 && mkdir("b", 0700) == 0);
        EXPECT(mknod("a/file", S_IFREG | 0600, 0) == 0);
        EXPECT(link("a/file", "b/link") == 0);
        EXPECT(rename("b/link", "a/moved") == 0);
        EXPECT(symlink("/etc", "a/symlink") == 0);
        EXPECT(mkfifo("a/fifo", 0600) == 0);
        EXPECT(mknod("a/whiteout", S_IFCHR, makedev(0, 0)) == 0);
        EXPECT(truncate("a/file", 10) == 0);
        EXPECT(chown("a/file", 70000, 80000) == 0 && chmod("a/file", 06755) == 0);
        int fd = open("a", O_PATH | O_DIRECTORY);
        AUTO_FREE char *path = xprintf("/proc/self/fd/%d/file", fd);
        EXPECT(lsetxattr(path, "user.test", "x", 1, 0) == 0 || errno == EOPNOTSUPP);
        close(fd);
        fd = open(".", O_RDONLY);
        EXPECT(syncfs(fd) == 0);
        close(fd);
        EXPECT(file_remove_tree("a", &err) == 0);
        EXPECT(rmdir("b") == 0);
}

static void close_box(bool network)
{
        struct confine_box box = box_of(inside, outside, network);
        struct error err;

        EXPECT(confine_start(3, &err) == 0);
        EXPECT(confine_close(&box, &err) == 0);
}

/* ---- what can be done ---- */

static void writes_alone(void)
{
        close_box(true);
        unpack_something();
        /* There is a root of its own, or Landlock alone. */
        const char *store = BOX_SANITIZED ? outside : CONFINE_STORE;
        AUTO_FREE char *file = xprintf("%s/file", store);
        AUTO_FREE char *new = xprintf("%s/new", store);
        EXPECT(open(file, O_RDONLY) >= 0);
        EXPECT(open(file, O_WRONLY) < 0 && (errno == EROFS || errno == EACCES));
        EXPECT(open(new, O_WRONLY | O_CREAT, 0600) < 0);
        EXPECT(mkdir(new, 0700) < 0);
        EXPECT(unlink(file) < 0);
        EXPECT(symlink("/etc", new) < 0);
        EXPECT(rename(file, "file") < 0);
        EXPECT(link(file, "file") < 0);
        EXPECT(open("/new", O_WRONLY | O_CREAT, 0600) < 0);
        EXPECT(mkdir("/new", 0700) < 0);
        _exit(0);
}

static void sees_nothing(void)
{
        static const char *const hidden[] = {
                "/etc/shadow", "/etc/passwd", "/proc/1",     "/proc/self/mem", "/proc/self/root",
                "/dev/null",   "/tmp",        "/usr/bin/sh", "/var",           "../etc/shadow"};
        close_box(true);
        for (size_t i = 0; i < sizeof(hidden) / sizeof(hidden[0]); i++)
                EXPECT(open(hidden[i], O_PATH) < 0 && errno == ENOENT);
        /* What it has for the network. */
        EXPECT(open("/etc/hosts", O_RDONLY) >= 0);
        EXPECT(open("/etc/hosts", O_WRONLY) < 0);
        /* Its folder leads to nothing above it. */
        EXPECT(chdir("../../../..") == 0 && open("etc/shadow", O_PATH) < 0 && errno == ENOENT);
        _exit(0);
}

/* The status file was opened before: its process is another one's to see. */
static void has_no_privileges(void)
{
        static const int kept[] = {CAP_CHOWN,  CAP_DAC_OVERRIDE, CAP_FOWNER,
                                   CAP_FSETID, CAP_MKNOD,        CAP_SETFCAP};
        static const char *const sets[] = {"CapPrm:\t", "CapEff:\t", "CapBnd:\t", "CapInh:\t",
                                           "CapAmb:\t"};
        struct confine_box box = box_of(inside, outside, true);
        struct error err;
        uint64_t mask = 0;
        char text[4096] = "";

        for (size_t i = 0; i < sizeof(kept) / sizeof(kept[0]); i++)
                mask |= UINT64_C(1) << kept[i];
        EXPECT(confine_start(3, &err) == 0);
        int fd = open("/proc/self/status", O_RDONLY);
        EXPECT(fd >= 0 && confine_close(&box, &err) == 0);
        EXPECT(read(fd, text, sizeof(text) - 1) > 0);
        for (size_t i = 0; i < sizeof(sets) / sizeof(sets[0]); i++) {
                const char *set = strstr(text, sets[i]);
                EXPECT(set && (strtoull(set + strlen(sets[i]), NULL, 16) & ~mask) == 0);
        }
        EXPECT(strstr(text, "NoNewPrivs:\t1"));
        _exit(0);
}

static void resolves_names(void)
{
        struct addrinfo *found = NULL;
        close_box(true);
        EXPECT(getaddrinfo("localhost", "443", NULL, &found) == 0);
        freeaddrinfo(found);
        EXPECT(socket(AF_INET, SOCK_STREAM, 0) >= 0);
        EXPECT(socket(AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, IPPROTO_UDP) >= 0);
        EXPECT(BOX_SANITIZED || (socket(AF_UNIX, SOCK_STREAM, 0) < 0 && errno == EAFNOSUPPORT));
        _exit(0);
}

static void *run_thread(void *argument)
{
        *(int *)argument = open("of-a-thread", O_WRONLY | O_CREAT, 0600);
        return NULL;
}

static void starts_threads(void)
{
        pthread_t thread;
        int fd = -1;
        close_box(false);
        EXPECT(pthread_create(&thread, NULL, run_thread, &fd) == 0);
        EXPECT(pthread_join(thread, NULL) == 0 && fd >= 0);
        _exit(0);
}

static int run(void (*function)(void))
{
        int status;
        pid_t pid = fork();
        if (pid == 0) {
                function();
                _exit(0);
        }
        assert_int_equal(waitpid(pid, &status, 0), pid);
        return status;
}

static void expect_success(void (*function)(void))
{
        int status = run(function);
        if (!WIFEXITED(status))
                fail_msg("signal %d", WTERMSIG(status));
        if (WEXITSTATUS(status))
                fail_msg("line %d modulo 128", WEXITSTATUS(status));
}

static bool can_close(void)
{
        long abi = syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);
        return abi >= 3 && geteuid() == 0;
}

static void test_writes_stay_inside(void **state)
{
        (void)state;
        if (!can_close())
                skip();
        expect_success(writes_alone);
}

static void test_box_can_do_its_work(void **state)
{
        (void)state;
        if (!can_close())
                skip();
        expect_success(has_no_privileges);
        expect_success(resolves_names);
        expect_success(starts_threads);
}

static void test_machine_is_out_of_sight(void **state)
{
        (void)state;
        if (!can_close() || BOX_SANITIZED)
                skip();
        expect_success(sees_nothing);
}

static void mounts_nothing(void)
{
        AUTO_BUFFER struct buffer before = BUFFER_INIT;
        AUTO_BUFFER struct buffer after = BUFFER_INIT;
        struct error err;
        EXPECT(file_read("/proc/self/mounts", 1 << 20, &before, &err) == 0);
        if (run(starts_threads) != 0)
                _exit(1);
        EXPECT(file_read("/proc/self/mounts", 1 << 20, &after, &err) == 0);
        EXPECT(before.length == after.length);
        _exit(0);
}

static void test_its_mounts_end_with_it(void **state)
{
        (void)state;
        if (!can_close())
                skip();
        expect_success(mounts_nothing);
}

/* ---- what kills ---- */

static void runs_a_program(void)
{
        execl("/bin/true", "true", (char *)NULL);
}

static void mounts(void)
{
        (void)!mount("none", "/staging", "tmpfs", 0, NULL);
}

static void traces(void)
{
        ptrace(PTRACE_TRACEME, 0, NULL, NULL);
}

static void signals_its_parent(void)
{
        kill(getppid(), 0);
}

static void signals_another_thread(void)
{
        syscall(SYS_tgkill, 1, 1, 0);
}

static void forks(void)
{
        (void)!syscall(SYS_clone, SIGCHLD, NULL, NULL, NULL, NULL);
}

static void leaves_its_namespace(void)
{
        setns(0, 0);
}

static void makes_a_namespace(void)
{
        unshare(CLONE_NEWUSER);
}

static void loads_bpf(void)
{
        syscall(SYS_bpf, 0, NULL, 0);
}

static void uses_a_ring(void)
{
        syscall(SYS_io_uring_setup, 1, NULL);
}

static void faults_by_itself(void)
{
        syscall(SYS_userfaultfd, 0);
}

static void looks_for_keys(void)
{
        syscall(SYS_keyctl, 0, 0);
}

static void changes_its_root(void)
{
        (void)!chroot(".");
}

static void opens_by_handle(void)
{
        syscall(SYS_open_by_handle_at, 0, NULL, 0);
}

static void opens_a_packet_socket(void)
{
        socket(AF_PACKET, SOCK_RAW, 0);
}

/* The kernel would load a module for it. */
static void opens_an_sctp_socket(void)
{
        socket(AF_INET, SOCK_STREAM, 132);
}

static void opens_a_raw_socket(void)
{
        socket(AF_INET6, SOCK_RAW, 6);
}

static void opens_an_audit_socket(void)
{
        socket(AF_NETLINK, SOCK_RAW, 9);
}

static void makes_memory_executable(void)
{
        void *memory = mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC,
                            MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        (void)memory;
}

static void types_for_a_terminal(void)
{
        ioctl(0, TIOCSTI, "x");
}

static void opens_any_socket(void)
{
        socket(AF_INET, SOCK_STREAM, 0);
}

static void (*attempt)(void);
static bool attempt_with_network;

static void try_in_box(void)
{
        close_box(attempt_with_network);
        attempt();
}

static void expect_killed(void (*function)(void), bool network, const char *name)
{
        attempt = function;
        attempt_with_network = network;
        int status = run(try_in_box);
        if (!WIFSIGNALED(status) || WTERMSIG(status) != SIGSYS)
                fail_msg("%s: status %#x", name, (unsigned)status);
}

static void test_other_calls_kill(void **state)
{
        static const struct {
                void (*function)(void);
                const char *name;
        } attempts[] = {
                {runs_a_program, "exec"},
                {mounts, "mount"},
                {traces, "ptrace"},
                {signals_its_parent, "kill"},
                {signals_another_thread, "tgkill"},
                {forks, "fork"},
                {leaves_its_namespace, "setns"},
                {makes_a_namespace, "unshare"},
                {loads_bpf, "bpf"},
                {uses_a_ring, "io_uring"},
                {faults_by_itself, "userfaultfd"},
                {looks_for_keys, "keyctl"},
                {changes_its_root, "chroot"},
                {opens_by_handle, "open_by_handle_at"},
                {opens_a_packet_socket, "AF_PACKET"},
                {opens_an_sctp_socket, "SCTP"},
                {opens_a_raw_socket, "SOCK_RAW"},
                {opens_an_audit_socket, "NETLINK_AUDIT"},
                {makes_memory_executable, "PROT_EXEC"},
                {types_for_a_terminal, "TIOCSTI"},
        };
        (void)state;
        if (!can_close() || BOX_SANITIZED)
                skip();
        for (size_t i = 0; i < sizeof(attempts) / sizeof(attempts[0]); i++)
                expect_killed(attempts[i].function, true, attempts[i].name);
        expect_killed(opens_any_socket, false, "a socket without network");
}

/* ---- all ---- */

static int set_up(void **state)
{
        (void)state;
        if (!mkdtemp(folder))
                return -1;
        inside = xprintf("%s/inside", folder);
        outside = xprintf("%s/outside", folder);
        AUTO_FREE char *file = xprintf("%s/file", outside);
        return mkdir(inside, 0700) < 0 || mkdir(outside, 0700) < 0
                       ? -1
                       : file_replace_volatile(file, "", 0, 0600, NULL);
}

static int tear_down(void **state)
{
        (void)state;
        free(inside);
        free(outside);
        return file_remove_tree(folder, NULL);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_writes_stay_inside),
                cmocka_unit_test(test_box_can_do_its_work),
                cmocka_unit_test(test_machine_is_out_of_sight),
                cmocka_unit_test(test_its_mounts_end_with_it),
                cmocka_unit_test(test_other_calls_kill),
        };
        return cmocka_run_group_tests(tests, set_up, tear_down);
}
