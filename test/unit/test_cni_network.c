/* Pods and plugins: what plugins are told, and what becomes of those that fail, babble or hang. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/buffer.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/json.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/task.h"
#include "network/cni.h"
#include "network/network.h"

#define PATIENCE (30 * NSEC_PER_SEC) /* how long something may take that must come at all */

/* Every fake plugin: notes how it is called, does what NAME.do says, and else succeeds. */
static const char script[] =
        "#!/bin/sh\n"
        "here=${0%/*}; name=${0##*/}; input=$(cat)\n"
        "printf '%s\\n' \"$CNI_COMMAND $name $CNI_CONTAINERID\" >>$here/calls\n"
        "printf '%s' \"$input\" >$here/$name.$CNI_COMMAND.in\n"
        "env | sort >$here/$name.$CNI_COMMAND.env\n"
        "[ ! -f $here/$name.do ] || . $here/$name.do\n"
        "case $CNI_COMMAND in\n"
        "ADD) echo '{\"cniVersion\":\"1.0.0\",\"ips\":[{\"address\":\"10.9.0.2/24\"},"
        "{\"address\":\"fd00::2/64\"}],\"dns\":{\"domain\":\"'$name'\"}}' ;;\n"
        "VERSION) echo '{\"cniVersion\":\"1.0.0\",\"supportedVersions\":[\"0.4.0\",\"1.0.0\"]}' "
        ";;\n"
        "esac\n";

static char base[64];
static char *config_dir, *plugin_dir, *cache_dir;
static struct network *network;

/* ---- the surroundings ---- */

static char *in(const char *folder, const char *name)
{
        return xprintf("%s/%s", folder, name);
}

static void put_mode(const char *folder, const char *name, const char *text, mode_t mode)
{
        AUTO_FREE char *path = in(folder, name);
        struct error err = {0};
        if (file_replace_volatile(path, text, strlen(text), mode, &err) < 0)
                fail_msg("%s", err.message);
}

static void put(const char *folder, const char *name, const char *text)
{
        put_mode(folder, name, text, 0644);
}

static char *get(const char *folder, const char *name)
{
        AUTO_FREE char *path = in(folder, name);
        AUTO_BUFFER struct buffer text = BUFFER_INIT;
        if (file_read(path, 1 << 20, &text, NULL) < 0)
                return xstrdup("");
        return buffer_take(&text);
}

static void assert_calls(const char *expected)
{
        AUTO_FREE char *calls = get(plugin_dir, "calls");
        assert_string_equal(calls, expected);
        AUTO_FREE char *path = in(plugin_dir, "calls");
        unlink(path);
}

static unsigned cached(void)
{
        AUTO_FREE char *results = in(cache_dir, "results");
        AUTO_DIR DIR *folder = opendir(results);
        unsigned count = 0;
        for (struct dirent *entry; folder && (entry = readdir(folder));)
                count += entry->d_name[0] != '.';
        return count;
}

static int setup(void **state)
{
        (void)state;
        log_set_level(LOG_LEVEL_ERROR);
        strcpy(base, "/tmp/crisp-test-cni-XXXXXX");
        if (!mkdtemp(base))
                return -1;
        config_dir = in(base, "net.d");
        plugin_dir = in(base, "bin");
        cache_dir = in(base, "cache");
        mkdir(config_dir, 0755);
        mkdir(plugin_dir, 0755);
        put_mode(plugin_dir, "first", script, 0755);
        put_mode(plugin_dir, "second", script, 0755);
        return loop_init(4, NULL);
}

static int teardown(void **state)
{
        (void)state;
        network_free(network);
        network = NULL;
        loop_fini();
        file_remove_tree(base, NULL);
        free(config_dir);
        free(plugin_dir);
        free(cache_dir);
        return 0;
}

static void start_network(int64_t timeout)
{
        struct error err = {0};
        char *plugin_dirs[] = {(char *)"/nowhere/at/all", plugin_dir, NULL};
        struct network_options options = {
                .config_dir = config_dir,
                .plugin_dirs = plugin_dirs,
                .cache_dir = cache_dir,
                .timeout = timeout,
                .owner = base,
        };
        network = network_new(&options);
        assert_int_equal(network_start(network, &err), 0);
}

static void (*body)(void);

static void body_task(void *argument)
{
        (void)argument;
        body();
        loop_stop();
}

static void in_task(void (*function)(void))
{
        body = function;
        task_start("test", body_task, NULL);
        loop_run();
}

#define CHAIN                                                                                      \
        "{\"cniVersion\":\"1.0.0\",\"name\":\"net\",\"plugins\":["                                 \
        "{\"type\":\"first\",\"some\":\"thing\"},"                                                 \
        "{\"type\":\"second\",\"capabilities\":{\"portMappings\":true,\"bandwidth\":true}}]}"

static const struct network_pod pod = {
        .id = "pod1", .name = "name", .namespace_ = "space", .uid = "u-1", .netns = "/run/netns/x"};

static void assert_told(const struct error *err, const char *words)
{
        if (!strstr(err->message, words))
                fail_msg("\"%s\" does not tell \"%s\"", err->message, words);
}

/* ---- the ordinary way ---- */

static void assert_member(const json_t *object, const char *expected, const char *key)
{
        AUTO_JSON json_t *wanted = json_loads(expected, JSON_DECODE_ANY, NULL);
        assert_non_null(wanted);
        const json_t *member = json_object_get(object, key);
        if (!member || !json_equal(member, wanted)) {
                AUTO_FREE char *text = member ? json_text(member) : xstrdup("nothing");
                fail_msg("%s is %s, not %s", key, text, expected);
        }
}

static void attaches_and_detaches(void)
{
        struct error err = {0};
        struct network_result result = {0};
        const struct network_port ports[] = {
                {"tcp", "", 80, 8080}, {"udp", NULL, 53, 0}, {"udp", "127.0.0.1", 53, 5353}};
        struct network_pod full = pod;
        full.ports = ports;
        full.port_count = 3;
        full.ingress_rate = 1000000;
        full.dns_servers = (char *[]){(char *)"10.0.0.10", NULL};
        assert_int_equal(network_attach(network, &full, &result, &err), 0);
        assert_int_equal(result.count, 2);
        assert_string_equal(result.ips[0], "10.9.0.2");
        assert_string_equal(result.ips[1], "fd00::2");
        assert_non_null(strstr(result.text, "second"));
        network_result_fini(&result);
        assert_calls("ADD first pod1\nADD second pod1\n");
        assert_int_equal(cached(), 1);

        AUTO_FREE char *environment = get(plugin_dir, "first.ADD.env");
        AUTO_FREE char *args =
                xstrdup("CNI_ARGS=IgnoreUnknown=1;K8S_POD_NAMESPACE=space;K8S_POD_NAME=name;"
                        "K8S_POD_INFRA_CONTAINER_ID=pod1;K8S_POD_UID=u-1\n");
        AUTO_FREE char *path = xprintf("CNI_PATH=/nowhere/at/all:%s\n", plugin_dir);
        assert_non_null(strstr(environment, args));
        assert_non_null(strstr(environment, path));
        assert_non_null(strstr(environment, "CNI_CONTAINERID=pod1\n"));
        assert_non_null(strstr(environment, "CNI_NETNS=/run/netns/x\n"));
        assert_non_null(strstr(environment, "CNI_IFNAME=eth0\n"));
        assert_non_null(strstr(environment, "PATH="));

        AUTO_FREE char *first = get(plugin_dir, "first.ADD.in");
        AUTO_FREE char *second = get(plugin_dir, "second.ADD.in");
        AUTO_JSON json_t *of_first = json_loads(first, 0, NULL);
        AUTO_JSON json_t *of_second = json_loads(second, 0, NULL);
        assert_member(of_first, "\"1.0.0\"", "cniVersion");
        assert_member(of_first, "\"net\"", "name");
        assert_member(of_first, "\"thing\"", "some");
        assert_null(json_object_get(of_first, "prevResult"));
        assert_null(json_object_get(of_first, "runtimeConfig"));
        assert_member(json_object_get(of_second, "prevResult"), "{\"domain\":\"first\"}", "dns");
        assert_member(of_second,
                      "{\"portMappings\":[{\"hostPort\":8080,\"containerPort\":80,\"protocol\":"
                      "\"tcp\"},{\"hostPort\":5353,\"containerPort\":53,\"protocol\":\"udp\","
                      "\"hostIP\":\"127.0.0.1\"}],\"bandwidth\":{\"ingressRate\":1000000,"
                      "\"ingressBurst\":4294967295}}",
                      "runtimeConfig");

        assert_int_equal(network_check(network, &full, &err), 0);
        assert_calls("CHECK first pod1\nCHECK second pod1\n");
        assert_int_equal(network_detach(network, &pod, &err), 0);
        assert_calls("DEL second pod1\nDEL first pod1\n");
        assert_int_equal(cached(), 0);
        AUTO_FREE char *del = get(plugin_dir, "second.DEL.in");
        AUTO_JSON json_t *of_del = json_loads(del, 0, NULL);
        assert_member(json_object_get(of_del, "prevResult"), "{\"domain\":\"second\"}", "dns");
        assert_member(
                json_object_get(of_del, "runtimeConfig"),
                "[{\"hostPort\":8080,\"containerPort\":80,\"protocol\":\"tcp\"},{\"hostPort\":"
                "5353,\"containerPort\":53,\"protocol\":\"udp\",\"hostIP\":\"127.0.0.1\"}]",
                "portMappings");
        /* The namespace's path holds nothing any more: plugins are not sent there. */
        AUTO_FREE char *del_environment = get(plugin_dir, "first.DEL.env");
        assert_non_null(strstr(del_environment, "CNI_NETNS=\n"));
        assert_int_equal(network_detach(network, &pod, &err), 0);
}

static void test_attach_and_detach(void **state)
{
        (void)state;
        put(config_dir, "10-net.conflist", CHAIN);
        start_network(0);
        in_task(attaches_and_detaches);
}

static void frees_without_configuration(void)
{
        struct error err = {0};
        struct network_result result = {0};
        AUTO_FREE char *file = in(config_dir, "10-net.conflist");
        assert_int_equal(network_attach(network, &pod, &result, &err), 0);
        network_result_fini(&result);
        unlink(file);
        bool ready = true;
        char reason[NETWORK_REASON_MAX];
        for (int64_t end = clock_after(PATIENCE); ready && clock_monotonic() < end;) {
                task_sleep_until(clock_after(20 * NSEC_PER_MSEC));
                network_status(network, &ready, reason);
        }
        assert_false(ready);
        assert_non_null(strstr(reason, "no network configuration in"));
        assert_non_null(strstr(reason, config_dir));
        assert_calls("ADD first pod1\nADD second pod1\n");
        assert_int_equal(network_detach(network, &pod, &err), 0);
        assert_calls("DEL second pod1\nDEL first pod1\n");
        /* Nothing tells how: that is no reason to keep the pod for ever. */
        assert_int_equal(network_detach(network, &pod, &err), 0);
        assert_calls("");
        assert_true(network_attach(network, &pod, &result, &err) < 0);
        assert_int_equal(err.code, ERROR_FAILED_PRECONDITION);
        assert_told(&err, "no network configuration in");
}

static void test_cached_configuration(void **state)
{
        (void)state;
        put(config_dir, "10-net.conflist", CHAIN);
        start_network(0);
        in_task(frees_without_configuration);
}

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
static const struct wrong *wrong;

static void goes_wrong(void)
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

static void test_failing_plugins(void **state)
{
        (void)state;
        put(config_dir, "10-net.conflist", CHAIN);
        start_network(2 * NSEC_PER_SEC);
        for (size_t i = 0; i < sizeof wrongs / sizeof *wrongs; i++) {
                wrong = &wrongs[i];
                in_task(goes_wrong);
        }
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

/* ---- what is refused before any plugin is called ---- */

static void refuses(void)
{
        struct error err = {0};
        struct network_result result = {0};
        const struct network_port none = {"tcp", NULL, 80, 0}, some = {"tcp", NULL, 80, 8080};
        struct network_pod asks = pod;
        asks.ports = &some;
        asks.port_count = 1;
        assert_true(network_attach(network, &asks, &result, &err) < 0);
        assert_int_equal(err.code, ERROR_FAILED_PRECONDITION);
        assert_told(&err, "portMappings");
        asks = pod;
        asks.name = "a;K8S_POD_UID=0";
        assert_true(network_attach(network, &asks, &result, &err) < 0);
        assert_int_equal(err.code, ERROR_INVALID_ARGUMENT);
        asks = pod;
        asks.id = "../../x";
        assert_true(network_attach(network, &asks, &result, &err) < 0);
        assert_int_equal(err.code, ERROR_INVALID_ARGUMENT);
        assert_true(network_detach(network, &asks, &err) < 0);
        asks = pod;
        asks.netns = NULL;
        assert_true(network_attach(network, &asks, &result, &err) < 0);
        assert_calls("");
        assert_int_equal(cached(), 0);
        asks = pod;
        asks.ports = &none;
        asks.port_count = 1;
        assert_int_equal(network_attach(network, &asks, &result, &err), 0);
        network_result_fini(&result);
        assert_int_equal(network_detach(network, &asks, &err), 0);
}

static void test_refusals(void **state)
{
        (void)state;
        put(config_dir, "10-net.conflist",
            "{\"cniVersion\":\"1.0.0\",\"name\":\"net\",\"plugins\":[{\"type\":\"first\"}]}");
        start_network(0);
        in_task(refuses);
}

/* ---- following the folder ---- */

/* Waits until the status is this, and the reason has these words. */
static void await(bool wanted, const char *words)
{
        bool ready = !wanted;
        char reason[NETWORK_REASON_MAX] = "";
        for (int64_t end = clock_after(PATIENCE); clock_monotonic() < end;) {
                network_status(network, &ready, reason);
                if (ready == wanted && strstr(reason, words))
                        return;
                task_sleep_until(clock_after(20 * NSEC_PER_MSEC));
        }
        fail_msg("ready %d, %s: \"%s\"", ready, words, reason);
}

static void follows(void)
{
        await(false, "install a CNI plugin's configuration");
        AUTO_FREE char *above = in(base, "later");
        assert_int_equal(mkdir(above, 0755), 0);
        assert_int_equal(mkdir(config_dir, 0755), 0);
        put(config_dir, "10-net.conflist", CHAIN);
        await(true, "");
        put(config_dir, "05-broken.conf", "{");
        await(true, "05-broken.conf is not used: ");
        AUTO_FREE char *broken = in(config_dir, "05-broken.conf");
        AUTO_FREE char *whole = in(config_dir, "10-net.conflist");
        unlink(whole);
        await(false, "05-broken.conf is not used: ");
        put(config_dir, "05-broken.conf", CHAIN);
        await(true, "");
        /* The folder itself goes and comes back. */
        AUTO_FREE char *aside = in(above, "aside");
        assert_int_equal(rename(config_dir, aside), 0);
        await(false, "install a CNI plugin's configuration");
        assert_int_equal(rename(aside, config_dir), 0);
        await(true, "");
        unlink(broken);
        await(false, "install a CNI plugin's configuration");
        rmdir(config_dir);
        assert_int_equal(mkdir(config_dir, 0755), 0);
        put(config_dir, "10-net.conflist", CHAIN);
        await(true, "");
}

static void test_follows_a_folder_that_comes_and_goes(void **state)
{
        (void)state;
        rmdir(config_dir);
        free(config_dir);
        config_dir = in(base, "later/net.d");
        start_network(0);
        in_task(follows);
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
        put(config_dir, "05-net.conflist", NEW_CHAIN);
        AUTO_FREE char *extra = in(config_dir, "05-net.conflist");
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
        char *valid[] = {(char *)"stays", NULL};
        assert_int_equal(network_gc(network, valid, &err), 0);
        assert_calls("DEL second goes\nDEL first goes\n"
                     "VERSION first dummy\nGC first \nVERSION second dummy\n");
        assert_int_equal(cached(), 1);
        AUTO_FREE char *input = get(plugin_dir, "first.GC.in");
        AUTO_JSON json_t *told = json_loads(input, 0, NULL);
        assert_member(told, "[{\"containerID\":\"stays\",\"ifname\":\"eth0\"}]",
                      "cni.dev/valid-attachments");

        /* Another runtime's pod in the same network: neither freed nor named, so no GC either. */
        AUTO_FREE char *results = in(cache_dir, "results");
        put(results, "net-foreign-eth0",
            "{\"kind\":\"cniCacheV1\",\"containerId\":\"foreign\",\"ifName\":\"eth0\","
            "\"networkName\":\"net\",\"config\":\"e30=\"}");
        assert_int_equal(network_gc(network, valid, &err), 0);
        assert_calls("");
        assert_int_equal(cached(), 2);
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

static void sets_ranges(void)
{
        struct error err = {0};
        struct network_result result = {0};
        assert_int_equal(network_set_pod_cidr(network, "10.244.1.0/24,fd00:1::/64", &err), 0);
        static const char *const wrong_ranges[] = {
                "10.244.1.0", "10.0.0.0/33", "x/8", "10.0.0.0/", ",", "10.0.0.0/8 ", "fd00::/129"};
        for (size_t i = 0; i < sizeof wrong_ranges / sizeof *wrong_ranges; i++)
                if (network_set_pod_cidr(network, wrong_ranges[i], &err) == 0)
                        fail_msg("taken: %s", wrong_ranges[i]);
        assert_int_equal(network_attach(network, &pod, &result, &err), 0);
        network_result_fini(&result);
        AUTO_FREE char *input = get(plugin_dir, "first.ADD.in");
        AUTO_JSON json_t *told = json_loads(input, 0, NULL);
        assert_member(told,
                      "{\"ipRanges\":[[{\"subnet\":\"10.244.1.0/24\"}],[{\"subnet\":"
                      "\"fd00:1::/64\"}]]}",
                      "runtimeConfig");
        assert_int_equal(network_detach(network, &pod, &err), 0);
}

static void test_ranges(void **state)
{
        (void)state;
        put(config_dir, "10-net.conf",
            "{\"cniVersion\":\"1.0.0\",\"name\":\"net\",\"type\":\"first\",\"capabilities\":"
            "{\"ipRanges\":true}}");
        start_network(0);
        in_task(sets_ranges);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
        const struct CMUnitTest tests[] = {
                TEST(test_attach_and_detach), TEST(test_cached_configuration),
                TEST(test_failing_plugins),   TEST(test_deletion_is_tried_again),
                TEST(test_missing_plugin),    TEST(test_hanging_plugin_is_alone),
                TEST(test_refusals),          TEST(test_follows_a_folder_that_comes_and_goes),
                TEST(test_status_of_plugins), TEST(test_collection),
                TEST(test_versions),          TEST(test_ranges),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
