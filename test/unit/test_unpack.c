/* What honest layers have: their entries and their whiteouts. */
#include "test/unit/unpack_fixture.h"

/* ---- what honest layers have ---- */

static void test_ordinary_tree(void **state)
{
        struct place *place = *state;
        if (!is_root())
                skip();

        assert_unpacks(place, {"./", S_IFDIR | 0700, .mtime = 123}, {"etc/", S_IFDIR | 0755},
                       {"etc/passwd", .text = "root", .uid = 5, .gid = 6, .mtime = 42},
                       {"bin", S_IFDIR | 01777, .mtime = 77},
                       {"bin/su", S_IFREG | 04755, .text = "su"}, {"bin/s", .symlink = "su"},
                       {"bin/hard", .hardlink = "bin/su"}, {"fifo", S_IFIFO | 0600},
                       {"null", S_IFCHR | 0666, .device = makedev(1, 3)},
                       {"abs", .symlink = "/etc/passwd"});
        assert_int_equal(place->job.entries, 10);
        assert_int_equal(look(place, ".").st_mode, S_IFDIR | 0700);
        assert_int_equal(look(place, ".").st_mtime, 123);
        assert_int_equal(look(place, "etc/passwd").st_uid, 5);
        assert_int_equal(look(place, "etc/passwd").st_gid, 6);
        assert_int_equal(look(place, "etc/passwd").st_mtime, 42);
        assert_text(place, "etc/passwd", "root");
        assert_int_equal(look(place, "bin").st_mode, S_IFDIR | 01777);
        assert_int_equal(look(place, "bin").st_mtime, 77);
        assert_int_equal(look(place, "bin/su").st_mode, S_IFREG | 04755);
        assert_int_equal(look(place, "bin/hard").st_ino, look(place, "bin/su").st_ino);
        assert_true(S_ISLNK(look(place, "bin/s").st_mode));
        assert_true(S_ISFIFO(look(place, "fifo").st_mode));
        assert_int_equal(look(place, "null").st_rdev, makedev(1, 3));
        assert_int_equal(place->notes.implied_count, 0);
        assert_int_equal(place->notes.opaque_count, 0);
        assert_int_equal(place->notes.link_count, 0);
}

static void test_implied_folders(void **state)
{
        struct place *place = *state;

        assert_unpacks(place, {"a/b/c/file", .text = "x"}, {"a/b", S_IFDIR | 0711});
        assert_int_equal(place->notes.implied_count, 3);
        assert_true(has(place->notes.implied, 3, "."));
        assert_true(has(place->notes.implied, 3, "a"));
        assert_true(has(place->notes.implied, 3, "a/b/c"));
        assert_int_equal(look(place, "a").st_mode, S_IFDIR | 0755);
        assert_int_equal(look(place, "a/b").st_mode, S_IFDIR | 0711);
}

static void test_names(void **state)
{
        struct place *place = *state;
        char long_path[600];

        memset(long_path, 'd', sizeof(long_path));
        long_path[200] = long_path[400] = '/';
        long_path[599] = '\0';
        assert_unpacks(place, {"sch\xc3\xb6n", .text = "pax"}, {"with\nnewline", .text = "n"},
                       {long_path, .text = "long"}, {"/absolute/file", .text = "a"},
                       {"//x///./y//", S_IFDIR | 0755}, {"a%b", .text = "p"});
        assert_text(place, "sch\xc3\xb6n", "pax");
        assert_text(place, "with\nnewline", "n");
        assert_text(place, long_path, "long");
        assert_text(place, "absolute/file", "a");
        assert_true(is_there(place, "x/y"));
}

static void test_names_that_are_not_utf8(void **state)
{
        struct place *place = *state;
        assert_unpacks(place, {"latin\xe9", .text = "x"});
        assert_text(place, "latin\xe9", "x");

        /* The same without PAX headers: the name's byte goes into the old header, whose checksum
         * counts all bytes. */
        AUTO_BUFFER struct buffer tar = BUFFER_INIT;
        make_tar((const struct item[]){{"latinX", .text = "y"}}, 1, &tar);
        unsigned checksum = 0;
        tar.data[5] = (char)0xe9;
        memset(tar.data + 148, ' ', 8);
        for (int i = 0; i < 512; i++)
                checksum += (unsigned char)tar.data[i];
        snprintf(tar.data + 148, 8, "%06o", checksum);
        assert_int_equal(unpack_tar(place, &tar), 0);
        assert_text(place, "latin\xe9", "y");
}

static void test_later_entry_replaces(void **state)
{
        struct place *place = *state;

        assert_unpacks(place, {"f", .text = "first"}, {"f", .text = "2nd"}, {"d", S_IFDIR | 0755},
                       {"d/x/y", .text = "x"}, {"d", .text = "file now"}, {"l", .symlink = "f"},
                       {"l", .text = "not through the link"}, {"k", .text = "k"},
                       {"k", S_IFDIR | 0700}, {"k/in", .text = "in"}, {"m", S_IFDIR | 0700},
                       {"m/keep", .text = "kept"}, {"m", S_IFDIR | 0755});
        assert_text(place, "f", "2nd");
        assert_text(place, "d", "file now");
        assert_text(place, "l", "not through the link");
        assert_text(place, "k/in", "in");
        assert_text(place, "m/keep", "kept");
        assert_int_equal(look(place, "m").st_mode, S_IFDIR | 0755);
        /* d/x went with d. */
        assert_int_equal(place->notes.implied_count, 1);
}

static void test_extended_attributes(void **state)
{
        struct place *place = *state;
        char value[32] = "";
        static const char capability[] = "\1\0\0\2\0\40\0\0\0\0\0\0\0\0\0\0\0\0\0";
        if (!is_root())
                skip();

        assert_unpacks(place, {"f", .text = "x", .xattr = "user.key", .xattr_value = "value"},
                       {"apple", .xattr = "com.apple.quarantine", .xattr_value = "x"},
                       {"link", .symlink = "f", .xattr = "user.key", .xattr_value = "v"},
                       {"label", .xattr = "security.selinux", .xattr_value = "x"});
        AUTO_FREE char *path = xprintf("%s/%s/f", place->path, place->job.name);
        assert_int_equal(lgetxattr(path, "user.key", value, sizeof(value)), 5);
        assert_string_equal(value, "value");

        /* A capability outlives the change of owner and mode. */
        AUTO_BUFFER struct buffer tar = BUFFER_INIT;
        size_t used = 0;
        char *bytes = buffer_reserve(&tar, ARCHIVE_SIZE);
        struct archive *archive = begin_archive(bytes, ARCHIVE_SIZE, &used);
        struct archive_entry *entry = archive_entry_new();
        archive_entry_set_pathname(entry, "ping");
        archive_entry_set_mode(entry, S_IFREG | 0755);
        archive_entry_set_uid(entry, 7);
        archive_entry_xattr_add_entry(entry, "security.capability", capability, 20);
        assert_int_equal(archive_write_header(archive, entry), ARCHIVE_OK);
        archive_entry_free(entry);
        archive_write_close(archive);
        archive_write_free(archive);
        tar.length = used;
        assert_int_equal(unpack_tar(place, &tar), 0);
        AUTO_FREE char *ping = xprintf("%s/%s/ping", place->path, place->job.name);
        assert_int_equal(lgetxattr(ping, "security.capability", value, sizeof(value)), 20);
        assert_int_equal(look(place, "ping").st_uid, 7);
}

static void test_sparse_file(void **state)
{
        struct place *place = *state;
        AUTO_BUFFER struct buffer tar = BUFFER_INIT;
        size_t used = 0;
        char *bytes = buffer_reserve(&tar, ARCHIVE_SIZE);
        struct archive *archive = begin_archive(bytes, ARCHIVE_SIZE, &used);
        struct archive_entry *entry = archive_entry_new();
        AUTO_FREE char *zeroes = xcalloc(1, 1 << 20);

        memcpy(zeroes, "head", 4);
        memcpy(zeroes + (1 << 19), "middle", 6);
        archive_entry_set_pathname(entry, "sparse");
        archive_entry_set_mode(entry, S_IFREG | 0644);
        archive_entry_set_size(entry, 1 << 20);
        archive_entry_sparse_add_entry(entry, 0, 4096);
        archive_entry_sparse_add_entry(entry, 1 << 19, 4096);
        assert_int_equal(archive_write_header(archive, entry), ARCHIVE_OK);
        archive_write_data(archive, zeroes, 1 << 20);
        archive_entry_free(entry);
        archive_write_close(archive);
        archive_write_free(archive);
        tar.length = used;
        assert_true(used < 100000);

        assert_int_equal(unpack_tar(place, &tar), 0);
        struct stat status = look(place, "sparse");
        assert_int_equal(status.st_size, 1 << 20);
        assert_true(status.st_blocks * 512 < 1 << 19);
        char middle[7] = "";
        int fd = openat(place->root, "sparse", O_RDONLY | O_CLOEXEC);
        assert_int_equal(pread(fd, middle, 6, 1 << 19), 6);
        close(fd);
        assert_string_equal(middle, "middle");
}

static void test_empty_layers(void **state)
{
        struct place *place = *state;
        struct buffer nothing = BUFFER_INIT;

        assert_int_equal(unpack_items(place, NULL, 0), 0);
        assert_int_equal(place->job.entries, 0);
        assert_int_equal(unpack_tar(place, &nothing), 0);
}

/* ---- whiteouts ---- */

static void test_whiteouts(void **state)
{
        struct place *place = *state;

        assert_unpacks(place, {"etc", S_IFDIR | 0755}, {"etc/.wh.shadow"}, {"var/.wh..wh..opq"},
                       {"var/new", .text = "new"}, {".wh..wh.plnk", S_IFDIR | 0700},
                       {".wh..wh.plnk/12.34", .text = "aufs"}, {".wh..wh.aufs"});
        assert_true(is_whiteout(place, "etc/shadow"));
        assert_false(is_there(place, "etc/.wh.shadow"));
        assert_false(is_there(place, "var/.wh..wh..opq"));
        assert_false(is_there(place, ".wh..wh.plnk"));
        assert_false(is_there(place, ".wh..wh.aufs"));
        assert_text(place, "var/new", "new");
        assert_int_equal(place->notes.opaque_count, 1);
        assert_string_equal(place->notes.opaque[0], "var");

        assert_unpacks(place, {".wh..wh..opq"});
        assert_string_equal(place->notes.opaque[0], ".");
}

/* A whiteout is about the layers below: what the same layer has stays, whichever comes first. */
static void test_whiteout_of_what_is_replaced(void **state)
{
        struct place *place = *state;

        assert_unpacks(place, {"f", .text = "f"}, {".wh.f"}, {".wh.g"}, {"g", .text = "g"},
                       {"d/x", .text = "x"}, {".wh.d"}, {".wh.e"}, {"e", S_IFDIR | 0755}, {".wh.i"},
                       {"i/deep/x", .text = "x"}, {".wh.twice"}, {".wh.twice"});
        assert_text(place, "f", "f");
        assert_text(place, "g", "g");
        assert_text(place, "i/deep/x", "x");
        assert_true(is_whiteout(place, "twice"));
        assert_int_equal(place->notes.opaque_count, 3);
        assert_true(has(place->notes.opaque, 3, "d"));
        assert_true(has(place->notes.opaque, 3, "e"));
        assert_true(has(place->notes.opaque, 3, "i"));
}

static void test_bad_whiteouts(void **state)
{
        struct place *place = *state;
        assert_refuses(place, ERROR_INVALID_ARGUMENT, "names nothing", {".wh."});
        assert_refuses(place, ERROR_INVALID_ARGUMENT, "names nothing", {"a/.wh.."});
        assert_refuses(place, ERROR_INVALID_ARGUMENT, "names nothing", {"a/.wh..."});
        assert_refuses(place, ERROR_INVALID_ARGUMENT, "in the place of a folder", {".wh.a/b"});
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                TEST(test_ordinary_tree),
                TEST(test_implied_folders),
                TEST(test_names),
                TEST(test_names_that_are_not_utf8),
                TEST(test_later_entry_replaces),
                TEST(test_extended_attributes),
                TEST(test_sparse_file),
                TEST(test_empty_layers),
                TEST(test_whiteouts),
                TEST(test_whiteout_of_what_is_replaced),
                TEST(test_bad_whiteouts),
        };
        if (!setlocale(LC_CTYPE, "C.UTF-8"))
                return 1;
        return cmocka_run_group_tests(tests, NULL, NULL);
}
