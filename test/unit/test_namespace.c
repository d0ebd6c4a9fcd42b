/* Namespaces as files: what is in them, what is refused, and that nothing stays behind. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "base/buffer.h"
#include "base/file.h"
#include "base/memory.h"
#include "network/namespace.h"

static char base[] = "/tmp/crisp-test-namespace-XXXXXX";
static char directory[64];

static void need_root(void)
{
        if (geteuid() != 0)
                skip();
}

static unsigned mounts_below(const char *path)
{
        AUTO_BUFFER struct buffer text = BUFFER_INIT;
        unsigned count = 0;
        assert_int_equal(file_read("/proc/self/mountinfo", 64 << 20, &text, NULL), 0);
        for (const char *at = text.data; (at = strstr(at, path)); at++)
                count++;
        return count;
}

static int make_base(void **state)
{
        (void)state;
        if (!mkdtemp(base))
                return -1;
        snprintf(directory, sizeof directory, "%s/pod/ns", base);
        return 0;
}

static int remove_base(void **state)
{
        (void)state;
        namespace_unpin(directory, NULL);
        file_remove_tree(base, NULL);
        return 0;
}

/* Runs function in the pinned namespaces, on a thread that ends afterwards. */
struct visit {
        void (*function)(void *argument);
        void *argument;
        bool entered;
};

static void *visit_main(void *argument)
{
        struct visit *visit = argument;
        static const char *const kinds[] = {"net", "ipc", "uts"};
        for (size_t i = 0; i < 3; i++) {
                AUTO_FREE char *path = xprintf("%s/%s", directory, kinds[i]);
                AUTO_FD int fd = open(path, O_RDONLY | O_CLOEXEC);
                if (fd >= 0 && setns(fd, 0) < 0)
                        return NULL;
        }
        visit->entered = true;
        visit->function(visit->argument);
        return NULL;
}

static void visit(void (*function)(void *), void *argument)
{
        struct visit call = {.function = function, .argument = argument};
        pthread_t thread;
        assert_int_equal(pthread_create(&thread, NULL, visit_main, &call), 0);
        pthread_join(thread, NULL);
        assert_true(call.entered);
}

struct inside {
        bool lo_is_up;
        struct utsname names;
        char forward[16], shmmni[16];
};

static void read_setting(const char *path, char *out, size_t size)
{
        AUTO_FD int fd = open(path, O_RDONLY | O_CLOEXEC);
        ssize_t length = fd < 0 ? -1 : read(fd, out, size - 1);
        out[length < 0 ? 0 : length] = '\0';
}

static void look_inside(void *argument)
{
        struct inside *inside = argument;
        AUTO_FD int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
        struct ifreq request = {.ifr_name = "lo"};
        inside->lo_is_up = ioctl(fd, SIOCGIFFLAGS, &request) == 0 && (request.ifr_flags & IFF_UP);
        uname(&inside->names);
        read_setting("/proc/sys/net/ipv4/ip_forward", inside->forward, sizeof inside->forward);
        read_setting("/proc/sys/kernel/shmmni", inside->shmmni, sizeof inside->shmmni);
}

static void test_pins_and_unpins(void **state)
{
        (void)state;
        need_root();
        struct error err = {0};
        struct inside own = {0}, inside = {0};
        look_inside(&own);
        const struct namespace_sysctl sysctls[] = {
                {"net.ipv4.ip_forward", strcmp(own.forward, "1\n") == 0 ? "0" : "1"},
                {"kernel/shmmni", "123"},
        };
        struct namespace_options options = {
                .directory = directory,
                .network = true,
                .ipc = true,
                .uts = true,
                .hostname = "a-pod",
                .sysctls = sysctls,
                .sysctl_count = 2,
        };
        assert_int_equal(namespace_pin(&options, &err), 0);
        assert_int_equal(mounts_below(directory), 3);
        AUTO_FREE char *net = xprintf("%s/net", directory);
        AUTO_FREE char *nothing = xprintf("%s/nothing", directory);
        assert_true(namespace_is_pinned(net));
        assert_false(namespace_is_pinned(nothing));
        assert_false(namespace_is_pinned("/etc/passwd"));

        visit(look_inside, &inside);
        assert_true(inside.lo_is_up);
        assert_string_equal(inside.names.nodename, "a-pod");
        assert_string_not_equal(inside.forward, own.forward);
        assert_string_equal(inside.shmmni, "123\n");
        /* This thread is where it was. */
        struct inside after = {0};
        look_inside(&after);
        assert_memory_equal(&after, &own, sizeof own);

        assert_int_equal(namespace_unpin(directory, &err), 0);
        assert_false(namespace_is_pinned(net));
        assert_int_equal(mounts_below(directory), 0);
        assert_int_equal(access(directory, F_OK), -1);
        assert_int_equal(namespace_unpin(directory, &err), 0);
}

static void test_host_modes_have_no_pins(void **state)
{
        (void)state;
        need_root();
        struct error err = {0};
        struct namespace_options options = {.directory = directory, .ipc = true};
        AUTO_FREE char *net = xprintf("%s/net", directory);
        AUTO_FREE char *ipc = xprintf("%s/ipc", directory);
        assert_int_equal(namespace_pin(&options, &err), 0);
        assert_false(namespace_is_pinned(net));
        assert_true(namespace_is_pinned(ipc));
        assert_int_equal(namespace_unpin(directory, &err), 0);
        options.ipc = false;
        assert_int_equal(namespace_pin(&options, &err), 0);
        assert_int_equal(access(directory, F_OK), -1);
}

static void test_failure_leaves_nothing(void **state)
{
        (void)state;
        need_root();
        struct error err = {0};
        const struct namespace_sysctl refused[] = {
                {"net.ipv4.ip_forward", "1"},
                {"net.ipv4.ip_forward", "many"},
        };
        struct namespace_options options = {
                .directory = directory,
                .network = true,
                .ipc = true,
                .uts = true,
                .sysctls = refused,
                .sysctl_count = 2,
        };
        assert_true(namespace_pin(&options, &err) < 0);
        assert_int_equal(err.code, ERROR_INVALID_ARGUMENT);
        assert_non_null(strstr(err.message, "net.ipv4.ip_forward"));
        assert_non_null(strstr(err.message, "many"));
        assert_int_equal(mounts_below(directory), 0);
        assert_int_equal(access(directory, F_OK), -1);

        const struct namespace_sysctl absent = {"net.no_such_thing", "1"};
        options.sysctls = &absent;
        options.sysctl_count = 1;
        assert_true(namespace_pin(&options, &err) < 0);
        assert_int_equal(err.code, ERROR_INVALID_ARGUMENT);
        assert_int_equal(access(directory, F_OK), -1);
}

/* What an interrupted try leaves: files without mounts, and mounts on top of each other. */
static void test_mends_half_made_pins(void **state)
{
        (void)state;
        need_root();
        struct error err = {0};
        AUTO_FREE char *net = xprintf("%s/net", directory);
        AUTO_FREE char *uts = xprintf("%s/uts", directory);
        assert_int_equal(file_make_directories(directory, 0700, &err), 0);
        close(open(net, O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
        close(open(uts, O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
        assert_int_equal(mount("/proc/self/ns/net", net, NULL, MS_BIND, NULL), 0);
        assert_int_equal(mount("/proc/self/ns/net", net, NULL, MS_BIND, NULL), 0);
        struct namespace_options options = {.directory = directory, .network = true, .uts = true};
        assert_int_equal(namespace_pin(&options, &err), 0);
        assert_int_equal(mounts_below(directory), 2);

        /* Somebody looks at it: it goes all the same. */
        AUTO_FD int busy = open(net, O_RDONLY | O_CLOEXEC);
        assert_true(busy >= 0);
        assert_int_equal(namespace_unpin(directory, &err), 0);
        assert_int_equal(mounts_below(directory), 0);
        assert_int_equal(access(directory, F_OK), -1);
}

static void test_unpin_leaves_strange_files(void **state)
{
        (void)state;
        struct error err = {0};
        AUTO_FREE char *strange = xprintf("%s/precious", directory);
        assert_int_equal(file_make_directories(directory, 0700, &err), 0);
        close(open(strange, O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
        assert_int_equal(namespace_unpin(directory, &err), 0);
        assert_int_equal(access(strange, F_OK), 0);
        unlink(strange);
}

static void test_pins_another_process(void **state)
{
        (void)state;
        need_root();
        struct error err = {0};
        AUTO_FREE char *path = xprintf("%s/pid", directory);
        assert_int_equal(namespace_pin_process(getpid(), "pid", path, &err), 0);
        assert_int_equal(namespace_pin_process(getpid(), "pid", path, &err), 0);
        assert_true(namespace_is_pinned(path));
        assert_int_equal(mounts_below(directory), 1);
        assert_int_equal(namespace_unpin(directory, &err), 0);
        assert_true(namespace_pin_process(getpid(), "../x", path, &err) < 0);
        assert_int_equal(err.code, ERROR_INVALID_ARGUMENT);
        /* No process has this number. */
        assert_true(namespace_pin_process(1 << 30, "pid", path, &err) < 0);
        assert_int_equal(access(path, F_OK), -1);
        assert_int_equal(namespace_unpin(directory, &err), 0);
}

static void assert_sysctl(const char *name, bool network, bool ipc, bool allowed)
{
        struct error err = {0};
        int result = namespace_check_sysctl(name, network, ipc, &err);
        if ((result == 0) != allowed)
                fail_msg("%s: %s", name, result ? err.message : "is allowed");
        if (!allowed)
                assert_int_equal(err.code, ERROR_INVALID_ARGUMENT);
}

static void test_sysctl_names(void **state)
{
        (void)state;
        assert_sysctl("net.core.somaxconn", true, true, true);
        assert_sysctl("net/core/somaxconn", true, true, true);
        assert_sysctl("net.ipv4.conf.eth0/100.forwarding", true, true, true);
        assert_sysctl("kernel.shm_rmid_forced", true, true, true);
        assert_sysctl("kernel.msgmax", true, true, true);
        assert_sysctl("kernel.sem", true, true, true);
        assert_sysctl("fs.mqueue.msg_max", true, true, true);
        assert_sysctl("net.core.somaxconn", false, true, false);
        assert_sysctl("kernel.sem", true, false, false);
        assert_sysctl("kernel.semaphores", true, true, false);
        assert_sysctl("kernel.panic", true, true, false);
        assert_sysctl("vm.swappiness", true, true, false);
        assert_sysctl("network.x", true, true, false);
        assert_sysctl("net", true, true, false);
        assert_sysctl("", true, true, false);
        assert_sysctl(NULL, true, true, false);
        assert_sysctl("net/../kernel/panic", true, true, false);
        assert_sysctl("net.//.kernel.panic", true, true, false);
        assert_sysctl("net/./core", true, true, false);
        assert_sysctl("net..core", true, true, false);
        assert_sysctl("net.", true, true, false);
        assert_sysctl("/net/core", true, true, false);
        assert_sysctl("net.core\nx", true, true, false);
        char longest[400];
        memset(longest, 'a', sizeof longest);
        memcpy(longest, "net.", 4);
        longest[sizeof longest - 1] = '\0';
        assert_sysctl(longest, true, true, false);
}

static void test_hostname_is_bounded(void **state)
{
        (void)state;
        struct error err = {0};
        char name[80];
        memset(name, 'h', sizeof name - 1);
        name[sizeof name - 1] = '\0';
        struct namespace_options options = {.directory = directory, .uts = true, .hostname = name};
        assert_true(namespace_pin(&options, &err) < 0);
        assert_int_equal(err.code, ERROR_INVALID_ARGUMENT);
        assert_int_equal(access(directory, F_OK), -1);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_pins_and_unpins),
                cmocka_unit_test(test_host_modes_have_no_pins),
                cmocka_unit_test(test_failure_leaves_nothing),
                cmocka_unit_test(test_mends_half_made_pins),
                cmocka_unit_test(test_unpin_leaves_strange_files),
                cmocka_unit_test(test_pins_another_process),
                cmocka_unit_test(test_sysctl_names),
                cmocka_unit_test(test_hostname_is_bounded),
        };
        return cmocka_run_group_tests(tests, make_base, remove_base);
}
