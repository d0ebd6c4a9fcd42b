/* Places that are far from where trees were removed. */
#include "test/unit/store_fixture.h"

#include <errno.h>

#include "base/clock.h"
#include "image/spread.h"

#define MINUTE (60 * NSEC_PER_SEC)

/* Of 32 places, whose inodes differ, one is at least so far from a given inode. */
#define HALF_OF_THE_PLACES 16

static void test_distances(void **state)
{
        (void)state;
        struct spread *spread = spread_new();
        assert_true(spread_distance(spread, 1, 0) == UINT64_MAX);

        spread_note(spread, 1000000, 0);
        spread_note(spread, 3000000, MINUTE);
        assert_int_equal(spread_distance(spread, 1000000, MINUTE), 0);
        assert_int_equal(spread_distance(spread, 999900, MINUTE), 100);
        assert_int_equal(spread_distance(spread, 2900000, MINUTE), 100000);

        /* What was removed long ago does not count. */
        assert_int_equal(spread_distance(spread, 999900, 6 * MINUTE), 2000100);
        assert_true(spread_distance(spread, 999900, 7 * MINUTE) == UINT64_MAX);

        /* Another tree in the same place. */
        spread_note(spread, 3000001, 7 * MINUTE);
        assert_int_equal(spread_distance(spread, 3000000, 12 * MINUTE), 0);
        spread_free(spread);
}

static void test_the_first_are_forgotten(void **state)
{
        (void)state;
        struct spread *spread = spread_new();
        for (ino_t i = 0; i <= 128; i++)
                spread_note(spread, i * 1000000, 0);
        assert_int_equal(spread_distance(spread, 0, 0), 1000000);
        assert_int_equal(spread_distance(spread, 1000000, 0), 0);
        assert_int_equal(spread_distance(spread, 128 * 1000000, 0), 0);
        spread_free(spread);
}

static int open_root(void)
{
        int fd = open(fixture_root, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        assert_true(fd >= 0);
        return fd;
}

static void test_a_far_place_is_taken(void **state)
{
        (void)state;
        struct spread *spread = spread_new();
        struct stat near, made;
        int fd = open_root();
        assert_int_equal(mkdirat(fd, "near", 0700), 0);
        assert_int_equal(fstatat(fd, "near", &near, 0), 0);
        spread_note(spread, near.st_ino, clock_monotonic());

        assert_int_equal(spread_make(spread, fd, "stage", NULL), 0);
        assert_int_equal(fstatat(fd, "stage", &made, 0), 0);
        assert_int_equal(made.st_mode, S_IFDIR | 0700);
        assert_true(spread_distance(spread, made.st_ino, clock_monotonic()) >= HALF_OF_THE_PLACES);
        assert_int_equal(entries_in(fixture_root), 2);

        struct error err;
        assert_int_equal(spread_make(spread, fd, "stage", &err), -EEXIST);
        assert_non_null(strstr(err.message, "stage"));
        assert_int_equal(entries_in(fixture_root), 2);
        close(fd);
        spread_free(spread);
}

/* With room for one more folder that one is made, wherever it is. */
static void test_a_full_disk(void **state)
{
        (void)state;
        if (geteuid() != 0)
                skip();
        struct spread *spread = spread_new();
        struct stat st;
        assert_int_equal(mount("full", fixture_root, "tmpfs", 0, "nr_inodes=2"), 0);
        int fd = open_root();
        assert_int_equal(fstat(fd, &st), 0);
        spread_note(spread, st.st_ino, clock_monotonic());
        assert_int_equal(spread_make(spread, fd, "stage", NULL), 0);
        assert_int_equal(entries_in(fixture_root), 1);
        struct error err;
        assert_int_equal(spread_make(spread, fd, "second", &err), -ENOSPC);
        close(fd);
        assert_int_equal(umount(fixture_root), 0);
        spread_free(spread);
}

static int setup(void **state)
{
        (void)state;
        fixture_root_make();
        return 0;
}

static int teardown(void **state)
{
        (void)state;
        fixture_root_remove();
        return 0;
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_distances),
                cmocka_unit_test(test_the_first_are_forgotten),
                cmocka_unit_test_setup_teardown(test_a_far_place_is_taken, setup, teardown),
                cmocka_unit_test_setup_teardown(test_a_full_disk, setup, teardown),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
