#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/file.h"
#include "base/memory.h"
#include "base/yaml.h"
#include "oci/cdi_private.h"

static char *folder;

static int begin(void **state)
{
        (void)state;
        folder = xstrdup("/tmp/test_cdi.XXXXXX");
        return mkdtemp(folder) ? 0 : -1;
}

static int end(void **state)
{
        (void)state;
        int result = file_remove_tree(folder, NULL);
        free(folder);
        return result;
}

static void write_file(const char *name, const char *text)
{
        AUTO_FREE char *path = xprintf("%s/%s", folder, name);
        AUTO_FREE char *parent = xstrndup(path, (size_t)(strrchr(path, '/') - path));
        assert_int_equal(file_make_directories(parent, 0755, NULL), 0);
        assert_int_equal(file_replace_volatile(path, text, strlen(text), 0644, NULL), 0);
}

/* ---- names ---- */

static void names(void **state)
{
        static const char *const good[] = {"a.b/c=d", "vendor.com/class=0", "V/c-d_e.f=x:y.z-1"};
        static const char *const bad[] = {
                "",       "a.b/c",    "a.b=c",     "/c=d",    "a.b/=d",    "a.b/c=",  "1a/c=d",
                "a-/c=d", "a.b/c=-d", "a.b/c=d/e", "a/b/c=d", "a.b/c=d=e", "a.b/1c=d"};
        (void)state;
        for (size_t i = 0; i < sizeof good / sizeof *good; i++)
                if (!cdi_is_name(good[i]))
                        fail_msg("%s", good[i]);
        for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
                if (cdi_is_name(bad[i]))
                        fail_msg("%s", bad[i]);
}

/* ---- documents ---- */

static int parse(const char *yaml, struct arena *arena, struct cdi_file *file, struct error *err)
{
        AUTO_JSON json_t *document = NULL;
        assert_int_equal(yaml_read(yaml, strlen(yaml), "f.yaml", &document, err), 0);
        return cdi_parse(document, "f.yaml", arena, file, err);
}

#define HEAD(version) "cdiVersion: " version "\nkind: v.com/c\n"
#define DEVICE        "devices:\n- name: d\n  containerEdits: "

static void refused(void **state)
{
        static const struct {
                const char *yaml, *message;
        } cases[] = {
                {HEAD("0.2.0") DEVICE "{env: [A=b]}", "cdiVersion \"0.2.0\" is not supported"},
                {HEAD("1.2.0") DEVICE "{env: [A=b]}", "0.3.0 to 1.1.0"},
                {"cdiVersion: 0.6.0\nkind: c\n" DEVICE "{env: [A=b]}", "kind \"c\""},
                {"cdiVersion: 0.5.0\nkind: v.com/c.d\n" DEVICE "{env: [A=b]}", "needs 0.6.0"},
                {HEAD("0.6.0"), "no devices"},
                {HEAD("0.6.0") "devices: []\n", "no devices"},
                {HEAD("0.6.0") "devices: {}\n", "expected an array"},
                {HEAD("0.6.0") "x: 1\n" DEVICE "{env: [A=b]}", "\"x\" is not known"},
                {HEAD("0.6.0") DEVICE "{}", "has no containerEdits"},
                {HEAD("0.6.0") DEVICE "{env: []}", "has no containerEdits"},
                {HEAD("0.6.0") DEVICE "{env: [b]}", "\"b\" is not NAME=value"},
                {HEAD("0.6.0") DEVICE "{envs: [A=b]}", "\"envs\" is not known"},
                {HEAD("0.6.0") DEVICE "{env: [A=b]}\n- name: d\n  containerEdits: {env: [A=b]}",
                 "d is there twice"},
                {HEAD("0.4.0") "devices:\n- {name: 0d, containerEdits: {env: [A=b]}}", "0.5.0"},
                {HEAD("0.6.0") "devices:\n- {name: \"d e\", containerEdits: {env: [A=b]}}",
                 "not a device's name"},
                {HEAD("0.4.0") DEVICE "{deviceNodes: [{path: /dev/x, hostPath: /dev/y}]}",
                 "hostPath needs 0.5.0"},
                {HEAD("0.6.0") DEVICE "{deviceNodes: [{hostPath: /dev/y}]}", "path is missing"},
                {HEAD("0.6.0") DEVICE "{deviceNodes: [{path: dev/x}]}", "not absolute"},
                {HEAD("0.6.0") DEVICE "{deviceNodes: [{path: /dev/../x}]}", "contains .."},
                {HEAD("0.6.0") DEVICE "{deviceNodes: [{path: /dev/x, type: q}]}", "none of b, c"},
                {HEAD("0.6.0") DEVICE "{deviceNodes: [{path: /dev/x, major: -1}]}", "number"},
                {HEAD("0.6.0") DEVICE "{deviceNodes: [{path: /dev/x, permissions: rq}]}",
                 "letters"},
                {HEAD("0.3.0") DEVICE "{mounts: [{hostPath: t, containerPath: /t, type: tmpfs}]}",
                 "0.4.0"},
                {HEAD("0.6.0") DEVICE "{mounts: [{containerPath: /t}]}", "hostPath is missing"},
                {HEAD("0.6.0") DEVICE "{mounts: [{hostPath: t, containerPath: /t}]}", "absolute"},
                {HEAD("0.6.0") DEVICE "{hooks: [{hookName: x, path: /h}]}", "\"x\" is not known"},
                {HEAD("0.6.0") DEVICE "{hooks: [{hookName: prestart}]}", "path is missing"},
                {HEAD("0.6.0") DEVICE "{intelRdt: {closID: x}}", "needs 0.7.0"},
                {HEAD("0.7.0") DEVICE "{intelRdt: {closID: a/b}}", "file's name"},
                {HEAD("1.0.0") DEVICE "{intelRdt: {schemata: [x]}}", "needs 1.1.0"},
                {HEAD("0.6.0") DEVICE "{additionalGids: [5]}", "needs 0.7.0"},
                {HEAD("0.7.0") DEVICE "{additionalGids: [-5]}", "group IDs"},
                {HEAD("1.0.0") DEVICE "{netDevices: [{hostInterfaceName: a, name: b}]}", "1.1.0"},
                {HEAD("0.5.0") "annotations: {a: b}\n" DEVICE "{env: [A=b]}", "needs 0.6.0"},
                {"- a", "expected an object"},
        };
        (void)state;
        for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
                AUTO_ARENA struct arena *arena = arena_new();
                struct cdi_file file;
                struct error err = {0};
                if (parse(cases[i].yaml, arena, &file, &err) == 0)
                        fail_msg("%s\nis accepted", cases[i].yaml);
                if (!strstr(err.message, cases[i].message) ||
                    strncmp(err.message, "f.yaml: ", 8) != 0)
                        fail_msg("%s\nis refused with: %s", cases[i].yaml, err.message);
        }
}

static void everything(void **state)
{
        AUTO_ARENA struct arena *arena = arena_new();
        struct cdi_file file;
        struct error err = {0};
        (void)state;
        if (parse("cdiVersion: 1.1.0\nkind: v.com/c.d\nannotations: {x: y}\n"
                  "containerEdits: {additionalGids: [7, 0]}\n"
                  "devices:\n"
                  "- name: 0\n"
                  "  containerEdits:\n"
                  "    env: [A=b, C=]\n"
                  "    deviceNodes:\n"
                  "    - {path: /dev/x, hostPath: /dev/y, type: u, major: 1, minor: 2,\n"
                  "       fileMode: 0640, uid: 3, gid: 4, permissions: rw}\n"
                  "    - path: /dev/z\n"
                  "    mounts:\n"
                  "    - {hostPath: /h, containerPath: /c, options: [ro]}\n"
                  "    hooks:\n"
                  "    - {hookName: poststop, path: /p, args: [p, q], env: [E=f], timeout: 5}\n"
                  "    intelRdt: {closID: k, l3CacheSchema: s, memBwSchema: m}\n",
                  arena, &file, &err) < 0)
                fail_msg("%s", err.message);
        assert_string_equal(file.kind, "v.com/c.d");
        assert_int_equal(file.edits.gid_count, 1);
        assert_int_equal(file.edits.gids[0], 7);
        assert_int_equal(file.device_count, 1);
        assert_string_equal(file.devices[0].name, "0");
        const struct cdi_edits *edits = &file.devices[0].edits;
        assert_int_equal(edits->env_count, 2);
        assert_int_equal(edits->node_count, 2);
        assert_int_equal(edits->nodes[0].type, 'c');
        assert_int_equal(edits->nodes[0].mode, 0640);
        assert_string_equal(edits->nodes[0].access, "rw");
        assert_string_equal(edits->nodes[1].host_path, "/dev/z");
        assert_int_equal(edits->nodes[1].uid, -1);
        assert_string_equal(edits->mounts[0].type, "bind");
        assert_string_equal(edits->mounts[0].options[0], "rbind");
        assert_string_equal(edits->mounts[0].options[1], "ro");
        assert_null(edits->mounts[0].options[2]);
        assert_int_equal(edits->hooks[0].stage, SPEC_HOOK_POSTSTOP);
        assert_int_equal(edits->hooks[0].timeout, 5);
        assert_string_equal(edits->rdt->clos_id, "k");
}

/* ---- folders ---- */

static int inject(const char *name, struct arena *arena, struct spec_options *options,
                  const char **complaints, struct error *err)
{
        AUTO_FREE char *low = xprintf("%s/low", folder), *high = xprintf("%s/high", folder);
        AUTO_FREE char *gone = xprintf("%s/gone", folder);
        char *folders[] = {low, gone, high, NULL};
        return cdi_inject(folders, &name, 1, arena, options, complaints, err);
}

static void later_folders_go_first(void **state)
{
        AUTO_ARENA struct arena *arena = arena_new();
        char *env[] = {(char *)"W=old", (char *)"X=1", NULL};
        struct spec_options options = {.env = env};
        const char *complaints;
        struct error err;
        (void)state;
        write_file("low/a.yaml", HEAD("0.6.0") DEVICE "{env: [W=low]}");
        write_file("low/b.yaml", HEAD("0.6.0") DEVICE "{env: [W=low]}");
        write_file("high/a.json", "{\"cdiVersion\": \"0.6.0\", \"kind\": \"v.com/c\", \"devices\": "
                                  "[{\"name\": \"d\", \"containerEdits\": {\"env\": "
                                  "[\"W=high\", \"Y=2\"]}}]}");
        write_file("high/broken.json", "{");
        write_file("high/ignored.txt", "{");
        if (inject("v.com/c=d", arena, &options, &complaints, &err) < 0)
                fail_msg("%s", err.message);
        assert_string_equal(options.env[0], "W=high");
        assert_string_equal(options.env[1], "X=1");
        assert_string_equal(options.env[2], "Y=2");
        assert_null(options.env[3]);
        assert_non_null(strstr(complaints, "high/broken.json: not valid JSON"));
        assert_null(strstr(complaints, "ignored"));
}

static void two_of_one_folder_conflict(void **state)
{
        AUTO_ARENA struct arena *arena = arena_new();
        struct spec_options options = {0};
        const char *complaints;
        struct error err;
        (void)state;
        write_file("high/a.yaml", HEAD("0.6.0") DEVICE "{env: [W=a]}");
        write_file("high/b.yaml", HEAD("0.6.0") DEVICE "{env: [W=b]}");
        write_file("low/a.yaml", HEAD("0.6.0") DEVICE "{env: [W=low]}");
        assert_true(inject("v.com/c=d", arena, &options, &complaints, &err) < 0);
        assert_int_equal(err.code, ERROR_FAILED_PRECONDITION);
        assert_non_null(strstr(err.message, "high/a.yaml and in "));
        assert_null(options.env);
}

static void what_is_not_there_is_told_with_what_is(void **state)
{
        AUTO_ARENA struct arena *arena = arena_new();
        struct spec_options options = {0};
        const char *complaints;
        struct error err;
        (void)state;
        write_file("low/a.yaml", HEAD("0.6.0") DEVICE "{env: [W=a]}");
        write_file("low/broken.yaml", "a: [");
        assert_true(inject("v.com/c=e", arena, &options, &complaints, &err) < 0);
        assert_non_null(strstr(err.message, "v.com/c=e: no such CDI device; known are: v.com/c=d"));
        assert_non_null(strstr(err.message, "low/broken.yaml"));
}

static void nodes_are_completed_from_the_host(void **state)
{
        AUTO_ARENA struct arena *arena = arena_new();
        struct spec_options options = {.uid = 5};
        const char *complaints;
        struct error err;
        (void)state;
        write_file("low/a.yaml", HEAD("0.6.0") DEVICE
                   "{deviceNodes: [{path: /dev/x, hostPath: /dev/null},"
                   " {path: /dev/y, hostPath: /nowhere, type: b, major: 7, minor: 9}]}");
        if (inject("v.com/c=d", arena, &options, &complaints, &err) < 0)
                fail_msg("%s", err.message);
        assert_int_equal(options.device_count, 2);
        assert_int_equal(options.devices[0].type, 'c');
        assert_int_equal(options.devices[0].device_major, 1);
        assert_int_equal(options.devices[0].device_minor, 3);
        assert_int_equal(options.devices[0].uid, 5);
        assert_int_equal(options.devices[1].type, 'b');
        assert_int_equal(options.devices[1].mode, 0666);
        write_file("low/a.yaml", HEAD("0.6.0") DEVICE "{deviceNodes: [{path: /nowhere}]}");
        assert_true(inject("v.com/c=d", arena, &options, &complaints, &err) < 0);
        assert_non_null(strstr(err.message, "device /nowhere: No such file"));
}

static void what_no_runtime_can_be_told(void **state)
{
        AUTO_ARENA struct arena *arena = arena_new();
        struct spec_options options = {0};
        const char *complaints;
        struct error err;
        (void)state;
        write_file("low/a.yaml",
                   HEAD("1.1.0") DEVICE "{netDevices: [{hostInterfaceName: a, name: b}]}");
        assert_true(inject("v.com/c=d", arena, &options, &complaints, &err) < 0);
        assert_int_equal(err.code, ERROR_UNIMPLEMENTED);
        assert_non_null(strstr(err.message, "netDevices"));
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(names),
                cmocka_unit_test(refused),
                cmocka_unit_test(everything),
                cmocka_unit_test_setup_teardown(later_folders_go_first, begin, end),
                cmocka_unit_test_setup_teardown(two_of_one_folder_conflict, begin, end),
                cmocka_unit_test_setup_teardown(what_is_not_there_is_told_with_what_is, begin, end),
                cmocka_unit_test_setup_teardown(nodes_are_completed_from_the_host, begin, end),
                cmocka_unit_test_setup_teardown(what_no_runtime_can_be_told, begin, end),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
