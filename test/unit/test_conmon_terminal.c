/* The monitor of a container with a terminal, which its runtime sends. */
#include "test/unit/monitor_fixture.h"

/* A runtime that this program itself plays. */
#define TERMINAL_RUNTIME "terminal-runtime"

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

int main(int argc, char **argv)
{
        const struct CMUnitTest tests[] = {
                TEST(terminal),
                TEST(terminal_opened_again),
        };

        if (argc > 1 && strcmp(argv[1], TERMINAL_RUNTIME) == 0)
                return terminal_runtime(argv + 1);
        return cmocka_run_group_tests(tests, NULL, NULL);
}
