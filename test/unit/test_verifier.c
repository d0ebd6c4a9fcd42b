/* Programs of the operator that let images in, refuse them, hang, flood and cannot be run. */
#include "test/unit/image_fixture.h"

#include "base/clock.h"
#include "image/trust.h"
#include "image/verifier.h"

#define HEX16  "0123456789abcdef"
#define DIGEST "sha256:" HEX16 HEX16 HEX16 HEX16
#define TYPE   "application/vnd.oci.image.index.v1+json"

static void write_program(const char *name, const char *script)
{
        AUTO_FREE char *text = xprintf("#!/bin/sh\n%s\n", script);
        write_file(at("verifiers/%s", name), text);
        assert_int_equal(chmod(at("verifiers/%s", name), 0755), 0);
}

static int check_within(int64_t timeout, struct error *err)
{
        AUTO_FREE char *folder = xstrdup(at("verifiers"));
        struct verifier_options options = {.directory = folder, .timeout = timeout};
        struct verifier_subject subject = {
                .name = "registry.example/app:1", .digest = DIGEST, .media_type = TYPE, .size = 7};
        return verifier_check(&options, &subject, err);
}

static int check(struct error *err)
{
        return check_within(0, err);
}

static void refuses_within(int64_t timeout, const char *said)
{
        struct error err;
        if (check_within(timeout, &err) == 0)
                fail_msg("not refused: %s", said);
        if (!strstr(err.message, said))
                fail_msg("said \"%s\" instead of \"%s\"", err.message, said);
        assert_string_equal(err.word, TRUST_WORD);
}

static void refuses(const char *said)
{
        refuses_within(0, said);
}

static void allows(void)
{
        struct error err;
        if (check(&err) < 0)
                fail_msg("%s", err.message);
}

static void make_folder(void)
{
        assert_int_equal(mkdir(at("verifiers"), 0700), 0);
}

static void a_folder_without_programs_refuses_nothing(void)
{
        struct error err;
        struct verifier_options none = {.directory = ""};
        assert_int_equal(verifier_check(&none, &(struct verifier_subject){0}, &err), 0);
        refuses("No such file");
        make_folder();
        allows();
        write_file(at("verifiers/.hidden"), "no program");
        allows();
}

static void they_are_told_what_containerd_tells(void)
{
        AUTO_FREE char *script =
                xprintf("{ printf '<%%s>' \"$@\"; cat; env; } >%s/told", fixture_root);
        make_folder();
        setenv("OF_THE_DAEMON", "1", 1);
        write_program("one", script);
        allows();
        unsetenv("OF_THE_DAEMON");
        AUTO_BUFFER struct buffer told = BUFFER_INIT;
        assert_int_equal(file_read(at("told"), 1 << 16, &told, NULL), 0);
        assert_non_null(strstr(told.data, "<-name><registry.example/app:1><-digest><" DIGEST
                                          "><-stdin-media-type><application/"
                                          "vnd.oci.descriptor.v1+json>{"));
        assert_non_null(strstr(told.data, "\"mediaType\":\"" TYPE "\""));
        assert_non_null(strstr(told.data, "\"digest\":\"" DIGEST "\""));
        assert_non_null(strstr(told.data, "\"size\":7"));
        assert_null(strstr(told.data, "OF_THE_DAEMON"));
}

static void all_must_let_it_in(void)
{
        AUTO_FREE char *touch = xprintf("touch %s/last", fixture_root);
        make_folder();
        write_program("1-good", "echo fine");
        write_program("2-bad", "printf 'bad\\nsmell\\377'; echo noise >&2; exit 1");
        write_program("3-last", touch);
        refuses("verifiers/2-bad refuses the image (exit status 1): bad smell");
        assert_int_equal(access(at("last"), F_OK), -1);
        write_program("2-bad", "exit 0");
        allows();
        assert_int_equal(access(at("last"), F_OK), 0);
        write_program("2-bad", "exit 7");
        refuses("(exit status 7): it does not say why");
        write_program("2-bad", "kill -9 $$");
        refuses("killed by signal 9");
}

static void who_hangs_refuses(void)
{
        make_folder();
        write_program("hang", "sleep 1000");
        refuses_within(NSEC_PER_SEC, "hang did not come to an end within 1 s");
}

static void who_floods_is_cut(void)
{
        make_folder();
        write_program("flood", "head -c 300000 /dev/zero | tr '\\0' a; "
                               "head -c 300000 /dev/zero | tr '\\0' b >&2; exit 1");
        refuses("aaaaaaaaaa...");
        write_program("flood", "while :; do echo aaaaaaaaaaaaaaaaaaaaaaaaaaaa; done");
        refuses_within(NSEC_PER_SEC, "did not come to an end");
}

static void what_cannot_be_run_refuses(void)
{
        make_folder();
        write_program("1-good", "exit 0");
        write_file(at("verifiers/2-text"), "#!/bin/sh\nexit 0\n");
        refuses("2-text cannot be run");
}

static void too_many_refuse(void)
{
        make_folder();
        for (int i = 0; i <= VERIFIERS_MAX; i++) {
                AUTO_FREE char *name = xprintf("p%d", i);
                write_program(name, "exit 0");
                if (i == VERIFIERS_MAX - 1)
                        allows();
        }
        refuses("more than 10 programs");
}

#define TASK_TEST(name)                                                                            \
        static void test_##name(void **state)                                                      \
        {                                                                                          \
                (void)state;                                                                       \
                in_task(name);                                                                     \
        }

TASK_TEST(a_folder_without_programs_refuses_nothing)
TASK_TEST(they_are_told_what_containerd_tells)
TASK_TEST(all_must_let_it_in)
TASK_TEST(who_hangs_refuses)
TASK_TEST(who_floods_is_cut)
TASK_TEST(what_cannot_be_run_refuses)
TASK_TEST(too_many_refuse)

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_a_folder_without_programs_refuses_nothing),
                cmocka_unit_test(test_they_are_told_what_containerd_tells),
                cmocka_unit_test(test_all_must_let_it_in),
                cmocka_unit_test(test_who_hangs_refuses),
                cmocka_unit_test(test_who_floods_is_cut),
                cmocka_unit_test(test_what_cannot_be_run_refuses),
                cmocka_unit_test(test_too_many_refuse),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
