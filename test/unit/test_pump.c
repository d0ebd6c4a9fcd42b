/* The thread that moves streams' bytes: what is posted, watched and timed. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <pthread.h>
#include <semaphore.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "cri/stream/pump.h"

#define POSTERS 4
#define POSTS   2000

static struct pump *pump;
static sem_t done;
static bool stopping;

static int set_up(void **state)
{
        (void)state;
        sem_init(&done, 0, 0);
        return pump_start(&pump, NULL);
}

static int tear_down(void **state)
{
        (void)state;
        pump_stop(pump);
        sem_destroy(&done);
        return 0;
}

static void finish(void *argument)
{
        (void)argument;
        sem_post(&done);
}

static void wait_until_done(void)
{
        while (sem_wait(&done) < 0)
                ;
}

/* ---- posts ---- */

struct poster {
        unsigned number;
        unsigned expected; /* the pump's thread's */
        bool in_order;
};

struct post {
        struct poster *poster;
        unsigned serial;
};

static struct post posts[POSTERS][POSTS];

static void run_post(void *post_)
{
        struct post *post = post_;
        if (post->poster->expected != post->serial)
                post->poster->in_order = false;
        if (++post->poster->expected == POSTS)
                sem_post(&done);
}

static void *post_all(void *poster_)
{
        struct poster *poster = poster_;
        for (unsigned i = 0; i < POSTS; i++) {
                posts[poster->number][i] = (struct post){poster, i};
                pump_post(pump, run_post, &posts[poster->number][i]);
        }
        return NULL;
}

static void test_posts_of_many_threads_each_in_order(void **state)
{
        struct poster posters[POSTERS] = {0};
        pthread_t threads[POSTERS];
        (void)state;
        for (unsigned i = 0; i < POSTERS; i++) {
                posters[i] = (struct poster){.number = i, .in_order = true};
                assert_int_equal(pthread_create(&threads[i], NULL, post_all, &posters[i]), 0);
        }
        for (unsigned i = 0; i < POSTERS; i++) {
                pthread_join(threads[i], NULL);
                wait_until_done();
        }
        for (unsigned i = 0; i < POSTERS; i++) {
                assert_int_equal(posters[i].expected, POSTS);
                assert_true(posters[i].in_order);
        }
}

static unsigned rounds;

static void post_again(void *argument)
{
        (void)argument;
        if (++rounds < 100)
                pump_post(pump, post_again, NULL);
        else
                sem_post(&done);
}

static void test_what_runs_may_post(void **state)
{
        (void)state;
        pump_post(pump, post_again, NULL);
        wait_until_done();
        assert_int_equal(rounds, 100);
}

/* ---- watches ---- */

static int ends[2];
static struct pump_watch reads, writes;
static char seen[16];

static void on_readable(void *argument, uint32_t events)
{
        (void)argument;
        assert_true(events & EPOLLIN);
        if (read(ends[0], seen, sizeof seen) == 0) { /* its own watch ends in its callback */
                pump_watch(pump, &reads, 0);
                sem_post(&done);
        }
}

static void on_writable(void *argument, uint32_t events)
{
        (void)argument;
        assert_true(events & EPOLLOUT);
        pump_watch(pump, &writes, 0);
        assert_int_equal(write(ends[1], "word", 4), 4);
        shutdown(ends[1], SHUT_WR);
}

static void begin_watching(void *argument)
{
        (void)argument;
        reads = (struct pump_watch){ends[0], 0, on_readable, NULL};
        writes = (struct pump_watch){ends[1], 0, on_writable, NULL};
        pump_watch(pump, &reads, EPOLLIN);
        pump_watch(pump, &reads, EPOLLIN); /* nothing new */
        pump_watch(pump, &writes, EPOLLOUT);
}

static void test_watches(void **state)
{
        (void)state;
        assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
        pump_post(pump, begin_watching, NULL);
        wait_until_done();
        assert_memory_equal(seen, "word", 4);
        close(ends[0]);
        close(ends[1]);
}

/* ---- timers ---- */

static struct pump_timer timers[3];
static char order[8];
static unsigned went_off;

static void on_time(void *name)
{
        order[went_off++] = *(const char *)name;
        if (went_off == 2)
                sem_post(&done);
}

static void begin_timing(void *argument)
{
        (void)argument;
        timers[0] = (struct pump_timer){.callback = on_time, .argument = (void *)"a"};
        timers[1] = (struct pump_timer){.callback = on_time, .argument = (void *)"b"};
        timers[2] = (struct pump_timer){.callback = on_time, .argument = (void *)"c"};
        pump_timer_set(pump, &timers[0], clock_after(20 * NSEC_PER_MSEC));
        pump_timer_set(pump, &timers[1], clock_after(INT64_C(3600) * NSEC_PER_SEC));
        pump_timer_set(pump, &timers[2], clock_after(10 * NSEC_PER_MSEC));
        pump_timer_set(pump, &timers[1], clock_after(NSEC_PER_MSEC)); /* anew */
        pump_timer_clear(pump, &timers[2]);
        pump_timer_clear(pump, &timers[2]);
}

static void test_timers_go_off_once_and_not_when_they_are_cleared(void **state)
{
        (void)state;
        pump_post(pump, begin_timing, NULL);
        wait_until_done();
        pump_post(pump, finish, NULL);
        wait_until_done();
        assert_string_equal(order, "ba");
}

/* What is posted from there on may go unrun, and is freed. */
static void stop_in_the_middle(void *argument)
{
        (void)argument;
        sem_post(&done);
        while (!__atomic_load_n(&stopping, __ATOMIC_SEQ_CST))
                usleep(1000);
        for (int i = 0; i < 100; i++)
                pump_post(pump, finish, NULL);
}

static void test_its_end(void **state)
{
        (void)state;
        pump_post(pump, stop_in_the_middle, NULL);
        wait_until_done();
        __atomic_store_n(&stopping, true, __ATOMIC_SEQ_CST);
        pump_stop(pump);
        pump = NULL;
        pump_stop(NULL);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
        const struct CMUnitTest tests[] = {
                TEST(test_posts_of_many_threads_each_in_order),
                TEST(test_what_runs_may_post),
                TEST(test_watches),
                TEST(test_timers_go_off_once_and_not_when_they_are_cleared),
                TEST(test_its_end),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
