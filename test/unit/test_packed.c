#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "api/cri/runtime_v1.pb-c.h"
#include "base/cleanup.h"
#include "cri/packed.h"

/* A list whose items were packed before is what the same list is otherwise. */
static void check(size_t name_length)
{
        AUTO_FREE char *name = calloc(1, name_length + 1);
        memset(name, 'x', name_length);
        Runtime__V1__Container item = RUNTIME__V1__CONTAINER__INIT;
        item.id = name;
        item.created_at = 7;
        Runtime__V1__Container *items[] = {&item, &item};
        Runtime__V1__ListContainersResponse plain = RUNTIME__V1__LIST_CONTAINERS_RESPONSE__INIT;
        plain.containers = items;
        plain.n_containers = 2;

        size_t size;
        AUTO_FREE uint8_t *bytes = packed_message(&item.base, &size);
        ProtobufCMessageUnknownField fields[] = {packed_field(1, bytes, size),
                                                 packed_field(1, bytes, size)};
        Runtime__V1__ListContainersResponse made = RUNTIME__V1__LIST_CONTAINERS_RESPONSE__INIT;
        made.base.unknown_fields = fields;
        made.base.n_unknown_fields = 2;

        size_t length = protobuf_c_message_get_packed_size(&plain.base);
        assert_int_equal(protobuf_c_message_get_packed_size(&made.base), length);
        AUTO_FREE uint8_t *expected = malloc(length), *got = malloc(length);
        protobuf_c_message_pack(&plain.base, expected);
        protobuf_c_message_pack(&made.base, got);
        assert_memory_equal(got, expected, length);
}

static void same_bytes(void **state)
{
        static const size_t lengths[] = {0, 1, 100, 126, 127, 128, 16380, 16384, 3000000};
        (void)state;
        for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++)
                check(lengths[i]);
}

static void strings_are_mended(void **state)
{
        Runtime__V1__Container item = RUNTIME__V1__CONTAINER__INIT;
        size_t size;
        (void)state;
        item.id = (char *)"a\xff";
        AUTO_FREE uint8_t *bytes = packed_message(&item.base, &size);
        static const uint8_t expected[] = {6, 0x0a, 4, 'a', 0xef, 0xbf, 0xbd};
        assert_int_equal(size, sizeof expected);
        assert_memory_equal(bytes, expected, size);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(same_bytes),
                cmocka_unit_test(strings_are_mended),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
