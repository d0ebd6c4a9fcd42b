#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/buffer.h"
#include "base/json.h"
#include "base/yaml.h"

static void expect(const char *yaml, const char *json)
{
        AUTO_JSON json_t *value = NULL, *wanted = NULL;
        struct error err;
        if (yaml_read(yaml, strlen(yaml), "x.yaml", &value, &err) < 0)
                fail_msg("%s: %s", yaml, err.message);
        wanted = json_loads(json, JSON_DECODE_ANY, NULL);
        assert_non_null(wanted);
        AUTO_FREE char *text = json_text(value);
        if (!json_equal(value, wanted))
                fail_msg("%s\ngives %s", yaml, text);
}

static void expect_refused(const char *yaml, const char *message)
{
        json_t *value = NULL;
        struct error err = {0};
        if (yaml_read(yaml, strlen(yaml), "x.yaml", &value, &err) == 0)
                fail_msg("%s\nis accepted", yaml);
        assert_null(value);
        assert_int_equal(err.code, ERROR_INVALID_ARGUMENT);
        if (!strstr(err.message, message))
                fail_msg("%s\nis refused with: %s", yaml, err.message);
}

static void documents(void **state)
{
        (void)state;
        expect("a: 1\nb: [x, 'y', \"z\"]\nc:\n  - d: ~\n    e: true\n",
               "{\"a\": 1, \"b\": [\"x\", \"y\", \"z\"], \"c\": [{\"d\": null, \"e\": true}]}");
        expect("{\"json\": {\"is\": [\"yaml\", 2]}}", "{\"json\": {\"is\": [\"yaml\", 2]}}");
        expect("---\n- a\n", "[\"a\"]");
        expect("a: |\n  two\n  lines\n", "{\"a\": \"two\\nlines\\n\"}");
}

static void scalars(void **state)
{
        (void)state;
        expect("[0, -5, +7, 0x1F, 0o17, 017, 0b101, 1_000, -0x10]",
               "[0, -5, 7, 31, 15, 15, 5, 1000, -16]");
        expect("['1', \"true\", !!str 5, 0.6.0, 1.5, 08, 0x, -, 1e3, yes, 99999999999999999999]",
               "[\"1\", \"true\", \"5\", \"0.6.0\", \"1.5\", \"08\", \"0x\", \"-\", \"1e3\", "
               "\"yes\", \"99999999999999999999\"]");
        expect("[~, null, true, False]", "[null, null, true, false]");
}

static void refused(void **state)
{
        AUTO_BUFFER struct buffer deep = BUFFER_INIT;
        (void)state;
        expect_refused("a: &x 1\nb: *x\n", "x.yaml:2: aliases");
        expect_refused("a: 1\na: 2\n", "x.yaml:2: a key is there twice");
        expect_refused("? [a]\n: b\n", "a key is no text");
        expect_refused("a: !!binary eA==\n", "tags");
        expect_refused("a: !x [1]\n", "tags");
        expect_refused("a: \"\\0\"\n", "zero byte");
        expect_refused("a\n---\nb\n", "more than one document");
        expect_refused("", "nothing");
        expect_refused("a: [1\n", "not valid YAML");
        expect_refused("a: \xff\n", "not valid YAML");
        for (int i = 0; i < YAML_DEPTH_MAX + 1; i++)
                buffer_add_text(&deep, "[");
        expect_refused(deep.data, "nested too deeply");
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(documents),
                cmocka_unit_test(scalars),
                cmocka_unit_test(refused),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
