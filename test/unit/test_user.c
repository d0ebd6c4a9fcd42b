/* Users: what an image's own files make of the names and numbers asked for. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/memory.h"
#include "oci/user.h"

static char root_path[] = "/tmp/crisp-test-user-XXXXXX";
static int root_fd = -1;

static void put(const char *name, const char *text)
{
        AUTO_FREE char *path = xprintf("%s/etc/%s", root_path, name);
        assert_int_equal(file_replace_volatile(path, text, strlen(text), 0644, NULL), 0);
}

static int set_up(void **state)
{
        (void)state;
        assert_non_null(mkdtemp(root_path));
        AUTO_FREE char *etc = xprintf("%s/etc", root_path);
        assert_int_equal(mkdir(etc, 0755), 0);
        root_fd = open(root_path, O_PATH | O_DIRECTORY | O_CLOEXEC);
        return root_fd < 0;
}

static int tear_down(void **state)
{
        (void)state;
        close(root_fd);
        return file_remove_tree(root_path, NULL);
}

static int standard(void **state)
{
        (void)state;
        put("passwd", "root:x:0:0:root:/root:/bin/sh\n"
                      "broken\n"
                      "odd:x:twelve:0::/:\n"
                      "web:x:1000:1001:Web,,,:/srv/web:/bin/sh\n"
                      "2000:x:77:77::/seven:\n"
                      "nohome:x:1003:1003::relative:\n"
                      "last:x:1004:1004::/last:/bin/sh");
        put("group", "root:x:0:\n"
                     "wheel:x:10:root,web\n"
                     "www:x:1001:web\n"
                     "extra:x:30:other,web,more\n"
                     "webby:x:31:webmaster\n"
                     "bad:x:minus:web\n");
        return 0;
}

static struct user resolve(const struct user_request *request)
{
        struct user user = {0};
        struct error err = {0};
        int result = user_resolve(root_fd, request, &user, &err);
        if (result < 0)
                print_error("%s\n", err.message);
        assert_int_equal(result, 0);
        return user;
}

static void check(struct user *user, uint32_t uid, uint32_t gid, const char *gids, const char *home)
{
        struct buffer text = BUFFER_INIT;
        for (size_t i = 0; i < user->gid_count; i++)
                buffer_printf(&text, "%s%u", i ? " " : "", user->gids[i]);
        assert_int_equal(user->uid, uid);
        assert_int_equal(user->gid, gid);
        assert_string_equal(text.data, gids);
        assert_string_equal(user->home, home);
        buffer_fini(&text);
        user_fini(user);
}

static void nobody_asked_for(void **state)
{
        (void)state;
        struct user user = resolve(&(struct user_request){0});
        check(&user, 0, 0, "0 10", "/root");
        user = resolve(&(struct user_request){.image_user = ""});
        check(&user, 0, 0, "0 10", "/root");
}

static void image_users(void **state)
{
        (void)state;
        struct user user = resolve(&(struct user_request){.image_user = "web"});
        assert_string_equal(user.name, "web");
        check(&user, 1000, 1001, "1001 10 30", "/srv/web");
        user = resolve(&(struct user_request){.image_user = "1000"});
        check(&user, 1000, 1001, "1001 10 30", "/srv/web");
        user = resolve(&(struct user_request){.image_user = "web:wheel"});
        check(&user, 1000, 10, "10 1001 30", "/srv/web");
        user = resolve(&(struct user_request){.image_user = "4711:4712"});
        assert_null(user.name);
        check(&user, 4711, 4712, "4712", "/");
        user = resolve(&(struct user_request){.image_user = "4711"});
        check(&user, 4711, 0, "0", "/");
        user = resolve(&(struct user_request){.image_user = ":wheel"});
        check(&user, 0, 10, "10", "/root");
        user = resolve(&(struct user_request){.image_user = "nohome"});
        check(&user, 1003, 1003, "1003", "/");
        user = resolve(&(struct user_request){.image_user = "last"});
        check(&user, 1004, 1004, "1004", "/last");
        /* A name made of digits goes before the number. */
        user = resolve(&(struct user_request){.image_user = "2000"});
        check(&user, 77, 77, "77", "/seven");
}

static void requested_users(void **state)
{
        static const int64_t groups[] = {5, 1001, 6};
        (void)state;
        struct user user = resolve(&(struct user_request){
                .has_uid = true, .uid = 1000, .image_user = "nosuch:nosuch"});
        check(&user, 1000, 1001, "1001 10 30", "/srv/web");
        user = resolve(
                &(struct user_request){.has_uid = true, .uid = 1000, .has_gid = true, .gid = 9});
        check(&user, 1000, 9, "9 10 1001 30", "/srv/web");
        user = resolve(&(struct user_request){
                .name = "web", .supplemental_groups = groups, .supplemental_group_count = 3});
        check(&user, 1000, 1001, "1001 10 30 5 6", "/srv/web");
        user = resolve(&(struct user_request){.name = "web",
                                              .supplemental_groups = groups,
                                              .supplemental_group_count = 3,
                                              .strict = true});
        check(&user, 1000, 1001, "1001 5 6", "/srv/web");
        /* run_as_user is a number alone: a user who is called so is somebody else. */
        user = resolve(&(struct user_request){.has_uid = true, .uid = 2000});
        check(&user, 2000, 0, "0", "/");
}

static void refuse(const struct user_request *request, const char *words)
{
        struct user user = {.uid = 12345};
        struct error err = {0};
        assert_true(user_resolve(root_fd, request, &user, &err) < 0);
        assert_int_equal(err.code, ERROR_INVALID_ARGUMENT);
        assert_non_null(strstr(err.message, words));
        assert_int_equal(user.uid, 12345);
}

static void refusals(void **state)
{
        static const int64_t negative[] = {-1};
        (void)state;
        refuse(&(struct user_request){.image_user = "nosuch"},
               "user \"nosuch\": not in the image's /etc/passwd");
        refuse(&(struct user_request){.image_user = "web:nosuch"},
               "group \"nosuch\": not in the image's /etc/group");
        refuse(&(struct user_request){.name = "odd"}, "user \"odd\"");
        refuse(&(struct user_request){.has_gid = true, .gid = 5}, "run_as_group");
        refuse(&(struct user_request){.has_uid = true, .uid = -1}, "user -1");
        refuse(&(struct user_request){.has_uid = true, .uid = 4294967295}, "user 4294967295");
        refuse(&(struct user_request){.image_user = "4294967295"}, "user \"4294967295\"");
        refuse(&(struct user_request){.image_user = "99999999999999999999"}, "user \"999");
        refuse(&(struct user_request){.supplemental_groups = negative,
                                      .supplemental_group_count = 1},
               "supplemental group -1");
}

static void odd_files(void **state)
{
        (void)state;
        AUTO_FREE char *passwd = xprintf("%s/etc/passwd", root_path);
        AUTO_FREE char *group = xprintf("%s/etc/group", root_path);
        unlink(passwd);
        unlink(group);
        struct user user = resolve(&(struct user_request){.image_user = "1000"});
        check(&user, 1000, 0, "0", "/");
        refuse(&(struct user_request){.image_user = "root"}, "user \"root\"");

        /* Out of the tree it does not lead: the host's root is not the image's. */
        assert_int_equal(symlink("../../../../etc/passwd.other", passwd), 0);
        put("passwd.other", "inside:x:5:5::/in:\n");
        user = resolve(&(struct user_request){.image_user = "inside"});
        check(&user, 5, 5, "5", "/in");
        unlink(passwd);

        assert_int_equal(mkfifo(passwd, 0644), 0);
        refuse(&(struct user_request){.image_user = "root"}, "not a plain file");
        unlink(passwd);

        AUTO_FREE char *big = malloc(USER_FILE_MAX + 2);
        memset(big, 'a', USER_FILE_MAX + 1);
        big[USER_FILE_MAX + 1] = '\0';
        put("passwd", big);
        refuse(&(struct user_request){.image_user = "root"}, "longer than");

        /* A line that is too long is passed over, the one after it is not. */
        memcpy(big + USER_LINE_MAX + 10, "\nweb:x:8:8::/w:\n", 17);
        put("passwd", big);
        user = resolve(&(struct user_request){.image_user = "web"});
        check(&user, 8, 8, "8", "/w");
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup(nobody_asked_for, standard),
                cmocka_unit_test_setup(image_users, standard),
                cmocka_unit_test_setup(requested_users, standard),
                cmocka_unit_test_setup(refusals, standard),
                cmocka_unit_test(odd_files),
        };
        return cmocka_run_group_tests(tests, set_up, tear_down);
}
