#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/buffer.h"
#include "base/file.h"
#include "base/memory.h"
#include "cri/config.h"
#include "cri/config_load.h"

/* ---- a folder, and files in it ---- */

static char *folder;

static int begin(void **state)
{
        folder = xstrdup("/tmp/test_config.XXXXXX");
        return mkdtemp(folder) ? 0 : -1;
}

static int end(void **state)
{
        int rc = file_remove_tree(folder, NULL);

        free(folder);
        return rc;
}

static void write_file(const char *name, const char *text)
{
        AUTO_FREE char *path = xprintf("%s/%s", folder, name);
        AUTO_FREE char *parent = xstrndup(path, (size_t)(strrchr(path, '/') - path));

        assert_int_equal(file_make_directories(parent, 0755, NULL), 0);
        assert_int_equal(file_replace_volatile(path, text, strlen(text), 0755, NULL), 0);
}

/* Both runtimes, cgroupfs. */
static char runc_path[] = "/usr/sbin/runc", crun_path[] = "/usr/bin/crun";
static const struct config_machine machine = {.runc = runc_path, .crun = crun_path};

static int try_load(struct config **config, struct error *err)
{
        AUTO_FREE char *path = xprintf("%s/c.toml", folder);

        *err = (struct error){0};
        return config_load_on(&machine, path, config, err);
}

static struct config *load(const char *text)
{
        struct config *config = NULL;
        struct error err;

        write_file("c.toml", text);
        if (try_load(&config, &err) < 0)
                fail_msg("%s\nis refused: %s", text, err.message);
        return config;
}

/* message without the folder before it. */
static void assert_refused(const char *text, const char *message)
{
        struct config *config = NULL;
        struct error err;
        size_t length = strlen(folder) + 1;

        write_file("c.toml", text);
        if (try_load(&config, &err) == 0)
                fail_msg("%s\nis accepted", text);
        assert_null(config);
        assert_int_equal(err.code, ERROR_INVALID_ARGUMENT);
        assert_true(strlen(err.message) > length);
        assert_string_equal(strncmp(err.message, folder, length - 1) == 0 ? err.message + length
                                                                          : err.message,
                            message);
}

/* ---- defaults ---- */

static void test_defaults(void **state)
{
        AUTO_CONFIG struct config *config = load("");

        assert_string_equal(config->state_dir, "/var/lib/crisp");
        assert_string_equal(config->run_dir, "/run/crisp");
        assert_string_equal(config->api.listen, "/run/crisp/crisp.sock");
        assert_string_equal(config->network.config_dir, "/etc/cni/net.d");
        assert_int_equal(strv_length(config->network.plugin_dirs), 3);
        assert_string_equal(config->network.plugin_dirs[0], "/opt/cni/bin");
        assert_int_equal(config->network.timeout, 60);
        assert_string_equal(config->network.default_network, "");
        assert_int_equal(config->network.max_conf_num, 1);
        assert_int_equal(config->network.ip_preference, CONFIG_IP_AS_PLUGINS_SAY);
        assert_false(config->network.disable_hostport_mapping);
        assert_true(config->runtime.enable_unprivileged_ports);
        assert_true(config->runtime.enable_unprivileged_icmp);
        assert_string_equal(config->runtime.handlers[0].cni_conf_dir, "");
        assert_string_equal(config->images.registries_conf, "/etc/containers/registries.conf");
        assert_string_equal(config->images.hosts_dirs[0], "/etc/containerd/certs.d");
        assert_null(config->images.hosts_dirs[1]);
        assert_string_equal(config->images.certs_dirs[0], "/etc/containers/certs.d");
        assert_string_equal(config->images.certs_dirs[1], "/etc/docker/certs.d");
        assert_null(config->images.certs_dirs[2]);
        assert_int_equal(strv_length(config->images.auth_files), 3);
        assert_string_equal(config->images.auth_files[0], "/run/containers/0/auth.json");
        assert_string_equal(config->images.namespaced_auth_dir, "/etc/crisp/auth");
        assert_int_equal(config->images.credential_helper_timeout, 30);
        assert_string_equal(config->runtime.default_handler, "crun");
        assert_int_equal(config->runtime.cgroup_driver, CONFIG_CGROUP_CGROUPFS);
        assert_string_equal(config->runtime.monitor_cgroup, "/crisp-monitors");
        assert_int_equal(config->runtime.handler_count, 2);
        assert_string_equal(config->runtime.handlers[0].name, "crun");
        assert_string_equal(config->runtime.handlers[0].path, "/usr/bin/crun");
        assert_string_equal(config->runtime.handlers[1].root, "/run/crisp/runtimes/runc");
        assert_string_equal(config->streaming.address, "127.0.0.1");
        assert_int_equal(config->streaming.port, 0);
        assert_string_equal(config->nri.listen, "");
        assert_int_equal(config->stats.collection_period, 10);
        assert_string_equal(config->stats.pod_metrics[0], "all");
        assert_string_equal(config->metrics.listen, "");
        assert_string_equal(config->metrics.collectors[0], "all");
        assert_false(config->metrics.crio_names);
        assert_int_equal(config->log.level, LOG_LEVEL_INFO);
        assert_int_equal(config->limits.max_message_bytes, 16 << 20);
}

static void test_find_handler(void **state)
{
        AUTO_CONFIG struct config *config = load("runtime.default_handler = \"runc\"");

        assert_string_equal(config_handler_find(config, "")->name, "runc");
        assert_string_equal(config_handler_find(config, "crun")->name, "crun");
        assert_null(config_handler_find(config, "kata"));
        assert_string_equal(config_cgroup_driver_name(config->runtime.cgroup_driver), "cgroupfs");
}

/* What lies in run_dir follows it, unless it is set itself. */
static void test_follows_run_dir(void **state)
{
        AUTO_CONFIG struct config *config = load("run_dir = \"/run/other/\"\n"
                                                 "[runtime.handlers.runc]\nroot = \"/run/runc\"\n");

        assert_string_equal(config->run_dir, "/run/other");
        assert_string_equal(config->api.listen, "/run/other/crisp.sock");
        assert_string_equal(config_handler_find(config, "crun")->root, "/run/other/runtimes/crun");
        assert_string_equal(config_handler_find(config, "runc")->root, "/run/runc");
        assert_string_equal(config_handler_find(config, "runc")->path, "/usr/sbin/runc");
}

/* ---- the machine ---- */

static void test_machine(void **state)
{
        AUTO_FREE char *root = xprintf("%s/root", folder);
        struct config_machine found;
        struct config *config = NULL;
        AUTO_FREE char *path = xprintf("%s/c.toml", folder);

        write_file("c.toml", "");
        config_machine_probe(root, &found);
        assert_false(found.systemd || found.hybrid || found.runc || found.crun);
        assert_int_equal(config_load_on(&found, path, &config, NULL), 0);
        /* nothing installed: what fails later names a program */
        assert_string_equal(config->runtime.default_handler, "runc");
        assert_string_equal(config_handler_find(config, "")->path, "/usr/sbin/runc");
        config_free(take_ptr(config));

        write_file("root/usr/local/bin/crun", "");
        write_file("root/run/systemd/system/x", "");
        config_machine_probe(root, &found);
        assert_true(found.systemd);
        assert_string_equal(found.crun, "/usr/local/bin/crun");
        assert_int_equal(config_load_on(&found, path, &config, NULL), 0);
        assert_int_equal(config->runtime.cgroup_driver, CONFIG_CGROUP_SYSTEMD);
        assert_int_equal(config->runtime.handler_count, 1);
        config_free(take_ptr(config));
        config_machine_fini(&found);

        write_file("root/usr/bin/crun", "");
        write_file("root/usr/sbin/runc", "");
        config_machine_probe(root, &found);
        assert_string_equal(found.crun, "/usr/bin/crun");
        assert_string_equal(config_machine_handler(&found), "crun");
        found.hybrid = true;
        assert_string_equal(config_machine_handler(&found), "runc");
        config_machine_fini(&found);

        write_file("root/sys/fs/cgroup/unified/x", "");
        config_machine_probe(root, &found);
        assert_true(found.hybrid);
        config_machine_fini(&found);
}

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

static void test_shims(void **state)
{
        const struct config_machine shims = {.runc = runc_path,
                                             .kata = "/usr/bin/containerd-shim-kata-v2"};
        AUTO_CONFIG struct config *config = config_new(&shims);
        config_complete(config, &shims);
        const struct config_handler *kata = config_handler_find(config, "kata");
        assert_non_null(kata);
        assert_int_equal(kata->kind, CONFIG_HANDLER_SHIM);
        assert_string_equal(kata->path, "/usr/bin/containerd-shim-kata-v2");
        assert_string_equal(config->runtime.default_handler, "runc");
        AUTO_CONFIG struct config *asked = load(
                "[runtime.handlers.vm]\nkind = 'shim'\npath = '/x'\nshim_config = '/etc/vm.toml'\n"
                "shim_options_type = 'a.b'\nshim_without_sandbox = true\nshim_runtime = "
                "'/usr/bin/crun'");
        const struct config_handler *vm = config_handler_find(asked, "vm");
        assert_int_equal(vm->kind, CONFIG_HANDLER_SHIM);
        assert_string_equal(vm->shim_config, "/etc/vm.toml");
        assert_string_equal(vm->shim_options_type, "a.b");
        assert_string_equal(vm->shim_runtime, "/usr/bin/crun");
        assert_true(vm->shim_without_sandbox);
        assert_refused(
                "[runtime.handlers.vm]\nshim_config = 'vm.toml'",
                "c.toml:2: runtime.handlers.vm.shim_config: \"vm.toml\" is not an absolute path");
        assert_refused("[runtime.handlers.vm]\nkind = 'shim'\npath = '/x'\n"
                       "exec_cpu_affinity = 'first'",
                       "c.toml:1: runtime.handlers.vm: exec_cpu_affinity is not for shims, which "
                       "start commands themselves");
        assert_refused("[runtime.handlers.vm]\nkind = 'shim'\npath = '/x'\n"
                       "shim_sandbox_api = true\nshim_without_sandbox = true",
                       "c.toml:1: runtime.handlers.vm: shim_sandbox_api and shim_without_sandbox "
                       "cannot be together");
}

static void test_workloads(void **state)
{
        AUTO_CONFIG struct config *config =
                load("[runtime.workloads.b]\nactivation_annotation = 'x/y'\n"
                     "[runtime.workloads.b.resources]\ncpushares = 7\ncpuset = '0-1'\n"
                     "[runtime.workloads.a]\nactivation_annotation = 'z'\n"
                     "annotation_prefix = 'p'\n"
                     "[runtime.handlers.crun]\nexec_cpu_affinity = 'first'\n");

        assert_int_equal(config->runtime.workload_count, 2);
        assert_string_equal(config->runtime.workloads[0].name, "a");
        assert_string_equal(config->runtime.workloads[0].annotation_prefix, "p");
        assert_string_equal(config->runtime.workloads[1].cpuset, "0-1");
        assert_int_equal(config->runtime.workloads[1].cpushares, 7);
        assert_int_equal(config_handler_find(config, "crun")->container_min_memory_kib, 500);
        assert_int_equal(config_handler_find(config, "runc")->container_min_memory_kib, 12288);
        assert_string_equal(config_handler_find(config, "crun")->exec_cpu_affinity, "first");
        assert_refused("\n[runtime.workloads.w]\n",
                       "c.toml:2: runtime.workloads.w: activation_annotation is missing");
        assert_refused("[runtime.workloads.w]\nactivation_annotation = ''",
                       "c.toml:2: runtime.workloads.w.activation_annotation: \"\" must not be "
                       "empty");
        assert_refused("[runtime.workloads.w]\nannotation = ''",
                       "c.toml:2: runtime.workloads.w.annotation: unknown key (did you mean "
                       "annotation_prefix?)");
        assert_refused("[runtime.workloads.w.resources]\ncpus = 1",
                       "c.toml:2: runtime.workloads.w.resources.cpus: unknown key (did you mean "
                       "cpuset?)");
        assert_refused("[runtime.workloads.w]\nactivation_annotation = 'a'\n"
                       "resources = {cpuperiod = 999}",
                       "c.toml:1: runtime.workloads.w.resources.cpuperiod: less than 1000 "
                       "microseconds");
        assert_refused("[runtime.workloads.W]", "c.toml:1: runtime.workloads.W: a workload's name "
                                                "is made as a handler's is");
        assert_refused("runtime.workloads = 5",
                       "c.toml:1: runtime.workloads: expected a table, found an integer");
        assert_refused("runtime.infra_cpuset = '3-1'",
                       "c.toml:1: runtime.infra_cpuset: \"3-1\" is no list of processors such as "
                       "0-3,8");
        assert_refused("runtime.handlers.crun.exec_cpu_affinity = 'last'",
                       "c.toml:1: runtime.handlers.crun.exec_cpu_affinity: \"last\" is neither "
                       "empty nor first");
}

static void test_handlers(void **state)
{
        AUTO_FREE char *many = xstrdup("");

        assert_refused("\n[runtime.handlers.fast]\n",
                       "c.toml:2: runtime.handlers.fast: path is missing");
        assert_refused(
                "\nruntime.default_handler = 'kata'\n",
                "c.toml:2: runtime.default_handler: there is no [runtime.handlers.kata] with "
                "a path, and no such program is installed");
        assert_refused(
                "runtime.default_handler = ''",
                "c.toml:1: runtime.default_handler: \"\" is no handler's name: 1 to 63 of a-z, "
                "0-9 and -, with no - at either end");
#define NO_NAME(key)                                                                               \
        assert_refused("[runtime.handlers." key "]",                                               \
                       "c.toml:1: runtime.handlers." key                                           \
                       ": a handler's name is 1 to 63 of a-z, 0-9 and -, with no - at either end")
        NO_NAME("Fast");
        NO_NAME("-fast");
        NO_NAME("fast-");
        NO_NAME("fa_st");
        NO_NAME("\"a/b\"");
        NO_NAME("\"\"");
        NO_NAME("aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa");
        for (int i = 0; i < CONFIG_HANDLERS_MAX - 1; i++) {
                char *more = xprintf("%s[runtime.handlers.h%d]\npath='/x'\n", many, i);

                free(many);
                many = more;
        }
        assert_refused(many, "c.toml:125: runtime.handlers.h62: there are more than 64 handlers");
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

static char *print(const struct config *config)
{
        char *text = NULL;
        size_t length;
        FILE *out = open_memstream(&text, &length);

        config_print(config, out);
        fclose(out);
        return text;
}

/* What is printed can be read, and prints the same: of the defaults, and with every value changed.
 */
static void test_print(void **state)
{
        static const char all[] =
                "state_dir = \"/s \\\"1\\\"\"\n"
                "run_dir = \"/r\"\n"
                "\n[api]\nlisten = \"/l\\u0009\"\n"
                "\n[network]\nconfig_dir = \"/n\"\nplugin_dirs = [\"/a\", \"/b\"]\n"
                "timeout = 11\n"
                "default_network = \"n\"\nmax_conf_num = 2\nready_timeout = 3\n"
                "status_grace_period = 4\nip_preference = \"ipv6\"\n"
                "disable_hostport_mapping = true\nconf_template = \"/t\"\n"
                "\n[images]\ndir = \"/i\"\nadditional_stores = [\"/o\"]\nregistries_conf = "
                "\"/c\"\nhosts_dirs = []\n"
                "certs_dirs = [\"/d\", \"/e\"]\nauth_files = []\n"
                "namespaced_auth_dir = \"/d\"\ncredential_helper_timeout = 22\n"
                "signature_policy = \"/p\"\nsignature_policy_dir = \"/n\"\n"
                "registries_d = \"/d\"\n"
                "verifier_dir = \"/v\"\nverifier_timeout = 26\n"
                "decryption_keys_dir = \"/k\"\n"
                "pinned = [\"busybox\", \"*/pause*\"]\n"
                "pull_cgroup = \"pod\"\n"
                "max_parallel_pulls = 12\n"
                "max_parallel_layers = 13\npull_stall_timeout = 14\n"
                "min_pull_rate = 24\ndisk_reserve_mib = 25\n"
                "max_layer_entries = 20\nmax_layer_mib = 21\n"
                "\n[runtime]\ndefault_handler = \"zz\"\n"
                "cgroup_driver = \"systemd\"\ncreate_timeout = 15\n"
                "no_pivot = true\n"
                "monitor_cgroup = \"/m\"\n"
                "namespaces_dir = \"/ns\"\ndefault_sysctls = [\"net.a=1 2\", \"kernel.sem=3\"]\n"
                "enable_unprivileged_ports = false\nenable_unprivileged_icmp = false\n"
                "stop_timeout = 27\nlog_size_max = 28\nlog_files_max = 29\n"
                "log_line_max = 300\nlog_to_journald = true\njournald_socket = \"/j\"\n"
                "kubelet_dir = \"/k\"\n"
                "pids_limit = 30\ninfra_cpuset = \"0-1\"\n"
                "shared_cpuset = \"2,4\"\nmin_injected_gomaxprocs = 31\n"
                "irqbalance_config_file = \"\"\nblockio_config_file = \"/b\"\n"
                "rdt_config_file = \"/t\"\n"
                "allowed_annotations = [\"run.oci.\"]\n"
                "additional_devices = [\"/dev/fuse:/dev/f:rw\"]\n"
                "allowed_devices = [\"/dev/x\"]\n"
                "device_ownership_from_security_context = true\n"
                "cdi_spec_dirs = [\"/cdi\"]\nhooks_dir = []\n"
                "default_env = [\"A=b=c\"]\ndefault_ulimits = [\"nofile=1:2\"]\n"
                "timezone = \"Europe/Berlin\"\n"
                "absent_mount_sources_to_reject = [\"/etc/hostname\"]\n"
                "bind_mount_prefix = \"/host\"\ndefault_mounts_file = \"/m.conf\"\n"
                "read_only = true\nimage_volumes = \"bind\"\n"
                "seccomp_profile = \"\"\nprivileged_seccomp_profile = \"/q\"\n"
                "seccomp_root = \"/sr\"\napparmor_profile = \"mine\"\n"
                "default_capabilities = [\"CAP_CHOWN\", \"kill\"]\n"
                "add_inheritable_capabilities = true\nselinux = false\n"
                "hostnetwork_disable_selinux = false\n"
                "uid_mappings = \"0:100000:65536\"\ngid_mappings = \"0:200000:65536\"\n"
                "minimum_mappable_uid = 51\nminimum_mappable_gid = 52\n"
                "userns_range = \"300000:65536\"\n"
                "\n[runtime.handlers.crun]\nkind = \"oci\"\npath = \"/p1\"\nplatform_paths = {}\n"
                "root = \"/r1\"\ncni_conf_dir = \"/c1\"\n"
                "seccomp_profile = \"/sp1\"\n"
                "container_min_memory_kib = 41\nexec_cpu_affinity = \"\"\n"
                "allowed_annotations = []\n"
                "default_annotations = {}\n"
                "privileged_without_host_devices = false\n"
                "privileged_without_host_devices_all_devices_allowed = false\n"
                "cgroup_writable = false\nshim_runtime = \"\"\nshim_config = \"\"\n"
                "shim_options_type = \"\"\nshim_without_sandbox = false\nshim_sandbox_api = "
                "false\ncreate_timeout = 15\n"
                "\n[runtime.handlers.runc]\nkind = \"oci\"\npath = \"/p2\"\nplatform_paths = {}\n"
                "root = \"/r2\"\ncni_conf_dir = \"\"\n"
                "seccomp_profile = \"\"\n"
                "container_min_memory_kib = 42\nexec_cpu_affinity = \"\"\n"
                "allowed_annotations = []\n"
                "default_annotations = {}\n"
                "privileged_without_host_devices = false\n"
                "privileged_without_host_devices_all_devices_allowed = false\n"
                "cgroup_writable = false\nshim_runtime = \"\"\nshim_config = \"\"\n"
                "shim_options_type = \"\"\nshim_without_sandbox = false\nshim_sandbox_api = "
                "false\ncreate_timeout = 15\n"
                "\n[runtime.handlers.zz]\nkind = \"oci\"\npath = \"/p3\"\nplatform_paths = "
                "{\"plan9/mips\" = \"/p4\"}\n"
                "root = \"/r3\"\ncni_conf_dir = \"\"\n"
                "seccomp_profile = \"/sp3\"\n"
                "container_min_memory_kib = 43\nexec_cpu_affinity = \"first\"\n"
                "allowed_annotations = [\"umask.crio.io\"]\n"
                "default_annotations = {\"a.b\" = \"c\", \"d\" = \"\"}\n"
                "privileged_without_host_devices = true\n"
                "privileged_without_host_devices_all_devices_allowed = true\n"
                "cgroup_writable = true\nshim_runtime = \"\"\nshim_config = \"\"\n"
                "shim_options_type = \"\"\nshim_without_sandbox = false\nshim_sandbox_api = "
                "false\ncreate_timeout = 32\n"
                "\n[runtime.workloads.w1]\nactivation_annotation = \"a/b\"\n"
                "allowed_annotations = [\"umask.crio.io\"]\n"
                "\n[runtime.workloads.w1.resources]\ncpushares = 2\ncpuset = \"0-3\"\n"
                "cpuquota = 5000\ncpuperiod = 1000\ncpulimit = 0\n"
                "\n[runtime.workloads.w2]\nactivation_annotation = \"c\"\n"
                "annotation_prefix = \"d\"\nallowed_annotations = []\n"
                "\n[runtime.workloads.w2.resources]\ncpushares = 0\ncpuset = \"\"\n"
                "cpuquota = 0\ncpuperiod = 0\ncpulimit = 250\n"
                "\n[streaming]\naddress = \"::\"\nport = 16\nidle_timeout = 14400\n"
                "max_sessions = 1024\ntls_cert = \"\"\ntls_key = \"\"\ntls_client_ca = \"\"\n"
                "tls_min_version = \"1.2\"\ntls_ciphers = []\n"
                "\n[nri]\nlisten = \"\"\n"
                "\n[stats]\ncollection_period = 0\npod_metrics = [\"cpu\", \"diskIO\"]\n"
                "\n[metrics]\nlisten = \"[::1]:9537\"\ntls_cert = \"/c\"\ntls_key = \"/k\"\n"
                "collectors = [\"calls\"]\ncrio_names = true\n"
                "\n[log]\nlevel = \"warning\"\n"
                "\n[limits]\nmax_workers = 17\nmax_message_bytes = 1800000\n"
                "max_tasks = 19\n";
        static const char *const texts[] = {"", all};

        for (size_t i = 0; i < 2; i++) {
                AUTO_CONFIG struct config *config = load(texts[i]), *again = NULL;
                AUTO_FREE char *printed = print(config), *printed_again = NULL;

                again = load(printed);
                printed_again = print(again);
                assert_string_equal(printed, printed_again);
                if (i == 1)
                        assert_string_equal(printed, all);
        }
}

static void test_platform_paths(void **state)
{
        AUTO_CONFIG struct config *config =
                load("runtime.default_handler = \"a\"\nruntime.create_timeout = 7\n"
                     "[runtime.handlers.a]\npath = \"/any\"\nplatform_paths = {\"" CONFIG_PLATFORM
                     "\" = \"/this\", \"plan9/mips\" = \"/that\"}\n"
                     "[runtime.handlers.b]\npath = \"/any\"\ncreate_timeout = 8\n"
                     "platform_paths = {\"plan9/mips\" = \"/that\"}\n");

        assert_string_equal(config_handler_find(config, "a")->path, "/this");
        assert_string_equal(config_handler_find(config, "b")->path, "/any");
        assert_int_equal(config_create_timeout(config, "a"), 7 * INT64_C(1000000000));
        assert_int_equal(config_create_timeout(config, "b"), 8 * INT64_C(1000000000));
        assert_int_equal(config_create_timeout(config, NULL), 7 * INT64_C(1000000000));
        assert_refused(
                "runtime.handlers.a.platform_paths.amd64 = \"/x\"",
                "c.toml:1: runtime.handlers.a.platform_paths.amd64: \"amd64\" is no platform, "
                "such as linux/arm64");
        assert_refused("runtime.handlers.a.platform_paths.\"linux/arm64\" = \"x\"",
                       "c.toml:1: runtime.handlers.a.platform_paths.\"linux/arm64\": \"x\" is not "
                       "an absolute path");
}

/* The configuration of the machine that the tests run on. */
static void test_this_machine(void **state)
{
        AUTO_CONFIG struct config *config = NULL;
        AUTO_FREE char *path = xprintf("%s/c.toml", folder);

        write_file("c.toml", "");
        assert_int_equal(config_load(path, &config, NULL), 0);
        assert_non_null(config_handler_find(config, ""));
}

/* Every key stands in the pages that users read. The tests run in the source's root folder. */
static void test_documented(void **state)
{
        static const char *const pages[] = {"docs/crisp.toml.5", "docs/configuration.md"};

        for (size_t page = 0; page < sizeof(pages) / sizeof(pages[0]); page++) {
                AUTO_BUFFER struct buffer text = BUFFER_INIT;

                assert_int_equal(file_read(pages[page], 1 << 20, &text, NULL), 0);
                for (size_t i = 0; i < config_setting_count; i++) {
                        const char *dot = strchr(config_settings[i].name, '.');
                        AUTO_FREE char *man =
                                xprintf("\n.BR %s \" = ", dot ? dot + 1 : config_settings[i].name);
                        AUTO_FREE char *markdown = xprintf("| `%s` |", config_settings[i].name);

                        if (!strstr(text.data, page == 0 ? man : markdown))
                                fail_msg("%s says nothing of %s", pages[page],
                                         config_settings[i].name);
                }
        }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, begin, end)

int main(void)
{
        const struct CMUnitTest tests[] = {
                TEST(test_defaults),     TEST(test_find_handler),   TEST(test_follows_run_dir),
                TEST(test_machine),      TEST(test_values),         TEST(test_unknown_keys),
                TEST(test_wrong_types),  TEST(test_wrong_values),   TEST(test_not_supported_yet),
                TEST(test_shims),        TEST(test_handlers),       TEST(test_whole),
                TEST(test_drop_ins),     TEST(test_missing),        TEST(test_print),
                TEST(test_this_machine), TEST(test_documented),     TEST(test_wrong_forms),
                TEST(test_workloads),    TEST(test_platform_paths),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
