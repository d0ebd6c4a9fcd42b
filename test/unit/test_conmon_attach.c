/* Who is attached to a container, with pipes in the place of its streams and of the clients. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "conmon/attach.h"

/* Our ends of a client's descriptors. */
struct client {
        int control, input, output, errors;
};

static struct attach attach;
static int container_input; /* the container's end of it */

static int set_up(void **state)
{
        (void)state;
        signal(SIGPIPE, SIG_IGN);
        memset(&attach, 0, sizeof attach);
        container_input = -1;
        return 0;
}

static int tear_down(void **state)
{
        (void)state;
        attach_close(&attach);
        if (container_input >= 0)
                close(container_input);
        return 0;
}

static void open_input(bool once)
{
        int ends[2];
        assert_int_equal(pipe2(ends, O_CLOEXEC | O_NONBLOCK), 0);
        container_input = ends[0];
        attach_open_input(&attach, ends[1], once);
}

static int pipe_to(int *theirs, bool we_read)
{
        int ends[2];
        assert_int_equal(pipe2(ends, O_CLOEXEC | O_NONBLOCK), 0);
        *theirs = ends[we_read];
        return ends[!we_read];
}

static int join(struct client *client, unsigned flags)
{
        int fds[MONITOR_ATTACH_FDS];
        unsigned count = 1;
        *client = (struct client){-1, -1, -1, -1};
        client->control = pipe_to(&fds[0], true);
        if (flags & MONITOR_ATTACH_INPUT)
                client->input = pipe_to(&fds[count++], false);
        if (flags & MONITOR_ATTACH_OUTPUT)
                client->output = pipe_to(&fds[count++], true);
        if (flags & MONITOR_ATTACH_ERRORS)
                client->errors = pipe_to(&fds[count++], true);
        return attach_add(&attach, flags, fds, count);
}

static void leave(struct client *client)
{
        int *const fds[] = {&client->control, &client->input, &client->output, &client->errors};
        for (size_t i = 0; i < 4; i++) {
                if (*fds[i] >= 0)
                        close(*fds[i]);
                *fds[i] = -1;
        }
}

/* As the monitor does between two waits. */
static void serve(void)
{
        for (int i = 0; i < 4; i++) {
                struct pollfd slots[ATTACH_SLOTS];
                attach_fill(&attach, slots);
                if (poll(slots, ATTACH_SLOTS, 0) > 0)
                        attach_serve(&attach, slots);
        }
}

static const char *text(int fd)
{
        static char bytes[256];
        ssize_t got = read(fd, bytes, sizeof bytes - 1);
        if (got < 0)
                return errno == EAGAIN ? "(nothing)" : "(failed)";
        bytes[got] = '\0';
        return got ? bytes : "(end)";
}

static size_t swallow(int fd)
{
        static char bytes[1 << 20];
        ssize_t got;
        size_t sum = 0;
        while ((got = read(fd, bytes, sizeof bytes)) > 0)
                sum += (size_t)got;
        return sum;
}

static void test_each_client_gets_its_streams(void **state)
{
        struct client all, output_alone;
        (void)state;
        attach_write(&attach, 0, "before", 6); /* nobody is there */
        assert_int_equal(join(&all, MONITOR_ATTACH_OUTPUT | MONITOR_ATTACH_ERRORS), 0);
        assert_int_equal(join(&output_alone, MONITOR_ATTACH_OUTPUT), 0);
        attach_write(&attach, 0, "out", 3);
        attach_write(&attach, 1, "err", 3);
        assert_string_equal(text(all.output), "out");
        assert_string_equal(text(all.errors), "err");
        assert_string_equal(text(output_alone.output), "out");
        assert_false(attach_is_behind(&attach));
        attach_end(&attach, 0);
        assert_string_equal(text(all.output), "(end)");
        assert_string_equal(text(all.errors), "(nothing)");
        serve();
        assert_string_equal(text(output_alone.control), "(end)"); /* it can get nothing more */
        leave(&all);
        serve();
        assert_int_equal(attach.count, 0);
        leave(&output_alone);
}

static void test_who_is_behind_holds_back_until_patience_is_over(void **state)
{
        static char much[300000];
        struct client slow, quick;
        (void)state;
        assert_int_equal(join(&slow, MONITOR_ATTACH_OUTPUT), 0);
        assert_int_equal(join(&quick, MONITOR_ATTACH_OUTPUT), 0);
        attach_write(&attach, 0, much, sizeof much);
        assert_true(attach_is_behind(&attach));
        size_t got = 0;
        for (int i = 0; i < 20; i++) {
                got += swallow(quick.output);
                serve();
        }
        assert_int_equal(got, sizeof much);
        assert_true(attach_is_behind(&attach));
        int64_t deadline = attach_deadline(&attach);
        assert_true(deadline < INT64_MAX);
        /* A little taken gives it new time. */
        got = swallow(slow.output);
        serve();
        assert_true(attach_deadline(&attach) >= deadline);
        attach_expire(&attach, attach_deadline(&attach) - 1);
        assert_int_equal(attach.count, 2);
        attach_expire(&attach, attach_deadline(&attach));
        assert_int_equal(attach.count, 1);
        assert_false(attach_is_behind(&attach));
        assert_int_equal(attach_deadline(&attach), INT64_MAX);
        assert_string_equal(text(slow.control), "s");
        attach_write(&attach, 0, "more", 4);
        assert_string_equal(text(quick.output), "more");
        leave(&slow);
        leave(&quick);
}

static void test_more_than_can_be_kept_lets_go_of_who_is_behind(void **state)
{
        static char much[ATTACH_BACKLOG_MAX / 2];
        struct client slow;
        (void)state;
        assert_int_equal(join(&slow, MONITOR_ATTACH_OUTPUT), 0);
        for (int i = 0; i < 4; i++)
                attach_write(&attach, 0, much, sizeof much);
        assert_int_equal(attach.count, 0);
        assert_string_equal(text(slow.control), "s");
        leave(&slow);
}

static void test_input_goes_through_and_stays_open(void **state)
{
        struct client client;
        (void)state;
        open_input(false);
        assert_int_equal(join(&client, MONITOR_ATTACH_INPUT | MONITOR_ATTACH_OUTPUT), 0);
        assert_int_equal(write(client.input, "hello", 5), 5);
        serve();
        assert_string_equal(text(container_input), "hello");
        leave(&client);
        serve();
        assert_int_equal(attach.count, 0);
        assert_string_equal(text(container_input), "(nothing)");
}

static void test_the_first_clients_input_ends_the_containers_once(void **state)
{
        struct client client, late;
        (void)state;
        open_input(true);
        assert_int_equal(join(&client, MONITOR_ATTACH_INPUT | MONITOR_ATTACH_OUTPUT), 0);
        assert_int_equal(write(client.input, "last", 4), 4);
        leave(&client); /* what it wrote still arrives */
        serve();
        assert_string_equal(text(container_input), "last");
        assert_string_equal(text(container_input), "(end)");
        assert_int_equal(join(&late, MONITOR_ATTACH_INPUT), 0);
        assert_int_equal(attach.count, 0); /* it could neither give nor get anything */
        leave(&late);
}

static void test_a_container_that_does_not_read_holds_up_its_input_alone(void **state)
{
        static char much[65536];
        struct client client, gone[MONITOR_ATTACH_MAX];
        (void)state;
        open_input(false);
        assert_int_equal(join(&client, MONITOR_ATTACH_INPUT | MONITOR_ATTACH_OUTPUT), 0);
        for (int i = 0; i < 5; i++) {
                if (write(client.input, much, sizeof much) < 0)
                        assert_int_equal(errno, EAGAIN);
                for (int n = 0; n < 20; n++)
                        serve();
        }
        attach_write(&attach, 0, "out", 3);
        assert_string_equal(text(client.output), "out");
        /* Clients that have gone, with input that nobody takes, are in nobody's way. */
        for (unsigned i = 0; i < 2 * MONITOR_ATTACH_MAX; i++) {
                struct client *next = &gone[i % MONITOR_ATTACH_MAX];
                assert_int_equal(join(next, MONITOR_ATTACH_INPUT | MONITOR_ATTACH_OUTPUT), 0);
                if (write(next->input, "x", 1) < 0)
                        fail();
                leave(next);
                serve();
        }
        leave(&client);
}

static void test_what_does_not_fit_its_flags_and_the_ninth_are_refused(void **state)
{
        struct client clients[MONITOR_ATTACH_MAX + 1];
        int fds[2];
        (void)state;
        assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
        assert_int_equal(attach_add(&attach, MONITOR_ATTACH_OUTPUT, fds, 1), -EINVAL);
        assert_int_equal(attach_add(&attach, MONITOR_ATTACH_OUTPUT, NULL, 0), -EINVAL);
        assert_int_equal(fcntl(fds[0], F_GETFD), -1); /* taken all the same */
        close(fds[1]);
        for (unsigned i = 0; i < MONITOR_ATTACH_MAX; i++)
                assert_int_equal(join(&clients[i], MONITOR_ATTACH_OUTPUT), 0);
        assert_int_equal(join(&clients[MONITOR_ATTACH_MAX], MONITOR_ATTACH_OUTPUT), -EUSERS);
        for (unsigned i = 0; i <= MONITOR_ATTACH_MAX; i++)
                leave(&clients[i]);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(test_each_client_gets_its_streams, set_up,
                                                tear_down),
                cmocka_unit_test_setup_teardown(
                        test_who_is_behind_holds_back_until_patience_is_over, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_more_than_can_be_kept_lets_go_of_who_is_behind,
                                                set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_input_goes_through_and_stays_open, set_up,
                                                tear_down),
                cmocka_unit_test_setup_teardown(
                        test_the_first_clients_input_ends_the_containers_once, set_up, tear_down),
                cmocka_unit_test_setup_teardown(
                        test_a_container_that_does_not_read_holds_up_its_input_alone, set_up,
                        tear_down),
                cmocka_unit_test_setup_teardown(
                        test_what_does_not_fit_its_flags_and_the_ninth_are_refused, set_up,
                        tear_down),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
