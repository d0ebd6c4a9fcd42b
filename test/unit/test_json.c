#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/buffer.h"
#include "base/json.h"
#include "base/memory.h"

static json_t *parse(const char *text)
{
        json_t *value = NULL;
        struct error err;

        if (json_parse(text, strlen(text), "place", &value, &err) < 0)
                fail_msg("%s: %s", text, err.message);
        return value;
}

static void assert_refused(const char *text, const char *message)
{
        json_t *value = NULL;
        struct error err = {0};

        assert_int_equal(json_parse(text, strlen(text), "place", &value, &err), -EINVAL);
        assert_int_equal(err.code, ERROR_INVALID_ARGUMENT);
        assert_null(value);
        if (!strstr(err.message, message))
                fail_msg("\"%s\" is not in \"%s\"", message, err.message);
}

static void test_parse(void **state)
{
        AUTO_JSON json_t *value = parse(" {\"a\": [1, {\"b\": \"]]}\\\"[[\"}]} ");

        assert_int_equal(json_object_size(value), 1);
        assert_refused("", "place: not valid JSON: line 1");
        assert_refused("{\"a\":\n1,}", "line 2");
        assert_refused("{\"a\":1,\"a\":2}", "duplicate");
        assert_refused("{} {}", "end of file expected");
        assert_refused("{\"a\":\"\xff\"}", "unable to decode byte 0xff");
        assert_refused("{\"a\":\"\\u0000\"}", "\\u0000");
        assert_refused("{\"a\":99999999999999999999}", "too big integer");
}

/* The bytes need not end with a zero. */
static void test_length(void **state)
{
        static const char text[] = {'[', '1', ']', '2'};
        AUTO_JSON json_t *value = NULL;

        assert_int_equal(json_parse(text, 3, "place", &value, NULL), 0);
        assert_int_equal(json_array_size(value), 1);
}

static void nest(struct buffer *text, unsigned depth, const char *open, const char *closing)
{
        for (unsigned i = 0; i < depth; i++)
                buffer_add_text(text, open);
        for (unsigned i = 0; i < depth; i++)
                buffer_add_text(text, closing);
}

static void test_depth(void **state)
{
        AUTO_BUFFER struct buffer most = BUFFER_INIT, more = BUFFER_INIT, unclosed = BUFFER_INIT;
        AUTO_BUFFER struct buffer strings = BUFFER_INIT;

        nest(&most, JSON_DEPTH_MAX, "[", "]");
        json_decref(parse(most.data));
        nest(&more, JSON_DEPTH_MAX + 1, "[", "]");
        assert_refused(more.data, "nested deeper than 64 levels");
        nest(&unclosed, 100000, "{\"a\":", "");
        assert_refused(unclosed.data, "nested deeper than 64 levels");
        /* brackets in strings, and behind escaped quotes in them, do not count */
        buffer_add_text(&strings, "[\"\\\"");
        nest(&strings, JSON_DEPTH_MAX, "[", "");
        buffer_add_text(&strings, "\\\\\", \"");
        nest(&strings, JSON_DEPTH_MAX, "[{", "");
        buffer_add_text(&strings, "\"]");
        json_decref(parse(strings.data));
}

static const char sample[] = "{\"text\":\"word\",\"number\":-9223372036854775808,\"real\":1.5,"
                             "\"yes\":true,\"no\":false,\"none\":null,\"object\":{\"a\":1},"
                             "\"array\":[1],\"texts\":[\"a\",\"b\"],\"empty\":[]}";

#define assert_wrong(call, text)                                                                   \
        do {                                                                                       \
                assert_int_equal((call), -EINVAL);                                                 \
                assert_int_equal(err.code, ERROR_INVALID_ARGUMENT);                                \
                assert_string_equal(err.message, text);                                            \
        } while (0)

static void test_scalars(void **state)
{
        AUTO_JSON json_t *object = parse(sample);
        const char *text = "fallback";
        int64_t number = 7;
        bool flag = false;
        struct error err;

        assert_int_equal(json_get_string(object, "text", "m", &text, &err), 0);
        assert_string_equal(text, "word");
        assert_int_equal(json_get_string(object, "none", "m", &text, &err), 0);
        assert_int_equal(json_get_string(object, "absent", "m", &text, &err), 0);
        assert_string_equal(text, "word");
        assert_wrong(json_get_string(object, "number", "m", &text, &err),
                     "m: number: expected a string");
        assert_string_equal(text, "word");

        assert_int_equal(json_get_int(object, "absent", "m", &number, &err), 0);
        assert_int_equal(number, 7);
        assert_wrong(json_get_int(object, "real", "m", &number, &err),
                     "m: real: expected an integer");
        assert_wrong(json_get_int(object, "yes", "m", &number, &err),
                     "m: yes: expected an integer");
        assert_int_equal(number, 7);
        assert_int_equal(json_get_int(object, "number", "m", &number, &err), 0);
        assert_true(number == INT64_MIN);

        assert_int_equal(json_get_bool(object, "yes", "m", &flag, &err), 0);
        assert_true(flag);
        assert_int_equal(json_get_bool(object, "absent", "m", &flag, &err), 0);
        assert_true(flag);
        assert_wrong(json_get_bool(object, "number", "m", &flag, &err),
                     "m: number: expected true or false");
        assert_int_equal(json_get_bool(object, "no", "m", &flag, &err), 0);
        assert_false(flag);
}

static void test_containers(void **state)
{
        AUTO_JSON json_t *object = parse(sample);
        json_t *member = object;
        struct error err;

        assert_int_equal(json_get_object(object, "object", "m", &member, &err), 0);
        assert_true(member == json_object_get(object, "object"));
        assert_wrong(json_get_object(object, "array", "m", &member, &err),
                     "m: array: expected an object");
        assert_true(member == json_object_get(object, "object"));
        assert_int_equal(json_get_object(object, "absent", "m", &member, &err), 0);
        assert_null(member);
        assert_int_equal(json_get_array(object, "array", "m", &member, &err), 0);
        assert_int_equal(json_array_size(member), 1);
        assert_wrong(json_get_array(object, "object", "m", &member, &err),
                     "m: object: expected an array");
        assert_int_equal(json_get_array(object, "none", "m", &member, &err), 0);
        assert_null(member);
}

static void test_strings(void **state)
{
        AUTO_JSON json_t *object = parse(sample);
        char **texts = NULL, **untouched;
        struct error err;

        assert_int_equal(json_get_strings(object, "texts", "m", &texts, &err), 0);
        assert_int_equal(strv_length(texts), 2);
        assert_string_equal(texts[1], "b");
        untouched = texts;
        assert_wrong(json_get_strings(object, "array", "m", &texts, &err),
                     "m: array: [0]: expected a string");
        assert_wrong(json_get_strings(object, "text", "m", &texts, &err),
                     "m: text: expected an array");
        assert_ptr_equal(texts, untouched);
        strv_free(texts);
        assert_int_equal(json_get_strings(object, "empty", "m", &texts, &err), 0);
        assert_non_null(texts);
        assert_int_equal(strv_length(texts), 0);
        strv_free(texts);
        assert_int_equal(json_get_strings(object, "absent", "m", &texts, &err), 0);
        assert_null(texts);
}

/* What was expected to be an object may be something else, or be absent itself. */
static void test_no_object(void **state)
{
        AUTO_JSON json_t *array = parse("[1]");
        const char *text = "fallback";
        struct error err;

        assert_wrong(json_get_string(array, "a", "m", &text, &err), "m: expected an object");
        assert_int_equal(json_get_string(NULL, "a", "m", &text, &err), 0);
        assert_string_equal(text, "fallback");
}

static void test_text(void **state)
{
        AUTO_JSON json_t *object = parse("{\"z\": 1, \"a\": [true, null, \"\xc3\xa9\\n\"]}");
        AUTO_FREE char *text = json_text(object);
        AUTO_FREE char *scalar = json_text(json_object_get(object, "z"));

        assert_string_equal(text, "{\"z\":1,\"a\":[true,null,\"\xc3\xa9\\n\"]}");
        assert_string_equal(scalar, "1");
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_parse),      cmocka_unit_test(test_length),
                cmocka_unit_test(test_depth),      cmocka_unit_test(test_scalars),
                cmocka_unit_test(test_containers), cmocka_unit_test(test_strings),
                cmocka_unit_test(test_no_object),  cmocka_unit_test(test_text),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
