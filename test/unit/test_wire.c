/* What protobuf-c cuts short in silence is refused with the field's path. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <string.h>

#include "api/cri/runtime_v1.pb-c.h"
#include "cri/wire.h"

static int check(const char *bytes, size_t length, struct error *err)
{
        return wire_check_strings(&runtime__v1__create_container_request__descriptor,
                                  (const uint8_t *)bytes, length, err);
}

static void test_zero_bytes(void **state)
{
        (void)state;
        struct error err = {0};
        /* pod_sandbox_id = "ab", config { metadata { name = "c" } command = "x" } */
        static const char good[] = "\x0a\x02"
                                   "ab"
                                   "\x12\x08\x0a\x03\x0a\x01"
                                   "c"
                                   "\x1a\x01"
                                   "x";
        assert_int_equal(check(good, sizeof good - 1, &err), 0);
        static const char name[] = "\x12\x07\x0a\x05\x0a\x03"
                                   "c\0d";
        assert_int_equal(check(name, sizeof name - 1, &err), -EINVAL);
        assert_string_equal(err.message, "config.metadata.name: a string with a zero byte");
        static const char command[] = "\x12\x05\x1a\x03"
                                      "a\0b";
        assert_int_equal(check(command, sizeof command - 1, &err), -EINVAL);
        assert_string_equal(err.message, "config.command: a string with a zero byte");
        assert_int_equal(check("", 0, NULL), 0);
}

static void test_bytes_and_unknown_fields_may_hold_anything(void **state)
{
        (void)state;
        struct error err = {0};
        /* config { envs { key = "K" value = "a\0b" } }, then field 100 of bytes */
        static const char bytes[] = "\x12\x0a\x32\x08\x0a\x01"
                                    "K"
                                    "\x12\x03"
                                    "a\0b"
                                    "\xa2\x06\x02\0\0";
        assert_int_equal(check(bytes, sizeof bytes - 1, &err), 0);
}

static void test_what_is_no_message(void **state)
{
        (void)state;
        struct error err = {0};
        assert_int_equal(check("\x0a\x7f", 2, &err), -EINVAL);
        assert_int_equal(check("\x0a", 1, &err), -EINVAL);
        assert_int_equal(check("\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", 11, &err), -EINVAL);
        assert_int_equal(check("\x0b", 1, &err), -EINVAL);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_zero_bytes),
                cmocka_unit_test(test_bytes_and_unknown_fields_may_hold_anything),
                cmocka_unit_test(test_what_is_no_message),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
