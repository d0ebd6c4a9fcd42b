/* Pulls, with programs in crisp-image's place that fail, hang, lie and die. */
#include "test/unit/pull_fixture.h"

#include <limits.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "image/adopt.h"
#include "image/fetch/syscalls.h"

/* Each question is remembered for as long as the pull is under way. */

static void crisp_image_asks_without_end(void)
{
        struct error err = {0};
        AUTO_FREE char *id = NULL;
        store = open_store();
        sources = sources_new(&(struct sources_options){0});
        play("i=0\nwhile [ $i -lt 5000 ]; do\n"
             "printf '{\"want\":{\"diff_id\":\"sha256:%064d\",\"digest\":\"" LAYER
             "\",\"size\":1}}\\n' $i\nread -r answer\ni=$((i + 1))\ndone\n" FILL RESULT);
        struct puller *puller = make_puller(1, 0);
        assert_true(pull(puller, "registry.example/app:1", &id, &err) < 0);
        if (!strstr(err.message, "asks about too many layers"))
                fail_msg("%s", err.message);
        puller_free(puller);
        sources_free(sources);
        store_free(store);
}

/* The daemon would never start. */
static void a_pipe_in_place_of_a_record(void)
{
        struct store_usage usage;
        store = open_store();
        sources = sources_new(&(struct sources_options){0});
        struct puller *puller = make_puller(1, 0);
        store_usage(store, &usage);
        AUTO_FREE char *folder = xprintf("%s/staging/piped", usage.directory);
        AUTO_FREE char *pipe = xprintf("%s/fetcher.json", folder);
        assert_int_equal(mkdir(folder, 0700), 0);
        assert_int_equal(mkfifo(pipe, 0600), 0);
        unsigned before = (unsigned)task_count();
        alarm(60); /* ends what hangs */
        puller_adopt(puller);
        alarm(0);
        assert_int_equal(task_count(), before);
        puller_free(puller);
        sources_free(sources);
        store_free(store);
}

static void pulls(void)
{
        store = open_store();
        sources = sources_new(&(struct sources_options){0});
        play(PROGRESS FILL RESULT);
        struct puller *puller = make_puller(0, 0);
        AUTO_FREE char *id = NULL;
        struct error err;
        if (pull(puller, "registry.example/app", &id, &err) < 0)
                fail_msg("%s", err.message);
        assert_string_equal(id, CONFIG);
        const struct image *image = store_find(store, "registry.example/app:latest");
        assert_non_null(image);
        assert_string_equal(image->id, CONFIG);
        assert_string_equal(image->digests[0], "registry.example/app@" INDEX);
        assert_true(exists(at("images/layers/%s/file", &LAYER[7])));

        /* The second time the layer is named as present. */
        play(FILL RESULT_PRESENT);
        AUTO_FREE char *again = NULL;
        if (pull(puller, "registry.example/other:1", &again, &err) < 0)
                fail_msg("%s", err.message);
        AUTO_BUFFER struct buffer requests = BUFFER_INIT;
        assert_int_equal(file_read(at("requests"), 1 << 20, &requests, NULL), 0);
        const char *second = strchr(requests.data, '\n') + 1;
        assert_null(memmem(requests.data, (size_t)(second - requests.data), LAYER, strlen(LAYER)));
        assert_non_null(strstr(second, LAYER));
        assert_int_equal(strv_length(store_find(store, CONFIG)->tags), 2);
        assert_nothing_left();
        puller_free(puller);
        sources_free(sources);
        store_free(store);
}

static void fails(const char *script, enum error_code code, const char *word, const char *text)
{
        store = open_store();
        sources = sources_new(&(struct sources_options){0});
        play(script);
        struct puller *puller = make_puller(0, NSEC_PER_SEC);
        char *id = NULL;
        struct error err;
        int result = pull(puller, "registry.example/app:1", &id, &err);
        assert_true(result < 0);
        assert_null(id);
        assert_int_equal(err.code, code);
        assert_string_equal(err.word, word);
        if (!strstr(err.message, text))
                fail_msg("\"%s\" does not say \"%s\"", err.message, text);
        if (!strstr(err.message, "registry.example/app:1"))
                fail_msg("\"%s\" does not name the image", err.message);
        assert_null(store_find(store, "registry.example/app:1"));
        assert_nothing_left();
        struct pull_counts counts;
        pull_counts(puller, &counts);
        assert_int_equal(counts.failed, 1);
        puller_free(puller);
        sources_free(sources);
        store_free(store);
}

static void an_error_is_told(void)
{
        fails("echo "
              "'{\"error\":{\"code\":2,\"word\":\"RegistryUnavailable\",\"message\":\"registry."
              "example: "
              "503\"}}'\nexit 1",
              ERROR_UNKNOWN, "RegistryUnavailable", "registry.example: 503");
}

static void a_missing_image_is_told(void)
{
        fails("mkdir -p $staging/layers/half\necho x >$staging/layers/half/file\n"
              "echo '{\"error\":{\"code\":5,\"message\":\"manifest unknown\"}}'\nexit 1",
              ERROR_NOT_FOUND, "", "manifest unknown");
}

static void rubbish(void)
{
        fails("echo rubbish; sleep 100", ERROR_INTERNAL, "", "rubbish");
}

static void rubbish_without_end(void)
{
        fails("exec cat /dev/zero", ERROR_INTERNAL, "", "line without end");
}

static char self[PATH_MAX]; /* this program, which can die in crisp-image's place */

/* The first process of a PID namespace cannot be killed from within: only by its own faults. */
static void death(void)
{
        AUTO_FREE char *script = xprintf("echo 'out of everything' >&2\nexec %s trap", self);
        fails(script, ERROR_INTERNAL, "", "was killed by signal 4: out of everything");
}

static void death_by_its_filter(void)
{
        AUTO_FREE char *script = xprintf("echo 'last words' >&2\nexec %s forbidden", self);
        fails(script, ERROR_INTERNAL, "", "a system call that its box does not allow");
}

static void die(const char *how)
{
        if (strcmp(how, "trap") == 0)
                __builtin_trap();
        prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
        if (syscalls_limit(false, NULL) == 0)
                syscall(SYS_ptrace, 0, 0, 0, 0);
        _exit(1);
}

static void bad_status(void)
{
        fails(FILL RESULT "printf 'no newline' >&2\nexit 3", ERROR_INTERNAL, "",
              "status 3: no newline");
}

static void silence(void)
{
        fails("exit 0", ERROR_INTERNAL, "", "without a result: it said nothing");
}

static void half_a_line(void)
{
        fails("printf '{\"result\"'", ERROR_INTERNAL, "", "within a line");
}

static void two_results(void)
{
        fails(FILL RESULT RESULT, ERROR_INTERNAL, "", "after its last word");
}

static void a_lie(void)
{
        fails(RESULT, ERROR_INTERNAL, "", "config.json");
}

static void a_hang(void)
{
        fails(PROGRESS "sleep 100 & sleep 100", ERROR_DEADLINE_EXCEEDED, "",
              "nothing came for 1 s");
}

static void a_flood_of_log(void)
{
        fails("yes flood | head -n 100000 >&2\nexit 1", ERROR_INTERNAL, "", "status 1: flood");
}

static void a_missing_program(void)
{
        store = open_store();
        sources = sources_new(&(struct sources_options){0});
        struct puller *puller = make_puller(0, 0);
        char *id;
        struct error err;
        assert_int_equal(pull(puller, "app", &id, &err), -ENOENT);
        assert_non_null(strstr(err.message, "crisp-image"));
        assert_int_equal(pull(puller, "Not A Name", &id, &err), -EINVAL);
        assert_nothing_left();
        puller_free(puller);
        sources_free(sources);
        store_free(store);
}

/* ---- together ---- */

static void callers_join(void)
{
        store = open_store();
        sources = sources_new(&(struct sources_options){0});
        play(WAIT_FOR_GO FILL RESULT);
        struct puller *puller = make_puller(0, 0);
        struct caller callers[] = {
                {.puller = puller, .reference = "app"},
                {.puller = puller, .reference = "docker.io/library/app:latest"},
                {.puller = puller, .reference = "app", .password = "secret"},
                {.puller = puller, .reference = "app", .password = "secret"},
                {.puller = puller, .reference = "app", .password = "other"},
        };
        for (int i = 0; i < 5; i++)
                call(&callers[i]);
        while (lines_in(at("pids")) < 3)
                task_sleep_until(clock_after(NSEC_PER_MSEC));
        struct pull_progress progress;
        size_t cursor = 0, waiters = 0;
        unsigned seen = 0;
        while (pull_next(puller, &cursor, &progress)) {
                assert_string_equal(progress.reference, "docker.io/library/app:latest");
                assert_string_equal(progress.step, "downloading");
                waiters += progress.waiters;
                seen++;
        }
        assert_int_equal(seen, 3);
        assert_int_equal(waiters, 5);
        write_file(at("go"), "");
        for (int i = 0; i < 5; i++) {
                await_finish(&callers[i]);
                assert_int_equal(callers[i].result, 0);
                assert_string_equal(callers[i].id, CONFIG);
                free(callers[i].id);
        }
        assert_int_equal(lines_in(at("requests")), 3);
        struct pull_counts counts;
        pull_counts(puller, &counts);
        assert_int_equal(counts.started, 3);
        assert_int_equal(counts.joined, 2);
        assert_int_equal(counts.succeeded, 3);
        assert_nothing_left();
        puller_free(puller);
        sources_free(sources);
        store_free(store);
}

/* A zombie of somebody else's has ended. */
static bool is_running(int pid)
{
        AUTO_BUFFER struct buffer stat = BUFFER_INIT;
        AUTO_FREE char *path = xprintf("/proc/%d/stat", pid);
        return file_read(path, 4096, &stat, NULL) == 0 && !strstr(stat.data, ") Z");
}

/* One who gives up does not end the pull that another waits for; the last one does. */
/* What comes from a file is shown to its host; who found something else does not join. */
static void credentials_come_from_files(void)
{
        store = open_store();
        sources = sources_new(&(struct sources_options){0});
        play(WAIT_FOR_GO FILL RESULT);
        auth_files[0] = xstrdup(at("auth.json"));
        struct puller *puller = make_puller(0, 0);
        struct caller callers[] = {
                {.puller = puller, .reference = "app"},
                {.puller = puller, .reference = "app"},
                {.puller = puller, .reference = "app"},
        };
        write_file(auth_files[0],
                   "{\"auths\":{\"docker.io/library/app\":{\"username\":\"first-user\"},"
                   "\"registry.example\":{\"username\":\"other-user\"}}}");
        call(&callers[0]);
        call(&callers[1]);
        while (lines_in(at("pids")) < 1)
                task_sleep_until(clock_after(NSEC_PER_MSEC));
        write_file(auth_files[0], "{\"auths\":{\"docker.io\":{\"username\":\"second-user\"}}}");
        call(&callers[2]);
        while (lines_in(at("pids")) < 2)
                task_sleep_until(clock_after(NSEC_PER_MSEC));
        write_file(at("go"), "");
        for (int i = 0; i < 3; i++) {
                await_finish(&callers[i]);
                assert_int_equal(callers[i].result, 0);
                free(callers[i].id);
        }
        AUTO_BUFFER struct buffer requests = BUFFER_INIT;
        assert_int_equal(file_read(at("requests"), 1 << 20, &requests, NULL), 0);
        assert_int_equal(lines_in(at("requests")), 2);
        assert_non_null(strstr(requests.data, "first-user"));
        assert_non_null(strstr(requests.data, "second-user"));
        assert_null(strstr(requests.data, "other-user"));
        assert_nothing_left();
        puller_free(puller);
        sources_free(sources);
        store_free(store);
        free(auth_files[0]);
        auth_files[0] = NULL;
}

/* A pull that fails says why it had no credentials; one that needs none goes on. */
static void a_broken_auth_file(void)
{
        store = open_store();
        sources = sources_new(&(struct sources_options){0});
        auth_files[0] = xstrdup(at("auth.json"));
        write_file(auth_files[0], "{\"auths\":{\"docker.io\":hunter2}}");
        struct puller *puller = make_puller(0, 0);
        AUTO_FREE char *id = NULL;
        struct error err;
        play("echo '{\"error\":{\"code\":16,\"message\":\"401\"}}'\nexit 1");
        assert_true(pull(puller, "app", &id, &err) < 0);
        assert_int_equal(err.code, ERROR_UNAUTHENTICATED);
        AUTO_FREE char *said =
                xprintf("401 (credentials: %s: not valid JSON: line 1, column 28)", auth_files[0]);
        if (!strstr(err.message, said))
                fail_msg("\"%s\" lacks \"%s\"", err.message, said);
        play(FILL RESULT);
        assert_int_equal(pull(puller, "app", &id, &err), 0);
        assert_nothing_left();
        puller_free(puller);
        sources_free(sources);
        store_free(store);
        free(auth_files[0]);
        auth_files[0] = NULL;
}

static void the_last_to_give_up_ends_it(void)
{
        store = open_store();
        sources = sources_new(&(struct sources_options){0});
        play("{ read -r pid rest </proc/self/stat; echo $pid >>${staging%/images/*}/children; "
             "exec sleep 1000; } >/dev/null &\n" WAIT_FOR_GO FILL RESULT);
        struct puller *puller = make_puller(0, 0);
        struct caller callers[] = {
                {.puller = puller, .reference = "app"},
                {.puller = puller, .reference = "app"},
        };
        call(&callers[0]);
        call(&callers[1]);
        await_file(at("children"));
        task_interrupt(callers[0].task);
        await_finish(&callers[0]);
        assert_int_equal(callers[0].result, -ECANCELED);
        assert_int_equal(callers[0].err.code, ERROR_CANCELLED);
        assert_false(callers[1].finished);
        task_interrupt(callers[1].task);
        await_finish(&callers[1]);
        assert_int_equal(callers[1].result, -ECANCELED);
        size_t cursor = 0;
        struct pull_progress progress;
        assert_false(pull_next(puller, &cursor, &progress));
        assert_nothing_left();
        struct pull_counts counts;
        pull_counts(puller, &counts);
        assert_int_equal(counts.cancelled, 1);

        /* What it started is gone with it. */
        AUTO_BUFFER struct buffer child = BUFFER_INIT;
        assert_int_equal(file_read(at("children"), 4096, &child, NULL), 0);
        while (is_running(atoi(child.data)))
                task_sleep_until(clock_after(NSEC_PER_MSEC));

        /* And the next one starts anew. */
        write_file(at("go"), "");
        struct caller next = {.puller = puller, .reference = "app"};
        call(&next);
        await_finish(&next);
        assert_int_equal(next.result, 0);
        free(next.id);
        assert_nothing_left();
        puller_free(puller);
        sources_free(sources);
        store_free(store);
}

static void pulls_take_turns(void)
{
        store = open_store();
        sources = sources_new(&(struct sources_options){0});
        play("[ ! -e ${staging%/images/*}/busy ] || touch ${staging%/images/*}/overlap\n"
             "touch ${staging%/images/*}/busy\n" WAIT_FOR_GO
             "rm ${staging%/images/*}/busy\n" FILL RESULT);
        struct puller *puller = make_puller(1, 0);
        struct caller callers[] = {
                {.puller = puller, .reference = "app:1"},
                {.puller = puller, .reference = "app:2"},
                {.puller = puller, .reference = "app:3"},
        };
        for (int i = 0; i < 3; i++)
                call(&callers[i]);
        await_file(at("busy"));
        task_interrupt(callers[2].task); /* while it waits for its turn */
        await_finish(&callers[2]);
        assert_int_equal(callers[2].result, -ECANCELED);
        write_file(at("go"), "");
        for (int i = 0; i < 2; i++) {
                await_finish(&callers[i]);
                assert_int_equal(callers[i].result, 0);
                free(callers[i].id);
        }
        assert_false(exists(at("overlap")));
        struct pull_counts counts;
        pull_counts(puller, &counts);
        assert_int_equal(counts.queued, 2);
        assert_nothing_left();
        puller_free(puller);
        sources_free(sources);
        store_free(store);
}

/* Many want different things and all give up: nothing is left behind. */
static void many_are_cancelled(void)
{
        enum { MANY = 30 };
        store = open_store();
        sources = sources_new(&(struct sources_options){0});
        play("sleep 1000");
        struct puller *puller = make_puller(4, 0);
        struct caller *callers = xcalloc(MANY, sizeof(*callers));
        char names[MANY][16];
        for (int i = 0; i < MANY; i++) {
                snprintf(names[i], sizeof(names[i]), "app:%d", i);
                callers[i].puller = puller;
                callers[i].reference = names[i];
                call(&callers[i]);
        }
        await_file(at("pids"));
        for (int i = 0; i < MANY; i++)
                task_interrupt(callers[i].task);
        for (int i = 0; i < MANY; i++) {
                await_finish(&callers[i]);
                assert_int_equal(callers[i].result, -ECANCELED);
        }
        assert_nothing_left();
        free(callers);
        puller_free(puller);
        sources_free(sources);
        store_free(store);
}

#define TASK_TEST(name)                                                                            \
        static void test_##name(void **state)                                                      \
        {                                                                                          \
                (void)state;                                                                       \
                in_task(name);                                                                     \
        }

TASK_TEST(pulls)
TASK_TEST(crisp_image_asks_without_end)
TASK_TEST(a_pipe_in_place_of_a_record)
TASK_TEST(an_error_is_told)
TASK_TEST(a_missing_image_is_told)
TASK_TEST(rubbish)
TASK_TEST(rubbish_without_end)
TASK_TEST(death)
TASK_TEST(death_by_its_filter)
TASK_TEST(bad_status)
TASK_TEST(silence)
TASK_TEST(half_a_line)
TASK_TEST(two_results)
TASK_TEST(a_lie)
TASK_TEST(a_hang)
TASK_TEST(a_flood_of_log)
TASK_TEST(a_missing_program)
TASK_TEST(callers_join)
TASK_TEST(credentials_come_from_files)
TASK_TEST(a_broken_auth_file)
TASK_TEST(the_last_to_give_up_ends_it)
TASK_TEST(pulls_take_turns)
TASK_TEST(many_are_cancelled)

int main(int argc, char **argv)
{
        if (argc == 2)
                die(argv[1]);
        if (readlink("/proc/self/exe", self, sizeof(self) - 1) < 0)
                return 1;
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_pulls),
                cmocka_unit_test(test_crisp_image_asks_without_end),
                cmocka_unit_test(test_a_pipe_in_place_of_a_record),
                cmocka_unit_test(test_an_error_is_told),
                cmocka_unit_test(test_a_missing_image_is_told),
                cmocka_unit_test(test_rubbish),
                cmocka_unit_test(test_rubbish_without_end),
                cmocka_unit_test(test_death),
                cmocka_unit_test(test_death_by_its_filter),
                cmocka_unit_test(test_bad_status),
                cmocka_unit_test(test_silence),
                cmocka_unit_test(test_half_a_line),
                cmocka_unit_test(test_two_results),
                cmocka_unit_test(test_a_lie),
                cmocka_unit_test(test_a_hang),
                cmocka_unit_test(test_a_flood_of_log),
                cmocka_unit_test(test_a_missing_program),
                cmocka_unit_test(test_callers_join),
                cmocka_unit_test(test_credentials_come_from_files),
                cmocka_unit_test(test_a_broken_auth_file),
                cmocka_unit_test(test_the_last_to_give_up_ends_it),
                cmocka_unit_test(test_pulls_take_turns),
                cmocka_unit_test(test_many_are_cancelled),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
