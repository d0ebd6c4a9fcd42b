#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/memory.h"
#include "cri/annotation.h"
#include "cri/container.h"

/* A pod and a container of it with one annotation each, under a handler that allows a list. */

static struct config_handler handler = {.name = (char *)"runc"};
static struct config config;
static Runtime__V1__PodSandboxConfig__AnnotationsEntry pod_entries[4];
static Runtime__V1__PodSandboxConfig__AnnotationsEntry *pod_list[4];
static Runtime__V1__PodSandboxConfig pod_request_config = RUNTIME__V1__POD_SANDBOX_CONFIG__INIT;
static Runtime__V1__RunPodSandboxRequest pod_request = RUNTIME__V1__RUN_POD_SANDBOX_REQUEST__INIT;
static struct pod pod;
static Runtime__V1__ContainerConfig__AnnotationsEntry own_entry =
        RUNTIME__V1__CONTAINER_CONFIG__ANNOTATIONS_ENTRY__INIT;
static Runtime__V1__ContainerConfig__AnnotationsEntry *own_list[] = {&own_entry};
static Runtime__V1__ContainerMetadata metadata = RUNTIME__V1__CONTAINER_METADATA__INIT;
static Runtime__V1__ContainerConfig own_config = RUNTIME__V1__CONTAINER_CONFIG__INIT;
static Runtime__V1__CreateContainerRequest request = RUNTIME__V1__CREATE_CONTAINER_REQUEST__INIT;
static struct container container;

static int set_up(void **state)
{
        (void)state;
        config = (struct config){0};
        handler.allowed_annotations = NULL;
        config.runtime.default_handler = handler.name;
        config.runtime.handlers = &handler;
        config.runtime.handler_count = 1;
        node.config = &config;
        pod_request_config.n_annotations = 0;
        pod_request_config.annotations = pod_list;
        pod_request.config = &pod_request_config;
        pod.request = &pod_request;
        metadata.name = (char *)"web";
        own_config.metadata = &metadata;
        own_config.n_annotations = 0;
        own_config.annotations = own_list;
        request.config = &own_config;
        container.pod = &pod;
        container.request = &request;
        return 0;
}

static void annotate_pod(const char *key, const char *value)
{
        size_t i = pod_request_config.n_annotations++;
        runtime__v1__pod_sandbox_config__annotations_entry__init(&pod_entries[i]);
        pod_entries[i].key = (char *)key;
        pod_entries[i].value = (char *)value;
        pod_list[i] = &pod_entries[i];
}

static void what_nobody_allows_is_not_there(void **state)
{
        (void)state;
        annotate_pod("umask.crio.io", "0077");
        assert_null(annotation_of_pod(&pod, "umask.crio.io"));
        assert_null(annotation_of_container(&container, "umask.crio.io"));
}

static void allowed_by_the_handler_or_the_node(void **state)
{
        char *list[] = {(char *)"umask.crio.io", NULL};
        (void)state;
        annotate_pod("umask.crio.io", "0077");
        handler.allowed_annotations = list;
        assert_string_equal(annotation_of_pod(&pod, "umask.crio.io"), "0077");
        handler.allowed_annotations = NULL;
        config.runtime.allowed_annotations = list;
        assert_string_equal(annotation_of_pod(&pod, "umask.crio.io"), "0077");
        assert_null(annotation_of_pod(&pod, "devices.crio.io"));
}

static void old_and_new_forms_are_one(void **state)
{
        char *old[] = {(char *)"io.kubernetes.cri-o.umask", NULL};
        (void)state;
        handler.allowed_annotations = old;
        annotate_pod("io.kubernetes.cri-o.umask", "0027");
        assert_string_equal(annotation_of_pod(&pod, "umask.crio.io"), "0027");
        assert_string_equal(annotation_of_pod(&pod, "io.kubernetes.cri-o.umask"), "0027");
        annotate_pod("umask.crio.io", "0077");
        assert_string_equal(annotation_of_pod(&pod, "io.kubernetes.cri-o.umask"), "0077");
}

static void the_nearest_counts(void **state)
{
        char *list[] = {(char *)"seccomp-profile.crio.io", NULL};
        (void)state;
        handler.allowed_annotations = list;
        own_config.n_annotations = 1;
        own_entry.key = (char *)"seccomp-profile.crio.io";
        own_entry.value = (char *)"own";
        assert_string_equal(annotation_of_container(&container, "seccomp-profile.crio.io"), "own");
        annotate_pod("seccomp-profile.crio.io", "bare");
        assert_string_equal(annotation_of_container(&container, "seccomp-profile.crio.io"), "bare");
        annotate_pod("seccomp-profile.kubernetes.cri-o.io/POD", "pod");
        assert_string_equal(annotation_of_container(&container, "seccomp-profile.crio.io"), "pod");
        annotate_pod("seccomp-profile.crio.io/web", "web");
        assert_string_equal(annotation_of_container(&container, "seccomp-profile.crio.io"), "web");
        assert_string_equal(annotation_of_pod(&pod, "seccomp-profile.crio.io"), "pod");
        metadata.name = (char *)"other";
        assert_string_equal(annotation_of_container(&container, "seccomp-profile.crio.io"), "pod");
}

static void switches_of_the_runtime_do_not_pass(void **state)
{
        static char *list[] = {(char *)"run.oci.", NULL};
        (void)state;
        assert_true(annotation_may_pass(&config, &handler, "example.com/team"));
        assert_true(annotation_may_pass(&config, &handler, "bundles"));
        assert_false(annotation_may_pass(&config, &handler, "run.oci.hooks.stdout"));
        assert_false(annotation_may_pass(&config, &handler, "org.systemd.property.ExecStop"));
        assert_false(annotation_may_pass(&config, NULL, "umask.crio.io/web"));
        handler.allowed_annotations = list;
        assert_true(annotation_may_pass(&config, &handler, "run.oci.hooks.stdout"));
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup(what_nobody_allows_is_not_there, set_up),
                cmocka_unit_test_setup(allowed_by_the_handler_or_the_node, set_up),
                cmocka_unit_test_setup(old_and_new_forms_are_one, set_up),
                cmocka_unit_test_setup(the_nearest_counts, set_up),
                cmocka_unit_test_setup(switches_of_the_runtime_do_not_pass, set_up),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
