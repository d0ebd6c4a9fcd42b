/* Which SELinux labels pods, containers and their volumes get from their requests, on a root folder
 * that has what the kernel and a policy would show. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "base/file.h"
#include "base/memory.h"
#include "cri/confinement.h"
#include "cri/container_spec.h"

typedef Runtime__V1__SELinuxOption Option;

#define HOST RUNTIME__V1__NAMESPACE_MODE__NODE
/* "" leaves a part as it is. */
#define OPTION(user, role, type, level)                                                            \
        (&(Option){PROTOBUF_C_MESSAGE_INIT(&runtime__v1__selinux_option__descriptor),              \
                   (char *)(user), (char *)(role), (char *)(type), (char *)(level)})

static char root[64];
static char *no_capabilities[] = {NULL};
static struct config_handler handler = {.name = (char *)"runc"};
static struct config config;
static struct pod *made[4096];
static size_t made_count;

static char *at(const char *path)
{
        return xprintf("%s%s", root, path);
}

static void put(const char *path, const char *text)
{
        AUTO_FREE char *full = at(path);
        AUTO_FREE char *parent = xstrndup(full, (size_t)(strrchr(full, '/') - full));
        assert_int_equal(file_make_directories(parent, 0755, NULL), 0);
        assert_int_equal(file_replace_volatile(full, text, strlen(text), 0644, NULL), 0);
}

static int begin(void **state)
{
        (void)state;
        strcpy(root, "/tmp/test_confinement.XXXXXX");
        if (!mkdtemp(root))
                return -1;
        put("/sys/fs/selinux/context", "");
        handler.allowed_annotations = NULL;
        config = (struct config){0};
        config.runtime.default_handler = handler.name;
        config.runtime.handlers = &handler;
        config.runtime.handler_count = 1;
        config.runtime.create_timeout = 60;
        config.runtime.apparmor_profile = (char *)"unconfined"; /* the machine's is left alone */
        config.runtime.privileged_seccomp_profile = (char *)"";
        config.runtime.default_capabilities = no_capabilities;
        node.config = &config;
        node.run_pods_dir = root;
        node.pods = table_new();
        node.selinux = selinux_open(root);
        return 0;
}

static int end(void **state)
{
        (void)state;
        while (made_count)
                pod_unref(made[--made_count]);
        selinux_free(node.selinux);
        table_free(node.pods);
        node = (struct node){0};
        return file_remove_tree(root, NULL);
}

/* ---- pods ---- */

struct asked_pod {
        Runtime__V1__NamespaceMode pid, ipc, network;
        bool privileged;
        Option *options;
        const char *annotation; /* is "true" */
};

/* Lives as long as the test; not labelled yet. */
static struct pod *new_pod(struct asked_pod asked)
{
        Runtime__V1__NamespaceOption namespaces = RUNTIME__V1__NAMESPACE_OPTION__INIT;
        Runtime__V1__LinuxSandboxSecurityContext security =
                RUNTIME__V1__LINUX_SANDBOX_SECURITY_CONTEXT__INIT;
        Runtime__V1__LinuxPodSandboxConfig platform = RUNTIME__V1__LINUX_POD_SANDBOX_CONFIG__INIT;
        Runtime__V1__PodSandboxMetadata metadata = RUNTIME__V1__POD_SANDBOX_METADATA__INIT;
        Runtime__V1__PodSandboxConfig__AnnotationsEntry
                entry = RUNTIME__V1__POD_SANDBOX_CONFIG__ANNOTATIONS_ENTRY__INIT,
                *entries[] = {&entry};
        Runtime__V1__PodSandboxConfig settings = RUNTIME__V1__POD_SANDBOX_CONFIG__INIT;
        Runtime__V1__RunPodSandboxRequest request = RUNTIME__V1__RUN_POD_SANDBOX_REQUEST__INIT;
        char id[ID_LENGTH + 1];
        snprintf(id, sizeof id, "%0*zu", ID_LENGTH, made_count);
        namespaces.pid = asked.pid;
        namespaces.ipc = asked.ipc;
        namespaces.network = asked.network;
        security.namespace_options = &namespaces;
        security.privileged = asked.privileged;
        security.selinux_options = asked.options;
        platform.security_context = &security;
        entry.key = (char *)asked.annotation;
        entry.value = (char *)"true";
        settings.n_annotations = asked.annotation ? 1 : 0;
        settings.annotations = entries;
        settings.metadata = &metadata;
        settings.linux = &platform;
        request.config = &settings;
        struct pod *pod = pod_new(id, &request);
        made[made_count++] = pod;
        table_put(node.pods, pod->id, pod);
        return pod;
}

static struct pod *labelled_pod(struct asked_pod asked)
{
        struct error err;
        struct pod *pod = new_pod(asked);
        assert_int_equal(confinement_label_pod(pod, &err), 0);
        return pod;
}

static void each_pod_has_categories_of_its_own(void **state)
{
        /* Two categories of 1024 by chance: among so many pods there are the same ones again. */
        enum { MANY = 2000 };
        struct table *levels = table_new();
        (void)state;
        for (size_t i = 0; i < MANY; i++) {
                struct pod *pod = labelled_pod((struct asked_pod){0});
                const char *level = selinux_level(pod->selinux_label);
                AUTO_FREE char *process = xprintf("system_u:system_r:container_t:%s", level);
                AUTO_FREE char *files = xprintf("system_u:object_r:container_file_t:%s", level);
                assert_string_equal(pod->selinux_label, process);
                assert_string_equal(pod->selinux_mount_label, files);
                assert_null(table_put(levels, level, pod));
        }
        table_free(levels);
}

static void a_pods_options_are_in_its_label(void **state)
{
        (void)state;
        struct pod *pod =
                labelled_pod((struct asked_pod){.options = OPTION("u", "r", "t_t", "s0:c1,c2")});
        assert_string_equal(pod->selinux_label, "u:r:t_t:s0:c1,c2");
        assert_string_equal(pod->selinux_mount_label, "u:object_r:container_file_t:s0:c1,c2");
}

static void pods_that_are_not_kept_from_the_host_have_none(void **state)
{
        static const struct asked_pod asked[] = {
                {.pid = HOST}, {.ipc = HOST}, {.privileged = true}};
        (void)state;
        for (size_t i = 0; i < sizeof asked / sizeof *asked; i++)
                assert_null(labelled_pod(asked[i])->selinux_label);
        assert_non_null(labelled_pod((struct asked_pod){.network = HOST})->selinux_label);
}

static void a_pods_label_is_in_its_record(void **state)
{
        struct error err;
        (void)state;
        struct pod *pod = labelled_pod((struct asked_pod){0});
        struct pod *later = new_pod((struct asked_pod){0});
        AUTO_JSON json_t *record = pod_record(pod);
        json_object_set_new(record, "torn_down", json_true());
        assert_int_equal(pod_restore(later, record, &err), 0);
        assert_string_equal(later->selinux_label, pod->selinux_label);
        assert_string_equal(later->selinux_mount_label, pod->selinux_mount_label);
}

/* ---- containers ---- */

struct asked_container {
        Runtime__V1__NamespaceOption *namespaces; /* null: as its pod */
        bool privileged;
        Option *options;
        Runtime__V1__Mount *mount; /* or null */
};

/* What is given to the specification of such a container, and done to its volumes. */
struct outcome {
        struct confinement confinement;
        json_t *spec; /* as the runtime gets it */
        int result;
        struct error err;
};

static void outcome_fini(struct outcome *outcome)
{
        confinement_fini(&outcome->confinement);
        json_decref(outcome->spec);
}
#define AUTO_OUTCOME CLEANUP(outcome_fini)

static void build(struct container *container, struct outcome *outcome)
{
        static const char *const command[] = {"/bin/true", NULL};
        AUTO_ARENA struct arena *arena = arena_new();
        AUTO_FREE char *text = NULL;
        struct container_spec draft = {
                .container = container,
                .config = container_config(container),
                .security = container_security(container),
                .pod = container->pod,
                .confinement = &outcome->confinement,
                .arena = arena,
                .spec = {.args = (char *const *)command, .root = "/"},
                .err = &outcome->err,
        };
        outcome->result = container_spec_security(&draft);
        if (outcome->result < 0)
                return;
        assert_int_equal(spec_build(&draft.spec, &text, &outcome->err), 0);
        assert_int_equal(json_parse(text, strlen(text), "spec", &outcome->spec, &outcome->err), 0);
}

static struct outcome of_container(struct pod *pod, struct asked_container asked)
{
        Runtime__V1__LinuxContainerSecurityContext security =
                RUNTIME__V1__LINUX_CONTAINER_SECURITY_CONTEXT__INIT;
        Runtime__V1__LinuxContainerConfig platform = RUNTIME__V1__LINUX_CONTAINER_CONFIG__INIT;
        Runtime__V1__ContainerMetadata metadata = RUNTIME__V1__CONTAINER_METADATA__INIT;
        Runtime__V1__ContainerConfig settings = RUNTIME__V1__CONTAINER_CONFIG__INIT;
        Runtime__V1__CreateContainerRequest request = RUNTIME__V1__CREATE_CONTAINER_REQUEST__INIT;
        static const char id[ID_LENGTH + 1] = "c";
        struct outcome outcome = {0};
        security.namespace_options = asked.namespaces;
        security.privileged = asked.privileged;
        security.selinux_options = asked.options;
        platform.security_context = &security;
        settings.metadata = &metadata;
        settings.linux = &platform;
        settings.n_mounts = asked.mount ? 1 : 0;
        settings.mounts = &asked.mount;
        request.config = &settings;
        struct container *container = container_new(id, pod, &request);
        outcome.result = confinement_prepare(container, &outcome.confinement, &outcome.err);
        if (outcome.result == 0)
                build(container, &outcome);
        container_unref(container);
        return outcome;
}

/* Null is none; and the runtime gets the same. */
static void expect(const struct outcome *outcome, const char *process, const char *files)
{
        const json_t *spec = outcome->spec;
        const char *told = json_string_value(
                json_object_get(json_object_get(spec, "process"), "selinuxLabel"));
        const char *told_files =
                json_string_value(json_object_get(json_object_get(spec, "linux"), "mountLabel"));
        assert_int_equal(outcome->result, 0);
        if (process)
                assert_string_equal(told ? told : "(none)", process);
        else
                assert_null(told);
        if (files)
                assert_string_equal(told_files ? told_files : "(none)", files);
        else
                assert_null(told_files);
}

static void containers_share_their_pods_label(void **state)
{
        (void)state;
        struct pod *pod = labelled_pod((struct asked_pod){.options = OPTION("", "", "t_t", "")});
        AUTO_OUTCOME struct outcome one = of_container(pod, (struct asked_container){0});
        AUTO_OUTCOME struct outcome other = of_container(pod, (struct asked_container){0});
        expect(&one, pod->selinux_label, pod->selinux_mount_label);
        expect(&other, pod->selinux_label, pod->selinux_mount_label);
}

static void a_containers_options_go_before_its_pods(void **state)
{
        (void)state;
        struct pod *pod =
                labelled_pod((struct asked_pod){.options = OPTION("u", "", "t_t", "s0:c1,c2")});
        AUTO_OUTCOME struct outcome part =
                of_container(pod, (struct asked_container){.options = OPTION("", "", "x_t", "")});
        expect(&part, "u:system_r:x_t:s0:c1,c2", "system_u:object_r:container_file_t:s0:c1,c2");
        AUTO_OUTCOME struct outcome all = of_container(
                pod, (struct asked_container){.options = OPTION("v", "r", "y_t", "s0:c9")});
        expect(&all, "v:r:y_t:s0:c9", "v:object_r:container_file_t:s0:c9");
}

static void containers_that_are_not_kept_from_the_host(void **state)
{
        Runtime__V1__NamespaceOption host = RUNTIME__V1__NAMESPACE_OPTION__INIT;
        (void)state;
        struct pod *pod = labelled_pod((struct asked_pod){0});
        host.pid = HOST;
        AUTO_OUTCOME struct outcome sees_the_hosts =
                of_container(pod, (struct asked_container){.namespaces = &host});
        expect(&sees_the_hosts, NULL, NULL);
        struct pod *privileged = labelled_pod((struct asked_pod){.privileged = true});
        AUTO_OUTCOME struct outcome all =
                of_container(privileged, (struct asked_container){.privileged = true});
        assert_non_null(all.confinement.labels.mount);
        expect(&all, NULL, all.confinement.labels.mount);
}

static void on_the_hosts_network_where_the_node_says_so(void **state)
{
        (void)state;
        struct pod *pod = labelled_pod((struct asked_pod){.network = HOST});
        AUTO_OUTCOME struct outcome kept = of_container(pod, (struct asked_container){0});
        expect(&kept, pod->selinux_label, pod->selinux_mount_label);
        config.runtime.hostnetwork_disable_selinux = true;
        AUTO_OUTCOME struct outcome free = of_container(pod, (struct asked_container){0});
        expect(&free, NULL, pod->selinux_mount_label);
        struct pod *own = labelled_pod((struct asked_pod){0});
        AUTO_OUTCOME struct outcome others = of_container(own, (struct asked_container){0});
        expect(&others, own->selinux_label, own->selinux_mount_label);
}

static void a_shims_process_has_a_virtual_machines_type(void **state)
{
        static const struct runtime_handler shim = {.name = (char *)"runc",
                                                    .kind = RUNTIME_KIND_SHIM};
        (void)state;
        struct pod *pod =
                labelled_pod((struct asked_pod){.options = OPTION("", "", "", "s0:c1,c2")});
        pod->handler = &shim;
        AUTO_OUTCOME struct outcome outcome = of_container(pod, (struct asked_container){0});
        expect(&outcome, "system_u:system_r:container_kvm_t:s0:c1,c2",
               "system_u:object_r:container_file_t:s0:c1,c2");
}

static void what_the_policy_does_not_know_is_refused(void **state)
{
        struct error err = {0};
        (void)state;
        struct pod *pod = labelled_pod((struct asked_pod){0});
        /* A folder takes no label, as the kernel takes none that its policy has not. */
        AUTO_FREE char *check = at("/sys/fs/selinux/context");
        assert_int_equal(unlink(check), 0);
        assert_int_equal(mkdir(check, 0700), 0);
        assert_true(confinement_label_pod(new_pod((struct asked_pod){0}), &err) < 0);
        assert_non_null(strstr(err.message, "config.linux.security_context"));
        AUTO_OUTCOME struct outcome outcome =
                of_container(pod, (struct asked_container){.options = OPTION("", "", "x_t", "")});
        assert_true(outcome.result < 0);
        assert_non_null(strstr(outcome.err.message, "config.linux.security_context"));
}

static void without_selinux_nothing_has_a_label(void **state)
{
        (void)state;
        selinux_free(node.selinux);
        node.selinux = NULL; /* so it is with runtime.selinux = false, too */
        struct pod *pod = labelled_pod((struct asked_pod){.options = OPTION("", "", "t_t", "")});
        assert_null(pod->selinux_label);
        AUTO_OUTCOME struct outcome outcome =
                of_container(pod, (struct asked_container){.options = OPTION("", "", "x_t", "")});
        expect(&outcome, NULL, NULL);
}

/* ---- volumes ---- */

/* Where the attribute cannot be set, nothing can be seen of it. */
static void need_attributes(void)
{
        put("/probe", "");
        AUTO_FREE char *probe = at("/probe");
        if (lsetxattr(probe, "security.selinux", "x", 2, 0) < 0)
                skip();
}

static bool has_label(const char *path, const char *label)
{
        char found[256] = "";
        AUTO_FREE char *full = at(path);
        ssize_t length = lgetxattr(full, "security.selinux", found, sizeof found - 1);
        return length > 0 && strcmp(found, label) == 0;
}

/* A container with the volume runs in the pod. Whether its file was labelled for the pod. */
static bool labels(struct pod *pod, Option *options, bool relabel)
{
        Runtime__V1__Mount mount = RUNTIME__V1__MOUNT__INIT;
        AUTO_FREE char *volume = at("/volume");
        assert_int_equal(file_remove_tree(volume, NULL), 0);
        put("/volume/file", "");
        mount.container_path = (char *)"/v";
        mount.host_path = volume;
        mount.selinux_relabel = relabel;
        AUTO_OUTCOME struct outcome outcome =
                of_container(pod, (struct asked_container){.options = options, .mount = &mount});
        assert_int_equal(outcome.result, 0);
        return has_label("/volume/file", pod->selinux_mount_label);
}

static void volumes_are_labelled_where_that_is_asked_for(void **state)
{
        (void)state;
        need_attributes();
        struct pod *pod = labelled_pod((struct asked_pod){0});
        assert_true(labels(pod, NULL, true));
        assert_false(labels(pod, NULL, false));
}

static void volumes_of_the_super_type_stay_as_they_are(void **state)
{
        (void)state;
        need_attributes();
        struct pod *pod = labelled_pod((struct asked_pod){0});
        struct pod *super =
                labelled_pod((struct asked_pod){.options = OPTION("", "", "spc_t", "")});
        assert_false(labels(pod, OPTION("", "", "spc_t", ""), true));
        assert_false(labels(super, NULL, true));
        assert_true(labels(super, OPTION("", "", "x_t", ""), true)); /* its own goes before */
}

static void a_top_that_is_right_is_trusted_where_the_pod_may_say_so(void **state)
{
        static char *allowed[] = {(char *)"try-skip-volume-selinux-label.crio.io", NULL};
        Runtime__V1__Mount mount = RUNTIME__V1__MOUNT__INIT;
        (void)state;
        need_attributes();
        struct pod *pod = labelled_pod((struct asked_pod){.annotation = allowed[0]});
        AUTO_FREE char *volume = at("/volume");
        put("/volume/file", "");
        assert_int_equal(selinux_set_label(volume, pod->selinux_mount_label, NULL), 0);
        mount.container_path = (char *)"/v";
        mount.host_path = volume;
        mount.selinux_relabel = true;
        struct asked_container asked = {.mount = &mount};
        handler.allowed_annotations = allowed;
        AUTO_OUTCOME struct outcome trusted = of_container(pod, asked);
        assert_false(has_label("/volume/file", pod->selinux_mount_label));
        handler.allowed_annotations = NULL;
        AUTO_OUTCOME struct outcome looked_at = of_container(pod, asked);
        assert_true(has_label("/volume/file", pod->selinux_mount_label));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, begin, end)

int main(void)
{
        const struct CMUnitTest tests[] = {
                TEST(each_pod_has_categories_of_its_own),
                TEST(a_pods_options_are_in_its_label),
                TEST(pods_that_are_not_kept_from_the_host_have_none),
                TEST(a_pods_label_is_in_its_record),
                TEST(containers_share_their_pods_label),
                TEST(a_containers_options_go_before_its_pods),
                TEST(containers_that_are_not_kept_from_the_host),
                TEST(on_the_hosts_network_where_the_node_says_so),
                TEST(a_shims_process_has_a_virtual_machines_type),
                TEST(what_the_policy_does_not_know_is_refused),
                TEST(without_selinux_nothing_has_a_label),
                TEST(volumes_are_labelled_where_that_is_asked_for),
                TEST(volumes_of_the_super_type_stay_as_they_are),
                TEST(a_top_that_is_right_is_trusted_where_the_pod_may_say_so),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
