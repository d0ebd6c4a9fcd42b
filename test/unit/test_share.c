/* Layers that several pulls want, of which one fetches: well, slowly, or never. */
#include "test/unit/pull_fixture.h"

#include "image/share.h"

/* Says that it wants the layer, and waits until it is to fetch it. */
#define WANT                                                                                       \
        "echo '{\"want\":{\"diff_id\":\"" LAYER "\",\"digest\":\"" LAYER                           \
        "\",\"size\":100000000}}'\n"
#define UNTIL_FETCH                                                                                \
        "while :; do\n"                                                                            \
        "  read -r answer\n"                                                                       \
        "  case $answer in *fetch*) break ;; esac\n"                                               \
        "done\n"
/* Runs beside: it waits for a layer of somebody's, and says so. */
#define SAY_WAITING                                                                                \
        "while [ ! -e $staging/over ]; do\n"                                                       \
        "  echo '{\"progress\":{\"digest\":\"" LAYER                                               \
        "\",\"bytes\":0,\"total\":9,\"done\":false}}'\n"                                           \
        "  sleep 0.02\n"                                                                           \
        "done &\n"

/* Sends progress until the test goes: $bytes is evaluated each time. */
#define PROGRESS_FOR_EVER(bytes)                                                                   \
        "n=0\n"                                                                                    \
        "while [ ! -e ${staging%/images/*}/go ]; do\n"                                             \
        "  n=$((n + 1))\n"                                                                         \
        "  echo '{\"progress\":{\"digest\":\"" LAYER "\",\"bytes\":'$((" bytes                     \
        "))',\"total\":100000000,\"done\":false}}'\n"                                              \
        "  sleep 0.02\n"                                                                           \
        "done\n"

#define FIRST(script)  "case $request in *first*) " script " ;;\n"
#define SECOND(script) "*) " script " ;;\nesac\n"

static struct puller *make_impatient(struct share_limits limits)
{
        static char *environment[] = {(char *)(uintptr_t) "PATH=/usr/bin:/bin", NULL};
        struct pull_options options = {
                .store = store,
                .sources = sources,
                .credentials = {.auth_files = auth_files},
                .program = at("crisp-image"),
                .environment = environment,
                .share = limits,
        };
        return puller_new(&options);
}

/* The first one is told to fetch, and does as script says; the second one, who waits for it,
 * fetches the layer where it is told to. Then the first one goes on to its end. */
static void two(const char *first, struct share_limits limits, bool overtaken)
{
        AUTO_FREE char *script =
                xprintf(FIRST(WANT "touch ${staging%%/images/*}/claimed\n%s" FILL RESULT)
                                SECOND(SAY_WAITING WANT UNTIL_FETCH
                                       "touch $staging/over; wait\n" FILL RESULT),
                        first);
        store = open_store();
        sources = sources_new(&(struct sources_options){0});
        play(script);
        struct puller *puller = make_impatient(limits);
        struct caller one = {.puller = puller, .reference = "registry.example/first:1"};
        struct caller other = {.puller = puller, .reference = "registry.example/second:1"};
        struct pull_counts counts;
        call(&one);
        await_file(at("claimed"));
        task_sleep_until(clock_after(50 * NSEC_PER_MSEC));
        call(&other);
        if (overtaken)
                await_finish(&other);
        else
                task_sleep_until(clock_after(NSEC_PER_SEC));
        assert_int_equal(other.finished, overtaken);
        assert_false(one.finished);
        pull_counts(puller, &counts);
        assert_int_equal(counts.shared, 1);
        assert_int_equal(counts.overtaken, overtaken);
        write_file(at("go"), "");
        if (!overtaken)
                task_interrupt(other.task);
        await_finish(&one);
        await_finish(&other);
        if (one.result < 0)
                fail_msg("%s", one.err.message);
        if (overtaken && other.result < 0)
                fail_msg("%s", other.err.message);
        assert_true(exists(at("images/layers/%s/file", &LAYER[7])));
        free(one.id);
        free(other.id);
        assert_nothing_left();
        puller_free(puller);
        sources_free(sources);
        store_free(store);
}

static void one_that_only_says_that_it_works_is_overtaken(void)
{
        two(PROGRESS_FOR_EVER("5"), (struct share_limits){.window = NSEC_PER_SEC / 5, .rate = 1000},
            true);
}

static void one_that_is_too_slow_is_overtaken(void)
{
        two(PROGRESS_FOR_EVER("n"),
            (struct share_limits){.window = NSEC_PER_SEC / 5, .rate = 100000}, true);
}

static void one_that_gets_on_is_waited_for(void)
{
        two(PROGRESS_FOR_EVER("n * 100000"),
            (struct share_limits){.window = NSEC_PER_SEC / 5, .rate = 1}, false);
}

static void nobody_is_waited_for_without_end(void)
{
        two(PROGRESS_FOR_EVER("n * 100000"),
            (struct share_limits){
                    .window = NSEC_PER_SEC / 5, .rate = 1, .patience = NSEC_PER_SEC / 2},
            true);
}

#define TASK_TEST(name)                                                                            \
        static void test_##name(void **state)                                                      \
        {                                                                                          \
                (void)state;                                                                       \
                in_task(name);                                                                     \
        }

TASK_TEST(one_that_only_says_that_it_works_is_overtaken)
TASK_TEST(one_that_is_too_slow_is_overtaken)
TASK_TEST(one_that_gets_on_is_waited_for)
TASK_TEST(nobody_is_waited_for_without_end)

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_one_that_only_says_that_it_works_is_overtaken),
                cmocka_unit_test(test_one_that_is_too_slow_is_overtaken),
                cmocka_unit_test(test_one_that_gets_on_is_waited_for),
                cmocka_unit_test(test_nobody_is_waited_for_without_end),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
