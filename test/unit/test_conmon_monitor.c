/* The monitor's life: what it reports of the runtime and the container, and who may ask it. */
#include "test/unit/monitor_fixture.h"

/* A runtime that this program itself plays. */
#define EARLY_RUNTIME "early-runtime"

#define LIBC_SIGNAL 32 /* SIGCANCEL */

static void whole_life(void **state)
{
        struct monitor_message message;
        char expected[512];
        int client;

        create("echo hello; echo oops >&2; printf rest; exit 3");
        assert_string_equal(get(log_path), ""); /* the runtime's noise is not the container's */
        client = connect_to();
        message = ask(client, MONITOR_STATUS);
        assert_int_equal(message.body.status.state, MONITOR_RUNNING);
        assert_int_equal(message.body.status.pid, report.pid);
        assert_true(message.body.status.start_time == report.start_time);
        start();
        message = receive(client);
        assert_int_equal(message.type, MONITOR_EXITED);
        assert_int_equal(message.body.status.state, MONITOR_ENDED);
        assert_int_equal(message.body.status.exit_code, 3);
        assert_int_equal(message.body.status.signal, 0);
        assert_int_equal(message.body.status.recorded, 1);
        /* Whoever is told finds the record and the whole log. */
        snprintf(expected, sizeof(expected),
                 "version=1\npid=%d\nstart_time=%llu\nexit_code=3\nsignal=0\noom_killed=0\n"
                 "finished_at=%lld\n",
                 report.pid, (unsigned long long)report.start_time,
                 (long long)message.body.status.finished_at);
        assert_string_equal(get(in_directory("exit")), expected);
        assert_non_null(strstr(get(log_path), " stdout F hello\n"));
        assert_non_null(strstr(get(log_path), " stderr F oops\n"));
        assert_non_null(strstr(get(log_path), " stdout P rest\n"));
        assert_int_equal(recv(client, &message, sizeof(message), 0), 0);
        close(client);
        assert_int_equal(wait_for_monitor(), 0);
        assert_false(exists(socket_path));
}

static void killed(void **state)
{
        struct monitor_message message;
        int client;

        put(in_directory("oom"), "low 0\noom_kill_disable 0\noom 2\noom_kill 1\n");
        {
                struct conmon_options options = plain_options();
                char oom[128];

                snprintf(oom, sizeof(oom), "%s/oom", directory);
                options.oom_file = oom;
                create_with(options, "sleep 100");
        }
        client = join();
        kill(report.pid, SIGKILL);
        message = receive(client);
        assert_int_equal(message.body.status.exit_code, 137);
        assert_int_equal(message.body.status.signal, SIGKILL);
        assert_int_equal(message.body.status.oom_killed, 1);
        assert_non_null(strstr(get(in_directory("exit")), "oom_killed=1\n"));
        close(client);
        assert_int_equal(wait_for_monitor(), 0);
}

/* systemd was faster than we and removed the cgroup: the one above counts for it, if a kill is what
 * ended the container. */
static void cgroup_gone(void **state)
{
        static const struct {
                int signal;
                const char *after;
                int told;
        } cases[] = {
                {SIGKILL, "oom_kill 2\n", 1},
                {SIGKILL, "oom_kill 1\n", 0}, /* somebody else's, from before */
                {SIGKILL, "", 0},
                {SIGTERM, "oom_kill 2\n", 0},
        };

        for (unsigned i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
                struct conmon_options options = plain_options();
                struct monitor_message message;
                char oom[128], parent[128];
                int client;

                snprintf(oom, sizeof(oom), "%s/missing", directory);
                snprintf(parent, sizeof(parent), "%s/parent", directory);
                put(parent, "oom_kill 1\n");
                options.oom_file = oom;
                options.oom_parent_file = parent;
                create_with(options, "sleep 100");
                put(parent, cases[i].after);
                client = join();
                kill(report.pid, cases[i].signal);
                message = receive(client);
                assert_int_equal(message.body.status.oom_killed, cases[i].told);
                close(client);
                assert_int_equal(wait_for_monitor(), 0);
        }
}

/* It has ended before anybody could know its pid. */
static void ended_at_once(void **state)
{
        const char *command[] = {"/proc/self/exe", EARLY_RUNTIME, pid_path, NULL};

        run_monitor(plain_options(), command);
        assert_int_equal(report.type, MONITOR_REPORT_OK);
        assert_true(report.start_time > 0);
        assert_int_equal(wait_for_monitor(), 0);
        assert_non_null(strstr(get(in_directory("exit")), "exit_code=4\n"));
}

static void fail_with(const char *script, int status, const char *text)
{
        const char *command[] = {"/bin/sh", "-c", script, "runtime", pid_path, runtime_log, NULL};

        run_monitor(plain_options(), command);
        assert_int_equal(report.type, MONITOR_REPORT_RUNTIME_FAILED);
        assert_int_equal(report.status, status);
        assert_int_equal(report.text_length, strlen(text));
        assert_memory_equal(report.text, text, strlen(text));
        assert_int_equal(wait_for_monitor(), 1);
        assert_string_equal(get(log_path), "");
        assert_false(exists(socket_path));
        assert_false(exists(in_directory("exit")));
}

static void runtime_fails(void **state)
{
        fail_with("echo no such bundle >&2; exit 7", 7 << 8, "no such bundle\n");
        fail_with("kill -9 $$", SIGKILL, "");
        /* Its log is better than what it wrote, and its last error better than the first. */
        fail_with("cat >\"$2\" <<'X'\n"
                  "{\"level\":\"error\",\"msg\":\"first\",\"time\":\"t\"}\n"
                  "{\"time\":\"t\",\"msg\":\"exec: \\\"x\\\": level\\\":\\\"info\",\"level\": "
                  "\"error\"}\n"
                  "{\"level\":\"warning\",\"msg\":\"later\"}\n"
                  "X\necho usage >&2; exit 1",
                  1 << 8, "exec: \"x\": level\":\"info");
        fail_with("printf '%s\\n' '{\"level\":\"fatal\",\"msg\":\"\\u003cb\\u003E \\\\ \\u00e9 \\q "
                  "\\u12\"}' "
                  ">\"$2\"; exit 1",
                  1 << 8, "<b> \\ \\u00e9 \\q \\u12");
        fail_with("echo garbage >\"$2\"; echo said >&2; exit 1", 1 << 8, "said\n");
}

static void runtime_says_too_much(void **state)
{
        const char *command[] = {"/bin/sh", "-c", "seq 1 100000 >&2; echo last >&2; exit 1", NULL};

        run_monitor(plain_options(), command);
        assert_int_equal(report.type, MONITOR_REPORT_RUNTIME_FAILED);
        assert_int_equal(report.text_length, MONITOR_REPORT_TEXT_MAX);
        assert_memory_equal(report.text + MONITOR_REPORT_TEXT_MAX - 12, "100000\nlast\n", 12);
        assert_int_equal(wait_for_monitor(), 1);
}

static void runtime_missing(void **state)
{
        const char *command[] = {"/nonexistent/runc", "create", NULL};

        run_monitor(plain_options(), command);
        assert_int_equal(report.type, MONITOR_REPORT_RUNTIME_FAILED);
        assert_int_equal(report.status, 127 << 8);
        assert_non_null(strstr(report.text, "/nonexistent/runc: No such file or directory"));
        assert_int_equal(wait_for_monitor(), 1);
}

static void fails_before(const struct conmon_options *options, const char *script, int number)
{
        const char *command[] = {"/bin/sh", "-c", script, "runtime", pid_path, NULL};

        run_monitor(*options, command);
        assert_int_equal(report.type, MONITOR_REPORT_FAILED);
        assert_int_equal(report.number, number);
        assert_int_equal(wait_for_monitor(), 1);
}

static void cannot_start(void **state)
{
        struct conmon_options options = plain_options();

        options.log = "/nonexistent/log";
        fails_before(&options, "exit 0", ENOENT);
        options = plain_options();
        options.socket = "/nonexistent/socket";
        fails_before(&options, "exit 0", ENOENT);
        options = plain_options();
        fails_before(&options, "exit 0", ENOENT); /* no pid file */
        fails_before(&options, "echo x >\"$1\"", EINVAL);
        fails_before(&options, "echo 1 >\"$1\"", ECHILD); /* not its child */
        options.terminal = true;
        fails_before(&options, "true & echo $! >\"$1\"", EPROTO); /* sent no terminal */
}

static void requests(void **state)
{
        struct monitor_message message = {.version = 1, .type = MONITOR_STATUS};
        int client, other;

        create("sleep 100");
        client = connect_to();
        assert_int_equal(ask(client, MONITOR_RESIZE).result, -ENOTTY);
        assert_int_equal(ask(client, (enum monitor_message_type)50).result, -ENOSYS);
        /* Something that is no message loses that connection, and only that. */
        other = connect_to();
        assert_int_equal(send(other, "hello", 5, 0), 5);
        assert_true(recv(other, &message, sizeof(message), 0) <= 0);
        close(other);
        assert_int_equal(ask(client, MONITOR_STATUS).result, 0);
        kill(monitor, SIGTERM);
        kill(monitor, SIGINT);
        kill(monitor, SIGHUP);
        assert_int_equal(ask(client, MONITOR_STATUS).body.status.state, MONITOR_RUNNING);
        close(client);
}

static void bounded_clients(void **state)
{
        int clients[MONITOR_CLIENTS_MAX], further;
        struct monitor_message message;

        create("sleep 100");
        for (unsigned i = 0; i < MONITOR_CLIENTS_MAX; i++) {
                clients[i] = connect_to();
                ask(clients[i], MONITOR_STATUS);
        }
        further = connect_to();
        assert_int_equal(recv(further, &message, sizeof(message), 0), 0);
        close(further);
        close(clients[3]);
        ask(clients[0], MONITOR_STATUS);
        ask(clients[0], MONITOR_STATUS);
        clients[3] = connect_to();
        ask(clients[3], MONITOR_STATUS);
        kill(report.pid, SIGKILL);
        for (unsigned i = 0; i < MONITOR_CLIENTS_MAX; i++) {
                assert_int_equal(receive(clients[i]).type, MONITOR_EXITED);
                close(clients[i]);
        }
        assert_int_equal(wait_for_monitor(), 0);
}

/* One who asks and never reads is dropped; the others do not notice. */
static void stuck_client(void **state)
{
        struct monitor_message message = {.version = 1, .type = MONITOR_STATUS};
        int stuck, client;

        create("sleep 100");
        client = connect_to();
        stuck = connect_to();
        while (send(stuck, &message, sizeof(message), MSG_NOSIGNAL) > 0)
                ;
        assert_true(errno == EPIPE || errno == ECONNRESET);
        assert_int_equal(ask(client, MONITOR_STATUS).result, 0);
        close(stuck);
        close(client);
}

/* A record that cannot be written is told nevertheless, and written once that is possible. */
static void record_fails_at_first(void **state)
{
        struct monitor_message message;
        int client;

        assert_int_equal(mkdir(in_directory("exit.new"), 0700), 0);
        create("exit 5");
        client = join();
        start();
        message = receive(client);
        assert_int_equal(message.type, MONITOR_EXITED);
        assert_int_equal(message.body.status.exit_code, 5);
        assert_int_equal(message.body.status.recorded, 0);
        close(client);
        /* Who comes now is told as well. */
        client = connect_to();
        assert_int_equal(receive(client).body.status.exit_code, 5);
        assert_int_equal(ask(client, MONITOR_STATUS).body.status.state, MONITOR_ENDED);
        /* No file is made for a container that has ended. */
        unlink(log_path);
        assert_int_equal(ask(client, MONITOR_REOPEN_LOG).result, -ESRCH);
        assert_false(exists(log_path));
        close(client);
        assert_false(exists(in_directory("exit")));
        assert_int_equal(rmdir(in_directory("exit.new")), 0);
        assert_int_equal(wait_for_monitor(), 0);
        assert_non_null(strstr(get(in_directory("exit")), "exit_code=5\n"));
}

/* The container was removed while it ended: nobody will ask for the record. */
static void folder_gone(void **state)
{
        struct conmon_options options = plain_options();
        char folder[128];

        snprintf(folder, sizeof(folder), "%s/state", directory);
        options.directory = folder;
        create_with(options, "exit 5");
        start();
        assert_int_equal(wait_for_monitor(), 0);
}

/* Signals, mask and descriptors of the container are as at a program's start. */
static void clean_container(void **state)
{
        /* The kernel's struct sigaction. SIG_IGN for a signal of libc's own, which libc would not
         * set: some supervisors start everything so. */
        const unsigned long ignored[8] = {(unsigned long)SIG_IGN};
        char *text, expected[256], oom_score[16];

        syscall(SYS_rt_sigaction, LIBC_SIGNAL, ignored, NULL, 8UL);
        snprintf(oom_score, sizeof(oom_score), "%.8s", get("/proc/self/oom_score_adj"));
        create("exec 2>&1; ls /proc/self/fd; grep -E 'SigBlk|SigIgn' /proc/self/status; umask; "
               "cat /proc/self/oom_score_adj");
        start();
        assert_int_equal(wait_for_monitor(), 0);
        text = strdup(log_lines(log_path));
        /* ls has one more for the folder that it reads. A shell's background ignores SIGINT and
         * SIGQUIT. */
        snprintf(expected, sizeof(expected),
                 "stdout F 0\nstdout F 1\nstdout F 2\nstdout F 3\n"
                 "stdout F SigBlk:\t0000000000000000\n"
                 "stdout F SigIgn:\t0000000000000006\n"
                 "stdout F 0022\nstdout F %s",
                 oom_score);
        assert_string_equal(text, expected);
        free(text);
}

/* In the places of our stdio the container's; beyond them the listening socket, this connection and
 * the log. */
static void few_descriptors(void **state)
{
        char path[64], target[64];
        int client, count = 0;

        create("sleep 100");
        client = connect_to();
        ask(client, MONITOR_STATUS);
        for (int i = 0; i < 256; i++) {
                snprintf(path, sizeof(path), "/proc/%d/fd/%d", monitor, i);
                count += readlink(path, target, sizeof(target)) > 0;
        }
        close(client);
        assert_int_equal(count, 6);
}

static void long_socket_path(void **state)
{
        char folder[224], link[72];
        int client;

        snprintf(folder, sizeof(folder), "%s/%0120d", directory, 0);
        assert_int_equal(mkdir(folder, 0700), 0);
        snprintf(socket_path, sizeof(socket_path), "%s/socket", folder);
        create("exit 0");
        assert_true(exists(socket_path));
        snprintf(link, sizeof(link), "%s/l", directory);
        assert_int_equal(symlink(folder, link), 0);
        snprintf(socket_path, sizeof(socket_path), "%s/socket", link);
        client = connect_to();
        assert_int_equal(ask(client, MONITOR_STATUS).result, 0);
        close(client);
        start();
        assert_int_equal(wait_for_monitor(), 0);
        assert_false(exists(socket_path));
}

/* PID-FILE: the container is dead when create ends. */
static int early_runtime(char **argv)
{
        char text[16];
        siginfo_t info;
        pid_t pid = fork();

        if (pid == 0)
                _exit(4);
        waitid(P_PID, (id_t)pid, &info, WEXITED | WNOWAIT);
        snprintf(text, sizeof(text), "%d", pid);
        put(argv[1], text);
        return 0;
}

int main(int argc, char **argv)
{
        const struct CMUnitTest tests[] = {
                TEST(whole_life),       TEST(killed),          TEST(cgroup_gone),
                TEST(ended_at_once),    TEST(runtime_fails),   TEST(runtime_says_too_much),
                TEST(runtime_missing),  TEST(cannot_start),    TEST(requests),
                TEST(bounded_clients),  TEST(stuck_client),    TEST(record_fails_at_first),
                TEST(folder_gone),      TEST(clean_container), TEST(few_descriptors),
                TEST(long_socket_path),
        };

        if (argc > 1 && strcmp(argv[1], EARLY_RUNTIME) == 0)
                return early_runtime(argv + 1);
        return cmocka_run_group_tests(tests, NULL, NULL);
}
