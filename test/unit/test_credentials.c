/* Whose credentials go to which host, with real files and with programs as helpers. */
#include "test/unit/image_fixture.h"

#include <stdlib.h>

#include "base/sha256.h"
#include "image/credential_helper.h"
#include "image/credentials.h"
#include "image/secret.h"

#define TEAM_APP "registry.example", "team/app"

static char *auth_files[3]; /* first.json, second.json */
static struct credentials_options options;

static void set_up(void)
{
        auth_files[0] = xstrdup(at("first.json"));
        auth_files[1] = xstrdup(at("second.json"));
        AUTO_FREE char *path = xprintf("relative:%s:/usr/bin:/bin", at("bin"));
        assert_int_equal(mkdir(at("bin"), 0755), 0);
        setenv("PATH", path, 1);
        options = (struct credentials_options){.auth_files = auth_files,
                                               .helper_timeout = 20 * NSEC_PER_SEC};
}

static void tear_down(void)
{
        while (task_count() > 1)
                task_sleep_until(clock_after(NSEC_PER_MSEC));
        free(auth_files[0]);
        free(auth_files[1]);
}

static void play_helper(const char *name, const char *script)
{
        AUTO_FREE char *path = xprintf("%s/bin/docker-credential-%s", fixture_root, name);
        AUTO_FREE char *text = xprintf("#!/bin/sh\nread -r server\n"
                                       "echo \"$1 $server\" >>%s/asked\n%s\n",
                                       fixture_root, script);
        write_file(path, text);
        assert_int_equal(chmod(path, 0755), 0);
}

static unsigned asked(const char *line)
{
        AUTO_BUFFER struct buffer text = BUFFER_INIT;
        AUTO_FREE char *whole = xprintf("%s\n", line);
        unsigned count = 0;
        if (file_read(at("asked"), 1 << 20, &text, NULL) < 0)
                return 0;
        for (const char *found = text.data; (found = strstr(found, whole)); found++)
                count++;
        return count;
}

static struct credentials *make(const struct fetch_credentials *given, const char *namespace_,
                                char *const *helpers)
{
        struct credentials_request request = {
                .given = given,
                .registry = "registry.example",
                .repository = "team/app",
                .namespace_ = namespace_,
                .helpers = helpers,
        };
        return credentials_new(&options, &request);
}

/* The user's name that was found, or "" for nothing. */
static const char *user(struct credentials *credentials, const char *host, const char *repository)
{
        struct fetch_credentials found;
        struct error err;
        if (credentials_find(credentials, host, repository, &found, &err) < 0)
                fail_msg("%s", err.message);
        assert_null(found.server_address);
        return found.username ? found.username : "";
}

#define LOGIN(name) "{\"username\":\"" name "\",\"password\":\"secret\"}"

static void the_first_that_has_something(void)
{
        const struct fetch_credentials given = {.username = "request", .password = "p"};
        const struct fetch_credentials empty = {.username = "", .server_address = ""};
        set_up();
        write_file(auth_files[0], "{\"auths\":{\"mirror.example\":" LOGIN("first") "}}");
        write_file(auth_files[1], "{\"auths\":{\"mirror.example\":" LOGIN(
                                          "second") ",\"registry.example\":" LOGIN("node") "}}");
        AUTO_CREDENTIALS struct credentials *credentials = make(&given, NULL, NULL);
        assert_string_equal(user(credentials, TEAM_APP), "request");
        assert_string_equal(user(credentials, "REGISTRY.example:443", "team/app"), "request");
        /* What the request brought is for its registry alone. */
        assert_string_equal(user(credentials, "mirror.example", "team/app"), "first");
        assert_string_equal(user(credentials, "registry.example:5000", "team/app"), "");
        assert_string_equal(user(credentials, "other.example", "team/app"), "");
        assert_string_equal(credentials_problem(credentials), "");

        AUTO_CREDENTIALS struct credentials *without = make(&empty, NULL, NULL);
        assert_string_equal(user(without, TEAM_APP), "node");
        tear_down();
}

/* What an endpoint's URL puts before the repository is part of the name there. */
static void endpoints_have_names_of_their_own(void)
{
        struct reference reference;
        struct fetch_endpoint endpoints[] = {
                {.url = "https://registry.example"},
                {.url = "https://mirror.example/cache/"},
                {.url = "https://mirror.example/other"},
                {.url = "https://mirror.example/v2/cache", .exact_path = true},
                {.url = "https://mirror.example/v2", .exact_path = true},
                {.url = "http://mirror.example", .repository = "cache/x"},
        };
        static const char *const USERS[] = {"node", "cache", NULL, "cache", "team", "x"};
        set_up();
        assert_int_equal(reference_parse("registry.example/team/app", &reference, NULL), 0);
        write_file(auth_files[0],
                   "{\"auths\":{\"registry.example/team\":" LOGIN(
                           "node") ",\"mirror.example/cache/"
                                   "team/app\":" LOGIN(
                                           "cach"
                                           "e") ",\"mirror.example/team/"
                                                "app\":" LOGIN("team") ",\"mirro"
                                                                       "r."
                                                                       "example/"
                                                                       "cache/"
                                                                       "x\""
                                                                       ":" LOGIN("x") "}}");
        AUTO_CREDENTIALS struct credentials *credentials = make(NULL, NULL, NULL);
        assert_int_equal(credentials_give(credentials, &reference, endpoints, 6, NULL), 0);
        for (int i = 0; i < 6; i++) {
                if (USERS[i])
                        assert_string_equal(endpoints[i].credentials.username, USERS[i]);
                else
                        assert_null(endpoints[i].credentials.username);
        }
        tear_down();
}

static void the_request_says_whom_it_is_for(void)
{
        struct fetch_credentials given = {.username = "request", .password = "p"};
        static const char *const FOR[] = {"registry.example", "https://registry.example",
                                          "https://registry.example:443/v2/"};
        set_up();
        for (size_t i = 0; i < 3; i++) {
                given.server_address = FOR[i];
                AUTO_CREDENTIALS struct credentials *credentials = make(&given, NULL, NULL);
                assert_string_equal(user(credentials, TEAM_APP), "request");
        }
        given.server_address = "https://mirror.example";
        AUTO_CREDENTIALS struct credentials *credentials = make(&given, NULL, NULL);
        assert_string_equal(user(credentials, TEAM_APP), "");
        assert_string_equal(user(credentials, "mirror.example", "team/app"), "request");
        tear_down();
}

static char *namespaced(const char *namespace_)
{
        char digest[SHA256_HEX + 1];
        sha256_hex("registry.example/team/app", strlen("registry.example/team/app"), digest);
        return xprintf("%s/auth/%s-%s.json", fixture_root, namespace_, digest);
}

static void a_namespaced_file_is_used_once(void)
{
        set_up();
        AUTO_FREE char *path = namespaced("team");
        options.namespaced_auth_dir = at("auth");
        assert_int_equal(mkdir(at("auth"), 0700), 0);
        write_file(auth_files[0], "{\"auths\":{\"registry.example\":" LOGIN(
                                          "node") ",\"mirror.example\":" LOGIN("node") "}}");
        write_file(path, "{\"auths\":{\"registry.example\":" LOGIN("team") "}}");

        AUTO_CREDENTIALS struct credentials *none = make(NULL, NULL, NULL);
        assert_string_equal(user(none, TEAM_APP), "node");
        AUTO_CREDENTIALS struct credentials *other = make(NULL, "other", NULL);
        assert_string_equal(user(other, TEAM_APP), "node");
        AUTO_CREDENTIALS struct credentials *outside = make(NULL, "../auth/team", NULL);
        assert_string_equal(user(outside, TEAM_APP), "node");
        assert_true(exists(path));

        AUTO_CREDENTIALS struct credentials *team = make(NULL, "team", NULL);
        assert_false(exists(path));
        assert_string_equal(user(team, TEAM_APP), "team");
        /* It stands in place of the node's files. */
        assert_string_equal(user(team, "mirror.example", "team/app"), "");
        AUTO_FREE char *left = xprintf("test -z \"$(ls -A %s/auth/in-use)\"", fixture_root);
        assert_int_equal(system(left), 0);

        AUTO_CREDENTIALS struct credentials *again = make(NULL, "team", NULL);
        assert_string_equal(user(again, TEAM_APP), "node");
        tear_down();
}

static void a_namespaced_file_that_is_broken(void)
{
        set_up();
        AUTO_FREE char *path = namespaced("team");
        options.namespaced_auth_dir = at("auth");
        assert_int_equal(mkdir(at("auth"), 0700), 0);
        write_file(auth_files[0], "{\"auths\":{\"registry.example\":" LOGIN("node") "}}");
        write_file(path, "{\"auths\":{\"registry.example\":hunter2}}");
        AUTO_CREDENTIALS struct credentials *credentials = make(NULL, "team", NULL);
        assert_string_equal(user(credentials, TEAM_APP), "");
        assert_non_null(strstr(credentials_problem(credentials), "not valid JSON: line 1"));
        assert_null(strstr(credentials_problem(credentials), "hunter2"));
        assert_false(exists(path));
        tear_down();
}

static void a_broken_file_is_passed_over_and_named(void)
{
        set_up();
        write_file(auth_files[0], "{\"auths\": hunter2");
        write_file(auth_files[1], "{\"auths\":{\"registry.example\":" LOGIN(
                                          "second") ",\"bad.example\":{\"auth\":\"hunter2\"}}}");
        AUTO_CREDENTIALS struct credentials *credentials = make(NULL, NULL, NULL);
        assert_string_equal(user(credentials, TEAM_APP), "second");
        assert_non_null(strstr(credentials_problem(credentials), auth_files[0]));
        assert_null(strstr(credentials_problem(credentials), auth_files[1]));
        assert_string_equal(user(credentials, "bad.example", "a"), "");
        assert_non_null(strstr(credentials_problem(credentials), auth_files[1]));
        assert_null(strstr(credentials_problem(credentials), "hunter2"));
        tear_down();
}

static void helpers_are_asked(void)
{
        static char *listed[] = {"listed", CREDENTIALS_AUTH_FILE_MEMBER, NULL};
        struct fetch_credentials found;
        set_up();
        play_helper("one", "echo \"{\\\"ServerURL\\\":\\\"$server\\\","
                           "\\\"Username\\\":\\\"u-$server\\\",\\\"Secret\\\":\\\"s\\\"}\"");
        play_helper("ident", "echo '{\"Username\":\"<token>\",\"Secret\":\"ident\"}'");
        play_helper("listed", "echo 'credentials not found in native keychain'; exit 1");
        write_file(auth_files[0], "{\"credHelpers\":{\"registry.example\":\"one\"},"
                                  "\"credsStore\":\"ident\"}");
        AUTO_CREDENTIALS struct credentials *credentials = make(NULL, NULL, listed);
        assert_string_equal(user(credentials, TEAM_APP), "u-registry.example");
        assert_string_equal(user(credentials, "registry.example", "other"), "u-registry.example");
        /* The same question is asked once. */
        assert_int_equal(asked("get registry.example"), 2);
        assert_int_equal(credentials_find(credentials, "docker.io", "library/a", &found, NULL), 0);
        assert_string_equal(found.identity_token, "ident");
        assert_int_equal(asked("get https://index.docker.io/v1/"), 1);
        assert_int_equal(asked("get docker.io"), 1);
        /* Of an endpoint it is the host that helpers know. */
        assert_string_equal(user(credentials, "https://registry.example/v2/x", "a"),
                            "u-registry.example");
        assert_int_equal(
                credentials_find(credentials, "https://Other.example:443/v2", "a", &found, NULL),
                0);
        assert_string_equal(found.identity_token, "ident");
        assert_int_equal(asked("get other.example"), 2);
        assert_string_equal(credentials_problem(credentials), "");

        /* A list without the auth files leaves them out. */
        static char *alone[] = {"listed", NULL};
        AUTO_CREDENTIALS struct credentials *without = make(NULL, NULL, alone);
        assert_string_equal(user(without, TEAM_APP), "");
        tear_down();
}

static void assert_helper_fails(const char *name, const char *said)
{
        char *list[] = {(char *)(uintptr_t)name, CREDENTIALS_AUTH_FILE_MEMBER, NULL};
        AUTO_CREDENTIALS struct credentials *credentials = make(NULL, NULL, list);
        assert_string_equal(user(credentials, TEAM_APP), "node");
        assert_string_equal(user(credentials, "other.example", "a"), "");
        if (!strstr(credentials_problem(credentials), said))
                fail_msg("\"%s\" lacks \"%s\"", credentials_problem(credentials), said);
        assert_null(strstr(credentials_problem(credentials), "hunter2"));
}

static void helpers_that_fail(void)
{
        set_up();
        write_file(auth_files[0], "{\"auths\":{\"registry.example\":" LOGIN("node") "}}");
        play_helper("fails", "echo 'the vault is sealed'; exit 3");
        play_helper("tells", "echo '{\"Secret\":\"hunter2\"}'; exit 1");
        play_helper("rubbish", "echo hunter2");
        play_helper("flood", "exec cat /dev/zero");
        play_helper("dies", "kill -9 $$");
        assert_helper_fails("fails", "docker-credential-fails get registry.example: exit status 3: "
                                     "the vault is sealed");
        assert_helper_fails("tells", "docker-credential-tells get registry.example: exit status 1");
        assert_helper_fails("rubbish", "its answer is not a JSON object");
        assert_helper_fails("dies", "killed by signal 9");
        assert_helper_fails("absent", "docker-credential-absent is not in the daemon's PATH");
        assert_helper_fails("../bin/fails", "not a name that follows");
        options.helper_timeout = 300 * NSEC_PER_MSEC;
        play_helper("hangs", "sleep 1000");
        assert_helper_fails("hangs", "docker-credential-hangs get registry.example: ");
        assert_helper_fails("flood", "docker-credential-flood get registry.example: ");
        tear_down();
}

static void helpers_get_little_environment(void)
{
        set_up();
        setenv("CRISP_TEST_SECRET", "hunter2", 1);
        setenv("AWS_PROFILE", "node", 1);
        setenv("HTTPS_PROXY_PASSWORD", "hunter2", 1);
        play_helper("env",
                    "u=$(env | grep -c hunter2; echo $AWS_PROFILE; echo $HOME)\n"
                    "echo \"{\\\"Username\\\":\\\"$(echo $u)\\\",\\\"Secret\\\":\\\"\\\"}\"");
        setenv("HOME", "/home/of-daemon", 1);
        static char *list[] = {"env", NULL};
        AUTO_CREDENTIALS struct credentials *credentials = make(NULL, NULL, list);
        assert_string_equal(user(credentials, TEAM_APP), "0 node /home/of-daemon");
        tear_down();
}

static void pulls_that_show_the_same(void)
{
        const struct fetch_credentials joe = {.username = "joe", .password = "1"};
        const struct fetch_credentials other = {.username = "joe", .password = "2"};
        static char *listed[] = {"one", NULL};
        set_up();
        AUTO_FREE char *path = namespaced("team");
        options.namespaced_auth_dir = at("auth");
        assert_int_equal(mkdir(at("auth"), 0700), 0);
        write_file(auth_files[0], "{\"auths\":{\"registry.example\":" LOGIN("node") "}}");
        AUTO_CREDENTIALS struct credentials *first = make(&joe, "team", NULL);
        AUTO_CREDENTIALS struct credentials *second = make(&joe, "other", NULL);
        AUTO_CREDENTIALS struct credentials *third = make(&other, "team", NULL);
        AUTO_CREDENTIALS struct credentials *nobody = make(NULL, NULL, NULL);
        AUTO_CREDENTIALS struct credentials *helped = make(&joe, "team", listed);
        assert_true(credentials_same(first, second));
        assert_false(credentials_same(first, third));
        assert_false(credentials_same(first, nobody));
        assert_false(credentials_same(first, helped));

        write_file(path, "{\"auths\":{\"registry.example\":" LOGIN("a") "}}");
        AUTO_CREDENTIALS struct credentials *team = make(NULL, "team", NULL);
        write_file(path, "{\"auths\":{\"registry.example\":" LOGIN("a") "}}");
        AUTO_CREDENTIALS struct credentials *again = make(NULL, "team", NULL);
        write_file(path, "{\"auths\":{\"registry.example\":" LOGIN("b") "}}");
        AUTO_CREDENTIALS struct credentials *changed = make(NULL, "team", NULL);
        assert_true(credentials_same(team, again));
        assert_false(credentials_same(team, changed));
        assert_false(credentials_same(team, nobody));
        write_file(auth_files[0], "{}");
        AUTO_CREDENTIALS struct credentials *later = make(NULL, NULL, NULL);
        assert_false(credentials_same(later, nobody));
        tear_down();
}

static void cancelled_task(void *argument)
{
        static char *list[] = {"hangs", NULL};
        struct fetch_credentials found = {.username = "untouched"};
        struct error err;
        AUTO_CREDENTIALS struct credentials *credentials = make(NULL, NULL, list);
        task_set_interruptible(true);
        assert_int_equal(credentials_find(credentials, TEAM_APP, &found, &err), -ECANCELED);
        assert_string_equal(found.username, "untouched");
        *(bool *)argument = true;
}

static void a_helper_ends_with_its_pull(void)
{
        bool ended = false;
        set_up();
        play_helper("hangs", "echo $$ >$0.pid; exec sleep 1000");
        struct task *task = task_start("test", cancelled_task, &ended);
        while (!asked("get registry.example"))
                task_sleep_until(clock_after(NSEC_PER_MSEC));
        task_interrupt(task);
        tear_down();
        assert_true(ended);
}

#define TASK_TEST(name)                                                                            \
        static void test_##name(void **state)                                                      \
        {                                                                                          \
                in_task(name);                                                                     \
        }
TASK_TEST(the_first_that_has_something)
TASK_TEST(endpoints_have_names_of_their_own)
TASK_TEST(the_request_says_whom_it_is_for)
TASK_TEST(a_namespaced_file_is_used_once)
TASK_TEST(a_namespaced_file_that_is_broken)
TASK_TEST(a_broken_file_is_passed_over_and_named)
TASK_TEST(helpers_are_asked)
TASK_TEST(helpers_that_fail)
TASK_TEST(helpers_get_little_environment)
TASK_TEST(pulls_that_show_the_same)
TASK_TEST(a_helper_ends_with_its_pull)

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_the_first_that_has_something),
                cmocka_unit_test(test_endpoints_have_names_of_their_own),
                cmocka_unit_test(test_the_request_says_whom_it_is_for),
                cmocka_unit_test(test_a_namespaced_file_is_used_once),
                cmocka_unit_test(test_a_namespaced_file_that_is_broken),
                cmocka_unit_test(test_a_broken_file_is_passed_over_and_named),
                cmocka_unit_test(test_helpers_are_asked),
                cmocka_unit_test(test_helpers_that_fail),
                cmocka_unit_test(test_helpers_get_little_environment),
                cmocka_unit_test(test_pulls_that_show_the_same),
                cmocka_unit_test(test_a_helper_ends_with_its_pull),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
