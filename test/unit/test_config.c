/* What a configuration has: by default, by the machine, of handlers and workloads. */
#include "test/unit/config_fixture.h"

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

/* The configuration of the machine that the tests run on. */
static void test_this_machine(void **state)
{
        AUTO_CONFIG struct config *config = NULL;
        AUTO_FREE char *path = xprintf("%s/c.toml", folder);

        write_file("c.toml", "");
        assert_int_equal(config_load(path, &config, NULL), 0);
        assert_non_null(config_handler_find(config, ""));
}

/* ---- handlers and workloads ---- */

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

int main(void)
{
        const struct CMUnitTest tests[] = {
                TEST(test_defaults),  TEST(test_find_handler), TEST(test_follows_run_dir),
                TEST(test_machine),   TEST(test_this_machine), TEST(test_shims),
                TEST(test_workloads), TEST(test_handlers),     TEST(test_platform_paths),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
