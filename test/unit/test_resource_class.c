/* Classes of block I/O and RDT in goresctrl's forms. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "base/file.h"
#include "base/memory.h"
#include "oci/resource_class.h"

static char folder[] = "/tmp/crisp-test-class-XXXXXX";

static int set_up(void **state)
{
        (void)state;
        return mkdtemp(folder) == NULL;
}

static int tear_down(void **state)
{
        (void)state;
        return file_remove_tree(folder, NULL);
}

static void quantities(void **state)
{
        static const struct {
                const char *text;
                uint64_t value;
        } cases[] = {
                {"0", 0},
                {"50", 50},
                {"50M", 50000000},
                {"10k", 10000},
                {"1Ki", 1024},
                {"1.5Ki", 1536},
                {"0.1", 1},
                {"64 M", 64000000},
                {"2Gi", UINT64_C(2) << 30},
                {"8P", UINT64_C(8000000000000000)},
        };
        static const char *const wrong[] = {
                "", "M", "-1", "1X", "1.2.3", "1 000", "99999P", "10m", "9999999999999999999"};
        (void)state;
        for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
                uint64_t value;
                assert_int_equal(resource_class_quantity(cases[i].text, &value, NULL), 0);
                assert_int_equal(value, cases[i].value);
        }
        for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
                uint64_t value = 3;
                if (resource_class_quantity(wrong[i], &value, NULL) == 0)
                        print_error("%s\n", wrong[i]);
                assert_int_equal(value, 3);
        }
}

static int parse(const char *text, const char *class, struct arena *arena,
                 const struct spec_block_io **limits, struct error *err)
{
        return resource_class_parse_block_io(text, strlen(text), "f", class, folder, arena, limits,
                                             err);
}

static void weights(void **state)
{
        AUTO_ARENA struct arena *arena = arena_new();
        const struct spec_block_io *limits;
        (void)state;
        assert_int_equal(parse("Classes:\n  fast:\n  - Weight: 400\n  slow:\n  - Weight: \"10\"\n",
                               "slow", arena, &limits, NULL),
                         0);
        assert_int_equal(limits->weight, 10);
        for (size_t i = 0; i < SPEC_BLOCK_LIMITS; i++)
                assert_int_equal(limits->limits[i].count, 0);
}

/* Needs to make device nodes. */
static void devices(void **state)
{
        static const char form[] = "Classes:\n"
                                   "  c:\n"
                                   "  - Devices: [%s/d*, %s/link, %s/plain, %s/missing]\n"
                                   "    ThrottleReadBps: 50M\n"
                                   "    ThrottleWriteIOPS: 5k\n"
                                   "    Weight: 50\n"
                                   "  - Devices:\n"
                                   "    - %s/d1\n"
                                   "    ThrottleReadBps: 1M\n";
        AUTO_ARENA struct arena *arena = arena_new();
        AUTO_FREE char *first = xprintf("%s/d1", folder);
        AUTO_FREE char *second = xprintf("%s/x2", folder);
        AUTO_FREE char *part = xprintf("%s/d3", folder);
        AUTO_FREE char *link = xprintf("%s/link", folder);
        AUTO_FREE char *plain = xprintf("%s/plain", folder);
        AUTO_FREE char *known = xprintf("%s/240:3/partition", folder);
        AUTO_FREE char *known_folder = xprintf("%s/240:3", folder);
        AUTO_FREE char *text = xprintf(form, folder, folder, folder, folder, folder);
        const struct spec_block_io *limits;
        struct error err;
        (void)state;
        if (mknod(first, S_IFBLK | 0600, makedev(240, 1)) < 0)
                skip();
        assert_int_equal(mknod(second, S_IFBLK | 0600, makedev(240, 2)), 0);
        assert_int_equal(mknod(part, S_IFBLK | 0600, makedev(240, 3)), 0);
        assert_int_equal(symlink("x2", link), 0);
        assert_int_equal(mkdir(known_folder, 0755), 0);
        assert_int_equal(file_replace_volatile(plain, "", 0, 0600, NULL), 0);
        assert_int_equal(file_replace_volatile(known, "1", 1, 0600, NULL), 0);
        int result = parse(text, "c", arena, &limits, &err);
        if (result < 0)
                print_error("%s\n", err.message);
        assert_int_equal(result, 0);
        assert_int_equal(limits->weight, 0);
        assert_int_equal(limits->limits[SPEC_BLOCK_READ_BYTES].count, 2);
        assert_int_equal(limits->limits[SPEC_BLOCK_READ_BYTES].devices[0].device_minor, 1);
        assert_int_equal(limits->limits[SPEC_BLOCK_READ_BYTES].devices[0].value, 1000000);
        assert_int_equal(limits->limits[SPEC_BLOCK_READ_BYTES].devices[1].device_minor, 2);
        assert_int_equal(limits->limits[SPEC_BLOCK_READ_BYTES].devices[1].value, 50000000);
        assert_int_equal(limits->limits[SPEC_BLOCK_WRITE_OPERATIONS].devices[0].value, 5000);
        assert_int_equal(limits->limits[SPEC_BLOCK_WEIGHT].count, 2);
        assert_int_equal(limits->limits[SPEC_BLOCK_WRITE_BYTES].count, 0);
}

static void refused(void **state)
{
        static const struct {
                const char *text, *words;
        } cases[] = {
                {"Classes: {}\n", "no class"},
                {"", "nothing"},
                {"Classes: {c: {Weight: 5}}\n", "no class"},
                {"Classes: {c: [5]}\n", "no mappings"},
                {"Classes: {c: [{Weight: 5}]}\n", "not between"},
                {"Classes: {c: [{Weight: x}]}\n", "Weight"},
                {"Classes: {c: [{ThrottleReadBps: 1}]}\n", "without Devices"},
                {"Classes: {c: [{Weight: 50, Devices: [[]]}]}\n", "list of paths"},
                {"Classes: [", "f:"},
        };
        (void)state;
        for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
                AUTO_ARENA struct arena *arena = arena_new();
                const struct spec_block_io *limits = NULL;
                struct error err = {0};
                assert_true(parse(cases[i].text, "c", arena, &limits, &err) < 0);
                if (!strstr(err.message, cases[i].words))
                        print_error("%s: %s\n", cases[i].text, err.message);
                assert_non_null(strstr(err.message, cases[i].words));
                assert_null(limits);
        }
}

static void rdt(void **state)
{
        static const char text[] = "partitions:\n"
                                   "  p:\n"
                                   "    l3Allocation: {all: 100%}\n"
                                   "    classes:\n"
                                   "      gold: {}\n"
                                   "      silver: {kubernetes: {denyPodAnnotation: true}}\n"
                                   "      bronze: {}\n";
        AUTO_FREE char *file = xprintf("%s/rdt.yaml", folder);
        AUTO_FREE char *gold = xprintf("%s/gold", folder);
        AUTO_FREE char *silver = xprintf("%s/silver", folder);
        AUTO_FREE char *gold_tasks = xprintf("%s/gold/tasks", folder);
        AUTO_FREE char *silver_tasks = xprintf("%s/silver/tasks", folder);
        struct error err;
        (void)state;
        assert_int_equal(file_replace_volatile(file, text, strlen(text), 0600, NULL), 0);
        assert_int_equal(mkdir(gold, 0755) | mkdir(silver, 0755), 0);
        assert_int_equal(file_replace_volatile(gold_tasks, "", 0, 0600, NULL), 0);
        assert_int_equal(file_replace_volatile(silver_tasks, "", 0, 0600, NULL), 0);
        assert_int_equal(
                resource_class_check_rdt(file, "gold", RESOURCE_CLASS_OF_POD, folder, &err), 0);
        assert_int_equal(
                resource_class_check_rdt(file, "silver", RESOURCE_CLASS_OF_CONTAINER, folder, &err),
                0);
        assert_true(resource_class_check_rdt(file, "silver", RESOURCE_CLASS_OF_POD, folder, &err) <
                    0);
        assert_int_equal(err.code, ERROR_PERMISSION_DENIED);
        assert_true(resource_class_check_rdt(file, "bronze", RESOURCE_CLASS_OF_POD, folder, &err) <
                    0);
        assert_int_equal(err.code, ERROR_FAILED_PRECONDITION);
        assert_true(resource_class_check_rdt(file, "iron", RESOURCE_CLASS_OF_POD, folder, &err) <
                    0);
        assert_int_equal(err.code, ERROR_NOT_FOUND);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(quantities), cmocka_unit_test(weights), cmocka_unit_test(devices),
                cmocka_unit_test(refused),    cmocka_unit_test(rdt),
        };
        return cmocka_run_group_tests(tests, set_up, tear_down);
}
