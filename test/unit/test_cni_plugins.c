/* Plugins that fail, babble or hang, and what only newer ones know. */
#include "test/unit/cni_fixture.h"

/* ---- plugins that go wrong ---- */

struct wrong {
        const char *does;
        enum error_code code;
        const char *tells;
};

static const struct wrong wrongs[] = {
        {"echo '{\"cniVersion\":\"1.0.0\",\"code\":7,\"msg\":\"bad subnet\",\"details\":\"too "
         "small\"}'; exit 1",
         ERROR_INTERNAL,
         "network net: plugin second: ADD: bad subnet: too small (CNI error code 7)"},
        {"echo '{\"code\":11,\"msg\":\"later\"}'; exit 1", ERROR_UNAVAILABLE, "later"},
        {"echo certainly; exit 0", ERROR_INTERNAL, "it printed \"certainly"},
        {"exit 0", ERROR_INTERNAL, "plugin second: ADD: succeeded without printing a result"},
        {"exit 4", ERROR_INTERNAL, "exit status 4 without a message"},
        {"echo 'panic: oh no' >&2; exit 2", ERROR_INTERNAL,
         "exit status 2, on stderr: panic: oh no"},
        {"echo rubbish; exit 3", ERROR_INTERNAL,
         "exit status 3, printed what is no CNI error: \"rubbish\""},
        {"kill -9 $$", ERROR_INTERNAL, "killed by signal 9"},
        {"head -c 3000000 /dev/zero | tr '\\0' '['; exit 0", ERROR_INTERNAL, "printed more than"},
        {"head -c 200000 /dev/zero | tr '\\0' '['; exit 0", ERROR_INTERNAL, "nested deeper"},
        {"head -c 3000000 /dev/zero >&2; exit 9", ERROR_INTERNAL, "exit status 9"},
        {"echo '{\"cniVersion\":\"8.0.0\"}'; exit 0", ERROR_INTERNAL, "8.0.0"},
        {"echo '{\"cniVersion\":\"1.0.0\"}'; exit 0", ERROR_INTERNAL, "no IP address"},
        {"echo '{\"ips\":[{\"address\":\"x\"}]}'; exit 0", ERROR_INTERNAL, "no address"},
        {"sleep 1000 & echo $! >$here/child; echo begun >&2; wait", ERROR_DEADLINE_EXCEEDED,
         "plugin second: ADD: no answer after"},
};

static void goes_wrong(const struct wrong *wrong)
{
        struct error err = {0};
        struct network_result result = {0};
        AUTO_FREE char *does = xprintf("[ $CNI_COMMAND != ADD ] || { %s; }\n", wrong->does);
        put(plugin_dir, "second.do", does);
        if (network_attach(network, &pod, &result, &err) == 0)
                fail_msg("%s: succeeded", wrong->does);
        assert_told(&err, wrong->tells);
        if (err.code != wrong->code)
                fail_msg("%s: %s", error_code_name(err.code), err.message);
        assert_null(result.ips);
        /* All of the chain was told to let go, and nothing is remembered. */
        assert_calls("ADD first pod1\nADD second pod1\nDEL second pod1\nDEL first pod1\n");
        assert_int_equal(cached(), 0);
        AUTO_FREE char *child = get(plugin_dir, "child");
        for (int64_t end = clock_after(PATIENCE); *child && kill(atoi(child), 0) == 0;) {
                assert_true(clock_monotonic() < end);
                task_sleep_until(clock_after(10 * NSEC_PER_MSEC));
        }
}

static void all_go_wrong(void)
{
        for (size_t i = 0; i < sizeof wrongs / sizeof *wrongs; i++)
                goes_wrong(&wrongs[i]);
}

static void test_failing_plugins(void **state)
{
        (void)state;
        put(config_dir, "10-net.conflist", CHAIN);
        start_network(2 * NSEC_PER_SEC);
        in_task(all_go_wrong);
}

static void deletion_fails(void)
{
        struct error err = {0};
        struct network_result result = {0};
        assert_int_equal(network_attach(network, &pod, &result, &err), 0);
        network_result_fini(&result);
        put(plugin_dir, "second.do", "[ $CNI_COMMAND != DEL ] || { echo stuck >&2; exit 1; }\n");
        assert_true(network_detach(network, &pod, &err) < 0);
        assert_told(&err, "network net: plugin second: DEL: exit status 1, on stderr: stuck");
        /* The others have let go; what is needed for the next try is still there. */
        assert_calls("ADD first pod1\nADD second pod1\nDEL second pod1\nDEL first pod1\n");
        assert_int_equal(cached(), 1);
        put(plugin_dir, "second.do", "");
        assert_int_equal(network_detach(network, &pod, &err), 0);
        assert_int_equal(cached(), 0);
}

static void test_deletion_is_tried_again(void **state)
{
        (void)state;
        put(config_dir, "10-net.conflist", CHAIN);
        start_network(0);
        in_task(deletion_fails);
}

static void deletion_hangs(void)
{
        struct error err = {0};
        struct network_result result = {0};
        assert_int_equal(network_attach(network, &pod, &result, &err), 0);
        network_result_fini(&result);
        put(plugin_dir, "second.do", "[ $CNI_COMMAND != DEL ] || sleep 1000\n");
        assert_true(network_detach(network, &pod, &err) < 0);
        assert_int_equal(err.code, ERROR_DEADLINE_EXCEEDED);
        assert_told(&err, "network net: plugin second: DEL: no answer after");
        assert_calls("ADD first pod1\nADD second pod1\nDEL second pod1\nDEL first pod1\n");
        assert_int_equal(cached(), 1);
}

static void test_hanging_deletion_leaves_time(void **state)
{
        (void)state;
        put(config_dir, "10-net.conflist", CHAIN);
        start_network(4 * NSEC_PER_SEC);
        in_task(deletion_hangs);
}

static void plugin_is_missing(void)
{
        struct error err = {0};
        struct network_result result = {0};
        bool ready;
        char reason[NETWORK_REASON_MAX];
        network_status(network, &ready, reason);
        assert_false(ready);
        assert_non_null(strstr(reason, "needs the CNI plugin absent, which is not in "
                                       "/nowhere/at/all, "));
        assert_true(network_attach(network, &pod, &result, &err) < 0);
        assert_int_equal(err.code, ERROR_FAILED_PRECONDITION);
        assert_told(&err, "network net: plugin absent: no such program in /nowhere/at/all, ");
        assert_told(&err, plugin_dir);
        /* Nothing was begun, so there is nothing to free. */
        assert_int_equal(cached(), 0);
}

static void test_missing_plugin(void **state)
{
        (void)state;
        put(config_dir, "10-net.conflist",
            "{\"cniVersion\":\"1.0.0\",\"name\":\"net\",\"plugins\":[{\"type\":\"absent\"}]}");
        start_network(0);
        in_task(plugin_is_missing);
}

/* One that hangs holds up its own pod and no other. */
static struct {
        bool started, other_done, done;
        struct task *task;
        int result;
        struct error err;
} hanging;

static void hanging_task(void *argument)
{
        (void)argument;
        struct network_result result = {0};
        struct network_pod other = pod;
        other.id = "hangs";
        hanging.started = true;
        task_set_interruptible(true);
        hanging.result = network_attach(network, &other, &result, &hanging.err);
        task_set_interruptible(false);
        hanging.done = true;
}

static void hangs_alone(void)
{
        struct error err = {0};
        struct network_result result = {0};
        bool ready;
        char reason[NETWORK_REASON_MAX];
        put(plugin_dir, "first.do",
            "[ \"$CNI_COMMAND $CNI_CONTAINERID\" != 'ADD hangs' ] || { >$here/hung; sleep 1000; "
            "}\n");
        hanging.task = task_start("hanging", hanging_task, NULL);
        AUTO_FREE char *hung = in(plugin_dir, "hung");
        while (access(hung, F_OK) < 0)
                task_sleep_until(clock_after(10 * NSEC_PER_MSEC));
        assert_int_equal(network_attach(network, &pod, &result, &err), 0);
        network_result_fini(&result);
        network_status(network, &ready, reason);
        assert_true(ready);
        assert_int_equal(network_detach(network, &pod, &err), 0);
        assert_false(hanging.done);
        task_interrupt(hanging.task);
        while (!hanging.done)
                task_sleep_until(clock_after(10 * NSEC_PER_MSEC));
        assert_true(hanging.result < 0);
        assert_int_equal(hanging.err.code, ERROR_CANCELLED);
        /* Also then everything was told to let go. */
        AUTO_FREE char *calls = get(plugin_dir, "calls");
        assert_non_null(strstr(calls, "DEL second hangs\nDEL first hangs\n"));
        assert_int_equal(cached(), 0);
}

static void test_hanging_plugin_is_alone(void **state)
{
        (void)state;
        put(config_dir, "10-net.conflist", CHAIN);
        start_network(1000 * NSEC_PER_SEC);
        in_task(hangs_alone);
}

/* ---- STATUS and GC ---- */

#define NEW_CHAIN                                                                                  \
        "{\"cniVersion\":\"1.1.0\",\"name\":\"net\",\"plugins\":[{\"type\":\"first\"},"            \
        "{\"type\":\"second\"}]}"
/* The first one speaks 1.1.0, the second does not. */
#define SPEAKS_NEW                                                                                 \
        "[ $CNI_COMMAND != VERSION ] || { echo '{\"cniVersion\":\"1.1.0\","                        \
        "\"supportedVersions\":[\"1.0.0\",\"1.1.0\"]}'; exit 0; }\n"

static void asks_for_status(void)
{
        await(true, "");
        assert_calls("VERSION first dummy\nSTATUS first \nVERSION second dummy\n");
        put(plugin_dir, "first.do",
            SPEAKS_NEW "[ $CNI_COMMAND != STATUS ] || { echo '{\"code\":50,\"msg\":\"no route\"}'; "
                       "exit 1; }\n");
        /* Another configuration is asked about at once. */
        put(config_dir, "05-net.conflist",
            "{\"cniVersion\":\"1.1.0\",\"name\":\"other\",\"plugins\":[{\"type\":\"first\"}]}");
        await(false, "network other: plugin first: STATUS: no route (CNI error code 50)");
}

static void test_status_of_plugins(void **state)
{
        (void)state;
        put(config_dir, "10-net.conflist", NEW_CHAIN);
        put(plugin_dir, "first.do", SPEAKS_NEW);
        start_network(0);
        in_task(asks_for_status);
}

static void collects(void)
{
        struct error err = {0};
        struct network_result result = {0};
        static const char *const ids[] = {"stays", "goes"};
        for (size_t i = 0; i < 2; i++) {
                struct network_pod each = pod;
                each.id = ids[i];
                assert_int_equal(network_attach(network, &each, &result, &err), 0);
                network_result_fini(&result);
        }
        await(true, "");
        AUTO_FREE char *path = in(plugin_dir, "calls");
        unlink(path);
        char *valid[] = {(char *)"stays", (char *)"forgotten", NULL};
        assert_int_equal(network_gc(network, valid, &err), 0);
        assert_calls("DEL second goes\nDEL first goes\n"
                     "VERSION first dummy\nGC first \nVERSION second dummy\n");
        assert_int_equal(cached(), 1);
        AUTO_FREE char *input = get(plugin_dir, "first.GC.in");
        AUTO_JSON json_t *told = json_loads(input, 0, NULL);
        /* The one whose cached result was lost keeps its address too. */
        assert_member(told,
                      "[{\"containerID\":\"stays\",\"ifname\":\"eth0\"},"
                      "{\"containerID\":\"forgotten\",\"ifname\":\"eth0\"}]",
                      "cni.dev/valid-attachments");

        /* Another runtime's pod in the same network: neither freed nor named, so no GC either. */
        AUTO_FREE char *results = in(cache_dir, "results");
        put(results, "net-foreign-eth0",
            "{\"kind\":\"cniCacheV1\",\"containerId\":\"foreign\",\"ifName\":\"eth0\","
            "\"networkName\":\"net\",\"config\":\"e30=\"}");
        assert_int_equal(network_gc(network, valid, &err), 0);
        assert_calls("");
        assert_int_equal(cached(), 2);

        /* Nor beside one that cannot be read, such as older runtimes' bare results. */
        put(results, "net-foreign-eth0", "{\"ip4\":{\"ip\":\"10.1.2.3/24\"}}");
        assert_int_equal(network_gc(network, valid, &err), 0);
        assert_calls("");
        assert_int_equal(cached(), 2);
}

/* A pod that is connected after the list of pods was made, while the collection is under way. */
static bool collected;

static void collecting_task(void *argument)
{
        char *none[] = {NULL};
        assert_int_equal(network_gc(network, none, argument), 0);
        collected = true;
}

static void collects_beside(void)
{
        struct error err = {0}, gc_err = {0};
        struct network_result result = {0};
        struct network_pod gone = pod;
        gone.id = "gone";
        assert_int_equal(network_attach(network, &gone, &result, &err), 0);
        network_result_fini(&result);
        put(plugin_dir, "second.do",
            "[ \"$CNI_COMMAND $CNI_CONTAINERID\" != 'DEL gone' ] || { >$here/going_on; while [ ! "
            "-f "
            "$here/go ]; do sleep 0.02; done; }\n");
        /* It comes and is connected during the first DEL. */
        put(plugin_dir, "first.do",
            SPEAKS_NEW "[ \"$CNI_COMMAND $CNI_CONTAINERID\" != 'ADD pod1' ] || while [ ! -f "
                       "$here/going_on ]; do sleep 0.02; done\n");
        collected = false;
        task_start("collecting", collecting_task, &gc_err);
        assert_int_equal(network_attach(network, &pod, &result, &err), 0);
        network_result_fini(&result);
        assert_false(collected);
        put(plugin_dir, "go", "");
        while (!collected)
                task_sleep_until(clock_after(10 * NSEC_PER_MSEC));
        AUTO_FREE char *calls = get(plugin_dir, "calls");
        const char *begun = strstr(calls, "DEL second gone\n");
        assert_non_null(begun);
        assert_non_null(strstr(begun, "ADD second pod1\n"));
        assert_non_null(strstr(strstr(begun, "ADD second pod1\n"), "DEL first gone\n"));
        assert_null(strstr(calls, "DEL second pod1"));
        AUTO_FREE char *input = get(plugin_dir, "first.GC.in");
        AUTO_JSON json_t *told = json_loads(input, 0, NULL);
        assert_member(told, "[{\"containerID\":\"pod1\",\"ifname\":\"eth0\"}]",
                      "cni.dev/valid-attachments");
        assert_int_equal(cached(), 1);
}

static void test_collection_spares_new_pods(void **state)
{
        (void)state;
        put(config_dir, "10-net.conflist", NEW_CHAIN);
        put(plugin_dir, "first.do", SPEAKS_NEW);
        start_network(0);
        in_task(collects_beside);
}

static void test_collection(void **state)
{
        (void)state;
        put(config_dir, "10-net.conflist", NEW_CHAIN);
        put(plugin_dir, "first.do", SPEAKS_NEW);
        start_network(0);
        in_task(collects);
}

static void asks_for_versions(void)
{
        struct error err = {0};
        AUTO_JSON json_t *supported = NULL;
        char *plugin_dirs[] = {plugin_dir, NULL};
        assert_int_equal(
                cni_plugin_versions(plugin_dirs, "first", clock_after(PATIENCE), &supported, &err),
                0);
        assert_int_equal(json_array_size(supported), 2);
        put(plugin_dir, "second.do", "echo '{}'; exit 0\n");
        json_t *none = NULL;
        assert_true(cni_plugin_versions(plugin_dirs, "second", clock_after(PATIENCE), &none, &err) <
                    0);
        assert_told(&err, "plugin second: VERSION");
        assert_null(none);
}

static void test_versions(void **state)
{
        (void)state;
        in_task(asks_for_versions);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
        const struct CMUnitTest tests[] = {
                TEST(test_failing_plugins),
                TEST(test_deletion_is_tried_again),
                TEST(test_hanging_deletion_leaves_time),
                TEST(test_missing_plugin),
                TEST(test_hanging_plugin_is_alone),
                TEST(test_status_of_plugins),
                TEST(test_collection_spares_new_pods),
                TEST(test_collection),
                TEST(test_versions),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
