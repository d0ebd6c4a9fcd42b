/* Processes: what a child gets, and what becomes of one that fails, floods or hangs. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/process.h"
#include "base/task.h"

static void (*body)(void);

static void task_body(void *argument)
{
        (void)argument;
        body();
        loop_stop();
}

static void in_task(void (*function)(void))
{
        body = function;
        signal(SIGPIPE, SIG_IGN); /* as the daemon does: programs need not read their stdin */
        assert_int_equal(loop_init(4, NULL), 0);
        task_start("test", task_body, NULL);
        loop_run();
        loop_fini();
}

static int namespaces;

static int run_shell(const char *script, struct process_run *run, struct error *err)
{
        char *argv[] = {"sh", "-c", (char *)script, NULL};
        char *environment[] = {"PATH=/usr/bin:/bin", "ONLY=this", NULL};
        struct process_options options = PROCESS_OPTIONS_INIT;
        options.path = "/bin/sh";
        options.argv = argv;
        options.environment = environment;
        options.namespaces = namespaces;
        if (!run->deadline)
                run->deadline = CLOCK_NEVER;
        if (!run->output_max)
                run->output_max = 4096;
        if (!run->errors_max)
                run->errors_max = 4096;
        return process_run(&options, run, err);
}

static void collects(void)
{
        struct error err = {0};
        struct process_run run = {.input = "hello", .input_length = 5};
        assert_int_equal(run_shell("cat; echo oops >&2; exit 3", &run, &err), 0);
        assert_string_equal(run.output.data, "hello");
        assert_string_equal(run.errors.data, "oops\n");
        assert_true(WIFEXITED(run.status) && WEXITSTATUS(run.status) == 3);
        assert_true(process_check(&run, "thing", &err) < 0);
        assert_string_equal(err.message, "thing: exit status 3: oops");
        process_run_fini(&run);
}

static void test_collects_output_and_status(void **state)
{
        (void)state;
        in_task(collects);
}

static void gets_only_its_own(void)
{
        struct error err = {0};
        int leaked = dup(1); /* not close-on-exec, and still not passed on */
        struct process_run run = {0};
        assert_int_equal(
                run_shell("env | grep -v -e ^PWD= -e ^_= -e ^SHLVL= | sort; "
                          "ls /proc/self/fd | tr '\\n' ' '; pwd; "
                          "read -r _ _ _ _ group _ </proc/$$/stat; test $group = $$ && echo leader",
                          &run, &err),
                0);
        close(leaked);
        /* 3 is the folder that ls reads. */
        assert_string_equal(run.output.data, "ONLY=this\nPATH=/usr/bin:/bin\n0 1 2 3 /\nleader\n");
        process_run_fini(&run);
}

static void test_child_gets_only_its_own(void **state)
{
        (void)state;
        in_task(gets_only_its_own);
}

static void floods(void)
{
        struct error err = {0};
        struct process_run run = {.output_max = 1000};
        assert_int_equal(run_shell("head -c 3000000 /dev/zero; exit 7", &run, &err), 0);
        assert_int_equal(run.output.length, 1000);
        assert_true(run.output_cut);
        assert_int_equal(WEXITSTATUS(run.status), 7);
        process_run_fini(&run);
}

static void test_output_is_bounded(void **state)
{
        (void)state;
        in_task(floods);
}

static bool kill_called;

static void note_kill(void *argument)
{
        (void)argument;
        kill_called = true;
}

static void hangs(void)
{
        struct error err = {0};
        struct process_run run = {.deadline = clock_after(50 * NSEC_PER_MSEC),
                                  .on_kill = note_kill};
        kill_called = false;
        assert_int_equal(run_shell("sleep 1000 & echo $!; wait", &run, &err), -ETIMEDOUT);
        assert_int_equal(err.code, ERROR_DEADLINE_EXCEEDED);
        assert_true(kill_called);
        assert_true(WIFSIGNALED(run.status));
        /* Its child was in the group, and went too. */
        pid_t sleeper = (pid_t)atoi(run.output.data);
        assert_true(sleeper > 1);
        for (int i = 0; i < 1000 && kill(sleeper, 0) == 0 && process_start_time(sleeper); i++) {
                char state_path[64], text[256] = "";
                snprintf(state_path, sizeof state_path, "/proc/%d/stat", (int)sleeper);
                int fd = open(state_path, O_RDONLY);
                if (fd < 0 || read(fd, text, sizeof text - 1) <= 0 || strstr(text, ") Z")) {
                        if (fd >= 0)
                                close(fd);
                        break;
                }
                close(fd);
                assert_true(i < 999);
                task_sleep_until(clock_after(10 * NSEC_PER_MSEC));
        }
        process_run_fini(&run);
}

static void test_deadline_kills_the_group(void **state)
{
        (void)state;
        in_task(hangs);
}

static void leaves_a_holder(void)
{
        struct error err = {0};
        struct process_run run = {.linger = 20 * NSEC_PER_MSEC};
        assert_int_equal(run_shell("sleep 1000 & echo $!", &run, &err), 0);
        assert_int_equal(WEXITSTATUS(run.status), 0);
        kill((pid_t)atoi(run.output.data), SIGKILL);
        process_run_fini(&run);
}

static void test_who_keeps_the_pipes_is_cut_off(void **state)
{
        (void)state;
        in_task(leaves_a_holder);
}

static void missing_program(void)
{
        struct error err = {0};
        char *argv[] = {"nosuch", NULL};
        struct process_options options = PROCESS_OPTIONS_INIT;
        options.path = "/nonexistent/nosuch";
        options.argv = argv;
        struct process process;
        assert_int_equal(process_start(&options, &process, &err), -ENOENT);
        assert_string_equal(err.message, "exec /nonexistent/nosuch: No such file or directory");
        options.path = "/bin/true";
        options.directory = "/nonexistent";
        assert_int_equal(process_start(&options, &process, &err), -ENOENT);
        assert_string_equal(err.message,
                            "start /bin/true: change folder: No such file or directory");
}

static void test_missing_program(void **state)
{
        (void)state;
        in_task(missing_program);
        missing_program(); /* outside a task as well */
}

/* All that it left running ends with it, even what has a session of its own. */
static void is_the_first(void)
{
        struct error err = {0};
        struct process_run run = {0};
        namespaces = CLONE_NEWPID;
        assert_int_equal(run_shell("setsid sleep 1000 & echo $$", &run, &err), 0);
        namespaces = 0;
        assert_string_equal(run.output.data, "1\n");
        process_run_fini(&run);
}

static void test_child_in_a_namespace_of_its_own(void **state)
{
        (void)state;
        if (geteuid() != 0)
                skip();
        in_task(is_the_first);
}

/* One that cannot be: what cannot be isolated runs nevertheless. */
static void is_started(void)
{
        struct error err = {0};
        struct process_run run = {0};
        namespaces = CLONE_NEWUSER | CLONE_FS; /* the kernel refuses the two together */
        assert_int_equal(run_shell("echo here", &run, &err), 0);
        namespaces = 0;
        assert_string_equal(run.output.data, "here\n");
        process_run_fini(&run);
}

static void test_child_whose_namespaces_are_refused(void **state)
{
        (void)state;
        in_task(is_started);
}

static void test_start_time_names_a_process(void **state)
{
        (void)state;
        uint64_t start = process_start_time(getpid());
        assert_true(start > 0);
        int fd = process_open(getpid(), start);
        assert_true(fd >= 0);
        close(fd);
        assert_int_equal(process_open(getpid(), start + 1), -ESRCH);
        assert_int_equal(process_start_time(0x7ffffff0), 0);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_collects_output_and_status),
                cmocka_unit_test(test_child_gets_only_its_own),
                cmocka_unit_test(test_output_is_bounded),
                cmocka_unit_test(test_deadline_kills_the_group),
                cmocka_unit_test(test_who_keeps_the_pipes_is_cut_off),
                cmocka_unit_test(test_missing_program),
                cmocka_unit_test(test_child_in_a_namespace_of_its_own),
                cmocka_unit_test(test_child_whose_namespaces_are_refused),
                cmocka_unit_test(test_start_time_names_a_process),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
