/* Pods and the network: what plugins are told, what is refused, and how the configuration is
 * followed. */
#include "test/unit/cni_fixture.h"

/* ---- the ordinary way ---- */

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

/* ---- what is refused before any plugin is called ---- */

static void refuses(void)
{
        struct error err = {0};
        struct network_result result = {0};
        const struct network_port none = {"tcp", NULL, 80, 0}, wrong = {"tcp", NULL, 80, 70000};
        struct network_pod asks = pod;
        asks.ports = &wrong;
        asks.port_count = 1;
        assert_true(network_attach(network, &asks, &result, &err) < 0);
        assert_int_equal(err.code, ERROR_INVALID_ARGUMENT);
        assert_told(&err, "host port 70000");
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
                TEST(test_attach_and_detach),
                TEST(test_cached_configuration),
                TEST(test_refusals),
                TEST(test_follows_a_folder_that_comes_and_goes),
                TEST(test_ranges),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
