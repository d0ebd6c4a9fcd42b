/* Layers that want out of their folder, or more than there may be. */
#include "test/unit/unpack_fixture.h"

/* ---- what wants out ---- */

static void test_dots_are_refused(void **state)
{
        struct place *place = *state;
        assert_refuses(place, ERROR_INVALID_ARGUMENT, "..", {"../escaped", .text = "x"});
        assert_refuses(place, ERROR_INVALID_ARGUMENT, "..", {"a/../../escaped", .text = "x"});
        assert_refuses(place, ERROR_INVALID_ARGUMENT, "..", {"a/..", S_IFDIR | 0755});
        assert_refuses(place, ERROR_INVALID_ARGUMENT, "..", {"/..", S_IFDIR | 0755});
        AUTO_FREE char *outside = xprintf("%s/escaped", place->path);
        assert_int_not_equal(access(outside, F_OK), 0);
}

static void test_symlinked_parents_stay_inside(void **state)
{
        struct place *place = *state;
        AUTO_FREE char *outside = xprintf("%s/outside", place->path);
        assert_int_equal(mkdir(outside, 0755), 0);

        /* An absolute link and dots lead to where a container would go, which is inside. */
        assert_unpacks(place, {"tmp", S_IFDIR | 0755}, {"abs", .symlink = "/tmp"},
                       {"abs/one", .text = "1"}, {"up", .symlink = "../../../../tmp"},
                       {"up/two", .text = "2"});
        assert_text(place, "tmp/one", "1");
        assert_text(place, "tmp/two", "2");

        assert_refuses(place, ERROR_FAILED_PRECONDITION, "symlink", {"e", .symlink = outside},
                       {"e/escaped", .text = "x"});
        assert_refuses(place, ERROR_FAILED_PRECONDITION, "symlink", {"e", .symlink = "../outside"},
                       {"e/escaped", .text = "x"});
        assert_true(UNPACK(place, {"loop", .symlink = "loop"}, {"loop/x", .text = "x"}) < 0);
        AUTO_FREE char *escaped = xprintf("%s/escaped", outside);
        assert_int_not_equal(access(escaped, F_OK), 0);
}

/* What an entry makes is never reached through a symlink of the same path. */
static void test_symlinks_are_replaced_not_followed(void **state)
{
        struct place *place = *state;
        AUTO_FREE char *victim = xprintf("%s/victim", place->path);
        int fd = open(victim, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
        assert_int_equal(write(fd, "safe", 4), 4);
        close(fd);

        assert_unpacks(place, {"l", .symlink = victim}, {"l", .text = "overwritten"},
                       {"d", .symlink = place->path}, {"d", S_IFDIR | 0777},
                       {"d/victim", .text = "x"});
        AUTO_BUFFER struct buffer contents = BUFFER_INIT;
        assert_int_equal(file_read(victim, 100, &contents, NULL), 0);
        assert_string_equal(contents.data, "safe");
        struct stat status;
        assert_int_equal(stat(place->path, &status), 0);
        assert_int_equal(status.st_mode & 07777, 0700);
}

static void test_hard_links_out_are_refused(void **state)
{
        struct place *place = *state;
        assert_refuses(place, ERROR_INVALID_ARGUMENT, "..", {"l", .hardlink = "../../etc/passwd"});
        assert_refuses(place, ERROR_INVALID_ARGUMENT, "a folder", {"d", S_IFDIR | 0755},
                       {"l", .hardlink = "d"});
        assert_refuses(place, ERROR_INVALID_ARGUMENT, "a removed file", {".wh.gone"},
                       {"l", .hardlink = "gone"});
        assert_refuses(place, ERROR_INVALID_ARGUMENT, "not the name of a file",
                       {"l", .hardlink = "."});

        /* A link to a symlink is one to the symlink itself. */
        assert_unpacks(place, {"s", .symlink = "/etc/passwd"}, {"l", .hardlink = "s"});
        assert_true(S_ISLNK(look(place, "l").st_mode));
        /* The host's /etc/passwd is not the layer's. */
        assert_unpacks(place, {"l", .hardlink = "/etc/passwd"});
        assert_false(is_there(place, "l"));
        assert_int_equal(place->notes.link_count, 1);
}

static void test_hard_links_to_lower_layers_are_noted(void **state)
{
        struct place *place = *state;

        assert_unpacks(place, {"bin/a", .hardlink = "usr/bin/b"}, {"late", .hardlink = "target"},
                       {"target", .text = "t"}, {"gone", .hardlink = "nowhere"},
                       {"gone", .text = "replaced"}, {"self", .text = "s"},
                       {"self", .hardlink = "self"});
        assert_int_equal(place->notes.link_count, 1);
        assert_string_equal(place->notes.links[0].path, "bin/a");
        assert_string_equal(place->notes.links[0].target, "usr/bin/b");
        assert_int_equal(look(place, "late").st_ino, look(place, "target").st_ino);
        assert_text(place, "gone", "replaced");
        assert_text(place, "self", "s");
}

static void test_forged_devices_and_attributes(void **state)
{
        struct place *place = *state;
        assert_refuses(place, ERROR_INVALID_ARGUMENT, "forged", {"w", S_IFCHR | 0});
        assert_refuses(
                place, ERROR_INVALID_ARGUMENT, "only overlayfs",
                {"d", S_IFDIR | 0755, .xattr = "trusted.overlay.opaque", .xattr_value = "y"});
        assert_refuses(
                place, ERROR_INVALID_ARGUMENT, "only overlayfs",
                {"d", S_IFDIR | 0755, .xattr = "user.overlay.redirect", .xattr_value = "/etc"});
        assert_refuses(
                place, ERROR_INVALID_ARGUMENT, "only overlayfs",
                {"./", S_IFDIR | 0755, .xattr = "trusted.overlay.origin", .xattr_value = "x"});
        assert_refuses(
                place, ERROR_INVALID_ARGUMENT, "only overlayfs",
                {"s", .symlink = "x", .xattr = "trusted.overlay.metacopy", .xattr_value = "x"});
}

static void test_root_is_a_folder(void **state)
{
        struct place *place = *state;
        assert_refuses(place, ERROR_INVALID_ARGUMENT, "root is not a folder",
                       {".", .symlink = "/etc"});
        assert_refuses(place, ERROR_INVALID_ARGUMENT, "not a folder", {"f", .text = "x"},
                       {"f/below", .text = "x"});
}

/* ---- bounds ---- */

static void test_bounds(void **state)
{
        struct place *place = *state;
        struct item items[12] = {0};
        char names[12][24];
        char long_path[4200];

        for (int i = 0; i < 12; i++) {
                snprintf(names[i], sizeof(names[i]), "dir%d/x", i);
                items[i].path = names[i];
        }
        place->limits.entries = 12;
        assert_int_equal(unpack_items(place, items, 12), 0);
        place->limits.entries = 11;
        assert_true(unpack_items(place, items, 12) < 0);
        assert_int_equal(place->err.code, ERROR_RESOURCE_EXHAUSTED);
        assert_non_null(strstr(place->err.message, "11 entries"));

        place->limits.entries = 1000;
        place->limits.unpacked_bytes = 4096;
        assert_true(unpack_items(place, items, 12) < 0);
        assert_int_equal(place->err.code, ERROR_RESOURCE_EXHAUSTED);
        assert_non_null(strstr(place->err.message, "4096 bytes"));
        place->limits.unpacked_bytes = 1 << 30;

        place->notes_left = 100;
        assert_true(unpack_items(place, items, 12) < 0);
        assert_int_equal(place->err.code, ERROR_RESOURCE_EXHAUSTED);
        place->notes_left = 1 << 20;

        memset(long_path, 'd', sizeof(long_path));
        for (int i = 200; i < 4199; i += 200)
                long_path[i] = '/';
        long_path[4199] = '\0';
        assert_refuses(place, ERROR_INVALID_ARGUMENT, "bytes", {long_path, .text = "x"});
        memset(long_path, 'd', 300);
        long_path[300] = '\0';
        assert_refuses(place, ERROR_INVALID_ARGUMENT, "255", {long_path, .text = "x"});
}

/* Neither by its names nor through symlinks does a layer get deeper than whoever removes it can go.
 */
static void test_depth(void **state)
{
        struct place *place = *state;
        AUTO_BUFFER struct buffer deep = BUFFER_INIT;

        for (int i = 0; i < 150; i++)
                buffer_add_text(&deep, "d/");
        AUTO_FREE char *again = xprintf("link/%s", deep.data);
        AUTO_FREE char *third = xprintf("again/%s", deep.data);
        AUTO_FREE char *there = xprintf("link/%s", deep.data);
        assert_unpacks(place, {deep.data, S_IFDIR | 0755});
        assert_refuses(place, ERROR_INVALID_ARGUMENT, "folders deep", {deep.data, S_IFDIR | 0755},
                       {"link", .symlink = deep.data}, {again, S_IFDIR | 0755},
                       {"again", .symlink = there}, {third, S_IFDIR | 0755});
        for (int i = 0; i < 150; i++)
                buffer_add_text(&deep, "d/");
        assert_refuses(place, ERROR_INVALID_ARGUMENT, "folders deep", {deep.data, .text = "x"});
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                TEST(test_dots_are_refused),
                TEST(test_symlinked_parents_stay_inside),
                TEST(test_symlinks_are_replaced_not_followed),
                TEST(test_hard_links_out_are_refused),
                TEST(test_hard_links_to_lower_layers_are_noted),
                TEST(test_forged_devices_and_attributes),
                TEST(test_root_is_a_folder),
                TEST(test_bounds),
                TEST(test_depth),
        };
        if (!setlocale(LC_CTYPE, "C.UTF-8"))
                return 1;
        return cmocka_run_group_tests(tests, NULL, NULL);
}
