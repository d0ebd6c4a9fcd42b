/* Plugins' results in every version, and the cache that keeps them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/json.h"
#include "base/memory.h"
#include "network/cni_cache.h"
#include "network/cni_result.h"
#include "network/network.h"

static json_t *parse(const char *text, enum cni_version version)
{
        struct error err = {0};
        json_t *result = NULL;
        if (cni_result_parse(text, strlen(text), version, &result, &err) < 0)
                fail_msg("%s: %s", text, err.message);
        return result;
}

static void assert_ips(const char *text, enum cni_version version, const char *expected)
{
        struct error err = {0};
        AUTO_JSON json_t *result = parse(text, version);
        AUTO_BUFFER struct buffer joined = BUFFER_INIT;
        char **ips = NULL;
        if (cni_result_ips(result, "eth0", &ips, &err) < 0)
                fail_msg("%s: %s", text, err.message);
        for (size_t i = 0; i < strv_length(ips); i++)
                buffer_printf(&joined, "%s%s", i ? " " : "", ips[i]);
        strv_free(ips);
        assert_string_equal(joined.data ? joined.data : "", expected);
}

static void test_addresses(void **state)
{
        (void)state;
        assert_ips("{\"ip4\":{\"ip\":\"10.1.0.2/16\"},\"ip6\":{\"ip\":\"fd00:0::2/64\"}}",
                   CNI_0_2_0, "10.1.0.2 fd00::2");
        assert_ips(
                "{\"cniVersion\":\"0.3.1\",\"ips\":[{\"version\":\"6\",\"address\":\"fd00::9/64\"},"
                "{\"version\":\"4\",\"address\":\"10.1.0.9/16\"}]}",
                CNI_0_3_1, "fd00::9 10.1.0.9");
        assert_ips("{\"cniVersion\":\"1.0.0\",\"interfaces\":[{\"name\":\"br\"},{\"name\":\"eth0\","
                   "\"sandbox\":\"/n\"},{\"name\":\"net1\",\"sandbox\":\"/n\"}],\"ips\":["
                   "{\"interface\":0,\"address\":\"10.0.0.1/8\"},"
                   "{\"interface\":2,\"address\":\"10.0.0.3/8\"},"
                   "{\"interface\":1,\"address\":\"10.0.0.2/8\"}]}",
                   CNI_1_0_0, "10.0.0.2");
        /* A plugin that names the interface otherwise: what is inside of the namespace counts. */
        assert_ips("{\"cniVersion\":\"1.0.0\",\"interfaces\":[{\"name\":\"br\"},{\"name\":\"ens5\","
                   "\"sandbox\":\"/n\"}],\"ips\":[{\"interface\":0,\"address\":\"10.0.0.1/8\"},"
                   "{\"interface\":1,\"address\":\"10.0.0.2/8\"}]}",
                   CNI_1_0_0, "10.0.0.2");
        assert_ips("{\"cniVersion\":\"1.0.0\",\"ips\":[]}", CNI_1_0_0, "");
        assert_ips("{}", CNI_1_1_0, "");
}

static void test_wrong_addresses(void **state)
{
        (void)state;
        static const char *const wrong[] = {
                "{\"ips\":[{\"address\":\"localhost\"}]}",
                "{\"ips\":[{\"address\":\"10.0.0.256/8\"}]}",
                "{\"ips\":[{\"address\":\"\"}]}",
                "{\"ips\":[{\"address\":7}]}",
                "{\"ips\":[{}]}",
                "{\"ips\":[{\"address\":\"10.0.0.1/8\",\"interface\":0}]}",
                "{\"ips\":[{\"address\":\"10.0.0.1/8\",\"interface\":-1}]}",
                "{\"ips\":[{\"address\":\"10.0.0.1/8\",\"interface\":\"eth0\"}]}",
                "{\"ip4\":{\"ip\":\"x\"}}",
        };
        for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
                struct error err = {0};
                AUTO_JSON json_t *result = parse(wrong[i], CNI_1_0_0);
                char **ips = NULL;
                if (cni_result_ips(result, "eth0", &ips, &err) == 0 && ips)
                        fail_msg("taken: %s", wrong[i]);
                assert_null(ips);
        }
        AUTO_BUFFER struct buffer many = BUFFER_INIT;
        buffer_add_text(&many, "{\"ips\":[{\"address\":\"10.0.0.1\"}");
        for (unsigned i = 0; i < 1000; i++)
                buffer_add_text(&many, ",{\"address\":\"10.0.0.1\"}");
        buffer_add_text(&many, "]}");
        AUTO_JSON json_t *result = parse(many.data, CNI_1_0_0);
        char **ips = NULL;
        assert_int_equal(cni_result_ips(result, "eth0", &ips, NULL), 0);
        assert_int_equal(strv_length(ips), CNI_RESULT_IPS_MAX);
        strv_free(ips);
}

static void test_refused_results(void **state)
{
        (void)state;
        static const char *const wrong[] = {
                "", "nothing", "[]", "7", "{\"cniVersion\":\"3.0.0\"}", "{\"cniVersion\":1}"};
        for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
                struct error err = {0};
                json_t *result = NULL;
                assert_true(cni_result_parse(wrong[i], strlen(wrong[i]), CNI_1_0_0, &result, &err) <
                            0);
                assert_int_equal(err.code, ERROR_INTERNAL);
                assert_null(result);
        }
}

static void assert_converted(const char *from, enum cni_version version, const char *expected)
{
        AUTO_JSON json_t *result = json_loads(from, 0, NULL);
        AUTO_JSON json_t *wanted = json_loads(expected, 0, NULL);
        AUTO_JSON json_t *converted = cni_result_convert(result, version);
        assert_non_null(wanted);
        if (!json_equal(converted, wanted)) {
                AUTO_FREE char *text = converted ? json_text(converted) : xstrdup("nothing");
                fail_msg("%s, not %s", text, expected);
        }
}

static void test_conversion(void **state)
{
        (void)state;
        assert_converted("{\"cniVersion\":\"0.4.0\",\"ips\":[{\"version\":\"4\",\"address\":"
                         "\"10.0.0.2/8\"}]}",
                         CNI_1_0_0,
                         "{\"cniVersion\":\"1.0.0\",\"ips\":[{\"address\":\"10.0.0.2/8\"}]}");
        assert_converted("{\"cniVersion\":\"1.1.0\",\"ips\":[{\"address\":\"10.0.0.2/8\"},"
                         "{\"address\":\"fd00::1/64\"}]}",
                         CNI_0_3_1,
                         "{\"cniVersion\":\"0.3.1\",\"ips\":[{\"address\":\"10.0.0.2/8\","
                         "\"version\":\"4\"},{\"address\":\"fd00::1/64\",\"version\":\"6\"}]}");
        assert_converted("{\"cniVersion\":\"0.2.0\",\"ip4\":{\"ip\":\"10.0.0.2/8\",\"gateway\":"
                         "\"10.0.0.1\",\"routes\":[{\"dst\":\"0.0.0.0/0\"}]},\"dns\":{}}",
                         CNI_1_0_0,
                         "{\"cniVersion\":\"1.0.0\",\"ips\":[{\"address\":\"10.0.0.2/8\","
                         "\"gateway\":\"10.0.0.1\"}],\"routes\":[{\"dst\":\"0.0.0.0/0\"}],"
                         "\"dns\":{}}");
        assert_converted("{\"cniVersion\":\"1.0.0\",\"ips\":[{\"address\":\"fd00::1/64\"},{"
                         "\"address\":\"10.0.0.2/8\",\"gateway\":\"10.0.0.1\"}],\"routes\":[{"
                         "\"dst\":\"0.0.0.0/0\"},{\"dst\":\"::/0\"}]}",
                         CNI_0_2_0,
                         "{\"cniVersion\":\"0.2.0\",\"ip4\":{\"ip\":\"10.0.0.2/8\",\"gateway\":"
                         "\"10.0.0.1\",\"routes\":[{\"dst\":\"0.0.0.0/0\"}]},\"ip6\":{\"ip\":"
                         "\"fd00::1/64\",\"routes\":[{\"dst\":\"::/0\"}]}}");
        assert_converted("{\"ips\":[]}", CNI_1_0_0, "{\"cniVersion\":\"1.0.0\",\"ips\":[]}");
}

/* ---- the cache ---- */

static char folder[] = "/tmp/crisp-test-cni-cache-XXXXXX";

static void test_cache(void **state)
{
        (void)state;
        struct error err = {0};
        assert_non_null(mkdtemp(folder));
        AUTO_CNI_NETWORK struct cni_network *network = NULL;
        const char *text =
                "{\"cniVersion\":\"1.0.0\",\"name\":\"my-net\",\"plugins\":[{\"type\":\"p\"}]}";
        assert_int_equal(cni_network_parse(text, strlen(text), false, "x", &network, &err), 0);
        AUTO_JSON json_t *capability_args = json_pack("{s:[i]}", "x", 1);
        AUTO_JSON json_t *result = json_pack("{s:[]}", "ips");
        struct cni_cache_entry entry = {
                .container_id = (char *)"abc",
                .network_name = (char *)network->name,
                .interface = (char *)"eth0",
                .netns = (char *)"/run/x/net",
                .args = (char *)"IgnoreUnknown=1;K8S_POD_NAME=p",
                .owner = (char *)"/var/lib/crisp",
                .network = network,
                .capability_args = capability_args,
                .result = result,
        };
        assert_int_equal(cni_cache_write(folder, &entry, &err), 0);
        entry.container_id = (char *)"abcd";
        entry.owner = NULL;
        entry.result = NULL;
        entry.capability_args = NULL;
        assert_int_equal(cni_cache_write(folder, &entry, &err), 0);

        /* As libcni reads it. */
        AUTO_BUFFER struct buffer contents = BUFFER_INIT;
        AUTO_FREE char *path = xprintf("%s/results/my-net-abc-eth0", folder);
        assert_int_equal(file_read(path, 65536, &contents, &err), 0);
        AUTO_JSON json_t *json = json_loads(contents.data, 0, NULL);
        AUTO_JSON json_t *args =
                json_pack("[[s,s],[s,s]]", "IgnoreUnknown", "1", "K8S_POD_NAME", "p");
        assert_string_equal(json_string_value(json_object_get(json, "kind")), "cniCacheV1");
        assert_true(json_equal(json_object_get(json, "cniArgs"), args));
        assert_string_equal(json_string_value(json_object_get(json, "config")),
                            "eyJjbmlWZXJzaW9uIjoiMS4wLjAiLCJuYW1lIjoibXktbmV0IiwicGx1Z2lucyI6W3sidH"
                            "lwZSI6InAifV19");

        /* Beside it: rubbish, another kind, and what a crash left. */
        AUTO_FREE char *rubbish = xprintf("%s/results/my-net-abc-rubbish", folder);
        AUTO_FREE char *leftover = xprintf("%s/results/my-net-abc-eth0.12345678.new", folder);
        assert_int_equal(file_replace_volatile(rubbish, "{", 1, 0600, &err), 0);
        assert_int_equal(file_replace_volatile(leftover, "{", 1, 0600, &err), 0);

        struct cni_cache_entry *entries = NULL;
        size_t count = 0;
        assert_int_equal(cni_cache_list(folder, NULL, NULL, &entries, &count, NULL, &err), 0);
        assert_int_equal(count, 2);
        cni_cache_free(entries, count);
        assert_int_equal(cni_cache_list(folder, "my-net", "abc", &entries, &count, NULL, &err), 0);
        assert_int_equal(count, 1);
        assert_string_equal(entries[0].container_id, "abc");
        assert_string_equal(entries[0].args, "IgnoreUnknown=1;K8S_POD_NAME=p");
        assert_string_equal(entries[0].owner, "/var/lib/crisp");
        assert_string_equal(entries[0].netns, "/run/x/net");
        assert_string_equal(entries[0].network->name, "my-net");
        assert_true(json_equal(entries[0].capability_args, capability_args));
        assert_true(json_equal(entries[0].result, result));
        assert_int_equal(access(leftover, F_OK), -1);
        assert_int_equal(cni_cache_remove(&entries[0], &err), 0);
        assert_int_equal(cni_cache_remove(&entries[0], &err), 0);
        cni_cache_free(entries, count);
        assert_int_equal(cni_cache_list(folder, NULL, "abc", &entries, &count, NULL, &err), 0);
        assert_int_equal(count, 0);
        cni_cache_free(entries, count);
        assert_int_equal(cni_cache_list("/nowhere", NULL, "abc", &entries, &count, NULL, &err), 0);
        assert_int_equal(count, 0);
        file_remove_tree(folder, NULL);
}

static void test_base64_lengths(void **state)
{
        (void)state;
        char place[] = "/tmp/crisp-test-cni-cache-XXXXXX";
        struct error err = {0};
        assert_non_null(mkdtemp(place));
        for (unsigned padding = 1; padding < 8; padding++) {
                AUTO_FREE char *text = xprintf(
                        "{\"name\":\"n%0*d\",\"plugins\":[{\"type\":\"p\"}]}", (int)padding, 0);
                AUTO_CNI_NETWORK struct cni_network *network = NULL;
                assert_int_equal(cni_network_parse(text, strlen(text), false, "x", &network, &err),
                                 0);
                struct cni_cache_entry entry = {.container_id = (char *)"abc",
                                                .network_name = (char *)network->name,
                                                .interface = (char *)"eth0",
                                                .network = network};
                assert_int_equal(cni_cache_write(place, &entry, &err), 0);
                struct cni_cache_entry *entries = NULL;
                size_t count = 0;
                assert_int_equal(cni_cache_list(place, NULL, "abc", &entries, &count, NULL, &err),
                                 0);
                assert_int_equal(count, 1);
                assert_true(json_equal(entries[0].network->json, network->json));
                cni_cache_remove(&entries[0], &err);
                cni_cache_free(entries, count);
        }
        file_remove_tree(place, NULL);
}

/* Files that are no entries: what a power failure left of the container's own goes, others count.
 */
static void test_files_that_are_no_entries(void **state)
{
        (void)state;
        char place[] = "/tmp/crisp-test-cni-cache-XXXXXX";
        struct error err = {0};
        struct cni_cache_entry *entries = NULL;
        size_t count = 7, unread = 7;
        assert_non_null(mkdtemp(place));
        AUTO_FREE char *results = xprintf("%s/results", place);
        AUTO_FREE char *empty = xprintf("%s/net-abc-eth0", results);
        AUTO_FREE char *bare = xprintf("%s/net-other-eth0", results);
        AUTO_FREE char *elsewhere = xprintf("%s/else-other-eth0", results);
        assert_int_equal(file_make_directories(results, 0700, &err), 0);
        assert_int_equal(file_replace_volatile(empty, "", 0, 0600, &err), 0);
        assert_int_equal(file_replace_volatile(bare, "{}", 2, 0600, &err), 0);
        assert_int_equal(file_replace_volatile(elsewhere, "{}", 2, 0600, &err), 0);
        assert_int_equal(cni_cache_list(place, "net", NULL, &entries, &count, &unread, &err), 0);
        assert_int_equal(count, 0);
        assert_int_equal(unread, 2);
        assert_int_equal(cni_cache_list(place, NULL, "abc", &entries, &count, &unread, &err), 0);
        assert_int_equal(count, 0);
        assert_int_equal(unread, 0);
        assert_int_equal(access(empty, F_OK), -1);
        assert_int_equal(access(bare, F_OK), 0);
        file_remove_tree(place, NULL);
}

/* ---- bandwidth ---- */

static void assert_rate(const char *text, uint64_t expected)
{
        uint64_t rate = 0;
        struct error err = {0};
        int result = network_parse_bandwidth(text, &rate, &err);
        if ((result == 0) != (expected != 0) || rate != expected)
                fail_msg("%s: %llu %s", text, (unsigned long long)rate, err.message);
}

static void test_bandwidth(void **state)
{
        (void)state;
        assert_rate("10M", 10000000);
        assert_rate("1k", 1000);
        assert_rate("1000", 1000);
        assert_rate("1Ki", 1024);
        assert_rate("1.5Gi", 1610612736);
        assert_rate("1P", UINT64_C(1000000000000000));
        assert_rate("1e6", 1000000);
        assert_rate("12E3", 12000);
        assert_rate("+5M", 5000000);
        assert_rate("2000000m", 2000);
        assert_rate("1000.0001", 1001);
        assert_rate(".5M", 500000);
        assert_rate("999", 0);
        assert_rate("1.1P", 0);
        assert_rate("1E", 0);
        assert_rate("", 0);
        assert_rate("M", 0);
        assert_rate(".", 0);
        assert_rate("-10M", 0);
        assert_rate("10MB", 0);
        assert_rate("10 M", 0);
        assert_rate("1e", 0);
        assert_rate("1e99", 0);
        assert_rate("1.2.3M", 0);
        assert_rate("99999999999999999999999999999999999999999999", 0);
        assert_rate(NULL, 0);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_addresses),
                cmocka_unit_test(test_wrong_addresses),
                cmocka_unit_test(test_refused_results),
                cmocka_unit_test(test_conversion),
                cmocka_unit_test(test_cache),
                cmocka_unit_test(test_base64_lengths),
                cmocka_unit_test(test_files_that_are_no_entries),
                cmocka_unit_test(test_bandwidth),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
