/* AppArmor as the kernel's files show it, which here are files of a folder. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/memory.h"
#include "base/task.h"
#include "oci/apparmor.h"

static char root[64];

static int begin(void **state)
{
        (void)state;
        signal(SIGPIPE, SIG_IGN); /* as the daemon does: programs need not read their stdin */
        strcpy(root, "/tmp/test_apparmor.XXXXXX");
        return mkdtemp(root) ? 0 : -1;
}

static int end(void **state)
{
        (void)state;
        return file_remove_tree(root, NULL);
}

static void put(const char *path, const char *text, mode_t mode)
{
        AUTO_FREE char *full = xprintf("%s%s", root, path);
        AUTO_FREE char *parent = xstrndup(full, (size_t)(strrchr(full, '/') - full));
        assert_int_equal(file_make_directories(parent, 0755, NULL), 0);
        assert_int_equal(file_replace_volatile(full, text, strlen(text), mode, NULL), 0);
}

static void enable(const char *profiles)
{
        put("/sys/module/apparmor/parameters/enabled", "Y\n", 0444);
        put("/sys/kernel/security/apparmor/profiles", profiles, 0444);
}

static void whether_the_kernel_has_it(void **state)
{
        (void)state;
        assert_false(apparmor_is_enabled(root));
        put("/sys/module/apparmor/parameters/enabled", "Y\n", 0444);
        assert_false(apparmor_is_enabled(root)); /* securityfs is not mounted */
        enable("");
        assert_true(apparmor_is_enabled(root));
        put("/sys/module/apparmor/parameters/enabled", "N\n", 0444);
        assert_false(apparmor_is_enabled(root));
}

static void which_profiles_are_loaded(void **state)
{
        struct error err;
        (void)state;
        assert_true(apparmor_is_loaded(root, "a", &err) < 0);
        enable("");
        assert_int_equal(apparmor_is_loaded(root, "a", &err), 0);
        enable("/usr/bin/man (enforce)\ncrisp-default (enforce)\nnot so short (complain)\n"
               "a (b) (kill)\nlast (unconfined)");
        assert_int_equal(apparmor_is_loaded(root, "crisp-default", &err), 1);
        assert_int_equal(apparmor_is_loaded(root, "crisp", &err), 0);
        assert_int_equal(apparmor_is_loaded(root, "default", &err), 0);
        assert_int_equal(apparmor_is_loaded(root, "not so short", &err), 1);
        assert_int_equal(apparmor_is_loaded(root, "a (b)", &err), 1);
        assert_int_equal(apparmor_is_loaded(root, "a", &err), 0);
        assert_int_equal(apparmor_is_loaded(root, "last", &err), 1);
        assert_int_equal(apparmor_is_loaded(root, "", &err), 0);
}

/* ---- loading ---- */

static void load_body(void *argument)
{
        struct error err = {0};
        const char *wanted = argument;
        int result = apparmor_load(root, "crisp-default", clock_after(60 * NSEC_PER_SEC), &err);
        assert_int_equal(result < 0, wanted != NULL);
        if (wanted && !strstr(err.message, wanted))
                fail_msg("\"%s\" does not say \"%s\"", err.message, wanted);
        loop_stop();
}

/* words: of the error, or null where it succeeds. */
static void load(const char *words)
{
        assert_int_equal(loop_init(2, NULL), 0);
        task_start("load", load_body, (void *)words);
        loop_run();
        loop_fini();
}

static void a_profile_is_loaded_by_the_parser(void **state)
{
        (void)state;
        load("apparmor_parser, which would load it, is not installed");
        AUTO_FREE char *script =
                xprintf("#!/bin/sh\necho \"$@\" >%s/arguments\nexec cat >%s/loaded\n", root, root);
        put("/usr/sbin/apparmor_parser", script, 0755);
        load(NULL);
        AUTO_FREE char *arguments = xprintf("%s/arguments", root);
        AUTO_FREE char *loaded = xprintf("%s/loaded", root);
        AUTO_FREE char *profile = apparmor_profile("crisp-default");
        AUTO_BUFFER struct buffer words = BUFFER_INIT, text = BUFFER_INIT;
        assert_int_equal(file_read(arguments, 1000, &words, NULL), 0);
        assert_true(strncmp(words.data, "--replace", 9) == 0);
        assert_int_equal(file_read(loaded, 100000, &text, NULL), 0);
        assert_int_equal(text.length, strlen(profile));
        assert_memory_equal(text.data, profile, text.length);
}

static void a_parser_that_fails_is_quoted(void **state)
{
        (void)state;
        put("/sbin/apparmor_parser", "#!/bin/sh\necho 'no such thing' >&2\nexit 3\n", 0755);
        load("no such thing");
}

/* Debian's parser, where it is installed, needs no kernel to say whether it is a profile. */
static void the_profile_is_one(void **state)
{
        (void)state;
        if (access("/usr/sbin/apparmor_parser", X_OK) < 0)
                skip();
        AUTO_FREE char *profile = apparmor_profile("crisp-default");
        put("/profile", profile, 0644);
        AUTO_FREE char *command =
                xprintf("/usr/sbin/apparmor_parser -Q -K %s/profile 2>%s/words", root, root);
        assert_int_equal(system(command), 0);
        put("/profile", "profile x { nonsense }", 0644);
        assert_int_not_equal(system(command), 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, begin, end)

int main(void)
{
        const struct CMUnitTest tests[] = {
                TEST(whether_the_kernel_has_it),
                TEST(which_profiles_are_loaded),
                TEST(a_profile_is_loaded_by_the_parser),
                TEST(a_parser_that_fails_is_quoted),
                TEST(the_profile_is_one),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
