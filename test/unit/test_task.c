/* Tasks: order, events, deadlines, interrupts, workers and descriptors. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "base/task.h"

static char trace[256];

static void say(const char *word)
{
        strncat(trace, word, sizeof trace - strlen(trace) - 1);
}

static void run_all(void)
{
        loop_run();
        assert_int_equal(task_count(), 0);
}

static int setup(void **state)
{
        (void)state;
        trace[0] = '\0';
        return loop_init(4, NULL);
}

static int teardown(void **state)
{
        (void)state;
        loop_fini();
        return 0;
}

static struct event event;
static bool open_gate;

static void waits_for_gate(void *argument)
{
        while (!open_gate)
                assert_int_equal(task_wait(&event, CLOCK_NEVER), 0);
        say(argument);
        if (strchr(trace, 'a') && strchr(trace, 'b'))
                loop_stop();
}

static void opens_gate(void *argument)
{
        say(argument);
        open_gate = true;
        event_signal(&event);
}

static void test_events_wake_all_in_order(void **state)
{
        (void)state;
        open_gate = false;
        task_start("a", waits_for_gate, "a");
        task_start("b", waits_for_gate, "b");
        task_start("o", opens_gate, "o");
        run_all();
        assert_string_equal(trace, "oab");
}

static void times_out(void *argument)
{
        struct event nothing = {0};
        (void)argument;
        int64_t deadline = clock_after(2 * NSEC_PER_MSEC);
        assert_int_equal(task_wait(&nothing, deadline), -ETIMEDOUT);
        assert_true(clock_monotonic() >= deadline);
        assert_int_equal(task_sleep_until(clock_after(NSEC_PER_MSEC)), 0);
        assert_int_equal(task_wait(&nothing, 0), -ETIMEDOUT);
        loop_stop();
}

static void test_deadlines(void **state)
{
        (void)state;
        task_start("times out", times_out, NULL);
        run_all();
}

static void is_interrupted(void *argument)
{
        struct event nothing = {0};
        (void)argument;
        task_set_interruptible(true);
        assert_int_equal(task_wait(&nothing, CLOCK_NEVER), -ECANCELED);
        assert_int_equal(task_wait(&nothing, CLOCK_NEVER), -ECANCELED);
        task_set_interruptible(false);
        assert_true(task_interrupted());
        assert_int_equal(task_wait(&nothing, clock_after(NSEC_PER_MSEC)), -ETIMEDOUT);
        loop_stop();
}

static void is_shielded(void *argument)
{
        struct event nothing = {0};
        (void)argument;
        task_set_interruptible(true);
        task_shield(true);
        assert_int_equal(task_wait(&nothing, clock_after(20 * NSEC_PER_MSEC)), -ETIMEDOUT);
        assert_true(task_interrupted());
        assert_int_equal(task_wait(&nothing, clock_after(NSEC_PER_MSEC)), -ETIMEDOUT);
        task_shield(false);
        assert_int_equal(task_wait(&nothing, CLOCK_NEVER), -ECANCELED);
        loop_stop();
}

static void interrupts(void *argument)
{
        task_interrupt(argument);
}

static void test_interrupt(void **state)
{
        (void)state;
        task_start("interrupts", interrupts, task_start("is interrupted", is_interrupted, NULL));
        run_all();
}

static void test_shield(void **state)
{
        (void)state;
        task_start("interrupts", interrupts, task_start("is shielded", is_shielded, NULL));
        run_all();
}

static int on_worker(void *argument)
{
        usleep(1000);
        assert_null(task_self());
        return *(int *)argument * 2;
}

static int offloads_left;

static void offloads(void *argument)
{
        int number = (int)(intptr_t)argument;
        assert_int_equal(task_offload(on_worker, &number), number * 2);
        if (--offloads_left == 0)
                loop_stop();
}

static void test_offload_more_than_there_are_workers(void **state)
{
        (void)state;
        offloads_left = 100;
        for (int i = 0; i < 100; i++)
                task_start("offloads", offloads, (void *)(intptr_t)i);
        run_all();
}

static void reads_pipe(void *argument)
{
        int *ends = argument;
        char byte = 0;
        uint32_t ready = 0;
        assert_int_equal(task_wait_fd(ends[0], EPOLLIN, clock_after(NSEC_PER_MSEC), NULL),
                         -ETIMEDOUT);
        assert_int_equal(write(ends[1], "x", 1), 1);
        assert_int_equal(task_wait_fd(ends[0], EPOLLIN, CLOCK_NEVER, &ready), 0);
        assert_true(ready & EPOLLIN);
        assert_int_equal(read(ends[0], &byte, 1), 1);
        assert_int_equal(byte, 'x');
        loop_stop();
}

static void test_descriptors(void **state)
{
        (void)state;
        int ends[2];
        assert_int_equal(pipe(ends), 0);
        task_start("reads pipe", reads_pipe, ends);
        run_all();
        close(ends[0]);
        close(ends[1]);
}

static struct task_lock lock;
static int inside, locks_left;

static void takes_lock(void *argument)
{
        (void)argument;
        assert_int_equal(task_lock(&lock, CLOCK_NEVER), 0);
        assert_int_equal(++inside, 1);
        task_sleep_until(clock_after(100 * NSEC_PER_USEC));
        inside--;
        task_unlock(&lock);
        if (--locks_left == 0)
                loop_stop();
}

static void test_lock_lets_one_in(void **state)
{
        (void)state;
        locks_left = 20;
        for (int i = 0; i < 20; i++)
                task_start("takes lock", takes_lock, NULL);
        run_all();
}

static int sleepers_left;

static void sleeps(void *argument)
{
        task_sleep_until((int64_t)(intptr_t)argument);
        if (--sleepers_left == 0)
                loop_stop();
}

static void test_a_thousand_wait(void **state)
{
        (void)state;
        sleepers_left = 1000;
        int64_t soon = clock_after(20 * NSEC_PER_MSEC);
        for (int i = 0; i < 1000; i++)
                task_start("sleeps", sleeps, (void *)(intptr_t)(soon + i % 7 * NSEC_PER_MSEC));
        assert_int_equal(task_count(), 1000);
        run_all();
}

static void posted(void *argument)
{
        say(argument);
        loop_stop();
}

static int posts_from_worker(void *argument)
{
        loop_post(posted, argument);
        return 0;
}

static void posts(void *argument)
{
        task_offload(posts_from_worker, argument);
}

static void test_post_from_another_thread(void **state)
{
        (void)state;
        task_start("posts", posts, "p");
        loop_run();
        assert_string_equal(trace, "p");
        /* The task may not have seen its worker's end yet. */
        if (task_count()) {
                loop_post(posted, "q");
                loop_run();
        }
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(test_events_wake_all_in_order, setup, teardown),
                cmocka_unit_test_setup_teardown(test_deadlines, setup, teardown),
                cmocka_unit_test_setup_teardown(test_interrupt, setup, teardown),
                cmocka_unit_test_setup_teardown(test_shield, setup, teardown),
                cmocka_unit_test_setup_teardown(test_offload_more_than_there_are_workers, setup,
                                                teardown),
                cmocka_unit_test_setup_teardown(test_descriptors, setup, teardown),
                cmocka_unit_test_setup_teardown(test_lock_lets_one_in, setup, teardown),
                cmocka_unit_test_setup_teardown(test_a_thousand_wait, setup, teardown),
                cmocka_unit_test_setup_teardown(test_post_from_another_thread, setup, teardown),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
