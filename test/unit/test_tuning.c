/* What a container's annotations change on the machine and in its specification, on a sysfs of the
 * test's own: governors of frequency and classes of cache, which few machines have. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/memory.h"
#include "base/task.h"
#include "cri/container_spec.h"
#include "cri/tuning.h"
#include "oci/setting.h"

static char root[64], *run_dir, *classes;
static char *governors_allowed[] = {(char *)"cpu-freq-governor.crio.io", NULL};
static struct config_handler handler = {.name = (char *)"runc", .exec_cpu_affinity = (char *)""};
static struct config config;
static Runtime__V1__PodSandboxConfig__AnnotationsEntry annotation =
        RUNTIME__V1__POD_SANDBOX_CONFIG__ANNOTATIONS_ENTRY__INIT;
static Runtime__V1__PodSandboxConfig__AnnotationsEntry *annotations[] = {&annotation};
static Runtime__V1__PodSandboxConfig pod_settings = RUNTIME__V1__POD_SANDBOX_CONFIG__INIT;
static Runtime__V1__RunPodSandboxRequest pod_request = RUNTIME__V1__RUN_POD_SANDBOX_REQUEST__INIT;
static Runtime__V1__ContainerMetadata metadata = RUNTIME__V1__CONTAINER_METADATA__INIT;
static Runtime__V1__ContainerConfig settings = RUNTIME__V1__CONTAINER_CONFIG__INIT;
static Runtime__V1__CreateContainerRequest request = RUNTIME__V1__CREATE_CONTAINER_REQUEST__INIT;
static Runtime__V1__LinuxContainerResources resources =
        RUNTIME__V1__LINUX_CONTAINER_RESOURCES__INIT;
static struct pod pod;
static struct container container = {.id = "c"};

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

static void expect(const char *path, const char *wanted)
{
        AUTO_FREE char *full = at(path);
        AUTO_FREE char *text = setting_read(full, NULL);
        assert_string_equal(text ? text : "(absent)", wanted);
}

/* Of a guaranteed pod, with two whole processors. */
static int begin(void **state)
{
        (void)state;
        strcpy(root, "/tmp/test_tuning.XXXXXX");
        if (!mkdtemp(root))
                return -1;
        run_dir = at("/run");
        classes = at("/classes.yaml");
        put("/run/unused", "");
        config = (struct config){.run_dir = run_dir, .state_dir = run_dir};
        config.runtime.handlers = &handler;
        config.runtime.handler_count = 1;
        config.runtime.default_handler = handler.name;
        config.runtime.allowed_annotations = governors_allowed;
        config.runtime.irqbalance_config_file = (char *)"";
        config.runtime.shared_cpuset = (char *)"";
        config.runtime.blockio_config_file = (char *)"";
        config.runtime.rdt_config_file = classes;
        node.config = &config;
        node.sys = root;
        pod_settings.n_annotations = 1;
        pod_settings.annotations = annotations;
        pod_request.config = &pod_settings;
        pod.request = &pod_request;
        metadata.name = (char *)"main";
        settings.metadata = &metadata;
        request.config = &settings;
        resources.cpu_shares = 2048;
        resources.cpuset_cpus = (char *)"0-1";
        container.pod = &pod;
        container.request = &request;
        container.resources = &resources;
        return 0;
}

static int end(void **state)
{
        (void)state;
        free(run_dir);
        free(classes);
        node = (struct node){0};
        return file_remove_tree(root, NULL);
}

static void annotate(const char *key, const char *value)
{
        annotation.key = (char *)key;
        annotation.value = (char *)value;
}

static void (*body)(void);

static void run_body(void *argument)
{
        (void)argument;
        body();
        loop_stop();
}

static void in_a_task(void (*function)(void))
{
        struct error err;
        assert_int_equal(loop_init(2, &err), 0);
        body = function;
        task_start("test", run_body, NULL);
        loop_run();
        loop_fini();
}

/* ---- governors ---- */

#define CPU       "/devices/system/cpu/cpu"
#define GOVERNOR  "/cpufreq/scaling_governor"
#define GOVERNORS "/cpufreq/scaling_available_governors"

static void put_governors(void)
{
        static const char *const before[] = {"powersave\n", "schedutil\n", "powersave\n"};
        for (int cpu = 0; cpu < 3; cpu++) {
                AUTO_FREE char *list = xprintf(CPU "%d" GOVERNORS, cpu);
                AUTO_FREE char *chosen = xprintf(CPU "%d" GOVERNOR, cpu);
                put(list, "performance powersave schedutil\n");
                put(chosen, before[cpu]);
        }
}

static void expect_governors(const char *zero, const char *one, const char *two)
{
        expect(CPU "0" GOVERNOR, zero);
        expect(CPU "1" GOVERNOR, one);
        expect(CPU "2" GOVERNOR, two);
}

static void set_and_put_back(void)
{
        struct error err;
        assert_int_equal(tuning_begin(&container, &err), 0);
        expect_governors("performance", "performance", "powersave");
        assert_int_equal(tuning_end(&container, &err), 0);
        expect_governors("powersave", "schedutil", "powersave");
        AUTO_FREE char *kept = at("/run/tuning");
        assert_null(setting_owners(kept));
}

static void a_governor_is_set_and_put_back(void **state)
{
        (void)state;
        put_governors();
        annotate("cpu-freq-governor.crio.io", "performance");
        in_a_task(set_and_put_back);
}

static void refuse_governor(void)
{
        struct error err = {0};
        assert_true(tuning_begin(&container, &err) < 0);
        assert_non_null(strstr(err.message, "processor 1 has no governor \"performance\""));
        expect_governors("powersave", "schedutil", "powersave");
}

static void a_governor_that_one_processor_has_not_changes_none(void **state)
{
        (void)state;
        put_governors();
        put(CPU "1" GOVERNORS, "powersave schedutil\n");
        annotate("cpu-freq-governor.crio.io", "performance");
        in_a_task(refuse_governor);
}

static void change_nothing(void)
{
        struct error err;
        assert_int_equal(tuning_begin(&container, &err), 0);
        expect_governors("powersave", "schedutil", "powersave");
}

static void a_governor_that_is_not_allowed_changes_nothing(void **state)
{
        (void)state;
        put_governors();
        config.runtime.allowed_annotations = NULL;
        annotate("cpu-freq-governor.crio.io", "performance");
        in_a_task(change_nothing);
}

/* ---- classes of cache ---- */

/* The group that the runtime is told, null where it is told none. */
static int group_told(struct arena *arena, const char **group, struct error *err)
{
        static const char *const command[] = {"/bin/true", NULL};
        struct container_spec draft = {.container = &container,
                                       .config = &settings,
                                       .pod = &pod,
                                       .arena = arena,
                                       .spec = {.args = (char *const *)command, .root = "/"},
                                       .err = err};
        AUTO_FREE char *text = NULL;
        AUTO_JSON json_t *spec = NULL;
        int result = container_spec_resources(&draft);
        if (result < 0)
                return result;
        assert_int_equal(spec_build(&draft.spec, &text, err), 0);
        assert_int_equal(json_parse(text, strlen(text), "spec", &spec, err), 0);
        const json_t *rdt = json_object_get(json_object_get(spec, "linux"), "intelRdt");
        const char *told = json_string_value(json_object_get(rdt, "closID"));
        *group = told ? arena_strdup(arena, told) : NULL;
        return 0;
}

static void a_class_of_cache_is_its_group(void **state)
{
        AUTO_ARENA struct arena *arena = arena_new();
        struct error err = {0};
        const char *group = NULL;
        (void)state;
        put("/classes.yaml", "partitions:\n  p:\n    classes:\n      gold: {}\n      silver: {}\n");
        put("/fs/resctrl/gold/tasks", "");
        annotate("rdt.resources.beta.kubernetes.io/container.main", "gold");
        assert_int_equal(group_told(arena, &group, &err), 0);
        assert_string_equal(group ? group : "(none)", "gold");
        annotate("rdt.resources.beta.kubernetes.io/container.other", "gold");
        assert_int_equal(group_told(arena, &group, &err), 0);
        assert_null(group);
        annotate("rdt.resources.beta.kubernetes.io/pod", "silver"); /* which has no group */
        assert_true(group_told(arena, &group, &err) < 0);
        assert_non_null(strstr(err.message, "/fs/resctrl/silver"));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, begin, end)

int main(void)
{
        const struct CMUnitTest tests[] = {
                TEST(a_governor_is_set_and_put_back),
                TEST(a_governor_that_one_processor_has_not_changes_none),
                TEST(a_governor_that_is_not_allowed_changes_nothing),
                TEST(a_class_of_cache_is_its_group),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
