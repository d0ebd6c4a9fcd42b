#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/file.h"
#include "base/memory.h"
#include "oci/hook_private.h"

/* ---- patterns ---- */

static void patterns(void **state)
{
        static const struct {
                const char *pattern, *text;
                int result;
        } cases[] = {
                {"", "x", 1},
                {"^a.*z$", "abcz", 1},
                {"b", "abc", 1},
                {"^b", "abc", 0},
                {"^\\d+$", "123", 1},
                {"^\\d+$", "12x", 0},
                {"^\\w+\\s\\W$", "ab_1 -", 1},
                {"^[\\d.]+$", "1.2", 1},
                {"^[\\w\\-]+$", "a-b", 1},
                {"^[^\\]]+$", "a]b", 0},
                {"^[\\[\\]]+$", "[]", 1},
                {"^[[:alpha:]]+$", "ab", 1},
                {"^[]a]+$", "]a", 1},
                {"^a\\.b$", "a.b", 1},
                {"^a\\.b$", "axb", 0},
                {"^a\\/b$", "a/b", 1},
                {"^(?:a|b)+?$", "abab", 1},
                {"^x+?$", "", 0},
                {"^x*?y??$", "xx", 1},
                {"(?i)^ABC$", "abc", 1},
                {"\\Aab\\z", "ab", 1},
                {"^a\\tb$", "a\tb", 1},
                {"\\bfoo\\b", "a foo b", 1},
                {"a{2}?$", "aa", 1},
                {"^(a{10}){100}$", "a", 0},
                {"(a{10}){101}", "a", -1},
                {"a{99999999999999999999}", "a", -1},
                {"^((a+)+b*)+$", "aab", 1},
                {"((((((((((a)+)+)+)+)+)+)+)+)+)+", "a", -1},
                {"a++", "a", -1},
                {"a*?+", "a", -1},
                {"a{2}{3}", "a", -1},
                {"^a}+$", "a}}", 1},
                {"^\\)+$", "))", 1},
                {"(", "x", -1},
                {"[a", "x", -1},
                {"a\\", "x", -1},
                {"(?P<n>a)", "a", -1},
                {"(?=a)", "a", -1},
                {"\\pL", "a", -1},
                {"(a)\\1", "aa", -1},
                {"[\\p]", "a", -1},
        };
        (void)state;
        for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
                struct error err = {0};
                int result = hook_pattern_matches(cases[i].pattern, cases[i].text, &err);
                if (result < 0 ? cases[i].result >= 0 : result != cases[i].result)
                        fail_msg("%s on %s: %d %s", cases[i].pattern, cases[i].text, result,
                                 err.message);
                if (result < 0)
                        assert_non_null(strstr(err.message, "pattern \""));
        }
}

/* ---- documents ---- */

static int parse(const char *json, struct arena *arena, struct hook_file *file, struct error *err)
{
        AUTO_JSON json_t *document = NULL;
        if (json_parse(json, strlen(json), "f.json", &document, err) < 0)
                fail_msg("%s: %s", json, err->message);
        return hook_parse(document, "f.json", arena, file, err);
}

static void refused(void **state)
{
        static const struct {
                const char *json, *message;
        } cases[] = {
                {"[]", "an object"},
                {"{\"version\": \"2.0.0\"}", "version 2.0.0"},
                {"{\"version\": \"1.0.0\"}", "no hook"},
                {"{\"version\": \"1.0.0\", \"hook\": {}}", "no absolute path"},
                {"{\"version\": \"1.0.0\", \"hook\": {\"path\": \"x\"}}", "no absolute path"},
                {"{\"version\": \"1.0.0\", \"hook\": {\"path\": \"/x\"}}", "no stages"},
                {"{\"version\": \"1.0.0\", \"hook\": {\"path\": \"/x\"}, \"stages\": [\"y\"]}",
                 "no such stage: y"},
                {"{\"version\": \"1.0.0\", \"hook\": {\"path\": \"/x\", \"timeout\": -1}}",
                 "timeout"},
                {"{\"version\": \"1.0.0\", \"hook\": {\"path\": \"/x\"}, \"when\": "
                 "{\"commands\": [\"(\"]}}",
                 "pattern \"(\""},
                {"{\"version\": \"1.0.0\", \"hook\": {\"path\": \"/x\"}, \"when\": "
                 "{\"annotations\": {\"[\": \"x\"}}}",
                 "pattern \"[\""},
                {"{\"version\": \"1.0.0\", \"hook\": {\"path\": \"/x\"}, \"when\": "
                 "{\"annotations\": {\"x\": 1}}}",
                 "annotation x"},
                {"{\"version\": \"1.0.0\", \"hook\": {\"path\": \"/x\"}, \"when\": "
                 "{\"always\": \"yes\"}}",
                 "always"},
                {"{\"stages\": [\"prestart\"]}", "in hook"},
                {"{\"hook\": \"/x\"}", "no stages"},
                {"{\"hook\": \"/x\", \"stage\": [], \"stages\": []}", "stages"},
        };
        (void)state;
        for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
                AUTO_ARENA struct arena *arena = arena_new();
                struct hook_file file;
                struct error err = {0};
                if (parse(cases[i].json, arena, &file, &err) == 0)
                        fail_msg("%s\nis accepted", cases[i].json);
                if (!strstr(err.message, cases[i].message) ||
                    strncmp(err.message, "f.json: ", 8) != 0)
                        fail_msg("%s\nis refused with: %s", cases[i].json, err.message);
        }
}

#define HOOK "{\"version\": \"1.0.0\", \"hook\": {\"path\": \"/x\"}, \"stages\": [\"prestart\"], "
#define OLD  "{\"hook\": \"/x\", \"stage\": [\"prestart\"], "

static void conditions(void **state)
{
        /* The command is /bin/sh, annotations are team=red and n=1, and there are mounts. */
        static const struct {
                const char *json;
                bool matches;
        } cases[] = {
                {HOOK "\"when\": {}}", false},
                {HOOK "\"when\": {\"always\": true}}", true},
                {HOOK "\"when\": {\"always\": false}}", false},
                {HOOK "\"when\": {\"commands\": [\"bash$\", \"sh$\"]}}", true},
                {HOOK "\"when\": {\"commands\": [\"bash$\"]}}", false},
                {HOOK "\"when\": {\"always\": true, \"commands\": [\"bash$\"]}}", false},
                {HOOK "\"when\": {\"annotations\": {\"^te\": \"^red$\"}}}", true},
                {HOOK "\"when\": {\"annotations\": {\"^te\": \"^red$\", \"n\": \"2\"}}}", false},
                {HOOK "\"when\": {\"annotations\": {\"^te\": \"^red$\", \"n\": \"1\"}}}", true},
                {HOOK "\"when\": {\"annotations\": {\"^x$\": \"\"}}}", false},
                {HOOK "\"when\": {\"hasBindMounts\": true}}", true},
                {HOOK "\"when\": {\"hasBindMounts\": false}}", false},
                {HOOK "\"when\": {\"hasBindMounts\": true, \"commands\": [\"bash\"]}}", false},
                {OLD "\"cmd\": [\"bash\"], \"annotation\": [\"blue\", \"red\"]}", true},
                {OLD "\"cmds\": [\"sh\"], \"annotations\": [\"blue\"]}", true},
                {OLD "\"cmds\": [\"bash\"], \"hasbindmounts\": true}", true},
                {OLD "\"cmds\": [\"bash\"]}", false},
        };
        static const struct spec_pair annotations[] = {{"team", "red"}, {"n", "1"}};
        struct hook_question question = {.command = "/bin/sh",
                                         .annotations = annotations,
                                         .annotation_count = 2,
                                         .has_bind_mounts = true};
        (void)state;
        for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
                AUTO_ARENA struct arena *arena = arena_new();
                struct hook_file file;
                struct error err;
                if (parse(cases[i].json, arena, &file, &err) < 0)
                        fail_msg("%s: %s", cases[i].json, err.message);
                if (hook_matches(&file, &question) != cases[i].matches)
                        fail_msg("%s", cases[i].json);
        }
}

static void the_old_form(void **state)
{
        AUTO_ARENA struct arena *arena = arena_new();
        struct hook_file file;
        struct error err;
        (void)state;
        assert_int_equal(parse("{\"version\": \"0.1.0\", \"hook\": \"/x\", \"arguments\": [\"a\"], "
                               "\"stages\": [\"poststop\"]}",
                               arena, &file, &err),
                         0);
        assert_string_equal(file.hook.path, "/x");
        assert_string_equal(file.hook.args[0], "/x");
        assert_string_equal(file.hook.args[1], "a");
        assert_null(file.hook.args[2]);
        assert_true(file.stages[SPEC_HOOK_POSTSTOP] && !file.stages[SPEC_HOOK_PRESTART]);
}

/* ---- folders ---- */

static char *folder;

static int begin(void **state)
{
        (void)state;
        folder = xstrdup("/tmp/test_hook.XXXXXX");
        return mkdtemp(folder) ? 0 : -1;
}

static int end(void **state)
{
        (void)state;
        int result = file_remove_tree(folder, NULL);
        free(folder);
        return result;
}

static void write_hook(const char *name, const char *path)
{
        AUTO_FREE char *file = xprintf("%s/%s", folder, name);
        AUTO_FREE char *parent = xstrndup(file, (size_t)(strrchr(file, '/') - file));
        AUTO_FREE char *text = xprintf("{\"version\": \"1.0.0\", \"hook\": {\"path\": \"%s\"}, "
                                       "\"when\": {\"always\": true}, \"stages\": "
                                       "[\"poststop\", \"prestart\"]}",
                                       path);
        assert_int_equal(file_make_directories(parent, 0755, NULL), 0);
        assert_int_equal(file_replace_volatile(file, text, strlen(text), 0644, NULL), 0);
}

static void names_give_the_order_and_later_folders_override(void **state)
{
        AUTO_ARENA struct arena *arena = arena_new();
        AUTO_FREE char *low = xprintf("%s/low", folder), *high = xprintf("%s/high", folder);
        AUTO_FREE char *gone = xprintf("%s/gone", folder);
        char *folders[] = {low, gone, high, NULL};
        struct spec_options options = {0};
        struct hook_question question = {.command = "x"};
        const char *complaints;
        (void)state;
        write_hook("low/b.json", "/bin/false");
        write_hook("low/A.json", "/bin/ls");
        write_hook("low/c.txt", "/bin/rm");
        write_hook("high/b.json", "/bin/true");
        write_hook("high/gone.json", "/nowhere");
        hook_select(folders, &question, arena, &options, &complaints);
        assert_int_equal(options.hook_count, 4);
        assert_string_equal(options.hooks[0].path, "/bin/ls");
        assert_int_equal(options.hooks[0].stage, SPEC_HOOK_PRESTART);
        assert_int_equal(options.hooks[1].stage, SPEC_HOOK_POSTSTOP);
        assert_string_equal(options.hooks[2].path, "/bin/true");
        assert_non_null(strstr(complaints, "high/gone.json: hook /nowhere"));
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(patterns),
                cmocka_unit_test(refused),
                cmocka_unit_test(conditions),
                cmocka_unit_test(the_old_form),
                cmocka_unit_test_setup_teardown(names_give_the_order_and_later_folders_override,
                                                begin, end),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
