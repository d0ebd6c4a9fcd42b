/* auth.json and Docker's config.json: what they have for which registry. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/memory.h"
#include "image/auth_file.h"
#include "image/credential_helper.h"
#include "image/secret.h"

#define USER_PASS "dXNlcjpwYXNz" /* user:pass */

static struct auth_file *parse(const char *text)
{
        struct auth_file *file = NULL;
        struct error err;
        if (auth_file_parse(text, strlen(text), "auth.json", &file, &err) < 0)
                fail_msg("%s", err.message);
        return file;
}

static struct auth_file_answer find(const struct auth_file *file, const char *host,
                                    const char *repository)
{
        struct auth_file_answer answer;
        struct error err;
        if (auth_file_find(file, host, repository, &answer, &err) < 0)
                fail_msg("%s", err.message);
        return answer;
}

static void assert_refused(const char *text, const char *said)
{
        struct auth_file *file = NULL;
        struct error err;
        assert_true(auth_file_parse(text, strlen(text), "auth.json", &file, &err) < 0);
        assert_null(file);
        assert_int_equal(err.code, ERROR_INVALID_ARGUMENT);
        if (strncmp(err.message, "auth.json: ", 11) != 0 || !strstr(err.message, said))
                fail_msg("\"%s\" lacks \"%s\"", err.message, said);
        assert_null(strstr(err.message, "hunter2"));
}

static void the_longest_path_wins(void **state)
{
        AUTO_AUTH_FILE struct auth_file *file =
                parse("{\"auths\":{\"registry.example\":{\"username\":\"all\",\"password\":\"1\"},"
                      "\"registry.example/team\":{\"username\":\"team\",\"password\":\"2\"},"
                      "\"registry.example/team/app\":{\"username\":\"app\",\"password\":\"3\"},"
                      "\"registry.example:5000\":{\"username\":\"port\",\"password\":\"4\"},"
                      "\"registry.example/team/empty\":{}}}");
        const struct {
                const char *host, *repository, *username;
        } CASES[] = {
                {"registry.example", "team/app", "app"},
                {"registry.example", "team/app/more", "app"},
                {"registry.example", "team/apple", "team"},
                {"registry.example", "team/empty", "team"},
                {"registry.example", "other", "all"},
                {"Registry.Example:443", "other", "all"},
                {"registry.example:5000", "team/app", "port"},
                {"registry.example:5001", "team/app", NULL},
                {"example", "team/app", NULL},
                {"registry.example.org", "team/app", NULL},
        };
        for (size_t i = 0; i < sizeof(CASES) / sizeof(CASES[0]); i++) {
                struct auth_file_answer answer = find(file, CASES[i].host, CASES[i].repository);
                if (CASES[i].username)
                        assert_string_equal(answer.credentials.username, CASES[i].username);
                else
                        assert_true(secret_is_empty(&answer.credentials));
                assert_null(answer.helper);
        }
}

static void docker_hub_has_many_names(void **state)
{
        static const char *const KEYS[] = {
                "https://index.docker.io/v1/",
                "index.docker.io/v1/",
                "index.docker.io",
                "docker.io",
                "registry-1.docker.io",
                "https://registry-1.docker.io/v2/",
                "http://Docker.IO",
        };
        static const char *const HOSTS[] = {"docker.io", "index.docker.io", "registry-1.docker.io",
                                            "registry-1.docker.io:443"};
        for (size_t i = 0; i < sizeof(KEYS) / sizeof(KEYS[0]); i++) {
                AUTO_FREE char *text =
                        xprintf("{\"auths\":{\"%s\":{\"auth\":\"" USER_PASS "\"}}}", KEYS[i]);
                AUTO_AUTH_FILE struct auth_file *file = parse(text);
                for (size_t j = 0; j < sizeof(HOSTS) / sizeof(HOSTS[0]); j++)
                        assert_string_equal(
                                find(file, HOSTS[j], "library/busybox").credentials.auth,
                                USER_PASS);
                struct auth_file_answer other = find(file, "quay.io", "library/busybox");
                assert_true(secret_is_empty(&other.credentials));
        }
}

static void all_forms(void **state)
{
        AUTO_AUTH_FILE struct auth_file *file =
                parse("{\"auths\":{\"a\":{\"auth\":\"" USER_PASS "\",\"username\":\"x\","
                      "\"email\":\"me@example\"},"
                      "\"b\":{\"auth\":\"\",\"username\":\"joe\",\"password\":\"secret\"},"
                      "\"c\":{\"auth\":\"MDA6\",\"identitytoken\":\"ident\"},"
                      "\"d\":{\"registrytoken\":\"bearer\"}},"
                      "\"HttpHeaders\":{\"User-Agent\":\"x\"},\"detachKeys\":\"ctrl-e\"}");
        struct fetch_credentials found = find(file, "a", "x").credentials;
        assert_string_equal(found.auth, USER_PASS);
        assert_null(found.username);
        found = find(file, "b", "x").credentials;
        assert_null(found.auth);
        assert_string_equal(found.username, "joe");
        assert_string_equal(found.password, "secret");
        found = find(file, "c", "x").credentials;
        assert_string_equal(found.identity_token, "ident");
        found = find(file, "d", "x").credentials;
        assert_string_equal(found.registry_token, "bearer");
}

static void helpers(void **state)
{
        AUTO_AUTH_FILE struct auth_file *file =
                parse("{\"auths\":{\"one\":{\"auth\":\"" USER_PASS "\"},"
                      "\"off\":{\"auth\":\"" USER_PASS "\"},"
                      "\"https://index.docker.io/v1/\":{}},"
                      "\"credHelpers\":{\"ecr.example\":\"ecr-login\",\"one\":\"better\","
                      "\"off\":\"\",\"off2\":\"\"},\"credsStore\":\"pass\"}");
        struct auth_file_answer answer = find(file, "ecr.example", "a");
        assert_string_equal(answer.helper, "ecr-login");
        assert_string_equal(answer.server, "ecr.example");
        /* Who has a helper has no use for what stands in auths. */
        answer = find(file, "one", "a");
        assert_string_equal(answer.helper, "better");
        assert_true(secret_is_empty(&answer.credentials));
        answer = find(file, "registry-1.docker.io", "library/busybox");
        assert_string_equal(answer.helper, "pass");
        assert_string_equal(answer.server, "https://index.docker.io/v1/");
        answer = find(file, "other:5000", "a");
        assert_string_equal(answer.helper, "pass");
        assert_string_equal(answer.server, "other:5000");
        answer = find(file, "off", "a");
        assert_null(answer.helper);
        assert_string_equal(answer.credentials.auth, USER_PASS);
        assert_null(find(file, "off2", "a").helper);
}

static void broken_files_say_where(void **state)
{
        assert_refused("", "not valid JSON");
        assert_refused("{\"auths\":{\"a\":{\"password\":\"hunter2}}}", "line 1");
        assert_refused("{\n\"auths\":{\n\"a\":{\"password\":hunter2}}}", "line 3, column");
        assert_refused("{\"a\":1,\"a\":2}", "twice");
        assert_refused("[]", "expected an object");
        assert_refused("\"hunter2\"", "not valid JSON");
        assert_refused("{\"auths\":[]}", "auths: expected an object");
        assert_refused("{\"auths\":{\"a\":\"hunter2\"}}", "auths: \"a\": expected an object");
        assert_refused("{\"auths\":{\"a\":{\"auth\":7}}}", "auths: \"a\": auth: expected");
        assert_refused("{\"credHelpers\":{\"a\":7}}", "credHelpers: a: expected");
        assert_refused("{\"credsStore\":{}}", "credsStore: expected");
        AUTO_BUFFER struct buffer deep = BUFFER_INIT;
        for (int i = 0; i < 100; i++)
                buffer_add_text(&deep, "{\"a\":");
        buffer_add_text(&deep, "1");
        for (int i = 0; i < 100; i++)
                buffer_add_text(&deep, "}");
        assert_refused(deep.data, "nested too deep");
}

static void bounds(void **state)
{
        AUTO_BUFFER struct buffer text = BUFFER_INIT;
        buffer_add_text(&text, "{\"auths\":{");
        for (int i = 0; i <= AUTH_FILE_ENTRIES_MAX; i++)
                buffer_printf(&text, "%s\"h%d\":{}", i ? "," : "", i);
        buffer_add_text(&text, "}}");
        assert_refused(text.data, "more than 4096 entries");

        AUTO_FREE char *long_text = xcalloc(1, AUTH_FILE_TEXT_MAX + 2);
        memset(long_text, 'a', AUTH_FILE_TEXT_MAX + 1);
        AUTO_FREE char *file = xprintf("{\"auths\":{\"a\":{\"password\":\"%s\"}}}", long_text);
        assert_refused(file, "password: more than 65536 bytes");
}

static void an_entry_that_is_no_login_fails_its_own_registry(void **state)
{
        static const char *const BAD[] = {"hunter2", "aHVudGVyMg==", "aHVudGVyMg=", "====", "a:b="};
        for (size_t i = 0; i < sizeof(BAD) / sizeof(BAD[0]); i++) {
                AUTO_FREE char *text = xprintf(
                        "{\"auths\":{\"a\":{\"auth\":\"%s\"},\"b\":{\"auth\":\"" USER_PASS "\"}}}",
                        BAD[i]);
                AUTO_AUTH_FILE struct auth_file *file = parse(text);
                struct auth_file_answer answer;
                struct error err;
                assert_true(auth_file_find(file, "a", "x", &answer, &err) < 0);
                assert_string_equal(err.message, "auth.json: auths: \"a\": auth is not base64 of "
                                                 "username:password");
                assert_string_equal(find(file, "b", "x").credentials.auth, USER_PASS);
        }
        /* The colon at each place of the four digits, and at the end. */
        static const char *const GOOD[] = {"OmFi", "YTpi", "YWI6", "YWJjOg==", "YWJjZDo=", "Og=="};
        for (size_t i = 0; i < sizeof(GOOD) / sizeof(GOOD[0]); i++) {
                AUTO_FREE char *text = xprintf("{\"auths\":{\"a\":{\"auth\":\"%s\"}}}", GOOD[i]);
                AUTO_AUTH_FILE struct auth_file *file = parse(text);
                assert_string_equal(find(file, "a", "x").credentials.auth, GOOD[i]);
        }
}

static void files_on_disk(void **state)
{
        char folder[] = "/tmp/crisp-auth-XXXXXX";
        struct auth_file *file = NULL;
        struct error err;
        assert_non_null(mkdtemp(folder));
        AUTO_FREE char *path = xprintf("%s/auth.json", folder);

        assert_int_equal(auth_file_read(path, &file, &err), -ENOENT);
        assert_int_equal(file_replace_volatile(path, "{}", 2, 0600, NULL), 0);
        assert_int_equal(auth_file_read(path, &file, &err), 0);
        auth_file_free(file);
        file = NULL;
        assert_int_equal(file_replace_volatile(path, "{", 1, 0600, NULL), 0);
        assert_true(auth_file_read(path, &file, &err) < 0);
        assert_non_null(strstr(err.message, path));
        assert_int_equal(truncate(path, AUTH_FILE_MAX + 1), 0);
        assert_true(auth_file_read(path, &file, &err) < 0);
        assert_non_null(strstr(err.message, "more than 1048576 bytes"));
        /* Nobody writes into the pipe: it is not waited for. */
        assert_int_equal(unlink(path), 0);
        assert_int_equal(mkfifo(path, 0600), 0);
        assert_true(auth_file_read(path, &file, &err) < 0);
        assert_non_null(strstr(err.message, "not a file"));
        assert_int_equal(file_remove_tree(folder, NULL), 0);
}

/* ---- what a helper says ---- */

static void answers_of_helpers(void **state)
{
        struct fetch_credentials found = {0};
        struct error err;
        static const char login[] =
                "{\"ServerURL\":\"x\",\"Username\":\"joe\",\"Secret\":\"hunter2\"}\n";
        assert_int_equal(credential_helper_read(login, strlen(login), &found, &err), 0);
        assert_string_equal(found.username, "joe");
        assert_string_equal(found.password, "hunter2");
        secret_wipe(&found);

        static const char token[] = "{\"Username\":\"<token>\",\"Secret\":\"ident\"}";
        assert_int_equal(credential_helper_read(token, strlen(token), &found, &err), 0);
        assert_null(found.username);
        assert_string_equal(found.identity_token, "ident");
        secret_wipe(&found);

        static const char nobody[] = "{\"Username\":\"\",\"Secret\":\"\"}";
        assert_int_equal(credential_helper_read(nobody, strlen(nobody), &found, &err), 0);
        assert_true(secret_is_empty(&found));
        secret_wipe(&found);

        static const char *const BAD[] = {"", "hunter2", "[\"hunter2\"]",
                                          "{\"Username\":\"joe\",\"Secret\":hunter2}",
                                          "{\"Username\":7,\"Secret\":\"hunter2\"}"};
        for (size_t i = 0; i < sizeof(BAD) / sizeof(BAD[0]); i++) {
                assert_true(credential_helper_read(BAD[i], strlen(BAD[i]), &found, &err) < 0);
                assert_null(strstr(err.message, "hunter2"));
                assert_non_null(strstr(err.message, "its answer"));
        }
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(the_longest_path_wins),
                cmocka_unit_test(docker_hub_has_many_names),
                cmocka_unit_test(all_forms),
                cmocka_unit_test(helpers),
                cmocka_unit_test(broken_files_say_where),
                cmocka_unit_test(bounds),
                cmocka_unit_test(an_entry_that_is_no_login_fails_its_own_registry),
                cmocka_unit_test(files_on_disk),
                cmocka_unit_test(answers_of_helpers),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
