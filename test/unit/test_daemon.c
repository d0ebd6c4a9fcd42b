#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/memory.h"
#include "cri/daemon.h"

static char folder[] = "/tmp/test_daemon.XXXXXX";
static char *lock_path;

static int setup(void **state)
{
        if (!mkdtemp(folder))
                return -1;
        lock_path = xprintf("%s/crisp.lock", folder);
        return 0;
}

static int teardown(void **state)
{
        unlink(lock_path);
        rmdir(folder);
        free(lock_path);
        return 0;
}

static void test_one_holds(void **state)
{
        struct error err;
        char pid[16];
        int first = daemon_lock(folder, &err);

        assert_true(first >= 0);
        assert_int_equal(fcntl(first, F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);

        assert_int_equal(daemon_lock(folder, &err), -EBUSY);
        assert_int_equal(err.code, ERROR_FAILED_PRECONDITION);
        snprintf(pid, sizeof pid, "process %d:", (int)getpid());
        assert_non_null(strstr(err.message, pid));
        assert_non_null(strstr(err.message, folder));

        close(first);
        int second = daemon_lock(folder, &err);
        assert_true(second >= 0);
        close(second);
}

/* What a crash left says nothing: a file with another's process id is not a lock. */
static void test_stale(void **state)
{
        struct error err;
        FILE *file = fopen(lock_path, "w");

        fputs("1234567890123456789\n", file);
        fclose(file);
        int fd = daemon_lock(folder, &err);
        assert_true(fd >= 0);
        close(fd);
}

static void test_rubbish_holder(void **state)
{
        struct error err;
        int first = daemon_lock(folder, &err);

        assert_int_equal(ftruncate(first, 0), 0);
        assert_int_equal(pwrite(first, "\x1b[2Jrubbish", 10, 0), 10);
        assert_int_equal(daemon_lock(folder, &err), -EBUSY);
        assert_non_null(strstr(err.message, "process unknown"));
        close(first);
}

/* A daemon that was killed while it started a child: the child has the lock until it executes its
 * program. */
static void test_heir(void **state)
{
        struct error err;
        int status;

        pid_t daemon = fork();
        if (daemon == 0) {
                if (daemon_lock(folder, NULL) < 0)
                        _exit(1);
                if (fork() == 0)
                        usleep(200 * 1000);
                _exit(0);
        }
        assert_int_equal(waitpid(daemon, &status, 0), daemon);
        assert_int_equal(status, 0);
        int fd = daemon_lock(folder, &err);
        assert_true(fd >= 0);
        close(fd);
}

static void test_no_folder(void **state)
{
        struct error err;

        assert_int_equal(daemon_lock("/no/such/folder", &err), -ENOENT);
        assert_non_null(strstr(err.message, "/no/such/folder"));
}

/* Somebody who may write the folder cannot have us lock, and write to, another file. */
static void test_symlink(void **state)
{
        struct error err;

        unlink(lock_path);
        assert_int_equal(symlink("/tmp/test_daemon.elsewhere", lock_path), 0);
        assert_int_equal(daemon_lock(folder, &err), -ELOOP);
        unlink(lock_path);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_one_holds),      cmocka_unit_test(test_stale),
                cmocka_unit_test(test_rubbish_holder), cmocka_unit_test(test_no_folder),
                cmocka_unit_test(test_symlink),        cmocka_unit_test(test_heir),
        };
        return cmocka_run_group_tests(tests, setup, teardown);
}
