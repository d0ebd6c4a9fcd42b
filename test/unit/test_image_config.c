/* Image configurations: what images say, and what they should not. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "base/buffer.h"
#include "base/memory.h"
#include "image/config.h"

static struct image_config *parse(const char *text)
{
        struct image_config *config = NULL;
        struct error err;
        if (image_config_parse(text, strlen(text), "config", &config, &err) < 0)
                fail_msg("%s", err.message);
        return config;
}

static void refuse(const char *text, const char *reason)
{
        struct image_config *config = NULL;
        struct error err;
        assert_true(image_config_parse(text, strlen(text), "config", &config, &err) < 0);
        assert_null(config);
        assert_int_equal(err.code, ERROR_INVALID_ARGUMENT);
        if (!strstr(err.message, reason))
                fail_msg("\"%s\" does not say \"%s\"", err.message, reason);
}

static void test_everything(void **state)
{
        (void)state;
        struct image_config *config = parse(
                "{\"architecture\":\"arm64\",\"os\":\"linux\",\"variant\":\"v8\","
                "\"created\":\"2024-01-02T03:04:05Z\",\"history\":[{}],\"config\":{"
                "\"User\":\"app:staff\",\"WorkingDir\":\"/srv\",\"StopSignal\":\"SIGQUIT\","
                "\"Entrypoint\":[\"/entry\",\"-x\"],\"Cmd\":[\"a\",\"\",\"b\"],"
                "\"Env\":[\"PATH=/bin\",\"EMPTY=\"],\"Volumes\":{\"/data\":{},\"/log\":{}},"
                "\"ExposedPorts\":{\"80/tcp\":{}},\"Labels\":{\"one\":\"1\",\"none\":null}},"
                "\"rootfs\":{\"type\":\"layers\",\"diff_ids\":[\"sha256:aa\",\"sha256:bb\"]}}");
        assert_string_equal(config->architecture, "arm64");
        assert_string_equal(config->os, "linux");
        assert_string_equal(config->variant, "v8");
        assert_string_equal(config->created, "2024-01-02T03:04:05Z");
        assert_string_equal(config->user, "app:staff");
        assert_string_equal(config->working_directory, "/srv");
        assert_string_equal(config->stop_signal, "SIGQUIT");
        assert_int_equal(strv_length(config->entrypoint), 2);
        assert_string_equal(config->entrypoint[1], "-x");
        assert_int_equal(strv_length(config->cmd), 3);
        assert_string_equal(config->cmd[1], "");
        assert_string_equal(config->environment[1], "EMPTY=");
        assert_int_equal(strv_length(config->volumes), 2);
        assert_string_equal(config->volumes[0], "/data");
        assert_string_equal(config->exposed_ports[0], "80/tcp");
        assert_int_equal(config->label_count, 2);
        assert_string_equal(config->labels[0].name, "one");
        assert_string_equal(config->labels[0].value, "1");
        assert_string_equal(config->labels[1].value, "");
        assert_string_equal(config->diff_ids[1], "sha256:bb");
        image_config_free(config);
}

static void test_nothing(void **state)
{
        static const char *const texts[] = {
                "{}",
                "{\"config\":null,\"rootfs\":null}",
                "{\"config\":{\"Entrypoint\":null,\"Cmd\":null,\"Env\":null,\"Volumes\":null,"
                "\"Labels\":null,\"User\":null,\"ExposedPorts\":null},\"rootfs\":{\"diff_ids\":"
                "null}}",
        };
        (void)state;
        for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
                struct image_config *config = parse(texts[i]);
                assert_null(config->entrypoint);
                assert_null(config->cmd);
                assert_null(config->environment);
                assert_null(config->volumes);
                assert_null(config->diff_ids);
                assert_int_equal(config->label_count, 0);
                assert_string_equal(config->user, "");
                assert_string_equal(config->working_directory, "");
                image_config_free(config);
        }
        image_config_free(NULL);
}

static void test_wrong(void **state)
{
        (void)state;
        refuse("", "config");
        refuse("[]", "expected an object");
        refuse("{\"config\":[]}", "config");
        refuse("{\"os\":7}", "os");
        refuse("{\"config\":{\"Cmd\":\"sh -c x\"}}", "Cmd");
        refuse("{\"config\":{\"Env\":[1]}}", "Env");
        refuse("{\"config\":{\"Labels\":{\"a\":1}}}", "Labels");
        refuse("{\"config\":{\"Volumes\":[\"/data\"]}}", "Volumes");
        refuse("{\"rootfs\":{\"diff_ids\":{}}}", "diff_ids");
        refuse("{\"os\":\"a\\u0000b\"}", "config");
        refuse("{} trailing", "config");
}

static void test_bounds(void **state)
{
        (void)state;
        AUTO_BUFFER struct buffer text = BUFFER_INIT;
        buffer_add_text(&text, "{\"config\":{\"Cmd\":[\"x\"");
        for (int i = 0; i < IMAGE_CONFIG_STRINGS_MAX; i++)
                buffer_add_text(&text, ",\"x\"");
        buffer_add_text(&text, "]}}");
        refuse(text.data, "more than 8192");

        AUTO_BUFFER struct buffer layers = BUFFER_INIT;
        buffer_add_text(&layers, "{\"rootfs\":{\"diff_ids\":[\"x\"");
        for (int i = 0; i < IMAGE_CONFIG_LAYERS_MAX; i++)
                buffer_add_text(&layers, ",\"x\"");
        buffer_add_text(&layers, "]}}");
        refuse(layers.data, "more than 500");

        AUTO_BUFFER struct buffer long_text = BUFFER_INIT;
        buffer_add_text(&long_text, "{\"os\":\"");
        memset(buffer_reserve(&long_text, IMAGE_CONFIG_BYTES_MAX), 'x', IMAGE_CONFIG_BYTES_MAX);
        long_text.length += IMAGE_CONFIG_BYTES_MAX;
        buffer_add_text(&long_text, "\"}");
        refuse(long_text.data, "bytes");

        AUTO_BUFFER struct buffer deep = BUFFER_INIT;
        for (int i = 0; i < 100000; i++)
                buffer_add_text(&deep, "{\"config\":");
        refuse(deep.data, "nested");
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_everything),
                cmocka_unit_test(test_nothing),
                cmocka_unit_test(test_wrong),
                cmocka_unit_test(test_bounds),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
