/* What is read from a file and those beside it, and with which words it is refused. */
#include "test/unit/config_fixture.h"

/* ---- values ---- */

static void test_values(void **state)
{
        AUTO_CONFIG struct config *config = load("state_dir = '/s'\n"
                                                 "api = {listen = '/s.sock'}\n"
                                                 "[network]\n"
                                                 "plugin_dirs = ['/a', '/b/']\n"
                                                 "timeout = 0x10\n"
                                                 "[runtime]\n"
                                                 "default_handler = 'fast-1'\n"
                                                 "cgroup_driver = 'systemd'\n"
                                                 "[runtime.handlers.fast-1]\n"
                                                 "kind = 'oci'\n"
                                                 "path = '/opt/fast'\n"
                                                 "[streaming]\n"
                                                 "address = '::1'\n"
                                                 "port = 65535\n"
                                                 "[nri]\n"
                                                 "listen = ''\n"
                                                 "[log]\n"
                                                 "level = 'debug'\n");

        assert_string_equal(config->state_dir, "/s");
        assert_string_equal(config->api.listen, "/s.sock");
        assert_int_equal(strv_length(config->network.plugin_dirs), 2);
        assert_string_equal(config->network.plugin_dirs[1], "/b");
        assert_int_equal(config->network.timeout, 16);
        assert_string_equal(config_handler_find(config, "")->path, "/opt/fast");
        assert_int_equal(config->runtime.handler_count, 3);
        assert_string_equal(config->runtime.handlers[1].name, "fast-1");
        assert_int_equal(config->runtime.cgroup_driver, CONFIG_CGROUP_SYSTEMD);
        assert_int_equal(config->streaming.port, 65535);
        assert_int_equal(config->log.level, LOG_LEVEL_DEBUG);
}

static void test_unknown_keys(void **state)
{
        assert_refused("\n[network]\ntimeuot = 3\n",
                       "c.toml:3: network.timeuot: unknown key (did you mean network.timeout?)");
        assert_refused("statedir = '/s'",
                       "c.toml:1: statedir: unknown key (did you mean state_dir?)");
        /* right key, wrong table */
        assert_refused("[images]\nplugin_dirs = []",
                       "c.toml:2: images.plugin_dirs: unknown key (did you mean "
                       "network.plugin_dirs?)");
        assert_refused("[netwrok]\ntimeout = 3",
                       "c.toml:1: netwrok: unknown table (did you mean network?)");
        assert_refused("[runtime.handler.runc]\npath = '/x'",
                       "c.toml:1: runtime.handler: unknown table (did you mean runtime.handlers?)");
        assert_refused("[runtime.handlers.runc]\npaht = '/x'",
                       "c.toml:2: runtime.handlers.runc.paht: unknown key (did you mean path?)");
        assert_refused("\"state_dir\\u0000\" = '/s'",
                       "c.toml:1: \"state_dir\\u0000\": unknown key (did you mean state_dir?)");
        assert_refused("[runtime.handlers.runc]\n\"path\\u0000\" = '/x'",
                       "c.toml:2: runtime.handlers.runc.\"path\\u0000\": unknown key (did you mean "
                       "path?)");
        assert_refused("\"network.timeout\" = 3",
                       "c.toml:1: \"network.timeout\": unknown key (did you mean "
                       "network.timeout?)");
        assert_refused("\"\" = 3", "c.toml:1: \"\": unknown key (did you mean images.dir?)");
}

static void test_wrong_types(void **state)
{
        assert_refused("state_dir = 3", "c.toml:1: state_dir: expected a string, found an integer");
        assert_refused("state_dir = ['/s']",
                       "c.toml:1: state_dir: expected a string, found an array");
        assert_refused("[state_dir]", "c.toml:1: state_dir: expected a string, found a table");
        assert_refused("network = 3", "c.toml:1: network: expected a table, found an integer");
        assert_refused("[[network]]", "c.toml:1: network: expected a table, found an array");
        assert_refused("network.timeout = '3'",
                       "c.toml:1: network.timeout: expected an integer, found a string");
        assert_refused("network.timeout = 3.0",
                       "c.toml:1: network.timeout: expected an integer, found a float");
        assert_refused("network.timeout = inf",
                       "c.toml:1: network.timeout: expected an integer, found a float");
        assert_refused(
                "network.plugin_dirs = '/a'",
                "c.toml:1: network.plugin_dirs: expected an array of strings, found a string");
        assert_refused("network.plugin_dirs = ['/a',\n 2]",
                       "c.toml:2: network.plugin_dirs[1]: expected a string, found an integer");
        assert_refused("runtime.handlers = 1",
                       "c.toml:1: runtime.handlers: expected a table, found an integer");
        assert_refused("runtime.handlers.runc = '/usr/sbin/runc'",
                       "c.toml:1: runtime.handlers.runc: expected a table, found a string");
        /* a date is no string, though it is kept as one */
        assert_refused("state_dir = 1979-05-27",
                       "c.toml:1: state_dir: expected a string, found a date");
        assert_refused("log.level = true",
                       "c.toml:1: log.level: expected a string, found a boolean");
}

static void test_wrong_values(void **state)
{
        assert_refused("state_dir = 's'", "c.toml:1: state_dir: \"s\" is not an absolute path");
        assert_refused("state_dir = ''", "c.toml:1: state_dir: \"\" is not an absolute path");
        assert_refused("state_dir = '/a/../b'",
                       "c.toml:1: state_dir: \"/a/../b\" must not contain ..");
        assert_refused("state_dir = '/a/..'", "c.toml:1: state_dir: \"/a/..\" must not contain ..");
        assert_refused("state_dir = \"/a\\u0000b\"",
                       "c.toml:1: state_dir: must not contain a zero byte");
        config_free(load("state_dir = '/a/..b/...'"));
        assert_refused("stats.pod_metrics = ['weather']",
                       "c.toml:1: stats.pod_metrics[0]: \"weather\" is none of cpu, disk, diskIO, "
                       "hugetlb, memory, network, oom, process, spec, pressure and all");
        assert_refused("metrics.collectors = ['cpu']",
                       "c.toml:1: metrics.collectors[0]: \"cpu\" is none of calls, images, "
                       "containers, network, process, cgroups, logs and all");
        static const char *const endpoints[] = {
                "localhost:1",  "127.0.0.1",  "127.0.0.1:", "127.0.0.1:99999",
                "::1:80",       "[::1]",      "[::1]x:80",  "[127.0.0.1]:1",
                ":80",          "run/m.sock", "/a/../b",    "[::1:80",
                "127.0.0.1:8 ",
        };
        for (size_t i = 0; i < sizeof(endpoints) / sizeof(endpoints[0]); i++) {
                AUTO_FREE char *text = xprintf("metrics.listen = '%s'", endpoints[i]);
                AUTO_FREE char *words = xprintf("c.toml:1: metrics.listen: \"%s\" is neither "
                                                "ADDRESS:PORT nor the path of a socket",
                                                endpoints[i]);
                assert_refused(text, words);
        }
        config_free(load("metrics.listen = '0.0.0.0:0'"));
        config_free(load("metrics.listen = '/run/m.sock'"));
        assert_refused("network.plugin_dirs = []",
                       "c.toml:1: network.plugin_dirs: expected 1 to 64 paths");
        assert_refused("network.plugin_dirs = ['/a', 'b']",
                       "c.toml:1: network.plugin_dirs[1]: \"b\" is not an absolute path");
        assert_refused("network.timeout = 0",
                       "c.toml:1: network.timeout: 0 is not between 1 and 3600");
        assert_refused("network.ip_preference = 'v4'",
                       "c.toml:1: network.ip_preference: \"v4\" is none of cni, ipv4 and ipv6");
        assert_refused("network.disable_hostport_mapping = 1",
                       "c.toml:1: network.disable_hostport_mapping: expected a boolean, found an "
                       "integer");
        assert_refused("runtime.default_sysctls = ['net.a']",
                       "c.toml:1: runtime.default_sysctls[0]: \"net.a\" is not name=value");
        assert_refused("runtime.default_sysctls = ['vm.swappiness=1']",
                       "c.toml:1: runtime.default_sysctls[0]: sysctl vm.swappiness belongs to the "
                       "whole machine: a pod may set net.*, kernel.shm*, kernel.msg*, kernel.sem "
                       "and fs.mqueue.*");
        assert_refused("network.timeout = -1",
                       "c.toml:1: network.timeout: -1 is not between 1 and 3600");
        assert_refused("streaming.port = 65536",
                       "c.toml:1: streaming.port: 65536 is not between 0 and 65535");
        assert_refused("streaming.port = 4294967296",
                       "c.toml:1: streaming.port: 4294967296 is not between 0 and 65535");
        assert_refused("streaming.address = 'localhost'",
                       "c.toml:1: streaming.address: \"localhost\" is no IPv4 or IPv6 address");
        assert_refused("api.listen = 'unix:///run/x.sock'",
                       "c.toml:1: api.listen: give the socket's path without unix://");
        assert_refused(
                "runtime.cgroup_driver = 'cgroup'",
                "c.toml:1: runtime.cgroup_driver: \"cgroup\" is neither systemd nor cgroupfs");
        assert_refused("runtime.monitor_cgroup = '/'",
                       "c.toml:1: runtime.monitor_cgroup: cannot be the root cgroup");
        assert_refused(
                "runtime.image_volumes = 'copy'",
                "c.toml:1: runtime.image_volumes: \"copy\" is none of mkdir, bind and ignore");
        assert_refused("log.level = 'loud'",
                       "c.toml:1: log.level: \"loud\" is none of debug, info, warning and error");
        assert_refused("a = b", "c.toml:1: b is no value (a string needs quotes around it)");
}

/* Of what containers' processes get. */
static void test_wrong_forms(void **state)
{
        assert_refused("runtime.default_env = ['A=b', 'A']",
                       "c.toml:1: runtime.default_env[1]: \"A\" is not NAME=value");
        assert_refused("runtime.default_ulimits = ['nofile=9:5']",
                       "c.toml:1: runtime.default_ulimits[0]: \"nofile=9:5\" is not "
                       "NAME=SOFT:HARD, with numbers or -1 and SOFT not above HARD");
        assert_refused("runtime.timezone = '../x'",
                       "c.toml:1: runtime.timezone: \"../x\" is neither local nor the name of a "
                       "time zone");
        assert_refused("runtime.allowed_annotations = ['x.crio.io']",
                       "c.toml:1: runtime.allowed_annotations[0]: \"x.crio.io\" is not an "
                       "annotation that can be allowed");
        assert_refused("runtime.additional_devices = ['x']",
                       "c.toml:1: runtime.additional_devices[0]: \"x\" is not "
                       "SOURCE[:DESTINATION][:ACCESS], with absolute paths, DESTINATION below /dev "
                       "and ACCESS of the letters r, w and m");
        assert_refused("runtime.device_ownership_from_security_context = 1",
                       "c.toml:1: runtime.device_ownership_from_security_context: expected a "
                       "boolean, found an integer");
        assert_refused("runtime.handlers.runc.default_annotations = ['x']",
                       "c.toml:1: runtime.handlers.runc.default_annotations: expected a table, "
                       "found an array");
        assert_refused("runtime.handlers.runc.default_annotations = {a = 1}",
                       "c.toml:1: runtime.handlers.runc.default_annotations.a: expected a string, "
                       "found an integer");
}

static void test_not_supported_yet(void **state)
{
        assert_refused("nri.listen = '/run/nri.sock'",
                       "c.toml:1: nri.listen: not supported yet in this version: must be empty");
        assert_refused("[runtime.handlers.kata]\nkind = 'vm'\npath = '/x'",
                       "c.toml:2: runtime.handlers.kata.kind: \"vm\" is neither oci nor shim");
}

static void test_whole(void **state)
{
        char text[200];

        assert_refused(
                "state_dir = '/x'\nrun_dir = '/x'",
                "state_dir (/x) and run_dir (/x) must lie outside each other: one survives a "
                "reboot, the other does not");
        assert_refused(
                "state_dir = '/x'\nrun_dir = '/x/run'",
                "state_dir (/x) and run_dir (/x/run) must lie outside each other: one survives "
                "a reboot, the other does not");
        config_free(load("state_dir = '/x'\nrun_dir = '/xy'"));
        snprintf(text, sizeof(text), "api.listen = '/%0106d'", 0);
        config_free(load(text));
        snprintf(text, sizeof(text), "api.listen = '/%0107d'", 0);
        assert_refused(text, "c.toml:1: api.listen: a socket's path has at most 107 bytes");
        snprintf(text, sizeof(text), "run_dir = '/%0100d'", 0);
        write_file("c.toml", text);
        {
                struct config *config = NULL;
                struct error err;

                assert_int_equal(try_load(&config, &err), -EINVAL);
                assert_non_null(strstr(err.message, "is too long for the sockets in it"));
        }
}

/* ---- files ---- */

static void test_drop_ins(void **state)
{
        struct config *config;
        struct error err;

        write_file("c.toml.d/20-b.toml", "network.timeout = 20\nlog.level = 'error'");
        write_file("c.toml.d/10-a.toml", "network.timeout = 10\nimages.max_parallel_pulls = 10");
        write_file("c.toml.d/30.conf", "this is not read");
        write_file("c.toml.d/.40.toml", "nor is this");
        config = load("network.timeout = 5\nlog.level = 'debug'\n[images]\nmax_parallel_pulls = 5\n"
                      "max_parallel_layers = 5\n");
        assert_int_equal(config->network.timeout, 20);
        assert_int_equal(config->log.level, LOG_LEVEL_ERROR);
        assert_int_equal(config->images.max_parallel_pulls, 10);
        assert_int_equal(config->images.max_parallel_layers, 5);
        config_free(config);

        /* a handler may be put together from several files */
        write_file("c.toml.d/20-b.toml", "[runtime.handlers.fast]\npath = '/fast'");
        config = load("[runtime.handlers.fast]\nroot = '/run/fast'");
        assert_string_equal(config_handler_find(config, "fast")->path, "/fast");
        assert_string_equal(config_handler_find(config, "fast")->root, "/run/fast");
        config_free(config);

        write_file("c.toml.d/20-b.toml", "\nruntime.default_handler = 'slow'");
        assert_refused("runtime.default_handler = 'runc'",
                       "c.toml.d/20-b.toml:2: runtime.default_handler: there is no "
                       "[runtime.handlers.slow] with a path, and no such program is installed");
        write_file("c.toml.d/20-b.toml", "\n\nx = 1");
        config = NULL;
        assert_int_equal(try_load(&config, &err), -EINVAL);
        assert_non_null(strstr(err.message, "/c.toml.d/20-b.toml:3: x: unknown key"));
}

static void test_missing(void **state)
{
        struct config *config = NULL;
        struct error err;

        assert_int_equal(try_load(&config, &err), -ENOENT);
        assert_null(config);
        /* also where the folder beside it is there */
        write_file("c.toml.d/a.toml", "network.timeout = 20");
        assert_int_equal(try_load(&config, &err), -ENOENT);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                TEST(test_values),       TEST(test_unknown_keys), TEST(test_wrong_types),
                TEST(test_wrong_values), TEST(test_wrong_forms),  TEST(test_not_supported_yet),
                TEST(test_whole),        TEST(test_drop_ins),     TEST(test_missing),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
