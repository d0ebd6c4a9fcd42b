/* Runtimes: a shell script plays one, and tells what it was called with. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/json.h"
#include "base/memory.h"
#include "base/task.h"
#include "conmon/exec.h"
#include "oci/exec.h"
#include "oci/runtime.h"

#define LONG clock_after(60 * NSEC_PER_SEC)

static char folder[] = "/tmp/crisp-test-runtime-XXXXXX";
static struct runtime_handler handler;
static void (*body)(void);

/* The id says what is to happen; an exec runs the file "command", whatever it is asked for. */
static const char script[] =
        "cd %s\n"
        "echo \"$*\" >>calls\n"
        "case \"$1\" in\n"
        "--version) echo 'fake version 1'; echo more; exit;;\n"
        "features) cat features; exit;;\n"
        "exec) cat help; exit;;\n"
        "esac\n"
        "log=/dev/stderr\n"
        "while :; do case \"$1\" in\n"
        "--root|--log-format) shift 2;;\n"
        "--log) log=$2; shift 2;;\n"
        "--systemd-cgroup) shift;;\n"
        "*) break;; esac; done\n"
        "verb=$1; shift\n"
        "pid_file=\n"
        "while :; do case \"$1\" in\n"
        "--pid-file) pid_file=$2; shift 2;;\n"
        "--process) cp $2 process.json; shift 2;;\n"
        "--cgroup|--resources) shift 2;;\n"
        "--*) shift;;\n"
        "*) break;; esac; done\n"
        "case \"$1\" in\n"
        "bad) echo '{\"level\":\"warning\",\"msg\":\"so so\"}' >>$log\n"
        "     echo '{\"level\":\"error\",\"msg\":\"it is \\\"bad\\\"\"}' >>$log; exit 1;;\n"
        "unknown) echo 'time=\"now\" level=error msg=\"container does not exist\"' >>$log; exit "
        "1;;\n"
        "ended) echo 'kill container: No such process' >&2; exit 1;;\n"
        "silent) exit 3;;\n"
        "hang) sleep 1000;;\n"
        "esac\n"
        "case $verb in\n"
        "state) cat state;;\n"
        "list) echo a; echo b;;\n"
        "update) cat >resources;;\n"
        "exec) echo 4711 >$pid_file; . ./command;;\n"
        "esac\n";

static void put(const char *name, const char *text, mode_t mode)
{
        AUTO_FREE char *path = xprintf("%s/%s", folder, name);
        assert_int_equal(file_replace_volatile(path, text, strlen(text), mode, NULL), 0);
}

static char *get(const char *name)
{
        AUTO_FREE char *path = xprintf("%s/%s", folder, name);
        struct buffer text = BUFFER_INIT;
        assert_int_equal(file_read(path, 1 << 20, &text, NULL), 0);
        return buffer_take(&text);
}

static int set_up(void **state)
{
        (void)state;
        assert_non_null(mkdtemp(folder));
        AUTO_FREE char *text = xprintf("#!/bin/sh\n");
        AUTO_FREE char *rest = xprintf(script, folder);
        AUTO_FREE char *whole = xprintf("%s%s", text, rest);
        put("fake", whole, 0755);
        put("features", "{\"mountOptions\":[\"ro\",\"rro\"]}", 0644);
        put("help", "--cgroup value  [<controller>:]<cgroup>", 0644);
        put("state", "{\"status\":\"running\",\"pid\":42}", 0644);
        AUTO_FREE char *path = xprintf("%s/fake", folder);
        AUTO_FREE char *root = xprintf("%s/root/fake", folder);
        runtime_handler_init(&handler, "fake", path, root, RUNTIME_KIND_OCI, false);
        return 0;
}

static int tear_down(void **state)
{
        (void)state;
        runtime_handler_fini(&handler);
        return file_remove_tree(folder, NULL);
}

static void task_body(void *argument)
{
        (void)argument;
        body();
        loop_stop();
}

static void in_task(void (*function)(void))
{
        body = function;
        assert_int_equal(loop_init(4, NULL), 0);
        task_start("test", task_body, NULL);
        loop_run();
        loop_fini();
}

#define IN_TASK(function)                                                                          \
        static void function##_test(void **state)                                                  \
        {                                                                                          \
                (void)state;                                                                       \
                in_task(function);                                                                 \
        }

/* ---- what it is ---- */

static void probes(void)
{
        struct error err = {0};
        assert_int_equal(runtime_probe(&handler, LONG, &err), 0);
        assert_string_equal(handler.version, "fake version 1");
        assert_int_equal(handler.exec_cgroup, RUNTIME_EXEC_CGROUP_CONTROLLER);
        assert_true(handler.recursive_read_only);
        assert_false(handler.idmapped_mounts);
        assert_null(handler.problem);
        assert_int_equal(access(handler.root, F_OK), 0);

        put("help", "      --cgroup=PATH          sub-cgroup", 0644);
        put("features", "{\"linux\":{\"mountExtensions\":{\"idmap\":{\"enabled\":true}}}}", 0644);
        assert_int_equal(runtime_probe(&handler, LONG, &err), 0);
        assert_int_equal(handler.exec_cgroup, RUNTIME_EXEC_CGROUP_ALL);
        assert_false(handler.recursive_read_only);
        assert_true(handler.idmapped_mounts);

        put("help", "nothing", 0644);
        put("features", "not JSON", 0644);
        assert_int_equal(runtime_probe(&handler, LONG, &err), 0);
        assert_int_equal(handler.exec_cgroup, RUNTIME_EXEC_CGROUP_NONE);
        assert_false(handler.idmapped_mounts);
}
IN_TASK(probes)

static void missing_program(void)
{
        struct runtime_handler missing;
        struct error err = {0};
        runtime_handler_init(&missing, "kata", "/nosuch/kata", "/nosuch/root", RUNTIME_KIND_OCI,
                             false);
        assert_true(runtime_probe(&missing, LONG, &err) < 0);
        assert_int_equal(err.code, ERROR_FAILED_PRECONDITION);
        assert_string_equal(err.message,
                            "runtime handler kata: /nosuch/kata: No such file or directory");
        assert_string_equal(missing.problem, err.message);
        err = (struct error){0};
        assert_true(runtime_start(&missing, "x", LONG, &err) < 0);
        assert_int_equal(err.code, ERROR_FAILED_PRECONDITION);
        runtime_handler_fini(&missing);
}
IN_TASK(missing_program)

static void create_command(void **state)
{
        struct runtime_handler systemd;
        (void)state;
        runtime_handler_init(&systemd, "runc", "/bin/runc", "/r", RUNTIME_KIND_OCI, true);
        char **argv = runtime_create_argv(&systemd, "id", "/b", "/p", "/l", true);
        static const char *const wanted[] = {
                "/bin/runc", "--root",       "/r",   "--systemd-cgroup", "--log",
                "/l",        "--log-format", "json", "create",           "--bundle",
                "/b",        "--pid-file",   "/p",   "--console-socket", "@console-socket@",
                "id",
        };
        assert_int_equal(strv_length(argv), sizeof wanted / sizeof *wanted);
        for (size_t i = 0; i < sizeof wanted / sizeof *wanted; i++)
                assert_string_equal(argv[i], wanted[i]);
        strv_free(argv);
        systemd.systemd_cgroup = false;
        argv = runtime_create_argv(&systemd, "id", "/b", "/p", "/l", false);
        assert_int_equal(strv_length(argv), 13);
        strv_free(argv);
        runtime_handler_fini(&systemd);
}

/* ---- what it does ---- */

static void refuses(int result, const struct error *err, enum error_code code, const char *message)
{
        assert_true(result < 0);
        if (message)
                assert_string_equal(err->message, message);
        assert_int_equal(err->code, code);
}

static void commands(void)
{
        struct error err = {0};
        put("calls", "", 0644);
        assert_int_equal(runtime_start(&handler, "x", LONG, &err), 0);
        assert_int_equal(runtime_kill(&handler, "x", 15, true, LONG, &err), 0);
        assert_int_equal(runtime_kill(&handler, "x", 9, false, LONG, &err), 0);
        assert_int_equal(runtime_delete(&handler, "x", true, LONG, &err), 0);
        assert_int_equal(runtime_update(&handler, "x", "{\"a\":1}", LONG, &err), 0);
        AUTO_FREE char *calls = get("calls");
        AUTO_FREE char *wanted = xprintf("--root %1$s --log-format json start x\n"
                                         "--root %1$s --log-format json kill --all x 15\n"
                                         "--root %1$s --log-format json kill x 9\n"
                                         "--root %1$s --log-format json delete --force x\n"
                                         "--root %1$s --log-format json update --resources - x\n",
                                         handler.root);
        assert_string_equal(calls, wanted);
        AUTO_FREE char *resources = get("resources");
        assert_string_equal(resources, "{\"a\":1}");
        char **ids = NULL;
        assert_int_equal(runtime_list(&handler, LONG, &ids, &err), 0);
        assert_int_equal(strv_length(ids), 2);
        assert_string_equal(ids[1], "b");
        strv_free(ids);
}
IN_TASK(commands)

static void failures(void)
{
        struct error err = {0};
        refuses(runtime_start(&handler, "bad", LONG, &err), &err, ERROR_UNKNOWN,
                "fake start: it is \"bad\"");
        refuses(runtime_start(&handler, "unknown", LONG, &err), &err, ERROR_NOT_FOUND,
                "fake start: container does not exist");
        refuses(runtime_start(&handler, "silent", LONG, &err), &err, ERROR_UNKNOWN,
                "fake start: exit status 3");
        refuses(runtime_start(&handler, "hang", clock_after(50 * NSEC_PER_MSEC), &err), &err,
                ERROR_DEADLINE_EXCEEDED, NULL);
        assert_non_null(strstr(err.message, "fake start: "));
        /* Stopping and removing what is gone succeeds, what is wrong does not. */
        assert_int_equal(runtime_kill(&handler, "unknown", 9, false, LONG, &err), 0);
        assert_int_equal(runtime_kill(&handler, "ended", 9, false, LONG, &err), 0);
        assert_int_equal(runtime_delete(&handler, "unknown", false, LONG, &err), 0);
        refuses(runtime_kill(&handler, "bad", 9, false, LONG, &err), &err, ERROR_UNKNOWN, NULL);
        refuses(runtime_delete(&handler, "bad", true, LONG, &err), &err, ERROR_UNKNOWN, NULL);
}
IN_TASK(failures)

static void states(void)
{
        struct runtime_state state = {.pid = 7};
        struct error err = {0};
        assert_int_equal(runtime_state(&handler, "x", LONG, &state, &err), 0);
        assert_int_equal(state.status, RUNTIME_STATUS_RUNNING);
        assert_int_equal(state.pid, 42);
        put("state", "{\"status\":\"stopped\",\"pid\":42}", 0644);
        assert_int_equal(runtime_state(&handler, "x", LONG, &state, &err), 0);
        assert_int_equal(state.status, RUNTIME_STATUS_STOPPED);
        assert_int_equal(state.pid, 0);
        put("state", "{\"status\":\"dancing\"}", 0644);
        assert_int_equal(runtime_state(&handler, "x", LONG, &state, &err), 0);
        assert_int_equal(state.status, RUNTIME_STATUS_UNKNOWN);
        put("state", "{\"status\":7}", 0644);
        assert_true(runtime_state(&handler, "x", LONG, &state, &err) < 0);
        put("state", "", 0644);
        assert_true(runtime_state(&handler, "x", LONG, &state, &err) < 0);
        refuses(runtime_state(&handler, "unknown", LONG, &state, &err), &err, ERROR_NOT_FOUND,
                NULL);
}
IN_TASK(states)

static void says(const char *text, const char *wanted)
{
        AUTO_FREE char *message = runtime_failure(NULL, text, strlen(text));
        assert_string_equal(message, wanted);
}

static void messages(void **state)
{
        (void)state;
        says("", "");
        says("\n \n", "");
        says("one\ntwo \n\n", "two");
        says("time=\"t\" level=warning msg=\"w\"\nplain\n", "plain");
        says("time=\"t\" level=error msg=\"exec: \\\"x\\\": no\"\nplain after\n",
             "exec: \"x\": no");
        says("time=\"t\" level=error msg=bare\n", "bare");
        says("{\"level\":\"error\",\"msg\":\"first\"}\n{\"level\":\"error\",\"msg\":\"last\"}\n"
             "{\"level\":\"info\",\"msg\":\"later\"}\n",
             "last");
        says("{\"level\":\"error\"}", "{\"level\":\"error\"}");
        says("a\x01"
             "b\xff\xc3\xa9",
             "a b?\xc3\xa9");
        AUTO_FREE char *log = xprintf("%s/log", folder);
        put("log", "{\"level\":\"error\",\"msg\":\"from the log\"}\n", 0644);
        AUTO_FREE char *message = runtime_failure(log, "stderr", 6);
        assert_string_equal(message, "from the log");
        unlink(log);
        free(message);
        message = runtime_failure(log, "stderr", 6);
        assert_string_equal(message, "stderr");
        char flood[RUNTIME_MESSAGE_MAX * 2];
        memset(flood, 'x', sizeof flood);
        free(message);
        message = runtime_failure(NULL, flood, sizeof flood);
        assert_true(strlen(message) < RUNTIME_MESSAGE_MAX);
        assert_string_equal(message + strlen(message) - 3, "...");
}

/* ---- commands in containers ---- */

static struct cgroup_system cgroups;
static struct exec_options exec;
static char *const exec_command[] = {(char *)"true", (char *)"-x", NULL};

static void exec_set_up(enum runtime_exec_cgroup kind)
{
        cgroups = (struct cgroup_system){.mode = CGROUP_MODE_V2, .unified = folder};
        handler.exec_cgroup = kind;
        put("config.json",
            "{\"process\":{\"args\":[\"init\"],\"cwd\":\"/"
            "w\",\"terminal\":true,\"env\":[\"A=b\"]}}",
            0644);
        AUTO_FREE char *container = xprintf("%s/c", folder);
        AUTO_FREE char *run = xprintf("%s/run", folder);
        mkdir(container, 0755);
        mkdir(run, 0755);
        exec = (struct exec_options){
                .handler = &handler,
                .cgroups = &cgroups,
                .id = "x",
                .cgroup_path = "/c",
                .run_dir = xstrdup(run),
                .bundle = folder,
                .command = exec_command,
                .deadline = LONG,
        };
}

/* Nothing of it is left. */
static void exec_tear_down(void)
{
        assert_int_equal(rmdir(exec.run_dir), 0);
        free((char *)exec.run_dir);
        AUTO_FREE char *container = xprintf("%s/c", folder);
        assert_int_equal(rmdir(container), 0);
}

static void exec_collects(void)
{
        struct exec_result result = {0};
        struct error err = {0};
        exec_set_up(RUNTIME_EXEC_CGROUP_ALL);
        put("command", "ls c >seen; echo out; echo err >&2; exit 3\n", 0644);
        put("calls", "", 0644);
        assert_int_equal(exec_sync(&exec, &result, &err), 0);
        assert_int_equal(result.exit_code, 3);
        assert_string_equal(result.output.data, "out\n");
        assert_string_equal(result.errors.data, "err\n");
        assert_false(result.cut);
        exec_result_fini(&result);
        /* It ran in a cgroup of its own, which is gone. */
        AUTO_FREE char *seen = get("seen");
        AUTO_FREE char *calls = get("calls");
        seen[strcspn(seen, "\n")] = '\0';
        assert_true(strlen(seen) > 10);
        assert_non_null(strstr(calls, seen));
        assert_non_null(strstr(calls, " --cgroup "));
        AUTO_FREE char *process = get("process.json");
        assert_string_equal(process,
                            "{\"args\":[\"true\",\"-x\"],\"cwd\":\"/w\",\"terminal\":false,"
                            "\"env\":[\"A=b\"]}");
        exec_tear_down();
}
IN_TASK(exec_collects)

static void exec_bounds_output(void)
{
        struct exec_result result = {0};
        struct error err = {0};
        exec_set_up(RUNTIME_EXEC_CGROUP_ALL);
        put("command", "head -c 20000000 /dev/zero; echo few >&2; exit 1\n", 0644);
        assert_int_equal(exec_sync(&exec, &result, &err), 0);
        assert_int_equal(result.exit_code, 1);
        assert_string_equal(result.errors.data, "few\n");
        assert_int_equal(result.output.length, EXEC_OUTPUT_MAX - 4);
        assert_true(result.cut);
        exec_result_fini(&result);
        put("command", "head -c 20000000 /dev/zero; head -c 20000000 /dev/zero >&2\n", 0644);
        assert_int_equal(exec_sync(&exec, &result, &err), 0);
        assert_int_equal(result.output.length, EXEC_OUTPUT_MAX / 2);
        assert_int_equal(result.errors.length, EXEC_OUTPUT_MAX / 2);
        exec_result_fini(&result);
        exec_tear_down();
}
IN_TASK(exec_bounds_output)

static void exec_fails(void)
{
        struct exec_result result = {0};
        struct error err = {0};
        exec_set_up(RUNTIME_EXEC_CGROUP_ALL);
        exec.id = "bad";
        refuses(exec_sync(&exec, &result, &err), &err, ERROR_UNKNOWN, "fake exec: it is \"bad\"");
        exec.id = "silent";
        refuses(exec_sync(&exec, &result, &err), &err, ERROR_UNKNOWN,
                "fake exec: it failed and said nothing");
        exec.id = "unknown";
        refuses(exec_sync(&exec, &result, &err), &err, ERROR_NOT_FOUND, NULL);
        exec.id = "hang";
        exec.deadline = clock_after(50 * NSEC_PER_MSEC);
        refuses(exec_sync(&exec, &result, &err), &err, ERROR_DEADLINE_EXCEEDED,
                "command \"true\": not done in time, and killed");
        exec.id = "x";
        exec.deadline = LONG;
        exec.cgroup_path = "/gone";
        refuses(exec_sync(&exec, &result, &err), &err, ERROR_FAILED_PRECONDITION, NULL);
        exec.cgroup_path = "/c";
        char *const bytes[] = {(char *)"\xff", NULL};
        exec.command = bytes;
        refuses(exec_sync(&exec, &result, &err), &err, ERROR_INVALID_ARGUMENT, NULL);
        exec.command = exec_command;
        put("config.json", "{}", 0644);
        refuses(exec_sync(&exec, &result, &err), &err, ERROR_INTERNAL, NULL);
        assert_null(result.output.data);
        exec_tear_down();
}
IN_TASK(exec_fails)

/* A runtime without --cgroup: what the command leaves behind is known by a variable of its own. */
static void exec_without_cgroup(void)
{
        struct exec_result result = {0};
        struct error err = {0};
        exec_set_up(RUNTIME_EXEC_CGROUP_NONE);
        put("command",
            "mark=$(sed 's/.*\\(CRISP_EXEC=[^\"]*\\).*/\\1/' process.json)\n"
            "env \"$mark\" setsid sleep 1000 & echo $! >c/cgroup.procs\n"
            "sleep 1000\n",
            0644);
        exec.deadline = clock_after(300 * NSEC_PER_MSEC);
        refuses(exec_sync(&exec, &result, &err), &err, ERROR_DEADLINE_EXCEEDED, NULL);
        AUTO_FREE char *procs = get("c/cgroup.procs");
        /* Gone, or a zombie that nobody has reaped. */
        AUTO_FREE char *environ_path = xprintf("/proc/%d/environ", atoi(procs));
        int64_t deadline = LONG;
        struct buffer variables = BUFFER_INIT;
        do {
                buffer_fini(&variables);
        } while (file_read(environ_path, 1 << 20, &variables, NULL) == 0 && variables.length &&
                 clock_monotonic() < deadline);
        assert_int_equal(variables.length, 0);
        buffer_fini(&variables);
        AUTO_FREE char *path = xprintf("%s/c/cgroup.procs", folder);
        unlink(path);
        exec_tear_down();
}
IN_TASK(exec_without_cgroup)

/* What crisp-exec does with a runtime's command. */
static int exec_waits(const char *shell, const char *pid_file)
{
        pid_t pid = fork();
        if (pid == 0) {
                char *command[] = {(char *)"/bin/sh", (char *)"-c", (char *)shell, NULL};
                _exit(exec_run(pid_file, command));
        }
        int status = 0;
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_true(WIFEXITED(status));
        return WEXITSTATUS(status);
}

static void exec_helper(void **state)
{
        (void)state;
        AUTO_FREE char *pid_file = xprintf("%s/helper.pid", folder);
        AUTO_FREE char *exits = xprintf(
                "sh -c 'sleep 0.05; exit 7' & echo $! >%s; sleep 1 >/dev/null 2>&1 & exit 0",
                pid_file);
        assert_int_equal(exec_waits(exits, pid_file), 7);
        AUTO_FREE char *early =
                xprintf("sh -c 'sleep 0.02; exit 8' & echo $! >%s; exec sleep 0.1", pid_file);
        assert_int_equal(exec_waits(early, pid_file), 8);
        AUTO_FREE char *killed =
                xprintf("sh -c 'sleep 0.1; kill -TERM $$' & echo $! >%s; exit 0", pid_file);
        assert_int_equal(exec_waits(killed, pid_file), 128 + 15);
        unlink(pid_file);
        assert_int_equal(exec_waits("exit 9", pid_file), 9);
        assert_int_equal(exec_waits("exit 0", pid_file), EXEC_FAILED);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(probes_test),
                cmocka_unit_test(missing_program_test),
                cmocka_unit_test(create_command),
                cmocka_unit_test(commands_test),
                cmocka_unit_test(failures_test),
                cmocka_unit_test(states_test),
                cmocka_unit_test(messages),
                cmocka_unit_test(exec_collects_test),
                cmocka_unit_test(exec_bounds_output_test),
                cmocka_unit_test(exec_fails_test),
                cmocka_unit_test(exec_without_cgroup_test),
                cmocka_unit_test(exec_helper),
        };
        return cmocka_run_group_tests(tests, set_up, tear_down);
}
