#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/arena.h"
#include "oci/device.h"

static void access_words(void **state)
{
        (void)state;
        assert_true(device_is_access("r"));
        assert_true(device_is_access("mwr"));
        assert_false(device_is_access(""));
        assert_false(device_is_access("rr"));
        assert_false(device_is_access("rwmr"));
        assert_false(device_is_access("rx"));
}

static void texts(void **state)
{
        static const struct {
                const char *text, *source, *destination, *access;
        } cases[] = {
                {"/dev/fuse", "/dev/fuse", "/dev/fuse", "rwm"},
                {"/dev/fuse:r", "/dev/fuse", "/dev/fuse", "r"},
                {"/dev/a:/dev/b", "/dev/a", "/dev/b", "rwm"},
                {"/x/a:/dev/b:wm", "/x/a", "/dev/b", "wm"},
                {"/dev/a::w", "/dev/a", "/dev/a", "w"},
                {"dev/a", NULL, NULL, NULL},
                {"", NULL, NULL, NULL},
                {"/x/a", NULL, NULL, NULL},
                {"/dev/a:/etc/b", NULL, NULL, NULL},
                {"/dev/a:/dev/../etc/b", NULL, NULL, NULL},
                {"/dev/a:/dev/", NULL, NULL, NULL},
                {"/dev/a:b", NULL, NULL, NULL},
                {"/dev/a:/dev/b:", NULL, NULL, NULL},
                {"/dev/a:/dev/b:r:w", NULL, NULL, NULL},
        };
        AUTO_ARENA struct arena *arena = arena_new();
        (void)state;
        for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
                struct device_text device;
                int result = device_parse(arena, cases[i].text, &device, NULL);
                if ((result == 0) != (cases[i].source != NULL))
                        fail_msg("%s", cases[i].text);
                if (result < 0)
                        continue;
                assert_string_equal(device.source, cases[i].source);
                assert_string_equal(device.destination, cases[i].destination);
                assert_string_equal(device.access, cases[i].access);
        }
}

static void a_later_device_takes_the_place_of_an_earlier_one(void **state)
{
        AUTO_ARENA struct arena *arena = arena_new();
        struct device_list list = {.arena = arena};
        struct spec_device a = {.path = "/dev/a", .device_minor = 1}, b = {.path = "/dev/b"};
        (void)state;
        assert_int_equal(device_list_add(&list, &a, NULL), 0);
        assert_int_equal(device_list_add(&list, &b, NULL), 0);
        a.device_minor = 2;
        assert_int_equal(device_list_add(&list, &a, NULL), 0);
        assert_int_equal(list.count, 2);
        assert_int_equal(list.devices[0].device_minor, 2);
}

static void the_count_is_bound(void **state)
{
        AUTO_ARENA struct arena *arena = arena_new();
        struct device_list list = {.arena = arena};
        struct error err;
        (void)state;
        for (int i = 0; i < DEVICE_COUNT_MAX; i++) {
                struct spec_device device = {.path = arena_printf(arena, "/dev/%d", i)};
                assert_int_equal(device_list_add(&list, &device, NULL), 0);
        }
        struct spec_device device = {.path = "/dev/x"};
        assert_true(device_list_add(&list, &device, &err) < 0);
        assert_int_equal(err.code, ERROR_RESOURCE_EXHAUSTED);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(access_words),
                cmocka_unit_test(texts),
                cmocka_unit_test(a_later_device_takes_the_place_of_an_earlier_one),
                cmocka_unit_test(the_count_is_bound),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
