/* What the monitor does with a container's input and output, and with its log. */
#include "test/unit/monitor_fixture.h"

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

int main(void)
{
        const struct CMUnitTest tests[] = {
                TEST(reopens_log),        TEST(reopen_fails),       TEST(output_stays_open),
                TEST(output_never_stops), TEST(stdin_of_container),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
