/*
 * The monitor whole, as a process of its own, with a shell script in the runtime's place: it makes
 * a process that waits like a created container until it is started.
 */
#ifndef CRISP_TEST_MONITOR_FIXTURE_H
#define CRISP_TEST_MONITOR_FIXTURE_H

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

#define PATIENCE 60 /* seconds, after which a test that hangs is killed */

/* Its arguments: pid file, fifo that starts the container, the container's program. */
#define CREATE                                                                                     \
        "exec 5<&0; (read x <\"$2\"; exec sh -c \"$3\") <&5 5<&- & echo $! >\"$1\"; echo noise "   \
        ">&2"

static char directory[64];
static char log_path[128], pid_path[128], socket_path[256], fifo_path[128], runtime_log[128];
static pid_t monitor;
static struct monitor_report report;

static inline void put(const char *path, const char *text)
{
        int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);

        assert_true(fd >= 0);
        assert_int_equal(write(fd, text, strlen(text)), strlen(text));
        close(fd);
}

/* The file as text, or an empty one where there is none. */
static inline const char *get(const char *path)
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

static inline const char *in_directory(const char *name)
{
        static char path[192];

        snprintf(path, sizeof(path), "%s/%s", directory, name);
        return path;
}

static inline bool exists(const char *path)
{
        return access(path, F_OK) == 0;
}

static inline int set_up(void **state)
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

static inline int tear_down(void **state)
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

static inline void read_report(int fd)
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

static inline struct conmon_options plain_options(void)
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
static inline void run_monitor(struct conmon_options options, const char **command)
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

static inline void create_with(struct conmon_options options, const char *script)
{
        const char *command[] = {"/bin/sh", "-c",      CREATE, "runtime",
                                 pid_path,  fifo_path, script, NULL};

        run_monitor(options, command);
        assert_int_equal(report.type, MONITOR_REPORT_OK);
        assert_true(report.pid > 0);
        assert_true(report.start_time > 0);
}

static inline void create(const char *script)
{
        create_with(plain_options(), script);
}

static inline void start(void)
{
        put(fifo_path, "\n");
}

static inline int wait_for_monitor(void)
{
        int status;

        assert_int_equal(waitpid(monitor, &status, 0), monitor);
        monitor = 0;
        assert_true(WIFEXITED(status));
        return WEXITSTATUS(status);
}

static inline int connect_to(void)
{
        struct sockaddr_un address = {.sun_family = AF_UNIX};
        int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);

        assert_true(fd >= 0);
        assert_true(strlen(socket_path) < sizeof(address.sun_path));
        strcpy(address.sun_path, socket_path);
        assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
        return fd;
}

static inline struct monitor_message receive(int client)
{
        struct monitor_message message;

        assert_int_equal(recv(client, &message, sizeof(message), 0), sizeof(message));
        assert_int_equal(message.version, MONITOR_PROTOCOL_VERSION);
        return message;
}

static inline struct monitor_message ask(int client, enum monitor_message_type type)
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
static inline int join(void)
{
        int client = connect_to();

        ask(client, MONITOR_STATUS);
        return client;
}

/* The log's lines without their times. */
static inline const char *log_lines(const char *path)
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

#define TEST(function) cmocka_unit_test_setup_teardown(function, set_up, tear_down)

#endif
