/* Requests that make no sense, or ask for what crisp cannot do: each refused with the field's name.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <signal.h>
#include <string.h>

#include "cri/lookup.h"
#include "cri/signals.h"
#include "cri/validate.h"

static Runtime__V1__PodSandboxMetadata pod_metadata;
static Runtime__V1__NamespaceOption namespaces;
static Runtime__V1__SELinuxOption selinux;
static Runtime__V1__LinuxSandboxSecurityContext pod_security;
static Runtime__V1__LinuxPodSandboxConfig pod_linux;
static Runtime__V1__DNSConfig dns;
static Runtime__V1__PodSandboxConfig pod_config;
static Runtime__V1__RunPodSandboxRequest pod_request;

static Runtime__V1__ContainerMetadata metadata;
static Runtime__V1__ImageSpec image;
static Runtime__V1__SecurityProfile profile;
static Runtime__V1__Capability capability;
static Runtime__V1__LinuxContainerSecurityContext security;
static Runtime__V1__LinuxContainerConfig container_linux;
static Runtime__V1__Mount mount;
static Runtime__V1__Mount *mounts[1] = {&mount};
static Runtime__V1__KeyValue variable;
static Runtime__V1__KeyValue *variables[1] = {&variable};
static Runtime__V1__Device device, *devices[1];
static Runtime__V1__ContainerConfig config;
static Runtime__V1__CreateContainerRequest request;

static int setup(void **state)
{
        (void)state;
        runtime__v1__pod_sandbox_metadata__init(&pod_metadata);
        pod_metadata.name = pod_metadata.uid = pod_metadata.namespace_ = (char *)"x";
        runtime__v1__namespace_option__init(&namespaces);
        runtime__v1__selinux_option__init(&selinux);
        runtime__v1__linux_sandbox_security_context__init(&pod_security);
        pod_security.namespace_options = &namespaces;
        pod_security.selinux_options = &selinux;
        runtime__v1__linux_pod_sandbox_config__init(&pod_linux);
        pod_linux.security_context = &pod_security;
        runtime__v1__dnsconfig__init(&dns);
        runtime__v1__pod_sandbox_config__init(&pod_config);
        pod_config.metadata = &pod_metadata;
        pod_config.linux = &pod_linux;
        pod_config.dns_config = &dns;
        runtime__v1__run_pod_sandbox_request__init(&pod_request);
        pod_request.config = &pod_config;

        runtime__v1__container_metadata__init(&metadata);
        metadata.name = (char *)"c";
        runtime__v1__image_spec__init(&image);
        image.image = (char *)"busybox";
        runtime__v1__security_profile__init(&profile);
        runtime__v1__capability__init(&capability);
        runtime__v1__linux_container_security_context__init(&security);
        runtime__v1__linux_container_config__init(&container_linux);
        container_linux.security_context = &security;
        runtime__v1__mount__init(&mount);
        mount.container_path = mount.host_path = (char *)"/x";
        runtime__v1__key_value__init(&variable);
        variable.key = (char *)"K";
        runtime__v1__container_config__init(&config);
        config.metadata = &metadata;
        config.image = &image;
        config.linux = &container_linux;
        config.mounts = mounts;
        config.n_mounts = 1;
        config.envs = variables;
        config.n_envs = 1;
        runtime__v1__create_container_request__init(&request);
        request.config = &config;
        request.pod_sandbox_id = (char *)"p";
        return 0;
}

static void expect_pod(enum error_code code, const char *field)
{
        struct error err = {0};
        int result = validate_pod(&pod_request, &err);
        assert_int_equal(err.code, code);
        assert_true((result < 0) == (code != ERROR_OK));
        if (field)
                assert_memory_equal(err.message, field, strlen(field));
        setup(NULL);
}

static void test_pods(void **state)
{
        (void)state;
        expect_pod(ERROR_OK, NULL);
        pod_request.config = NULL;
        expect_pod(ERROR_INVALID_ARGUMENT, "config:");
        pod_config.metadata = NULL;
        expect_pod(ERROR_INVALID_ARGUMENT, "config.metadata:");
        pod_metadata.uid = (char *)"";
        expect_pod(ERROR_INVALID_ARGUMENT, "config.metadata.uid:");
        pod_metadata.name = (char *)"a/b"; /* would be another pod's key */
        expect_pod(ERROR_INVALID_ARGUMENT, "config.metadata.name:");
        pod_config.log_directory = (char *)"relative";
        expect_pod(ERROR_INVALID_ARGUMENT, "config.log_directory:");
        pod_config.hostname = (char *)"a\nb";
        expect_pod(ERROR_INVALID_ARGUMENT, "config.hostname:");
        char *words[] = {(char *)"1.1.1.1\noptions evil"};
        dns.servers = words;
        dns.n_servers = 1;
        expect_pod(ERROR_INVALID_ARGUMENT, "config.dns_config.servers:");
        dns.searches = words;
        dns.n_searches = 1;
        expect_pod(ERROR_INVALID_ARGUMENT, "config.dns_config.searches:");
        char *scoped[] = {(char *)"fe80::1%eth0"};
        dns.servers = scoped;
        dns.n_servers = 1;
        expect_pod(ERROR_OK, NULL);
        pod_config.log_directory = (char *)"/var/log/../../etc";
        expect_pod(ERROR_INVALID_ARGUMENT, "config.log_directory:");
        namespaces.pid = RUNTIME__V1__NAMESPACE_MODE__TARGET;
        expect_pod(ERROR_INVALID_ARGUMENT, "config.linux.security_context.namespace_options.pid:");
        namespaces.pid = RUNTIME__V1__NAMESPACE_MODE__TARGET;
        namespaces.target_id = (char *)"abc";
        expect_pod(ERROR_INVALID_ARGUMENT, "config.linux.security_context.namespace_options.pid:");
        namespaces.network = RUNTIME__V1__NAMESPACE_MODE__CONTAINER;
        expect_pod(ERROR_INVALID_ARGUMENT,
                   "config.linux.security_context.namespace_options.network:");
        Runtime__V1__UserNamespace user = RUNTIME__V1__USER_NAMESPACE__INIT;
        Runtime__V1__IDMapping ids = RUNTIME__V1__IDMAPPING__INIT, *list[] = {&ids};
        namespaces.userns_options = &user; /* mode POD */
        expect_pod(ERROR_INVALID_ARGUMENT,
                   "config.linux.security_context.namespace_options.userns_options.uids:");
        ids.host_id = 1000;
        ids.length = 10;
        user.uids = list;
        user.n_uids = 1;
        namespaces.userns_options = &user;
        expect_pod(ERROR_INVALID_ARGUMENT,
                   "config.linux.security_context.namespace_options.userns_options.gids:");
        user.gids = list;
        user.n_gids = 1;
        namespaces.userns_options = &user;
        expect_pod(ERROR_OK, NULL);
        namespaces.userns_options = &user;
        namespaces.ipc = RUNTIME__V1__NAMESPACE_MODE__NODE;
        expect_pod(ERROR_INVALID_ARGUMENT, "config.linux.security_context.namespace_options.ipc:");
        namespaces.userns_options = &user;
        user.mode = RUNTIME__V1__NAMESPACE_MODE__TARGET;
        expect_pod(ERROR_INVALID_ARGUMENT,
                   "config.linux.security_context.namespace_options.userns_options.mode:");
        selinux.type = (char *)"spc_t";
        selinux.level = (char *)"s0:c1,c2";
        expect_pod(ERROR_OK, NULL);
        selinux.type = (char *)"a:b";
        expect_pod(ERROR_INVALID_ARGUMENT, "config.linux.security_context.selinux_options.type:");
        pod_security.seccomp_profile_path = (char *)"other";
        expect_pod(ERROR_INVALID_ARGUMENT, "config.linux.security_context.seccomp:");
        Runtime__V1__Int64Value id = RUNTIME__V1__INT64_VALUE__INIT;
        pod_security.run_as_group = &id;
        expect_pod(ERROR_INVALID_ARGUMENT, "config.linux.security_context.run_as_group:");
        id.value = -1;
        pod_security.run_as_user = &id;
        expect_pod(ERROR_INVALID_ARGUMENT, "config.linux.security_context.run_as_user:");
        Runtime__V1__PortMapping port = RUNTIME__V1__PORT_MAPPING__INIT;
        Runtime__V1__PortMapping *ports[] = {&port};
        port.host_port = 65536;
        pod_config.port_mappings = ports;
        pod_config.n_port_mappings = 1;
        expect_pod(ERROR_INVALID_ARGUMENT, "config.port_mappings:");
}

static void expect(enum error_code code, const char *field)
{
        struct error err = {0};
        int result = validate_container(&request, &err);
        assert_int_equal(err.code, code);
        assert_true((result < 0) == (code != ERROR_OK));
        if (field)
                assert_memory_equal(err.message, field, strlen(field));
        setup(NULL);
}

static void test_containers(void **state)
{
        (void)state;
        expect(ERROR_OK, NULL);
        request.pod_sandbox_id = (char *)"";
        expect(ERROR_INVALID_ARGUMENT, "pod_sandbox_id:");
        metadata.name = (char *)"";
        expect(ERROR_INVALID_ARGUMENT, "config.metadata.name:");
        image.image = (char *)"";
        expect(ERROR_INVALID_ARGUMENT, "config.image.image:");
        config.log_path = (char *)"../../etc/cron.d/x";
        expect(ERROR_INVALID_ARGUMENT, "config.log_path:");
        config.log_path = (char *)"..name/0.log";
        expect(ERROR_OK, NULL);
        mount.container_path = (char *)"x";
        expect(ERROR_INVALID_ARGUMENT, "config.mounts.container_path:");
        mount.container_path = (char *)"/a/../b";
        expect(ERROR_INVALID_ARGUMENT, "config.mounts.container_path:");
        mount.host_path = (char *)"";
        expect(ERROR_INVALID_ARGUMENT, "config.mounts.host_path:");
        config.log_path = (char *)"/etc/cron.d/x";
        expect(ERROR_INVALID_ARGUMENT, "config.log_path:");
        mount.recursive_read_only = 1;
        expect(ERROR_INVALID_ARGUMENT, "config.mounts.recursive_read_only:");
        mount.recursive_read_only = mount.readonly = 1;
        mount.propagation = RUNTIME__V1__MOUNT_PROPAGATION__PROPAGATION_HOST_TO_CONTAINER;
        expect(ERROR_INVALID_ARGUMENT, "config.mounts.recursive_read_only:");
        mount.recursive_read_only = mount.readonly = 1;
        expect(ERROR_OK, NULL);
        static const char *const destinations[] = {"/proc/x", "/proc/1/ns", "//./proc/sys/",
                                                   "/proc/cpuinfo/x"};
        for (size_t i = 0; i < sizeof destinations / sizeof *destinations; i++) {
                mount.container_path = (char *)destinations[i];
                expect(ERROR_INVALID_ARGUMENT, "config.mounts.container_path:");
        }
        static const char *const allowed[] = {"/proc", "/proc/./cpuinfo", "/process", "/a/proc/x"};
        for (size_t i = 0; i < sizeof allowed / sizeof *allowed; i++) {
                mount.container_path = (char *)allowed[i];
                expect(ERROR_OK, NULL);
        }
        mount.image = &image;
        mount.host_path = (char *)"";
        mount.readonly = 1;
        expect(ERROR_OK, NULL);
        mount.image = &image;
        mount.host_path = (char *)"";
        expect(ERROR_INVALID_ARGUMENT, "config.mounts.readonly:");
        mount.image = &image;
        mount.readonly = 1;
        expect(ERROR_INVALID_ARGUMENT, "config.mounts:");
        mount.image = &image;
        mount.container_path = (char *)"x";
        expect(ERROR_INVALID_ARGUMENT, "config.mounts.container_path:");
        static char *options[] = {(char *)"noexec", (char *)"relatime"};
        mount.mount_options = options;
        mount.n_mount_options = 2;
        expect(ERROR_OK, NULL);
        static char *loosening[] = {(char *)"suid"};
        mount.mount_options = loosening;
        mount.n_mount_options = 1;
        expect(ERROR_INVALID_ARGUMENT, "config.mounts.mount_options:");
        static Runtime__V1__IDMapping range;
        static Runtime__V1__IDMapping *ranges[] = {&range};
        runtime__v1__idmapping__init(&range);
        range.length = 1;
        mount.uidmappings = ranges;
        mount.n_uidmappings = 1;
        expect(ERROR_INVALID_ARGUMENT, "config.mounts.gidMappings:");
        mount.uidmappings = mount.gidmappings = ranges;
        mount.n_uidmappings = mount.n_gidmappings = 1;
        expect(ERROR_OK, NULL);
        mount.uidmappings = mount.gidmappings = ranges;
        mount.n_uidmappings = mount.n_gidmappings = 1;
        mount.propagation = RUNTIME__V1__MOUNT_PROPAGATION__PROPAGATION_BIDIRECTIONAL;
        expect(ERROR_UNIMPLEMENTED, "config.mounts.propagation:");
        range.host_id = UINT32_MAX;
        mount.uidmappings = mount.gidmappings = ranges;
        mount.n_uidmappings = mount.n_gidmappings = 1;
        expect(ERROR_INVALID_ARGUMENT, "config.mounts.uidMappings:");
        range.length = range.host_id = 0;
        mount.uidmappings = mount.gidmappings = ranges;
        mount.n_uidmappings = mount.n_gidmappings = 1;
        expect(ERROR_INVALID_ARGUMENT, "config.mounts.uidMappings:");
        variable.key = (char *)"A=B";
        expect(ERROR_INVALID_ARGUMENT, "config.envs:");
        variable.value.data = (uint8_t *)"a\0b";
        variable.value.len = 3;
        expect(ERROR_INVALID_ARGUMENT, "config.envs:");
        runtime__v1__device__init(&device);
        device.host_path = (char *)"/dev/x";
        device.permissions = (char *)"rwx";
        devices[0] = &device;
        config.devices = devices;
        config.n_devices = 1;
        expect(ERROR_INVALID_ARGUMENT, "config.devices.permissions:");
        device.host_path = (char *)"x";
        config.devices = devices;
        config.n_devices = 1;
        expect(ERROR_INVALID_ARGUMENT, "config.devices.host_path:");
        config.working_dir = (char *)"relative";
        expect(ERROR_INVALID_ARGUMENT, "config.working_dir:");
}

static void test_profiles(void **state)
{
        (void)state;
        security.seccomp = &profile; /* RuntimeDefault */
        expect(ERROR_OK, NULL);
        profile.localhost_ref = (char *)"/a";
        security.seccomp = &profile;
        expect(ERROR_INVALID_ARGUMENT, "config.linux.security_context.seccomp.localhost_ref:");
        profile.profile_type = RUNTIME__V1__SECURITY_PROFILE__PROFILE_TYPE__Unconfined;
        security.seccomp = &profile;
        expect(ERROR_OK, NULL);
        security.seccomp_profile_path = (char *)"localhost/x";
        expect(ERROR_OK, NULL);
        security.seccomp_profile_path = (char *)"x";
        expect(ERROR_INVALID_ARGUMENT, "config.linux.security_context.seccomp:");
        profile.profile_type = RUNTIME__V1__SECURITY_PROFILE__PROFILE_TYPE__Localhost;
        security.apparmor = &profile; /* without a name */
        expect(ERROR_INVALID_ARGUMENT, "config.linux.security_context.apparmor:");
        security.apparmor_profile = (char *)"localhost/";
        expect(ERROR_INVALID_ARGUMENT, "config.linux.security_context.apparmor:");
        char *paths[] = {(char *)"/proc/../etc"};
        security.masked_paths = paths;
        security.n_masked_paths = 1;
        expect(ERROR_INVALID_ARGUMENT, "config.linux.security_context.masked_paths:");
        security.readonly_paths = paths;
        security.n_readonly_paths = 1;
        expect(ERROR_INVALID_ARGUMENT, "config.linux.security_context.readonly_paths:");
        security.supplemental_groups_policy = 2;
        expect(ERROR_INVALID_ARGUMENT, "config.linux.security_context.supplemental_groups_policy:");
        Runtime__V1__Int64Value group = RUNTIME__V1__INT64_VALUE__INIT;
        security.run_as_group = &group;
        expect(ERROR_INVALID_ARGUMENT, "config.linux.security_context.run_as_group:");
}

static void test_stop_signals(void **state)
{
        (void)state;
        struct error err;
        int number;
        assert_int_equal(signals_effective(&config, NULL, &number, &err), 0);
        assert_int_equal(number, SIGTERM);
        assert_int_equal(signals_effective(&config, "SIGQUIT", &number, &err), 0);
        assert_int_equal(number, SIGQUIT);
        assert_int_equal(signals_to_cri(number), RUNTIME__V1__SIGNAL__SIGNAL_SIGQUIT);
        config.stop_signal = RUNTIME__V1__SIGNAL__SIGNAL_SIGRTMINPLUS3;
        assert_int_equal(signals_effective(&config, "SIGQUIT", &number, &err), 0);
        assert_int_equal(number, 37);
        assert_int_equal(signals_to_cri(number), RUNTIME__V1__SIGNAL__SIGNAL_SIGRTMINPLUS3);
        config.stop_signal = RUNTIME__V1__SIGNAL__SIGNAL_SIGRTMAXMINUS2;
        assert_int_equal(signals_effective(&config, NULL, &number, &err), 0);
        assert_int_equal(number, 62);
        config.stop_signal = RUNTIME__V1__SIGNAL__SIGNAL_RUNTIME_DEFAULT;
        assert_true(signals_effective(&config, "SIGNONSENSE", &number, &err) < 0);
        assert_memory_equal(err.message, "the image's stop signal:", 24);
        /* Each of the protocol's signals has a number. */
        for (unsigned i = 0; i < runtime__v1__signal__descriptor.n_values; i++) {
                config.stop_signal =
                        (Runtime__V1__Signal)runtime__v1__signal__descriptor.values[i].value;
                assert_int_equal(signals_effective(&config, NULL, &number, &err), 0);
        }
}

static bool takes_all(const void *object)
{
        (void)object;
        return true;
}

static void test_lookup(void **state)
{
        (void)state;
        struct error err;
        void *found;
        int one, two;
        struct table *table = table_new();
        table_put(table, "abc1", &one);
        table_put(table, "abd2", &two);
        assert_int_equal(lookup_id(table, "pod", "pod_id", "abc", takes_all, &found, &err), 0);
        assert_ptr_equal(found, &one);
        assert_int_equal(lookup_id(table, "pod", "pod_id", "ab", takes_all, &found, &err), -EINVAL);
        assert_int_equal(lookup_id(table, "pod", "pod_id", "x", takes_all, &found, &err), -ENOENT);
        assert_int_equal(lookup_id(table, "pod", "pod_id", "", takes_all, &found, &err), -EINVAL);
        table_free(table);

        struct lookup_entry entries[2] = {{.key = (char *)"app", .value = (char *)"web"},
                                          {.key = (char *)"tier", .value = (char *)"1"}};
        struct lookup_entry *labels[2] = {&entries[0], &entries[1]};
        struct lookup_entry wanted = {.key = (char *)"tier", .value = (char *)"1"};
        struct lookup_entry *selector[1] = {&wanted};
        assert_true(lookup_labels_match(labels, 2, selector, 1));
        wanted.value = (char *)"2";
        assert_false(lookup_labels_match(labels, 2, selector, 1));
        assert_true(lookup_labels_match(labels, 2, NULL, 0));
        assert_false(lookup_labels_match(NULL, 0, selector, 1));
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup(test_pods, setup),
                cmocka_unit_test_setup(test_containers, setup),
                cmocka_unit_test_setup(test_profiles, setup),
                cmocka_unit_test_setup(test_stop_signals, setup),
                cmocka_unit_test_setup(test_lookup, setup),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
