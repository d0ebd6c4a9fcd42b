/*
 * The daemon's side of the monitor and of the pod holder. Called crisp-monitor this program is the
 * monitor itself; the holder has to be static, so it is there only where crisp-pause was built.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/process.h"
#include "base/task.h"
#include "conmon/conmon.h"
#include "oci/holder.h"
#include "oci/monitor.h"

#define PATIENCE 60 /* seconds, after which a test that hangs is killed */

#define CREATE "(read x <\"$2\"; exec sh -c \"$3\") & echo $! >\"$1\"; echo noise >&2"

static char directory[64];
static char log_path[128], pid_path[128], socket_path[128], fifo_path[128];
static struct error err;

static void put(const char *path, const char *text)
{
        int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);

        assert_true(fd >= 0);
        assert_int_equal(write(fd, text, strlen(text)), strlen(text));
        close(fd);
}

static int set_up(void **state)
{
        memset(&err, 0, sizeof(err));
        strcpy(directory, "/tmp/crisp-monitor-XXXXXX");
        if (!mkdtemp(directory))
                return -1;
        snprintf(log_path, sizeof(log_path), "%s/log", directory);
        snprintf(pid_path, sizeof(pid_path), "%s/pid", directory);
        snprintf(socket_path, sizeof(socket_path), "%s/socket", directory);
        snprintf(fifo_path, sizeof(fifo_path), "%s/start", directory);
        alarm(PATIENCE);
        return mkfifo(fifo_path, 0600);
}

static int tear_down(void **state)
{
        char command[128];

        snprintf(command, sizeof(command), "rm -rf %s", directory);
        return system(command);
}

static void (*body)(void);

static void task_body(void *argument)
{
        body();
        loop_stop();
}

static void in_task(void (*function)(void))
{
        body = function;
        assert_int_equal(loop_init(2, NULL), 0);
        task_start("test", task_body, NULL);
        loop_run();
        loop_fini();
}

static char path_variable[] = "PATH=/usr/sbin:/usr/bin:/sbin:/bin";
static char *const environment[] = {path_variable, NULL};

static int start_with(const char *const *command, int64_t deadline, struct monitor_started *started)
{
        struct monitor_options options = MONITOR_OPTIONS_INIT;

        options.program = "/proc/self/exe";
        options.id = "test";
        options.directory = directory;
        options.socket_path = socket_path;
        options.pid_file = pid_path;
        options.log_path = log_path;
        options.command = (char *const *)(uintptr_t)command;
        options.environment = environment;
        options.deadline = deadline;
        return monitor_start(&options, started, &err);
}

static int create(const char *script, struct monitor_started *started)
{
        const char *command[] = {"/bin/sh", "-c",      CREATE, "runtime",
                                 pid_path,  fifo_path, script, NULL};

        return start_with(command, CLOCK_NEVER, started);
}

/* What came of a connection. */
struct news {
        unsigned count;
        bool gone;
        struct monitor_exit exit;
        struct event came;
};

static void take_news(void *argument, const struct monitor_exit *exit)
{
        struct news *news = argument;

        news->count++;
        if (exit)
                news->exit = *exit;
        else
                news->gone = true;
        event_signal(&news->came);
}

static void wait_for(struct news *news)
{
        while (!news->count)
                assert_int_equal(task_wait(&news->came, CLOCK_NEVER), 0);
}

/* Until there is no such process any more, not even a zombie. */
static void wait_for_end(pid_t pid)
{
        while (kill(pid, 0) == 0)
                task_sleep_until(clock_after(5 * NSEC_PER_MSEC));
        assert_int_equal(errno, ESRCH);
}

static void whole_life_body(void)
{
        struct monitor_started started;
        struct monitor_status status;
        struct monitor_exit record;
        struct monitor *monitor;
        struct news news = {0};

        assert_int_equal(create("echo hello; exit 3", &started), 0);
        assert_true(started.start_time != 0);
        assert_true(process_start_time(started.pid) == started.start_time);
        assert_int_equal(getsid(started.monitor_pid), started.monitor_pid);
        assert_int_equal(monitor_connect(socket_path, take_news, &news, &monitor, &err), 0);
        assert_int_equal(monitor_get_status(monitor, CLOCK_NEVER, &status, &err), 0);
        assert_int_equal(status.state, MONITOR_RUNNING);
        assert_int_equal(status.pid, started.pid);
        assert_int_equal(monitor_pid(monitor), started.monitor_pid);
        assert_true(monitor_resize(monitor, 1, 1, CLOCK_NEVER, &err) < 0);
        assert_int_equal(err.code, ERROR_FAILED_PRECONDITION);
        assert_int_equal(unlink(log_path), 0);
        assert_int_equal(monitor_reopen_log(monitor, CLOCK_NEVER, &err), 0);
        assert_int_equal(access(log_path, F_OK), 0);
        assert_int_equal(exit_record_read(directory, &record, &err), -ENOENT);
        assert_int_equal(err.code, ERROR_NOT_FOUND);

        put(fifo_path, "\n");
        wait_for(&news);
        assert_false(news.gone);
        assert_int_equal(news.exit.exit_code, 3);
        assert_int_equal(news.exit.pid, started.pid);
        assert_int_equal(exit_record_read(directory, &record, &err), 0);
        assert_int_equal(record.pid, news.exit.pid);
        assert_true(record.start_time == started.start_time);
        assert_int_equal(record.exit_code, 3);
        assert_int_equal(record.signal, 0);
        assert_false(record.oom_killed);
        assert_true(record.finished_at == news.exit.finished_at);
        assert_true(monitor_reopen_log(monitor, CLOCK_NEVER, &err) < 0);
        assert_int_equal(err.code, ERROR_UNAVAILABLE);
        monitor_free(monitor);
        assert_int_equal(news.count, 1);
        wait_for_end(started.monitor_pid);
        assert_int_equal(monitor_connect(socket_path, take_news, &news, &monitor, &err), -ENOENT);
        assert_int_equal(err.code, ERROR_NOT_FOUND);
}

static void whole_life(void **state)
{
        in_task(whole_life_body);
}

static void fails(const char *script, enum error_code code, const char *message)
{
        const char *command[] = {"/bin/sh", "-c", script, NULL};
        struct monitor_started started;

        assert_true(start_with(command, CLOCK_NEVER, &started) < 0);
        assert_string_equal(err.message, message);
        assert_int_equal(err.code, code);
        assert_int_equal(access(socket_path, F_OK), -1);
}

static void failures_body(void)
{
        char message[256];

        fails("printf 'no\\tsuch\\n\\033thing\\n' >&2; exit 7", ERROR_UNKNOWN,
              "sh: exit status 7: no such  thing");
        fails("exit 7", ERROR_UNKNOWN, "sh: exit status 7");
        fails("kill -9 $$", ERROR_UNKNOWN, "sh: killed by signal 9");
        snprintf(message, sizeof(message),
                 "monitor: read the container's pid from %s: No such file or directory", pid_path);
        fails("exit 0", ERROR_INTERNAL, message);
        unlink(log_path);
        assert_int_equal(mkdir(log_path, 0700), 0);
        snprintf(message, sizeof(message), "monitor: open the log %s: Is a directory", log_path);
        fails("exit 0", ERROR_INTERNAL, message);
}

static void failures(void **state)
{
        in_task(failures_body);
}

static void no_program_body(void)
{
        const char *command[] = {"/bin/true", NULL};
        struct monitor_options options = MONITOR_OPTIONS_INIT;
        struct monitor_started started;

        options.id = "test";
        options.directory = directory;
        options.socket_path = socket_path;
        options.pid_file = pid_path;
        options.command = (char *const *)(uintptr_t)command;
        options.program = "/nonexistent/crisp-monitor";
        assert_true(monitor_start(&options, &started, &err) < 0);
        assert_non_null(strstr(err.message, "/nonexistent/crisp-monitor"));
        options.program = "/bin/false";
        assert_true(monitor_start(&options, &started, &err) < 0);
        assert_string_equal(err.message, "monitor: ended without a report, exit status 1");
}

static void no_program(void **state)
{
        in_task(no_program_body);
}

/* The runtime hangs: it and the monitor are killed. */
static void deadline_body(void)
{
        char script[160];
        const char *command[] = {"/bin/sh", "-c", script, NULL};
        struct monitor_started started;
        char text[16] = "";
        int fd;

        snprintf(script, sizeof(script), "echo $$ >%s/hanging; sleep 1000", directory);
        assert_int_equal(start_with(command, clock_after(300 * NSEC_PER_MSEC), &started),
                         -ETIMEDOUT);
        assert_int_equal(err.code, ERROR_DEADLINE_EXCEEDED);
        assert_int_equal(access(socket_path, F_OK), -1);
        snprintf(script, sizeof(script), "%s/hanging", directory);
        fd = open(script, O_RDONLY);
        /* On a slow machine it may not even have begun. */
        if (fd >= 0) {
                assert_true(read(fd, text, sizeof(text) - 1) > 0);
                close(fd);
                wait_for_end(atoi(text));
        }
}

static void deadline(void **state)
{
        in_task(deadline_body);
}

static void monitor_dies_body(void)
{
        struct monitor_started started;
        struct monitor_status status;
        struct monitor *monitor;
        struct news news = {0};

        assert_int_equal(create("sleep 1000", &started), 0);
        assert_int_equal(monitor_connect(socket_path, take_news, &news, &monitor, &err), 0);
        kill(started.monitor_pid, SIGKILL);
        wait_for(&news);
        assert_true(news.gone);
        assert_true(monitor_get_status(monitor, CLOCK_NEVER, &status, &err) < 0);
        monitor_free(monitor);
        kill(started.pid, SIGKILL);
        wait_for_end(started.monitor_pid);
        assert_int_equal(monitor_connect(socket_path, take_news, &news, &monitor, &err),
                         -ECONNREFUSED);
        assert_int_equal(err.code, ERROR_NOT_FOUND);
}

static void monitor_dies(void **state)
{
        in_task(monitor_dies_body);
}

static void free_monitor(void *argument)
{
        monitor_free(argument);
}

/* A monitor that does not answer holds up nobody past the deadline, and one may let go of it
 * meanwhile. */
static void monitor_hangs_body(void)
{
        struct monitor_started started;
        struct monitor_status status;
        struct monitor *monitor, *other;
        struct news news = {0};

        assert_int_equal(create("sleep 1000", &started), 0);
        assert_int_equal(monitor_connect(socket_path, take_news, &news, &monitor, &err), 0);
        assert_int_equal(monitor_connect(socket_path, take_news, &news, &other, &err), 0);
        assert_int_equal(monitor_get_status(other, CLOCK_NEVER, &status, &err), 0);
        kill(started.monitor_pid, SIGSTOP);
        assert_int_equal(monitor_get_status(monitor, clock_after(NSEC_PER_MSEC), &status, &err),
                         -ETIMEDOUT);
        task_start("free", free_monitor, monitor);
        assert_int_equal(monitor_get_status(monitor, CLOCK_NEVER, &status, &err), -ECANCELED);
        kill(started.monitor_pid, SIGCONT);
        assert_int_equal(monitor_get_status(other, CLOCK_NEVER, &status, &err), 0);
        assert_int_equal(news.count, 0);
        kill(started.pid, SIGTERM);
        wait_for(&news);
        assert_int_equal(news.exit.exit_code, 128 + SIGTERM);
        assert_int_equal(news.exit.signal, SIGTERM);
        monitor_free(other);
        wait_for_end(started.monitor_pid);
}

static void monitor_hangs(void **state)
{
        in_task(monitor_hangs_body);
}

/* Who connects after the end is told, as long as the monitor is there. */
static void connects_late_body(void)
{
        struct monitor_started started;
        struct monitor *monitor;
        struct news first = {0}, late = {0};
        char obstacle[128];

        snprintf(obstacle, sizeof(obstacle), "%s/exit.new", directory);
        assert_int_equal(mkdir(obstacle, 0700), 0);
        assert_int_equal(create("exit 9", &started), 0);
        assert_int_equal(monitor_connect(socket_path, take_news, &first, &monitor, &err), 0);
        put(fifo_path, "\n");
        wait_for(&first);
        monitor_free(monitor);
        assert_int_equal(monitor_connect(socket_path, take_news, &late, &monitor, &err), 0);
        assert_int_equal(late.count, 0);
        wait_for(&late);
        assert_int_equal(late.exit.exit_code, 9);
        monitor_free(monitor);
        rmdir(obstacle);
        wait_for_end(started.monitor_pid);
}

static void connects_late(void **state)
{
        in_task(connects_late_body);
}

#define RECORD                                                                                     \
        "version=1\npid=4711\nstart_time=123456\nexit_code=137\nsignal=9\noom_killed=1\n"          \
        "finished_at=1700000000123456789\n"

static int read_record(const char *text)
{
        char path[128];
        struct monitor_exit record;

        snprintf(path, sizeof(path), "%s/exit", directory);
        put(path, text);
        memset(&record, 0x55, sizeof(record));
        return exit_record_read(directory, &record, &err);
}

static void records(void **state)
{
        static const char *const wrong[] = {
                "",
                "\n",
                "version=1\n",
                "version=2\nwhatever\n",
                RECORD "more=1\n",
                RECORD "pid=1\n",
                "version=0\npid=4711\nstart_time=1\nexit_code=137\nsignal=9\noom_killed=1\n"
                "finished_at=1\n",
                "version=1\npid=4711\nstart_time=1\nexit_code=256\nsignal=9\noom_killed=1\n"
                "finished_at=1\n",
                "version=1\npid=-1\nstart_time=1\nexit_code=1\nsignal=9\noom_killed=1\n"
                "finished_at=1\n",
                "version=1\npid=1\nstart_time=1\nexit_code=1\nsignal=9\noom_killed=1\n"
                "finished_at=99999999999999999999\n",
                "version=1\npid=1\nstart_time=1\nexit_code=1\nsignal=9\noom_killed=1\n"
                "finished_at=12",
        };
        char large[MONITOR_EXIT_RECORD_MAX + 2], path[128];
        struct monitor_exit record;

        for (unsigned i = 0; i < sizeof(wrong) / sizeof(*wrong); i++) {
                assert_true(read_record(wrong[i]) < 0);
                assert_int_equal(err.code, ERROR_DATA_LOSS);
        }
        record = (struct monitor_exit){.pid = 12,
                                       .start_time = 34,
                                       .exit_code = 137,
                                       .signal = 9,
                                       .oom_killed = true,
                                       .finished_at = INT64_C(1700000000123456789)};
        assert_int_equal(exit_record_write_for(directory, &record, &err), 0);
        memset(&record, 0x55, sizeof(record));
        assert_int_equal(exit_record_read(directory, &record, &err), 0);
        assert_int_equal(record.pid, 12);
        assert_int_equal(record.start_time, 34);
        assert_int_equal(record.exit_code, 137);
        assert_int_equal(record.signal, 9);
        assert_true(record.oom_killed);
        assert_int_equal(record.finished_at, INT64_C(1700000000123456789));
        memset(large, 'x', sizeof(large) - 1);
        large[sizeof(large) - 1] = 0;
        assert_true(read_record(large) < 0);
        assert_int_equal(err.code, ERROR_DATA_LOSS);

        /* A later version's has more. */
        assert_int_equal(read_record("version=2\n" /* the rest of the first */
                                     "pid=1\nstart_time=2\nexit_code=3\nsignal=0\noom_killed=0\n"
                                     "finished_at=4\ncolour=5\n"),
                         0);
        assert_int_equal(read_record(RECORD), 0);
        assert_int_equal(exit_record_read(directory, &record, &err), 0);
        assert_int_equal(record.pid, 4711);
        assert_true(record.start_time == 123456);
        assert_int_equal(record.exit_code, 137);
        assert_int_equal(record.signal, 9);
        assert_true(record.oom_killed);
        assert_true(record.finished_at == 1700000000123456789);
        snprintf(path, sizeof(path), "%s/exit", directory);
        unlink(path);
        assert_int_equal(exit_record_read(directory, &record, &err), -ENOENT);
}

/* Runs a script in the holder's PID namespace with its /proc; returns its exit status. */
static int in_namespace(pid_t pid, const char *script)
{
        char command[512];
        int status;

        snprintf(command, sizeof(command), "nsenter --target %d --pid sh -c '%s'", pid, script);
        status = system(command);
        return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static char holder_program[PATH_MAX];

static void holder_body(void)
{
        struct holder_start_options options = {
                .program = holder_program, .cgroup_fd = -1, .deadline = CLOCK_NEVER};
        char path[64], target[PATH_MAX];
        uint64_t start_time;
        int program;
        pid_t pid;

        assert_int_equal(holder_start(&options, &pid, &start_time, &err), 0);
        assert_true(process_start_time(pid) == start_time);
        /* What is left behind there is reaped, and nobody inside can end it. */
        assert_int_equal(in_namespace(pid, "(sh -c : &); kill -TERM 1; kill -KILL 1; kill -0 1"),
                         0);
        snprintf(path, sizeof(path), "/proc/%d/task/%d/children", pid, pid);
        for (;;) {
                int fd = open(path, O_RDONLY);
                ssize_t got = read(fd, target, sizeof(target));

                close(fd);
                assert_true(got >= 0);
                if (got == 0)
                        break;
                task_sleep_until(clock_after(NSEC_PER_MSEC));
        }
        /* Nothing of the host's can be seen through it. */
        snprintf(path, sizeof(path), "/proc/%d/root/etc", pid);
        assert_int_equal(access(path, F_OK), -1);
        snprintf(path, sizeof(path), "/proc/%d/fd/0", pid);
        assert_int_equal(readlink(path, target, sizeof(target)), -1);
        /* Nor can the program be written, even when it runs no more. */
        snprintf(path, sizeof(path), "/proc/%d/exe", pid);
        program = open(path, O_RDONLY | O_CLOEXEC);
        assert_true(program >= 0);
        kill(pid, SIGKILL);
        wait_for_end(pid);
        snprintf(path, sizeof(path), "/proc/self/fd/%d", program);
        assert_int_equal(open(path, O_WRONLY | O_CLOEXEC), -1);
        assert_int_equal(errno, EROFS);
        close(program);

        options.net = "/nonexistent/net";
        assert_true(holder_start(&options, &pid, &start_time, &err) < 0);
        assert_string_equal(err.message, "pod holder: enter network namespace /nonexistent/net: "
                                         "No such file or directory");
}

static void holder(void **state)
{
        ssize_t length = readlink("/proc/self/exe", holder_program, sizeof(holder_program) - 32);
        char *slash;

        assert_true(length > 0);
        holder_program[length] = 0;
        slash = strrchr(holder_program, '/');
        strcpy(slash, "/../crisp-pause");
        if (geteuid() != 0 || access(holder_program, X_OK) < 0)
                skip();
        in_task(holder_body);
}

int main(int argc, char **argv)
{
#define TEST(function) cmocka_unit_test_setup_teardown(function, set_up, tear_down)
        const struct CMUnitTest tests[] = {
                TEST(whole_life),    TEST(failures),     TEST(no_program),
                TEST(deadline),      TEST(monitor_dies), TEST(monitor_hangs),
                TEST(connects_late), TEST(records),      TEST(holder),
        };

        if (strcmp(argv[0], "crisp-monitor") == 0) {
                struct conmon_options options;
                const char *problem, *argument;

                if (conmon_options_parse(argc, argv, &options, &problem, &argument) < 0)
                        return 2;
                return conmon_run(&options);
        }
        return cmocka_run_group_tests(tests, NULL, NULL);
}
