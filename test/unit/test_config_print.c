/* How a configuration and the pages about it tell of every key. */
#include "base/buffer.h"
#include "test/unit/config_fixture.h"

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
                "unclaimed_timeout = 23\nstop_timeout = 27\nlog_size_max = 28\nlog_files_max = 29\n"
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

int main(void)
{
        const struct CMUnitTest tests[] = {
                TEST(test_print),
                TEST(test_documented),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
