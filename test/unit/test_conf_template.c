#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "network/conf_template.h"

static char *const ranges[] = {(char *)"10.1.0.0/24", (char *)"fd00::/64", NULL};
static char *const routes[] = {(char *)"0.0.0.0/0", NULL};
static char *const none[] = {NULL};

static void expect(const char *text, const char *wanted)
{
        const struct conf_template_values values = {.ranges = ranges, .routes = routes};
        AUTO_BUFFER struct buffer out = BUFFER_INIT;
        struct error err = {0};
        if (conf_template_render(text, strlen(text), &values, &out, &err) < 0)
                fail_msg("%s: %s", text, err.message);
        assert_string_equal(out.data ? out.data : "", wanted);
}

static void refuse(const char *text, const char *words)
{
        const struct conf_template_values values = {.ranges = ranges, .routes = routes};
        AUTO_BUFFER struct buffer out = BUFFER_INIT;
        struct error err = {0};
        if (conf_template_render(text, strlen(text), &values, &out, &err) == 0)
                fail_msg("%s was taken", text);
        assert_int_equal(err.code, ERROR_INVALID_ARGUMENT);
        char rendered[ERROR_MESSAGE_MAX];
        error_render(&err, rendered, sizeof rendered);
        if (!strstr(rendered, words))
                fail_msg("%s: %s", text, rendered);
}

static void test_values(void **state)
{
        (void)state;
        expect("", "");
        expect("a{b}c", "a{b}c");
        expect("{{.PodCIDR}} {{ .PodCIDR }}{{/* nothing */}}", "10.1.0.0/24 10.1.0.0/24");
        expect("{{.PodCIDRRanges}}", "[10.1.0.0/24 fd00::/64]");
        expect("a \n{{- .PodCIDR -}}\n b", "a10.1.0.0/24b");
}

static void test_blocks(void **state)
{
        (void)state;
        expect("{{range $i, $range := .PodCIDRRanges}}{{if $i}}, {{end}}[{\"subnet\": "
               "\"{{$range}}\"}]{{end}}",
               "[{\"subnet\": \"10.1.0.0/24\"}], [{\"subnet\": \"fd00::/64\"}]");
        expect("{{range .Routes}}<{{.}}>{{end}}", "<0.0.0.0/0>");
        expect("{{range $r := .Routes}}<{{$r}}{{$.PodCIDR}}>{{end}}", "<0.0.0.0/010.1.0.0/24>");
        expect("{{if .PodCIDR}}yes{{else}}no{{end}}", "yes");
        expect("{{range $i, $a := .PodCIDRRanges}}{{range $k, $b := .Routes}}{{$i}}{{$k}}{{end}}"
               "{{end}}",
               "0010");
        const struct conf_template_values values = {.ranges = ranges, .routes = none};
        static const char text[] = "{{range .Routes}}x{{if .}}y{{end}}{{else}}none{{end}}";
        AUTO_BUFFER struct buffer out = BUFFER_INIT;
        assert_int_equal(conf_template_render(text, strlen(text), &values, &out, NULL), 0);
        assert_string_equal(out.data, "none");
}

static void test_refusals(void **state)
{
        (void)state;
        refuse("a\n{{.Pod", "line 2: {{ without }}");
        refuse("{{.Nothing}}", "{{.Nothing}} is not understood");
        refuse("{{template \"x\"}}", "is not understood");
        refuse("{{if .Nothing}}{{end}}", "is not understood");
        refuse("{{range .PodCIDR}}{{end}}", "that is no list");
        refuse("{{range $i, $k, $v := .Routes}}{{end}}", "is not understood");
        refuse("{{range .Routes}}", "{{end}} is missing");
        refuse("{{if .PodCIDR}}a{{else}}b{{else}}c{{end}}", "{{end}} is missing");
        refuse("{{end}}", "without a block");
        refuse("{{range $v := .Routes}}{{end}}{{$v}}", "is not understood");
        refuse("{{range .Routes}}{{range .Routes}}{{range .Routes}}{{range .Routes}}"
               "{{range .Routes}}{{range .Routes}}{{range .Routes}}{{range .Routes}}"
               "{{range .Routes}}{{range .Routes}}{{range .Routes}}{{range .Routes}}"
               "{{range .Routes}}{{range .Routes}}{{range .Routes}}{{range .Routes}}",
               "blocks in each other");
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_values),
                cmocka_unit_test(test_blocks),
                cmocka_unit_test(test_refusals),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
