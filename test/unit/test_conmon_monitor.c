/*
 * The monitor whole, as a process of its own, with a shell script in the runtime's place: it makes
 * a process that waits like a created container until it is started.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "conmon/conmon.h"
#include "conmon/protocol.h"

/* Runtimes that this program itself plays. */
#define TERMINAL_RUNTIME "terminal-runtime"
#define EARLY_RUNTIME    "early-runtime"

#define LIBC_SIGNAL 32 /* SIGCANCEL */

#define PATIENCE 60 /* seconds, after which a test that hangs is killed */

/* Its arguments: pid file, fifo that starts the container, the container's program. */
#define CREATE                                                                                     \
        "exec 5<&0; (read x <\"$2\"; exec sh -c \"$3\") <&5 5<&- & echo $! >\"$1\"; echo noise "   \
        ">&2"

static char directory[64];
static char log_path[128], pid_path[128], socket_path[256], fifo_path[128], runtime_log[128];
static pid_t monitor;
static struct monitor_report report;

static void put(const char *path, const char *text)
{
        int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);

        assert_true(fd >= 0);
        assert_int_equal(write(fd, text, strlen(text)), strlen(text));
        close(fd);
}

/* The file as text, or an empty one where there is none. */
static const char *get(const char *path)
{
        static char memory[1 << 20];
        int fd = open(path, O_RDONLY);
        ssize_t got = 0;

        if (fd >= 0) {
                got = read(fd, memory, sizeof(memory) - 1);
                close(fd);
        }
        memory[got < 0 ? 0 : got] = 0;
        return memory;
}

static const char *in_directory(const char *name)
{
        static char path[192];

        snprintf(path, sizeof(path), "%s/%s", directory, name);
        return path;
}

static bool exists(const char *path)
{
        return access(path, F_OK) == 0;
}

static int set_up(void **state)
{
        strcpy(directory, "/tmp/crisp-monitor-XXXXXX");
        if (!mkdtemp(directory))
                return -1;
        snprintf(log_path, sizeof(log_path), "%s/log", directory);
        snprintf(pid_path, sizeof(pid_path), "%s/pid", directory);
        snprintf(socket_path, sizeof(socket_path), "%s/socket", directory);
        snprintf(fifo_path, sizeof(fifo_path), "%s/start", directory);
        snprintf(runtime_log, sizeof(runtime_log), "%s/runtime.log", directory);
        monitor = 0;
        alarm(PATIENCE);
        return mkfifo(fifo_path, 0600);
}

static int tear_down(void **state)
{
        char command[128];

        if (monitor > 0) {
                if (report.type == MONITOR_REPORT_OK)
                        kill(report.pid, SIGKILL);
                kill(monitor, SIGKILL);
                waitpid(monitor, NULL, 0);
        }
        snprintf(command, sizeof(command), "rm -rf %s", directory);
        return system(command);
}

static void read_report(int fd)
{
        size_t done = 0;
        ssize_t got;

        memset(&report, 0, sizeof(report));
        while ((got = read(fd, (char *)&report + done, sizeof(report) - done)) > 0)
                done += (size_t)got;
        close(fd);
        assert_true(done >= offsetof(struct monitor_report, text));
        assert_int_equal(done, offsetof(struct monitor_report, text) + report.text_length);
        assert_int_equal(report.version, MONITOR_PROTOCOL_VERSION);
}

static struct conmon_options plain_options(void)
{
        return (struct conmon_options){
                .id = "test",
                .directory = directory,
                .socket = socket_path,
                .pid_file = pid_path,
                .log = log_path,
                .runtime_log = runtime_log,
                .runtime_stderr_max = MONITOR_REPORT_TEXT_MAX,
        };
}

/* Runs a monitor with this command and reads its report. */
static void run_monitor(struct conmon_options options, const char **command)
{
        int ends[2];

        assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
        options.command = (char **)(uintptr_t)command;
        monitor = fork();
        assert_true(monitor >= 0);
        if (monitor == 0) {
                int null = open("/dev/null", O_RDWR);

                alarm(0);
                setsid();
                for (int i = 0; i < 3; i++)
                        dup2(null, i);
                dup2(ends[1], MONITOR_REPORT_FD);
                close_range(MONITOR_REPORT_FD + 1, ~0U, 0);
                _exit(conmon_run(&options));
        }
        close(ends[1]);
        read_report(ends[0]);
}

static void create_with(struct conmon_options options, const char *script)
{
        const char *command[] = {"/bin/sh", "-c",      CREATE, "runtime",
                                 pid_path,  fifo_path, script, NULL};

        run_monitor(options, command);
        assert_int_equal(report.type, MONITOR_REPORT_OK);
        assert_true(report.pid > 0);
        assert_true(report.start_time > 0);
}

static void create(const char *script)
{
        create_with(plain_options(), script);
}

static void start(void)
{
        put(fifo_path, "\n");
}

static int wait_for_monitor(void)
{
        int status;

        assert_int_equal(waitpid(monitor, &status, 0), monitor);
        monitor = 0;
        assert_true(WIFEXITED(status));
        return WEXITSTATUS(status);
}

static int connect_to(void)
{
        struct sockaddr_un address = {.sun_family = AF_UNIX};
        int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);

        assert_true(fd >= 0);
        assert_true(strlen(socket_path) < sizeof(address.sun_path));
        strcpy(address.sun_path, socket_path);
        assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
        return fd;
}

static struct monitor_message receive(int client)
{
        struct monitor_message message;

        assert_int_equal(recv(client, &message, sizeof(message), 0), sizeof(message));
        assert_int_equal(message.version, MONITOR_PROTOCOL_VERSION);
        return message;
}

static struct monitor_message ask(int client, enum monitor_message_type type)
{
        struct monitor_message message = {
                .version = MONITOR_PROTOCOL_VERSION, .type = type, .sequence = 42};

        assert_int_equal(send(client, &message, sizeof(message), 0), sizeof(message));
        message = receive(client);
        assert_int_equal(message.type, type);
        assert_int_equal(message.sequence, 42);
        return message;
}

/* Connects and is taken in: who is not before the container's end may meet a monitor that left. */
static int join(void)
{
        int client = connect_to();

        ask(client, MONITOR_STATUS);
        return client;
}

/* The log's lines without their times. */
static const char *log_lines(const char *path)
{
        static char lines[1 << 20];
        const char *text = get(path);
        size_t length = 0;

        while (*text) {
                const char *line = strchr(text, ' '), *end = strchr(text, '\n');

                assert_true(line && end && line < end);
                length += (size_t)sprintf(lines + length, "%.*s", (int)(end - line), line + 1);
                text = end + 1;
        }
        lines[length] = 0;
        return lines;
}

/* ---- */

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

static void reopens_log(void **state)
{
        char moved[160];
        int client;

        snprintf(moved, sizeof(moved), "%s/log.1", directory);
        create("echo one");
        client = connect_to();
        assert_int_equal(rename(log_path, moved), 0);
        assert_int_equal(ask(client, MONITOR_REOPEN_LOG).result, 0);
        assert_true(exists(log_path));
        start();
        assert_int_equal(receive(client).type, MONITOR_EXITED);
        close(client);
        assert_string_equal(log_lines(log_path), "stdout F one\n");
        assert_string_equal(get(moved), "");
        assert_int_equal(wait_for_monitor(), 0);
}

static void reopen_fails(void **state)
{
        struct conmon_options options = plain_options();
        char folder[128], path[160], moved[128];
        int client;

        snprintf(folder, sizeof(folder), "%s/logs", directory);
        snprintf(moved, sizeof(moved), "%s/moved", directory);
        snprintf(path, sizeof(path), "%s/log", folder);
        assert_int_equal(mkdir(folder, 0700), 0);
        options.log = path;
        create_with(options, "echo kept");
        client = connect_to();
        assert_int_equal(rename(folder, moved), 0);
        assert_int_equal(ask(client, MONITOR_REOPEN_LOG).result, -ENOENT);
        start();
        assert_int_equal(receive(client).type, MONITOR_EXITED);
        close(client);
        assert_string_equal(log_lines(in_directory("moved/log")), "stdout F kept\n");
        assert_int_equal(wait_for_monitor(), 0);
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

/* What holds the output open after the end delays neither the news nor, for long, the monitor's
 * end. */
static void output_stays_open(void **state)
{
        struct monitor_message message;
        char script[160];
        pid_t other;
        int client;

        snprintf(script, sizeof(script), "sleep 1000 & echo $! >%s/other; echo done", directory);
        create(script);
        client = join();
        start();
        message = receive(client);
        assert_int_equal(message.type, MONITOR_EXITED);
        assert_string_equal(log_lines(log_path), "stdout F done\n");
        close(client);
        assert_int_equal(wait_for_monitor(), 0);
        other = atoi(get(in_directory("other")));
        assert_int_equal(kill(other, SIGKILL), 0);
}

/* The end is noticed while output never stops coming. */
static void output_never_stops(void **state)
{
        struct conmon_options options = plain_options();
        struct monitor_message message;
        char script[160];
        int client;

        options.log = NULL;
        snprintf(script, sizeof(script), "yes & echo $! >%s/other; exit 6", directory);
        create_with(options, script);
        client = join();
        start();
        message = receive(client);
        assert_int_equal(message.type, MONITOR_EXITED);
        assert_int_equal(message.body.status.exit_code, 6);
        close(client);
        assert_int_equal(kill(atoi(get(in_directory("other"))), SIGKILL), 0);
        assert_int_equal(wait_for_monitor(), 0);
}

static void stdin_of_container(void **state)
{
        struct conmon_options options = plain_options();
        const char *script =
                "if test -p /dev/stdin; then echo pipe; else read x || echo nothing; fi";

        create_with(options, script);
        start();
        assert_int_equal(wait_for_monitor(), 0);
        assert_string_equal(log_lines(log_path), "stdout F nothing\n");
        unlink(log_path);
        options.open_stdin = true;
        create_with(options, script);
        start();
        assert_int_equal(wait_for_monitor(), 0);
        assert_string_equal(log_lines(log_path), "stdout F pipe\n");
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

/* ---- a terminal ---- */

static void send_terminal(const char *path, int terminal)
{
        struct sockaddr_un address = {.sun_family = AF_UNIX};
        int fd = socket(AF_UNIX, SOCK_STREAM, 0);
        char control[CMSG_SPACE(sizeof(int))] = {0};
        struct iovec part = {.iov_base = (char[]){"/dev/ptmx"}, .iov_len = 9};
        struct msghdr message = {.msg_iov = &part,
                                 .msg_iovlen = 1,
                                 .msg_control = control,
                                 .msg_controllen = sizeof(control)};
        struct cmsghdr *header = CMSG_FIRSTHDR(&message);

        snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
        if (connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0)
                _exit(10);
        header->cmsg_level = SOL_SOCKET;
        header->cmsg_type = SCM_RIGHTS;
        header->cmsg_len = CMSG_LEN(sizeof(int));
        memcpy(CMSG_DATA(header), &terminal, sizeof(int));
        if (sendmsg(fd, &message, 0) < 0)
                _exit(11);
}

/* create CONSOLE-SOCKET PID-FILE FIFO SCRIPT */
static int terminal_runtime(char **argv)
{
        int terminal = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
        char pid_text[16];
        int ready[2];
        pid_t pid;

        if (terminal < 0 || unlockpt(terminal) < 0 || pipe2(ready, O_CLOEXEC) < 0)
                return 12;
        send_terminal(argv[1], terminal);
        pid = fork();
        if (pid == 0) {
                int slave, fifo;

                setsid();
                slave = open(ptsname(terminal), O_RDWR);
                for (int i = 0; i < 3; i++)
                        dup2(slave, i);
                close(slave);
                close(ready[1]);
                fifo = open(argv[3], O_RDONLY | O_CLOEXEC);
                if (fifo < 0 || read(fifo, pid_text, 1) != 1) /* until it is started */
                        _exit(15);
                execl("/bin/sh", "sh", "-c", argv[4], NULL);
                _exit(13);
        }
        close(ready[1]);
        if (read(ready[0], pid_text, 1) != 0)
                return 14;
        snprintf(pid_text, sizeof(pid_text), "%d", pid);
        put(argv[2], pid_text);
        return 0;
}

static void create_terminal(const char *script)
{
        const char *command[] = {"/proc/self/exe",
                                 TERMINAL_RUNTIME,
                                 MONITOR_CONSOLE_SOCKET,
                                 pid_path,
                                 fifo_path,
                                 script,
                                 NULL};
        struct conmon_options options = plain_options();

        options.terminal = true;
        run_monitor(options, command);
        assert_int_equal(report.type, MONITOR_REPORT_OK);
        assert_false(exists(in_directory("socket.console")));
}

static void terminal(void **state)
{
        struct monitor_message message = {.version = MONITOR_PROTOCOL_VERSION,
                                          .type = MONITOR_RESIZE,
                                          .body.resize = {.rows = 33, .columns = 77}};
        int client;

        create_terminal("stty -onlcr; stty size; test -t 0 && test -t 2 && echo tty >&2; exit 2");
        client = connect_to();
        assert_int_equal(send(client, &message, sizeof(message), 0), sizeof(message));
        assert_int_equal(receive(client).result, 0);
        start();
        message = receive(client);
        assert_int_equal(message.type, MONITOR_EXITED);
        assert_int_equal(message.body.status.exit_code, 2);
        assert_string_equal(log_lines(log_path), "stdout F 33 77\nstdout F tty\n");
        close(client);
        assert_int_equal(wait_for_monitor(), 0);
}

/* An init closes its terminal and opens it again. */
static void terminal_opened_again(void **state)
{
        create_terminal(
                "t=$(tty); stty -onlcr; echo one; exec </dev/null >/dev/null 2>&1; sleep 1; "
                "exec >$t; echo two");
        start();
        assert_int_equal(wait_for_monitor(), 0);
        assert_string_equal(log_lines(log_path), "stdout F one\nstdout F two\n");
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
#define TEST(function) cmocka_unit_test_setup_teardown(function, set_up, tear_down)
        const struct CMUnitTest tests[] = {
                TEST(whole_life),
                TEST(killed),
                TEST(cgroup_gone),
                TEST(ended_at_once),
                TEST(runtime_fails),
                TEST(runtime_says_too_much),
                TEST(runtime_missing),
                TEST(cannot_start),
                TEST(requests),
                TEST(bounded_clients),
                TEST(stuck_client),
                TEST(reopens_log),
                TEST(reopen_fails),
                TEST(record_fails_at_first),
                TEST(folder_gone),
                TEST(output_stays_open),
                TEST(output_never_stops),
                TEST(stdin_of_container),
                TEST(clean_container),
                TEST(few_descriptors),
                TEST(long_socket_path),
                TEST(terminal),
                TEST(terminal_opened_again),
        };

        if (argc > 1 && strcmp(argv[1], TERMINAL_RUNTIME) == 0)
                return terminal_runtime(argv + 1);
        if (argc > 1 && strcmp(argv[1], EARLY_RUNTIME) == 0)
                return early_runtime(argv + 1);
        return cmocka_run_group_tests(tests, NULL, NULL);
}
