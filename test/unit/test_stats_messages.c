/* Statistics as clients get them: how many come in a message, pressure, swap, samples' rates. */
#include "test/unit/server_fixture.h"

#include <fcntl.h>

#include "base/file.h"
#include "cri/container.h"
#include "cri/pod_metrics.h"
#include "cri/stats.h"
#include "cri/stats_source.h"

#define MANY 101u /* one more than a message takes */

/* ---- what the daemon has: pods without a network, and their containers ---- */

static struct config config = {.stats.collection_period = 1};
static char *cgroups;
static struct container *busy;

static void put(const char *path, const char *text)
{
        AUTO_FREE char *full = xprintf("%s/%s", cgroups, path);
        AUTO_FREE char *parent = xstrndup(full, (size_t)(strrchr(full, '/') - full));
        assert_int_equal(file_make_directories(parent, 0700, NULL), 0);
        AUTO_FD int fd = open(full, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
        assert_true(fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text));
}

static void name_of(char id[ID_LENGTH + 1], unsigned number)
{
        snprintf(id, ID_LENGTH + 1, "%064x", number);
}

static struct pod *add_pod(unsigned number)
{
        Runtime__V1__RunPodSandboxRequest request = RUNTIME__V1__RUN_POD_SANDBOX_REQUEST__INIT;
        Runtime__V1__PodSandboxConfig pod_config = RUNTIME__V1__POD_SANDBOX_CONFIG__INIT;
        Runtime__V1__PodSandboxMetadata metadata = RUNTIME__V1__POD_SANDBOX_METADATA__INIT;
        Runtime__V1__LinuxPodSandboxConfig for_linux = RUNTIME__V1__LINUX_POD_SANDBOX_CONFIG__INIT;
        Runtime__V1__LinuxSandboxSecurityContext security =
                RUNTIME__V1__LINUX_SANDBOX_SECURITY_CONTEXT__INIT;
        Runtime__V1__NamespaceOption options = RUNTIME__V1__NAMESPACE_OPTION__INIT;
        char id[ID_LENGTH + 1];

        name_of(id, number);
        options.network = RUNTIME__V1__NAMESPACE_MODE__NODE;
        security.namespace_options = &options;
        for_linux.security_context = &security;
        metadata.name = metadata.namespace_ = metadata.uid = id;
        pod_config.metadata = &metadata;
        pod_config.linux = &for_linux;
        request.config = &pod_config;
        struct pod *pod = pod_new(id, &request);
        pod->phase = POD_READY;
        pod->claimed = true;
        pod_publish(pod);
        pod_unref(pod);
        return pod;
}

static struct container *add_container(struct pod *pod, unsigned number, const char *cgroup)
{
        Runtime__V1__CreateContainerRequest request = RUNTIME__V1__CREATE_CONTAINER_REQUEST__INIT;
        Runtime__V1__ContainerConfig container_config = RUNTIME__V1__CONTAINER_CONFIG__INIT;
        Runtime__V1__ContainerMetadata metadata = RUNTIME__V1__CONTAINER_METADATA__INIT;
        char id[ID_LENGTH + 1];

        name_of(id, number);
        metadata.name = id;
        container_config.metadata = &metadata;
        request.config = &container_config;
        struct container *container = container_new(id, pod, &request);
        container->phase = CONTAINER_RUNNING;
        container->claimed = true;
        container->cgroup_path = xstrdup(cgroup);
        container->image_name = xstrdup("image");
        container_publish(container);
        container_unref(container);
        return container;
}

/* ---- the server ---- */

/* Whether a rate of the busy container is known, which no reading is made for. */
static int handle_rate(struct rpc *rpc, const void *request, void *response_, struct error *err)
{
        Runtime__V1__VersionResponse *response = response_;
        uint64_t rate = 0;

        if (busy->stats && !stats_source_rate(busy->stats, &rate))
                rate = 0;
        response->version = arena_printf(rpc->arena, "%s", rate ? "busy" : "");
        return 0;
}

static const struct rpc_method methods[] = {
        {.name = "Version", .handler = handle_rate},
        {.name = "ContainerStats", .handler = stats_container_handler},
        {.name = "StreamContainerStats",
         .handler = stats_container_stream_handler,
         .streaming = true},
        {.name = "StreamPodSandboxStats", .handler = stats_pod_stream_handler, .streaming = true},
        {.name = "StreamPodSandboxMetrics",
         .handler = pod_metrics_stream_handler,
         .streaming = true},
};

static const struct rpc_service services[] = {
        {&runtime__v1__runtime_service__descriptor, methods, sizeof methods / sizeof *methods},
        {&runtime__v1__image_service__descriptor, NULL, 0},
};

/* ---- how many are in a message ---- */

/* The number of items of each message, up to the end, which is 0; the items' IDs, none twice. */
struct streamed {
        size_t counts[8], messages, total;
        struct table *ids;
};

static void take(struct streamed *streamed, const char *id)
{
        assert_null(table_put(streamed->ids, id, streamed));
        streamed->total++;
}

static void read_stream(const char *method, const ProtobufCMessageDescriptor *descriptor,
                        void (*item)(struct streamed *, const void *message, size_t index),
                        struct streamed *streamed)
{
        const ProtobufCFieldDescriptor *field = &descriptor->fields[0];
        struct client_call call;

        *streamed = (struct streamed){.ids = table_new()};
        begin(&call, method, "", 0, -1, true);
        client_next(&call);
        for (next_message(&call); call.reply; next_message(&call)) {
                ProtobufCMessage *message = unpack_reply(&call, descriptor);
                size_t count = *(const size_t *)((const char *)message + field->quantifier_offset);
                assert_true(streamed->messages < 8);
                streamed->counts[streamed->messages++] = count;
                for (size_t i = 0; i < count; i++)
                        item(streamed, message, i);
                protobuf_c_message_free_unpacked(message, NULL);
        }
        stream_status(&call);
        assert_int_equal(call.status, GRPC_STATUS_OK);
        end(&call);
        table_free(streamed->ids);
}

static void take_container(struct streamed *streamed, const void *message_, size_t index)
{
        const Runtime__V1__StreamContainerStatsResponse *message = message_;
        take(streamed, message->container_stats[index]->attributes->id);
}

static void take_pod(struct streamed *streamed, const void *message_, size_t index)
{
        const Runtime__V1__StreamPodSandboxStatsResponse *message = message_;
        take(streamed, message->pod_sandbox_stats[index]->attributes->id);
}

static void take_metrics(struct streamed *streamed, const void *message_, size_t index)
{
        const Runtime__V1__StreamPodSandboxMetricsResponse *message = message_;
        take(streamed, message->pod_sandbox_metrics[index]->pod_sandbox_id);
}

static void test_a_hundred_in_a_message(void **state)
{
        static const size_t counts[] = {100, 1};
        struct streamed streamed;

        read_stream(RUNTIME "StreamContainerStats",
                    &runtime__v1__stream_container_stats_response__descriptor, take_container,
                    &streamed);
        assert_int_equal(streamed.messages, 2);
        assert_memory_equal(streamed.counts, counts, sizeof counts);
        read_stream(RUNTIME "StreamPodSandboxStats",
                    &runtime__v1__stream_pod_sandbox_stats_response__descriptor, take_pod,
                    &streamed);
        assert_int_equal(streamed.messages, 2);
        assert_memory_equal(streamed.counts, counts, sizeof counts);
}

static void test_metrics_of_twenty_pods_in_a_message(void **state)
{
        static const size_t counts[] = {20, 20, 20, 20, 20, 1};
        struct streamed streamed;

        read_stream(RUNTIME "StreamPodSandboxMetrics",
                    &runtime__v1__stream_pod_sandbox_metrics_response__descriptor, take_metrics,
                    &streamed);
        assert_int_equal(streamed.messages, 6);
        assert_memory_equal(streamed.counts, counts, sizeof counts);
        assert_int_equal(streamed.total, MANY);
}

/* ---- values ---- */

/* The caller frees it. */
static Runtime__V1__ContainerStatsResponse *stats_of(const char *id)
{
        Runtime__V1__ContainerStatsRequest request = RUNTIME__V1__CONTAINER_STATS_REQUEST__INIT;
        uint8_t bytes[2 * ID_LENGTH];
        struct client_call call;

        request.container_id = (char *)id;
        size_t length = runtime__v1__container_stats_request__pack(&request, bytes);
        ask(&call, RUNTIME "ContainerStats", bytes, length);
        assert_int_equal(call.status, GRPC_STATUS_OK);
        Runtime__V1__ContainerStatsResponse *response =
                unpack_reply(&call, &runtime__v1__container_stats_response__descriptor);
        end(&call);
        return response;
}

static void assert_stall(const Runtime__V1__PsiData *data, double avg10, double avg60,
                         double avg300, uint64_t total)
{
        assert_true(data->avg10 == avg10 && data->avg60 == avg60 && data->avg300 == avg300);
        assert_int_equal(data->total, total);
}

static void test_pressure(void **state)
{
        Runtime__V1__ContainerStatsResponse *response = stats_of(busy->id);
        const Runtime__V1__ContainerStats *stats = response->stats;

        assert_stall(stats->cpu->psi->some, 1.5, 2.25, 3.75, 4);
        assert_stall(stats->cpu->psi->full, 0.5, 0.25, 0.75, 3);
        assert_stall(stats->memory->psi->some, 11.5, 12.25, 13.75, 14);
        assert_stall(stats->memory->psi->full, 10.5, 10.25, 10.75, 13);
        assert_stall(stats->io->psi->some, 21.5, 22.25, 23.75, 24);
        assert_stall(stats->io->psi->full, 20.5, 20.25, 20.75, 23);
        assert_true(stats->io->timestamp > 0);
        runtime__v1__container_stats_response__free_unpacked(response, NULL);
}

static void test_swap(void **state)
{
        char id[ID_LENGTH + 1];
        Runtime__V1__ContainerStatsResponse *response = stats_of(busy->id);

        assert_int_equal(response->stats->swap->swap_usage_bytes->value, 4096);
        assert_int_equal(response->stats->swap->swap_available_bytes->value, 1048576 - 4096);
        assert_true(response->stats->swap->timestamp > 0);
        runtime__v1__container_stats_response__free_unpacked(response, NULL);
        name_of(id, 1); /* without a limit */
        response = stats_of(id);
        assert_int_equal(response->stats->swap->swap_usage_bytes->value, 8192);
        assert_null(response->stats->swap->swap_available_bytes);
        runtime__v1__container_stats_response__free_unpacked(response, NULL);
        name_of(id, 2); /* where the kernel does not count it */
        response = stats_of(id);
        assert_non_null(response->stats->memory);
        assert_null(response->stats->swap);
        runtime__v1__container_stats_response__free_unpacked(response, NULL);
}

/* What is in use now is known although nobody asks: it was asked for once. */
static void test_a_rate_comes_from_samples(void **state)
{
        AUTO_FREE char *path = xprintf("%s/busy/cpu.stat", cgroups);
        AUTO_FD int fd = open(path, O_WRONLY | O_CLOEXEC);
        bool known = false;

        runtime__v1__container_stats_response__free_unpacked(stats_of(busy->id), NULL);
        for (int i = 1; i < 60000 && !known; i++) {
                struct client_call call;
                char text[32];
                size_t length = (size_t)snprintf(text, sizeof text, "usage_usec %010d\n", 1000 * i);
                assert_true(pwrite(fd, text, length, 0) == (ssize_t)length);
                usleep(1000);
                ask(&call, RUNTIME "Version", "", 0);
                Runtime__V1__VersionResponse *response =
                        unpack_reply(&call, &runtime__v1__version_response__descriptor);
                known = strcmp(response->version, "busy") == 0;
                runtime__v1__version_response__free_unpacked(response, NULL);
                end(&call);
        }
        assert_true(known);
}

/* ---- all of them ---- */

static void put_memory(const char *cgroup, const char *swap, const char *swap_limit)
{
        static const char *const files[] = {"cpu.stat", "memory.current", "memory.stat"};
        static const char *const texts[] = {"usage_usec 0000000001\n", "65536\n", "anon 4096\n"};

        for (size_t i = 0; i < 3; i++) {
                AUTO_FREE char *path = xprintf("%s/%s", cgroup, files[i]);
                put(path, texts[i]);
        }
        if (swap) {
                AUTO_FREE char *usage = xprintf("%s/memory.swap.current", cgroup);
                AUTO_FREE char *limit = xprintf("%s/memory.swap.max", cgroup);
                put(usage, swap);
                put(limit, swap_limit);
        }
}

static int open_node(void **state)
{
        static char *groups[] = {"cpu", NULL};

        cgroups = xstrdup("/tmp/test_stats.XXXXXX");
        if (!mkdtemp(cgroups))
                return -1;
        config.stats.pod_metrics = groups;
        node.config = &config;
        node.cgroups = (struct cgroup_system){.mode = CGROUP_MODE_V2, .unified = cgroups};
        node.run_pods_dir = node.run_containers_dir = cgroups;
        node.pods_dir = node.containers_dir = cgroups;
        node.pods = table_new();
        node.pod_names = table_new();
        node.containers = table_new();
        node.container_names = table_new();
        put_memory("busy", "4096\n", "1048576\n");
        put_memory("unlimited", "8192\n", "max\n");
        put_memory("uncounted", NULL, NULL);
        put("busy/cpu.pressure", "some avg10=1.50 avg60=2.25 avg300=3.75 total=4\n"
                                 "full avg10=0.50 avg60=0.25 avg300=0.75 total=3\n");
        put("busy/memory.pressure", "some avg10=11.50 avg60=12.25 avg300=13.75 total=14\n"
                                    "full avg10=10.50 avg60=10.25 avg300=10.75 total=13\n");
        put("busy/io.pressure", "some avg10=21.50 avg60=22.25 avg300=23.75 total=24\n"
                                "full avg10=20.50 avg60=20.25 avg300=20.75 total=23\n");
        struct pod *pod = NULL;
        for (unsigned i = 0; i < MANY; i++)
                pod = add_pod(i);
        busy = add_container(pod, 0, "/busy");
        add_container(pod, 1, "/unlimited");
        for (unsigned i = 2; i < MANY; i++)
                add_container(pod, i, "/uncounted");
        return setup_all(state);
}

static int close_node(void **state)
{
        int result = teardown_all(state);
        file_remove_tree(cgroups, NULL);
        free(cgroups);
        return result;
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_a_hundred_in_a_message),
                cmocka_unit_test(test_metrics_of_twenty_pods_in_a_message),
                cmocka_unit_test(test_pressure),
                cmocka_unit_test(test_swap),
                cmocka_unit_test(test_a_rate_comes_from_samples),
        };
        return cmocka_run_group_tests(tests, open_node, close_node);
}
