/* What the command line shows and how it reads its arguments. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "api/crisp/v1/crisp.pb-c.h"
#include "base/memory.h"
#include "cli/authfile.h"
#include "cli/columns.h"
#include "cli/cli.h"
#include "cli/progress.h"
#include "cli/text.h"
#include "cri/metric_text.h"

/* ---- values ---- */

static void sizes_have_three_digits(void **state)
{
        static const struct {
                uint64_t bytes;
                const char *text;
        } cases[] = {
                {0, "0 B"},
                {999, "999 B"},
                {1000, "1.00 kB"},
                {9994, "9.99 kB"},
                {9996, "10.0 kB"},
                {99949, "99.9 kB"},
                {99951, "100 kB"},
                {999499, "999 kB"},
                {999500, "1.00 MB"},
                {243000000, "243 MB"},
                {UINT64_MAX, "18.4 EB"},
        };
        char text[TEXT_VALUE_MAX];

        for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
                assert_string_equal(text_size(text, cases[i].bytes), cases[i].text);
}

static void spans_have_one_unit(void **state)
{
        static const struct {
                int64_t seconds;
                const char *text;
        } cases[] = {
                {-5, "0 s"},      {0, "0 s"},        {119, "119 s"},
                {120, "2 min"},   {7199, "119 min"}, {7200, "2 h"},
                {172799, "47 h"}, {172800, "2 d"},   {INT64_MAX / NSEC_PER_SEC, "106751 d"},
        };
        char text[TEXT_VALUE_MAX];

        for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
                assert_string_equal(text_span(text, cases[i].seconds * NSEC_PER_SEC),
                                    cases[i].text);
}

static void short_ids_are_digits(void **state)
{
        char text[TEXT_VALUE_MAX];

        assert_string_equal(text_short(text, "sha256:0123456789abcdef"), "0123456789ab");
        assert_string_equal(text_short(text, "0123456789abcdef"), "0123456789ab");
        assert_string_equal(text_short(text, "sha256:01"), "01");
        assert_string_equal(text_short(text, ""), "");
}

static void terminals_are_told_nothing(void **state)
{
        AUTO_BUFFER struct buffer out = BUFFER_INIT;

        text_clean(&out, "a\x1b[2Jb\r\nc\x7f\xc2\x9b"
                         "dö\xe2\x82\xac");
        assert_string_equal(out.data, "a\\x1b[2Jb\\x0d\\x0ac\\x7f\\x9bdö\xe2\x82\xac");
}

static void widths_are_characters(void **state)
{
        assert_int_equal(text_width("aö\xe2\x82\xac"), 3);
        assert_int_equal(text_fit("aö\xe2\x82\xac", 2), 3);
        assert_int_equal(text_fit("aö\xe2\x82\xac", 3), 6);
        assert_int_equal(text_fit("aö\xe2\x82\xac", 9), 6);
        assert_int_equal(text_fit("a", 0), 0);
}

/* ---- tables ---- */

static const char *const headings[] = {"A", "LONG", "LAST", NULL};

static char *table(size_t width)
{
        static const char *const cells[] = {"one", "ö", "the last one is long", "2", "", NULL};
        AUTO_COLUMNS struct columns *columns = columns_new(headings);
        struct buffer out = BUFFER_INIT;

        for (size_t i = 0; i < sizeof cells / sizeof *cells; i++)
                columns_add(columns, cells[i]);
        columns_write(columns, width, &out);
        return buffer_take(&out);
}

static void columns_are_as_wide_as_their_widest_cell(void **state)
{
        static const char whole[] = "A    LONG  LAST\n"
                                    "one  ö     the last one is long\n"
                                    "2    -     -\n";
        AUTO_FREE char *any = table(0);
        AUTO_FREE char *fits = table(31);

        assert_string_equal(any, whole);
        assert_string_equal(fits, whole);
}

static void the_last_column_gives_way(void **state)
{
        AUTO_FREE char *cut = table(30);
        AUTO_FREE char *narrow = table(5);

        assert_string_equal(cut, "A    LONG  LAST\n"
                                 "one  ö     the last one is ...\n"
                                 "2    -     -\n");
        assert_non_null(strstr(narrow, "one  ö     the last ...\n"));
}

static void an_empty_table_has_headings(void **state)
{
        AUTO_COLUMNS struct columns *columns = columns_new(headings);
        AUTO_BUFFER struct buffer out = BUFFER_INIT;

        columns_write(columns, 80, &out);
        assert_string_equal(out.data, "A  LONG  LAST\n");
}

static void cells_stay_in_their_line(void **state)
{
        AUTO_COLUMNS struct columns *columns = columns_new(headings);
        AUTO_BUFFER struct buffer out = BUFFER_INIT;

        columns_add(columns, "a\nb");
        columns_add(columns, "c");
        columns_add(columns, "d");
        columns_write(columns, 80, &out);
        assert_string_equal(out.data, "A       LONG  LAST\na\\x0ab  c     d\n");
}

/* ---- bars ---- */

static char *line(uint64_t bytes, uint64_t total, const char *note, bool done, size_t width)
{
        struct progress_bar bar = {"label", bytes, total, note, done};
        struct buffer out = BUFFER_INIT;

        progress_line(&out, &bar, width);
        return buffer_take(&out);
}

static void expect_line(char *got, const char *wanted)
{
        assert_string_equal(got, wanted);
        free(got);
}

static void bars_grow(void **state)
{
        expect_line(line(0, 1000, NULL, false, 40), "label  [          ]  0 B / 1.00 kB");
        expect_line(line(500, 1000, NULL, false, 40), "label  [=====>    ]  500 B / 1.00 kB");
        expect_line(line(999, 1000, NULL, false, 40), "label  [=========>]  999 B / 1.00 kB");
        expect_line(line(1000, 1000, "unpacking", false, 40), "label  [==========]  unpacking");
        expect_line(line(1000, 1000, NULL, true, 40), "label  [==========]  1.00 kB");
        expect_line(line(0, 0, NULL, true, 40), "label  [==========]  0 B");
        expect_line(line(0, 1000, "waiting", false, 40), "label  [          ]  waiting");
        /* more than was promised, and a total that nobody knows */
        expect_line(line(3000, 1000, NULL, false, 40), "label  [==========]  3.00 kB / 1.00 kB");
        expect_line(line(3000, 0, NULL, false, 40), "label  [          ]  3.00 kB");
}

static void bars_fit(void **state)
{
        for (size_t width = 0; width < 200; width++) {
                AUTO_FREE char *text = line(500, 1000, NULL, false, width);
                assert_true(text_width(text) <= width);
        }
        expect_line(line(500, 1000, NULL, false, 30), "label  500 B / 1.00 kB");
}

#define UP2 "\x1b[2A"
#define EOL "\x1b[K\n"
#define EOS "\x1b[J"

static void drawings_replace_each_other(void **state)
{
        struct progress_bar bar = {"a", 5, 0, NULL, false};
        AUTO_BUFFER struct buffer out = BUFFER_INIT;
        size_t drawn = 0;

        progress_draw(&out, "title", &bar, 1, 20, 10, &drawn);
        assert_string_equal(out.data, "title" EOL "a  5 B" EOL EOS);
        assert_int_equal(drawn, 2);
        out.length = 0;
        progress_draw(&out, "a title that is too long", &bar, 0, 20, 10, &drawn);
        assert_string_equal(out.data, UP2 "a title that is too" EOL EOS);
        assert_int_equal(drawn, 1);
}

static void a_drawing_is_taken_away_once(void **state)
{
        AUTO_BUFFER struct buffer out = BUFFER_INIT;
        size_t drawn = 2;

        progress_erase(&out, &drawn);
        progress_erase(&out, &drawn);
        assert_string_equal(out.data, UP2 EOS);
        assert_int_equal(drawn, 0);
}

static void what_is_done_gives_way(void **state)
{
        struct progress_bar bars[] = {
                {"a", 1, 1, NULL, true},  {"b", 1, 0, NULL, false}, {"c", 1, 1, NULL, true},
                {"d", 1, 0, NULL, false}, {"e", 1, 0, NULL, false},
        };
        AUTO_BUFFER struct buffer out = BUFFER_INIT;
        size_t drawn = 0;

        progress_draw(&out, "t", bars, 5, 20, 6, &drawn);
        assert_string_equal(out.data,
                            "t" EOL "b  1 B" EOL "d  1 B" EOL "e  1 B" EOL "(2 more)" EOL EOS);
        assert_int_equal(drawn, 5);
        out.length = drawn = 0;
        progress_draw(&out, "t", bars, 5, 20, 5, &drawn);
        assert_string_equal(out.data, "t" EOL "b  1 B" EOL "d  1 B" EOL "(3 more)" EOL EOS);
        for (size_t height = 0; height < 10; height++) {
                drawn = 0;
                progress_draw(&out, "t", bars, 5, 20, height, &drawn);
                assert_true(drawn <= (height > 3 ? height - 1 : 3));
        }
}

/* ---- options ---- */

static const char *value;
static bool flag;

static int read_options(const char *a, const char *b, const char *c, const char **words)
{
        static const struct option options[] = {
                {.name = "--file", .needs = "a file", .value = &value},
                {.name = "--quiet", .letter = "-q", .flag = &flag},
                {0},
        };
        char *arguments[] = {(char *)a, (char *)b, (char *)c, NULL};

        value = NULL;
        flag = false;
        return options_read(arguments, options, words);
}

static void options_stand_anywhere(void **state)
{
        const char *words[4];

        assert_int_equal(read_options("one", "--file", "x", words), 0);
        assert_string_equal(words[0], "one");
        assert_null(words[1]);
        assert_string_equal(value, "x");
        assert_int_equal(read_options("--file=--quiet", "-q", "-", words), 0);
        assert_string_equal(value, "--quiet");
        assert_true(flag);
        assert_string_equal(words[0], "-");
        assert_int_equal(read_options("--", "--quiet", "--", words), 0);
        assert_false(flag);
        assert_string_equal(words[0], "--quiet");
        assert_string_equal(words[1], "--");
        assert_null(words[2]);
}

static void wrong_options_are_refused(void **state)
{
        static const char *const wrong[][3] = {
                {"--file"},
                {"--file="},
                {"--quiet=1"},
                {"--fil", "x"},
                {"--files"},
                {"-x"},
                {"--file", ""},
                {"--file=a", "--file=b"},
                {"--quiet", "--quie"},
        };
        const char *words[4];

        for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
                assert_int_equal(read_options(wrong[i][0], wrong[i][1], wrong[i][2], words),
                                 OPTIONS_EXIT_USAGE);
}

/* ---- JSON ---- */

static void messages_are_json(void **state)
{
        Crisp__V1__PullLayer layer = CRISP__V1__PULL_LAYER__INIT;
        Crisp__V1__PullLayer *layers[] = {&layer, &layer};
        Crisp__V1__Pull pull = CRISP__V1__PULL__INIT;
        AUTO_BUFFER struct buffer out = BUFFER_INIT;

        layer.digest = "sha256:1";
        layer.total = UINT64_C(1) << 60;
        layer.state = CRISP__V1__PULL_LAYER_STATE__PULL_LAYER_DONE;
        pull.started_at = 7;
        pull.layers = layers;
        pull.n_layers = 1;
        cli_json(&pull.base, &out);
        assert_string_equal(out.data, "{\n"
                                      "  \"reference\": \"\",\n"
                                      "  \"startedAt\": 7,\n"
                                      "  \"step\": \"\",\n"
                                      "  \"stepSince\": 0,\n"
                                      "  \"waiting\": 0,\n"
                                      "  \"layers\": [\n"
                                      "    {\n"
                                      "      \"digest\": \"sha256:1\",\n"
                                      "      \"bytes\": 0,\n"
                                      "      \"total\": 1152921504606846976,\n"
                                      "      \"state\": \"PULL_LAYER_DONE\"\n"
                                      "    }\n"
                                      "  ]\n"
                                      "}\n");
}

/* ---- passwords ---- */

static char auth_path[] = "/tmp/crisp-test-auth-XXXXXX";

static const char *auth_of(const char *text, const char *reference)
{
        static char found[64];
        struct authfile_entry entry = {0};
        struct error err = {0};
        FILE *file = fopen(auth_path, "w");

        assert_non_null(file);
        fputs(text, file);
        fclose(file);
        if (authfile_find(auth_path, reference, &entry, &err) < 0)
                return error_code_name(err.code);
        snprintf(found, sizeof found, "%s%s%s", entry.auth ? entry.auth : "",
                 entry.identity_token ? entry.identity_token : "",
                 entry.registry_token ? entry.registry_token : "");
        free(entry.auth);
        free(entry.identity_token);
        free(entry.registry_token);
        return found;
}

static void scopes_leave_out_what_is_no_name(void **state)
{
        static const char *const cases[][2] = {
                {"busybox", "docker.io/library/busybox"},
                {"busybox:1", "docker.io/library/busybox"},
                {"me/busybox:1", "docker.io/me/busybox"},
                {"localhost/a", "localhost/a"},
                {"host:5000/a/b:1", "host:5000/a/b"},
                {"host.example/a@sha256:00", "host.example/a"},
                {"host.example/a:1@sha256:00", "host.example/a"},
        };

        for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
                AUTO_FREE char *scope = authfile_scope(cases[i][0]);
                assert_string_equal(scope, cases[i][1]);
        }
}

static void the_longest_name_has_the_password(void **state)
{
        static const char auths[] =
                "{\"auths\": {\"host.example\": {\"auth\": \"host\"},"
                "\"host.example/a/b\": {\"auth\": \"b\"}, \"host.example/a\": {\"auth\": \"a\"},"
                "\"https://index.docker.io/v1/\": {\"auth\": \"hub\"},"
                "\"https://old.example/v2/\": {\"identitytoken\": \"token\"}, \"more\": {}}}";
        int fd = mkstemp(auth_path);

        close(fd);
        assert_string_equal(auth_of(auths, "host.example/a/b:1"), "b");
        assert_string_equal(auth_of(auths, "host.example/a/b/c:1"), "b");
        assert_string_equal(auth_of(auths, "host.example/a/bc:1"), "a");
        assert_string_equal(auth_of(auths, "host.example/ab"), "host");
        assert_string_equal(auth_of(auths, "host.example:443/ab"), "");
        assert_string_equal(auth_of(auths, "busybox"), "hub");
        assert_string_equal(auth_of(auths, "old.example/x"), "token");
        assert_string_equal(auth_of("{}", "busybox"), "");
        assert_string_equal(auth_of("{\"credHelpers\": {\"docker.io\": \"x\"}}", "busybox"),
                            "FAILED_PRECONDITION");
        assert_string_equal(auth_of("{\"credHelpers\": {\"docker.io\": \"x\"}}", "a.example/b"),
                            "");
        assert_string_equal(auth_of("{\"credsStore\": \"x\"}", "a.example/b"),
                            "FAILED_PRECONDITION");
        assert_string_equal(auth_of("{", "busybox"), "INVALID_ARGUMENT");
        assert_string_equal(auth_of("{\"auths\": []}", "busybox"), "INVALID_ARGUMENT");
        unlink(auth_path);
}

/* ---- metrics ---- */

static void samples_are_escaped(void **state)
{
        AUTO_BUFFER struct buffer out = BUFFER_INIT;

        metric_head(&out, "a_total", METRIC_COUNTER, "back\\slash \"and\"\nline");
        metric_sample(&out, "a_total", "name", "a\"b\\c\nd", 3);
        metric_sample(&out, "a_total", NULL, NULL, 0.1);
        metric_sample(&out, "a_total", "name", "big", 1e15);
        assert_string_equal(out.data, "# HELP a_total back\\\\slash \"and\"\\nline\n"
                                      "# TYPE a_total counter\n"
                                      "a_total{name=\"a\\\"b\\\\c\\nd\"} 3\n"
                                      "a_total 0.10000000000000001\n"
                                      "a_total{name=\"big\"} 1000000000000000\n");
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(sizes_have_three_digits),
                cmocka_unit_test(spans_have_one_unit),
                cmocka_unit_test(short_ids_are_digits),
                cmocka_unit_test(terminals_are_told_nothing),
                cmocka_unit_test(widths_are_characters),
                cmocka_unit_test(columns_are_as_wide_as_their_widest_cell),
                cmocka_unit_test(the_last_column_gives_way),
                cmocka_unit_test(an_empty_table_has_headings),
                cmocka_unit_test(cells_stay_in_their_line),
                cmocka_unit_test(bars_grow),
                cmocka_unit_test(bars_fit),
                cmocka_unit_test(drawings_replace_each_other),
                cmocka_unit_test(a_drawing_is_taken_away_once),
                cmocka_unit_test(what_is_done_gives_way),
                cmocka_unit_test(options_stand_anywhere),
                cmocka_unit_test(wrong_options_are_refused),
                cmocka_unit_test(messages_are_json),
                cmocka_unit_test(scopes_leave_out_what_is_no_name),
                cmocka_unit_test(the_longest_name_has_the_password),
                cmocka_unit_test(samples_are_escaped),
        };

        return cmocka_run_group_tests_name("cli", tests, NULL, NULL);
}
