/* The specification: what is written, in which order, and what is refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "base/cleanup.h"
#include "base/json.h"
#include "oci/spec.h"

static char *const command[] = {(char *)"/bin/sh", (char *)"-c", (char *)"true", NULL};

static json_t *built(const struct spec_options *options)
{
        AUTO_FREE char *text = NULL;
        json_t *spec = NULL;
        struct error err = {0};
        int result = spec_build(options, &text, &err);
        if (result < 0)
                print_error("%s\n", err.message);
        assert_int_equal(result, 0);
        assert_int_equal(json_parse(text, strlen(text), "spec", &spec, &err), 0);
        return spec;
}

/* The value at a path of keys and indexes ("linux.resources.devices.0.allow") as compact text. */
static void expect(const json_t *spec, const char *path, const char *wanted)
{
        AUTO_FREE char *copy = strdup(path);
        char *state = NULL;
        const json_t *at = spec;
        for (char *word = strtok_r(copy, ".", &state); word && at;
             word = strtok_r(NULL, ".", &state))
                at = json_is_array(at) ? json_array_get(at, (size_t)atoi(word))
                                       : json_object_get(at, word);
        AUTO_FREE char *text =
                at ? json_dumps(at, JSON_COMPACT | JSON_ENCODE_ANY) : strdup("(absent)");
        if (strcmp(text, wanted) != 0)
                print_error("%s\n", path);
        assert_string_equal(text, wanted);
}

static void smallest(void **state)
{
        (void)state;
        AUTO_JSON json_t *spec = built(&(struct spec_options){.args = command, .root = "/r"});
        expect(spec, "ociVersion", "\"1.0.2\"");
        expect(spec, "process.args", "[\"/bin/sh\",\"-c\",\"true\"]");
        expect(spec, "process.cwd", "\"/\"");
        expect(spec, "process.user", "{\"uid\":0,\"gid\":0}");
        expect(spec, "process.oomScoreAdj", "(absent)");
        expect(spec, "process.capabilities.bounding", "[]");
        expect(spec, "root", "{\"path\":\"/r\",\"readonly\":false}");
        expect(spec, "hostname", "(absent)");
        expect(spec, "linux.resources", "{\"devices\":[{\"allow\":false,\"access\":\"rwm\"}]}");
        expect(spec, "linux.maskedPaths", "(absent)");
        expect(spec, "annotations", "(absent)");
}

static void process_part(void **state)
{
        static const uint32_t gids[] = {7, 8};
        static char *const env[] = {(char *)"A=b=c", (char *)"NONAME", (char *)"=x",
                                    (char *)"EMPTY=", NULL};
        static const char *const caps[] = {"CAP_CHOWN", NULL};
        (void)state;
        AUTO_JSON json_t *spec = built(&(struct spec_options){
                .args = command,
                .env = env,
                .cwd = "/work",
                .terminal = true,
                .uid = 4294967294,
                .gid = 3,
                .additional_gids = gids,
                .additional_gid_count = 2,
                .has_umask = true,
                .umask = 18,
                .capabilities = {.bounding = caps, .effective = caps, .permitted = caps},
                .no_new_privileges = true,
                .has_oom_score_adj = true,
                .oom_score_adj = 1000,
                .hostname = "h",
        });
        expect(spec, "process.env", "[\"A=b=c\",\"EMPTY=\"]");
        expect(spec, "process.cwd", "\"/work\"");
        expect(spec, "process.terminal", "true");
        expect(spec, "process.user",
               "{\"uid\":4294967294,\"gid\":3,\"umask\":18,\"additionalGids\":[7,8]}");
        expect(spec, "process.capabilities.permitted", "[\"CAP_CHOWN\"]");
        expect(spec, "process.capabilities.ambient", "[]");
        expect(spec, "process.noNewPrivileges", "true");
        expect(spec, "process.oomScoreAdj", "1000");
        expect(spec, "hostname", "\"h\"");
}

static void rlimits(void **state)
{
        struct rlimit before, lower;
        const struct spec_rlimit limits[] = {{"RLIMIT_NOFILE", UINT64_MAX, 100},
                                             {"RLIMIT_CORE", 5, 9}};
        (void)state;
        assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
        lower = (struct rlimit){.rlim_cur = 256, .rlim_max = 512};
        assert_int_equal(setrlimit(RLIMIT_NOFILE, &lower), 0);
        AUTO_JSON json_t *spec = built(
                &(struct spec_options){.args = command, .rlimits = limits, .rlimit_count = 2});
        expect(spec, "process.rlimits.0", "{\"type\":\"RLIMIT_NOFILE\",\"hard\":512,\"soft\":100}");
        expect(spec, "process.rlimits.1", "{\"type\":\"RLIMIT_CORE\",\"hard\":5,\"soft\":5}");
}

static void mounts_in_order(void **state)
{
        static const char *const options[] = {"rbind", "ro", NULL};
        const struct spec_id_map map[] = {{0, 100000, 65536}};
        const struct spec_mount mounts[] = {
                {"/a/b/c", "/1", "bind", options},
                {"/proc", "proc", "proc", NULL},
                {"/a//b/", "/2", "bind", NULL, map, 1, map, 1},
                {"/a", "tmpfs", "tmpfs", NULL},
                {"/a/./b", "/3", "bind", NULL},
        };
        (void)state;
        AUTO_JSON json_t *spec =
                built(&(struct spec_options){.args = command, .mounts = mounts, .mount_count = 5});
        expect(spec, "mounts.0.destination", "\"/proc\"");
        expect(spec, "mounts.1.destination", "\"/a\"");
        expect(spec, "mounts.2.source", "\"/2\"");
        expect(spec, "mounts.2.uidMappings",
               "[{\"containerID\":0,\"hostID\":100000,\"size\":65536}]");
        expect(spec, "mounts.3.source", "\"/3\"");
        expect(spec, "mounts.4",
               "{\"destination\":\"/a/b/c\",\"type\":\"bind\",\"source\":\"/1\",\"options\":["
               "\"rbind\",\"ro\"]}");
}

static void default_mounts(void **state)
{
        AUTO_ARENA struct arena *arena = arena_new();
        size_t count;
        (void)state;
        struct spec_mount_defaults none = {0};
        struct spec_mount *mounts = spec_default_mounts(arena, &none, 1, &count);
        assert_int_equal(count, 6);
        assert_null(spec_find_mount(mounts, count, "/dev/shm"));
        assert_string_equal(spec_find_mount(mounts, count, "//sys/./fs/cgroup/")->type, "cgroup");
        mounts[count] = (struct spec_mount){"/extra"};

        struct spec_mount_defaults all = {
                .shm_path = "/run/shm", .sys_writable = true, .cgroup_writable = true};
        mounts = spec_default_mounts(arena, &all, 0, &count);
        assert_int_equal(count, 7);
        assert_string_equal(spec_find_mount(mounts, count, "/dev/shm")->source, "/run/shm");
        assert_string_equal(spec_find_mount(mounts, count, "/sys")->options[3], "rw");
        assert_string_equal(spec_find_mount(mounts, count, "/sys/fs/cgroup")->options[4], "rw");
        assert_null(spec_find_mount(mounts, count, "/"));
        assert_null(spec_find_mount(mounts, count, "/de"));
}

static void linux_part(void **state)
{
        const struct spec_namespace namespaces[] = {{SPEC_NAMESPACE_PID, NULL},
                                                    {SPEC_NAMESPACE_NETWORK, "/run/ns/net"}};
        const struct spec_pair unified[] = {{"memory.high", "5"}};
        const struct spec_hugepage hugepages[] = {{"2MB", 0}};
        const struct spec_pair sysctls[] = {{"net.ipv4.ip_forward", "1"}};
        const struct spec_pair annotations[] = {{"k", "v"}, {"empty", NULL}};
        const struct spec_device devices[] = {{.path = "/dev/x",
                                               .type = 'c',
                                               .device_major = 10,
                                               .device_minor = 229,
                                               .mode = 0600,
                                               .uid = 1,
                                               .gid = 2,
                                               .access = "rw"}};
        const struct spec_device_rule rules[] = {{true, 'b', 8, -1, "r"}};
        AUTO_JSON json_t *seccomp = json_pack("{s:s}", "defaultAction", "SCMP_ACT_ALLOW");
        (void)state;
        AUTO_JSON json_t *spec = built(&(struct spec_options){
                .args = command,
                .namespaces = namespaces,
                .namespace_count = 2,
                .cgroup_path = "/pods/x",
                .resources = {.cpu_shares = 2,
                              .cpu_quota = -1,
                              .cpu_period = 100000,
                              .cpuset_cpus = "0-1",
                              .cpuset_mems = "",
                              .memory_limit = 1 << 20,
                              .memory_swap = -1,
                              .pids_limit = 5,
                              .hugepages = hugepages,
                              .hugepage_count = 1,
                              .unified = unified,
                              .unified_count = 1},
                .devices = devices,
                .device_count = 1,
                .device_rules = rules,
                .device_rule_count = 1,
                .masked_paths = SPEC_MASKED_PATHS,
                .readonly_paths = SPEC_READONLY_PATHS,
                .sysctls = sysctls,
                .sysctl_count = 1,
                .root_propagation = "rslave",
                .seccomp = seccomp,
                .annotations = annotations,
                .annotation_count = 2,
        });
        expect(spec, "linux.namespaces",
               "[{\"type\":\"pid\"},{\"type\":\"network\",\"path\":\"/run/ns/net\"}]");
        expect(spec, "linux.cgroupsPath", "\"/pods/x\"");
        expect(spec, "linux.resources.cpu",
               "{\"shares\":2,\"quota\":-1,\"period\":100000,\"cpus\":\"0-1\"}");
        expect(spec, "linux.resources.memory", "{\"limit\":1048576,\"swap\":-1}");
        expect(spec, "linux.resources.pids", "{\"limit\":5}");
        expect(spec, "linux.resources.hugepageLimits", "[{\"pageSize\":\"2MB\",\"limit\":0}]");
        expect(spec, "linux.resources.unified", "{\"memory.high\":\"5\"}");
        expect(spec, "linux.resources.devices.1",
               "{\"allow\":true,\"type\":\"c\",\"major\":10,\"minor\":229,\"access\":\"rw\"}");
        expect(spec, "linux.resources.devices.2",
               "{\"allow\":true,\"type\":\"b\",\"major\":8,\"access\":\"r\"}");
        expect(spec, "linux.devices.0.fileMode", "384");
        expect(spec, "linux.sysctl", "{\"net.ipv4.ip_forward\":\"1\"}");
        expect(spec, "linux.rootfsPropagation", "\"rslave\"");
        expect(spec, "linux.seccomp.defaultAction", "\"SCMP_ACT_ALLOW\"");
        expect(spec, "linux.maskedPaths.0", "\"/proc/asound\"");
        expect(spec, "annotations", "{\"k\":\"v\",\"empty\":\"\"}");
        json_decref(spec);
        spec = built(&(struct spec_options){.args = command, .all_devices = true});
        expect(spec, "linux.resources.devices", "[{\"allow\":true,\"access\":\"rwm\"}]");
}

/* crun's cgroup is the scope itself, as runc's is, unless somebody wants it otherwise. */
static void systemd_annotation(void **state)
{
        const struct spec_pair own[] = {{"run.oci.systemd.subgroup", "mine"}};
        (void)state;
        AUTO_JSON json_t *spec =
                built(&(struct spec_options){.args = command, .cgroup_path = "a.slice:crisp:x"});
        expect(spec, "annotations", "{\"run.oci.systemd.subgroup\":\"\"}");
        json_decref(spec);
        spec = built(&(struct spec_options){.args = command,
                                            .cgroup_path = "a.slice:crisp:x",
                                            .annotations = own,
                                            .annotation_count = 1});
        expect(spec, "annotations", "{\"run.oci.systemd.subgroup\":\"mine\"}");
}

static void refuse(const struct spec_options *options, const char *words)
{
        char *text = NULL;
        struct error err = {0};
        assert_true(spec_build(options, &text, &err) < 0);
        assert_null(text);
        assert_int_equal(err.code, ERROR_INVALID_ARGUMENT);
        if (!strstr(err.message, words))
                print_error("%s\n", err.message);
        assert_non_null(strstr(err.message, words));
}

static void refusals(void **state)
{
        static char *const nothing[] = {NULL};
        static char *const env[] = {(char *)"GOOD=x", (char *)"LC_X=\xff\xfe", NULL};
        static char *const bytes[] = {(char *)"\xc3(", NULL};
        const struct spec_mount relative[] = {{"data", "/x", "bind"}};
        const struct spec_mount source[] = {{"/data", "/\xff", "bind"}};
        const struct spec_rlimit unknown[] = {{"RLIMIT_NOSUCH", 1, 1}};
        const struct spec_pair annotations[] = {{"k\xff", "v"}};
        (void)state;
        refuse(&(struct spec_options){.args = NULL}, "no command");
        refuse(&(struct spec_options){.args = nothing}, "no command");
        refuse(&(struct spec_options){.args = command, .env = env}, "env \"LC_X\"");
        refuse(&(struct spec_options){.args = bytes}, "command: not UTF-8");
        refuse(&(struct spec_options){.args = command, .mounts = relative, .mount_count = 1},
               "mount \"data\"");
        refuse(&(struct spec_options){.args = command, .mounts = source, .mount_count = 1},
               "source of mount \"/data\": not UTF-8");
        refuse(&(struct spec_options){.args = command, .rlimits = unknown, .rlimit_count = 1},
               "rlimit \"RLIMIT_NOSUCH\"");
        refuse(&(struct spec_options){.args = command,
                                      .annotations = annotations,
                                      .annotation_count = 1},
               "annotations");
}

static bool has(const char *const *set, const char *name)
{
        for (; *set; set++)
                if (strcmp(*set, name) == 0)
                        return true;
        return false;
}

static size_t length_of(const char *const *set)
{
        size_t count = 0;
        while (set[count])
                count++;
        return count;
}

/* The bounding set that adding and dropping leaves. */
static int apply(struct arena *arena, char *const *add, size_t add_count, char *const *drop,
                 size_t drop_count, const char *const **set, struct error *err)
{
        const struct spec_capability_request request = {
                .add = add, .add_count = add_count, .drop = drop, .drop_count = drop_count};
        struct spec_capabilities sets = {0};
        int result = spec_capabilities_choose(arena, &request, &sets, err);
        *set = sets.bounding;
        return result;
}

static void capabilities(void **state)
{
        AUTO_ARENA struct arena *arena = arena_new();
        struct error err = {0};
        const char *const *set;
        const char *const *all = spec_capabilities_all(arena);
        char *drop[] = {(char *)"chown", (char *)"CAP_KILL"};
        char *everything[] = {(char *)"all"};
        char *unknown[] = {(char *)"CAP_NOSUCH"};
        (void)state;
        assert_int_equal(length_of(SPEC_DEFAULT_CAPABILITIES), 14);
        assert_int_equal(apply(arena, NULL, 0, drop, 2, &set, &err), 0);
        assert_false(has(set, "CAP_CHOWN"));
        assert_false(has(set, "CAP_KILL"));
        assert_int_equal(apply(arena, NULL, 0, everything, 1, &set, &err), 0);
        assert_int_equal(length_of(set), 0);
        assert_int_equal(apply(arena, everything, 1, NULL, 0, &set, &err), 0);
        assert_int_equal(length_of(set), length_of(all));
        assert_int_equal(apply(arena, unknown, 1, NULL, 0, &set, &err), -22);
        assert_non_null(strstr(err.message, "CAP_NOSUCH"));
        if (!has(all, "CAP_NET_ADMIN") || !has(all, "CAP_CHOWN"))
                skip(); /* the rest needs capabilities to give */
        char *add[] = {(char *)"net_admin"};
        assert_int_equal(apply(arena, add, 1, everything, 1, &set, &err), 0);
        assert_int_equal(length_of(set), 1);
        assert_string_equal(set[0], "CAP_NET_ADMIN");
        assert_int_equal(apply(arena, everything, 1, drop, 1, &set, &err), 0);
        assert_int_equal(length_of(set), length_of(all) - 1);
        assert_false(has(set, "CAP_CHOWN"));
}

static void devices(void **state)
{
        struct spec_device device;
        struct error err = {0};
        (void)state;
        assert_int_equal(spec_device_read("/dev/null", "/dev/n", "rw", &device, &err), 0);
        assert_int_equal(device.type, 'c');
        assert_int_equal(device.device_major, 1);
        assert_int_equal(device.device_minor, 3);
        assert_string_equal(device.path, "/dev/n");
        assert_int_equal(spec_device_read("/dev", "/dev", "rw", &device, &err), -22);
        assert_int_equal(err.code, ERROR_INVALID_ARGUMENT);
        assert_int_equal(spec_device_read("/dev/nosuch", "/dev/x", "rw", &device, &err), -2);
}

static void resources_alone(void **state)
{
        AUTO_FREE char *text = NULL;
        struct error err;
        (void)state;
        assert_int_equal(
                spec_resources_build(&(struct spec_resources){.cpu_shares = 5, .memory_limit = -1},
                                     &text, &err),
                0);
        assert_string_equal(text, "{\"cpu\":{\"shares\":5},\"memory\":{\"limit\":-1}}");
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(smallest),        cmocka_unit_test(process_part),
                cmocka_unit_test(mounts_in_order), cmocka_unit_test(default_mounts),
                cmocka_unit_test(linux_part),      cmocka_unit_test(systemd_annotation),
                cmocka_unit_test(refusals),        cmocka_unit_test(capabilities),
                cmocka_unit_test(devices),         cmocka_unit_test(resources_alone),
                cmocka_unit_test(rlimits),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
