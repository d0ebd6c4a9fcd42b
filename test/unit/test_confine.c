/* What crisp-image can still do when it meets strangers' bytes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <linux/landlock.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/file.h"
#include "base/memory.h"
#include "image/fetch/confine.h"

static char folder[] = "/tmp/crisp-confine-XXXXXX";

/* In a child, which stays confined: the line where an expectation fails is its exit code. */
#define EXPECT(condition)                                                                          \
        do {                                                                                       \
                if (!(condition))                                                                  \
                        _exit(__LINE__ & 0x7f ? __LINE__ & 0x7f : 1);                              \
        } while (0)

static void confined(void)
{
        struct error err;
        EXPECT(chdir(folder) == 0);
        EXPECT(confine_process(&err) == 0);
        AUTO_FREE char *inside = xprintf("%s/inside", folder);
        EXPECT(confine_writes(inside, &err) == 0);

        /* All that unpacking does, below the folder. */
        EXPECT(mkdir("inside/a", 0700) == 0 && mkdir("inside/b", 0700) == 0);
        EXPECT(mknod("inside/a/file", S_IFREG | 0600, 0) == 0);
        EXPECT(link("inside/a/file", "inside/b/link") == 0);
        EXPECT(rename("inside/b/link", "inside/a/moved") == 0);
        EXPECT(symlink("/etc", "inside/a/symlink") == 0);
        EXPECT(mkfifo("inside/a/fifo", 0600) == 0);
        EXPECT(mknod("inside/a/whiteout", S_IFCHR, makedev(0, 0)) == 0);
        EXPECT(truncate("inside/a/file", 10) == 0);
        EXPECT(file_remove_tree("inside/a", &err) == 0);

        /* Outside nothing but reading. */
        EXPECT(open("/etc/passwd", O_RDONLY) >= 0);
        EXPECT(open("outside", O_WRONLY) < 0 && errno == EACCES);
        EXPECT(open("inside/../outside", O_WRONLY) < 0 && errno == EACCES);
        EXPECT(open("new", O_WRONLY | O_CREAT, 0600) < 0 && errno == EACCES);
        EXPECT(mkdir("new", 0700) < 0 && errno == EACCES);
        EXPECT(unlink("outside") < 0 && errno == EACCES);
        EXPECT(symlink("/etc", "new") < 0 && errno == EACCES);
        EXPECT(rename("outside", "inside/outside") < 0);
        EXPECT(link("outside", "inside/outside") < 0);
        _exit(0);
}

static void test_writes_stay_inside(void **state)
{
        long abi = syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);
        int status;
        (void)state;
        if (abi < 3 || geteuid() != 0)
                skip();
        assert_non_null(mkdtemp(folder));
        AUTO_FREE char *inside = xprintf("%s/inside", folder);
        AUTO_FREE char *outside = xprintf("%s/outside", folder);
        assert_int_equal(mkdir(inside, 0700), 0);
        assert_int_equal(file_replace_volatile(outside, "", 0, 0600, NULL), 0);
        pid_t pid = fork();
        if (pid == 0)
                confined();
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_true(WIFEXITED(status));
        if (WEXITSTATUS(status))
                fail_msg("line %d modulo 128", WEXITSTATUS(status));
        assert_int_equal(file_remove_tree(folder, NULL), 0);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_writes_stay_inside),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
