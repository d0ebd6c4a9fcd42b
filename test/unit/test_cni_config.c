/* CNI configurations: which file counts, and what is said of those that do not. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/file.h"
#include "base/memory.h"
#include "network/cni_config.h"

static char folder[] = "/tmp/crisp-test-cni-config-XXXXXX";

static void put(const char *name, const char *text)
{
        AUTO_FREE char *path = xprintf("%s/%s", folder, name);
        assert_int_equal(file_replace_volatile(path, text, strlen(text), 0644, &(struct error){0}),
                         0);
}

static int make_folder(void **state)
{
        (void)state;
        strcpy(folder + strlen(folder) - 6, "XXXXXX");
        return mkdtemp(folder) ? 0 : -1;
}

static int remove_folder(void **state)
{
        (void)state;
        return file_remove_tree(folder, NULL);
}

#define CHAIN(name)                                                                                \
        "{\"cniVersion\":\"1.0.0\",\"name\":\"" name "\",\"plugins\":[{\"type\":\"p\"}]}"

static void test_first_valid_in_name_order(void **state)
{
        (void)state;
        struct error err = {0};
        AUTO_CNI_CONFIG struct cni_config config = {0};
        put("30-later.conflist", CHAIN("later"));
        put("05-broken.conflist", "{ half");
        put("10-typeless.conf", "{\"name\":\"x\",\"cniVersion\":\"1.0.0\"}");
        put("20-single.conf",
            "{\"name\":\"single\",\"cniVersion\":\"0.3.1\",\"type\":\"bridge\",\"mtu\":1400}");
        put("00-ignored.txt", CHAIN("ignored"));
        AUTO_FREE char *subfolder = xprintf("%s/01-folder.conf", folder);
        AUTO_FREE char *fifo = xprintf("%s/02-fifo.conf", folder);
        assert_int_equal(mkdir(subfolder, 0700), 0);
        assert_int_equal(mkfifo(fifo, 0600), 0);

        assert_int_equal(cni_config_load(folder, NULL, &config, &err), 0);
        assert_non_null(config.network);
        assert_string_equal(config.network->name, "single");
        assert_int_equal(config.network->version, CNI_0_3_1);
        assert_int_equal(config.network->plugin_count, 1);
        assert_string_equal(config.network->plugins[0].type, "bridge");
        assert_non_null(strstr(config.network->file, "20-single.conf"));
        assert_int_equal(
                json_integer_value(json_object_get(config.network->plugins[0].json, "mtu")), 1400);
        assert_int_equal(config.problem_count, 3);
        assert_non_null(strstr(config.problems[0].file, "02-fifo.conf"));
        assert_non_null(strstr(config.problems[0].reason, "regular"));
        assert_non_null(strstr(config.problems[1].file, "05-broken.conflist"));
        assert_non_null(strstr(config.problems[1].reason, "JSON"));
        assert_non_null(strstr(config.problems[2].file, "10-typeless.conf"));
        assert_non_null(strstr(config.problems[2].reason, "type"));
}

static void test_nothing_there(void **state)
{
        (void)state;
        struct error err = {0};
        struct cni_config config = {0};
        assert_int_equal(cni_config_load(folder, NULL, &config, &err), 0);
        assert_null(config.network);
        assert_int_equal(config.problem_count, 0);
        assert_int_equal(cni_config_load("/nowhere/at/all", NULL, &config, &err), 0);
        assert_null(config.network);
        cni_config_fini(&config);
        put("file", "x");
        AUTO_FREE char *file = xprintf("%s/file", folder);
        assert_true(cni_config_load(file, NULL, &config, &err) < 0);
        assert_non_null(strstr(err.message, "file"));
}

static int parse(const char *text, bool single, struct cni_network **network, struct error *err)
{
        return cni_network_parse(text, strlen(text), single, "test", network, err);
}

static void assert_refused(const char *text, const char *word)
{
        struct error err = {0};
        struct cni_network *network = NULL;
        if (parse(text, false, &network, &err) == 0)
                fail_msg("taken: %s", text);
        assert_null(network);
        assert_int_equal(err.code, ERROR_INVALID_ARGUMENT);
        if (!strstr(err.message, word))
                fail_msg("\"%s\" does not tell of %s", err.message, word);
}

static void test_malformed(void **state)
{
        (void)state;
        assert_refused("", "JSON");
        assert_refused("[]", "object");
        assert_refused("{}", "name");
        assert_refused("{\"name\":7}", "name");
        assert_refused("{\"name\":\"../x\",\"plugins\":[{\"type\":\"p\"}]}", "name");
        assert_refused("{\"name\":\"a/b\",\"plugins\":[{\"type\":\"p\"}]}", "name");
        assert_refused("{\"name\":\"n\"}", "plugins");
        assert_refused("{\"name\":\"n\",\"plugins\":[]}", "plugins");
        assert_refused("{\"name\":\"n\",\"plugins\":{}}", "plugins");
        assert_refused("{\"name\":\"n\",\"plugins\":[1]}", "plugin 1 of 1");
        assert_refused("{\"name\":\"n\",\"plugins\":[{\"type\":\"p\"},{}]}", "plugin 2 of 2");
        assert_refused("{\"name\":\"n\",\"plugins\":[{\"type\":\"../../bin/sh\"}]}", "type");
        assert_refused("{\"name\":\"n\",\"plugins\":[{\"type\":\"..\"}]}", "type");
        assert_refused("{\"name\":\"n\",\"plugins\":[{\"type\":\"a b\"}]}", "type");
        assert_refused("{\"name\":\"n\",\"plugins\":[{\"type\":\"p\",\"capabilities\":[]}]}",
                       "capabilities");
        assert_refused(
                "{\"name\":\"n\",\"plugins\":[{\"type\":\"p\",\"capabilities\":{\"dns\":1}}]}",
                "dns");
        assert_refused("{\"name\":\"n\",\"cniVersion\":\"9.0.0\",\"plugins\":[{\"type\":\"p\"}]}",
                       "9.0.0");
        assert_refused("{\"name\":\"n\",\"disableCheck\":\"maybe\",\"plugins\":[{\"type\":\"p\"}]}",
                       "disableCheck");
}

static void test_bounds(void **state)
{
        (void)state;
        AUTO_BUFFER struct buffer text = BUFFER_INIT;
        buffer_add_text(&text, "{\"name\":\"n\",\"plugins\":[{\"type\":\"p\"}");
        for (unsigned i = 0; i < CNI_CONFIG_PLUGINS_MAX; i++)
                buffer_add_text(&text, ",{\"type\":\"p\"}");
        buffer_add_text(&text, "]}");
        assert_refused(text.data, "more than");
        text.length = 0;
        for (unsigned i = 0; i < 100000; i++)
                buffer_add_text(&text, "[");
        assert_refused(text.data, "JSON");

        /* A file that is too big is told of and not read to its end. */
        struct error err = {0};
        AUTO_CNI_CONFIG struct cni_config config = {0};
        AUTO_FREE char *path = xprintf("%s/big.conflist", folder);
        put("big.conflist", "{");
        assert_int_equal(truncate(path, (off_t)CNI_CONFIG_FILE_MAX * 1000), 0);
        put("small.conflist", CHAIN("small"));
        assert_int_equal(cni_config_load(folder, NULL, &config, &err), 0);
        assert_string_equal(config.network->name, "small");
        assert_int_equal(config.problem_count, 1);
}

static void test_versions_and_flags(void **state)
{
        (void)state;
        struct error err = {0};
        AUTO_CNI_NETWORK struct cni_network *network = NULL;
        assert_int_equal(
                parse("{\"name\":\"n\",\"cniVersion\":\"0.4.0\",\"cniVersions\":[\"1.0.0\","
                      "\"1.1.0\",\"7.0.0\"],\"disableCheck\":\"true\",\"disableGC\":true,"
                      "\"plugins\":[{\"type\":\"p\",\"capabilities\":{\"portMappings\":"
                      "true,\"dns\":false}}]}",
                      false, &network, &err),
                0);
        assert_int_equal(network->version, CNI_1_1_0);
        assert_true(network->disable_check);
        assert_true(network->disable_gc);
        assert_true(cni_network_has_capability(network, "portMappings"));
        assert_false(cni_network_has_capability(network, "dns"));
        assert_false(cni_network_has_capability(network, "bandwidth"));

        AUTO_CNI_NETWORK struct cni_network *old = NULL;
        assert_int_equal(parse("{\"name\":\"n\",\"type\":\"p\"}", true, &old, &err), 0);
        assert_int_equal(old->version, CNI_0_1_0);
        assert_int_equal(json_array_size(json_object_get(old->json, "plugins")), 1);
        enum cni_version version;
        assert_int_equal(cni_version_parse("0.3.1", &version), 0);
        assert_string_equal(cni_version_name(version), "0.3.1");
        assert_true(cni_version_parse("1.0", &version) < 0);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(test_first_valid_in_name_order, make_folder,
                                                remove_folder),
                cmocka_unit_test_setup_teardown(test_nothing_there, make_folder, remove_folder),
                cmocka_unit_test_setup_teardown(test_bounds, make_folder, remove_folder),
                cmocka_unit_test(test_malformed),
                cmocka_unit_test(test_versions_and_flags),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
