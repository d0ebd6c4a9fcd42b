/* What shims say, as the daemon and as the monitor read it, and what they are told of their
 * runtime. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "api/shim/cgroup1_metrics.pb-c.h"
#include "api/shim/cgroup2_metrics.pb-c.h"
#include "api/shim/runc_options.pb-c.h"
#include "api/shim/runtimeoptions_v1.pb-c.h"
#include "api/shim/task_v2.pb-c.h"
#include "api/ttrpc/ttrpc.pb-c.h"
#include "base/memory.h"
#include "conmon/shim.h"
#include "oci/shim_private.h"

static void expect_start(const char *text, const char *address, int version)
{
        struct shim_bootstrap found = {0};
        assert_int_equal(shim_bootstrap_parse(text, strlen(text), &found, NULL), 0);
        assert_string_equal(found.address, address);
        assert_int_equal(found.version, version);
        shim_bootstrap_fini(&found);
}

static void refuse_start(const char *text, enum error_code code, const char *words)
{
        struct shim_bootstrap found = {0};
        struct error err;
        assert_true(shim_bootstrap_parse(text, strlen(text), &found, &err) < 0);
        assert_int_equal(err.code, code);
        assert_non_null(strstr(err.message, words));
        assert_null(found.address);
}

static void test_answers_to_the_start(void **state)
{
        (void)state;
        expect_start("unix:///run/containerd/s/0a\n", "unix:///run/containerd/s/0a", 2);
        expect_start("@/containerd-shim/x.sock", "@/containerd-shim/x.sock", 2);
        expect_start("{\"version\":3,\"address\":\"unix:///x/y\",\"protocol\":\"ttrpc\"}",
                     "unix:///x/y", 3);
        expect_start(" {\"address\":\"unix:///x/y\",\"version\":2}\n", "unix:///x/y", 2);
        refuse_start("", ERROR_INVALID_ARGUMENT, "no address");
        refuse_start("two words", ERROR_INVALID_ARGUMENT, "two words");
        refuse_start("{\"version\":3}", ERROR_INVALID_ARGUMENT, "no address");
        refuse_start("{\"version\":4,\"address\":\"unix:///x\"}", ERROR_UNIMPLEMENTED, "version 4");
        refuse_start("{\"version\":3,\"address\":\"unix:///x\",\"protocol\":\"grpc\"}",
                     ERROR_UNIMPLEMENTED, "grpc");
        refuse_start("{\"version\":\"3\"}", ERROR_INVALID_ARGUMENT, "version");
        char longest[4096];
        memset(longest, 'a', sizeof longest - 1);
        longest[sizeof longest - 1] = '\0';
        refuse_start(longest, ERROR_INVALID_ARGUMENT, "aaa");
}

/* ---- statistics of guests ---- */

#define GUEST_MAX 1024

static int parse_stats(const ProtobufCMessage *message, const char *prefix,
                       struct cgroup_stats *stats, struct cgroup_detail *detail)
{
        uint8_t bytes[GUEST_MAX];
        AUTO_FREE char *type = xprintf("%s%s", prefix, message->descriptor->name);
        assert_true(protobuf_c_message_get_packed_size(message) <= sizeof bytes);
        size_t length = protobuf_c_message_pack(message, bytes);
        *stats = (struct cgroup_stats){.real = 1, .monotonic = 2};
        return shim_stats_parse(type, bytes, length, stats, detail, NULL);
}

static void test_statistics_of_v1(void **state)
{
        Io__Containerd__Cgroups__V1__Metrics metrics = IO__CONTAINERD__CGROUPS__V1__METRICS__INIT;
        Io__Containerd__Cgroups__V1__CPUStat cpu = IO__CONTAINERD__CGROUPS__V1__CPUSTAT__INIT;
        Io__Containerd__Cgroups__V1__CPUUsage usage = IO__CONTAINERD__CGROUPS__V1__CPUUSAGE__INIT;
        Io__Containerd__Cgroups__V1__MemoryStat memory =
                IO__CONTAINERD__CGROUPS__V1__MEMORY_STAT__INIT;
        Io__Containerd__Cgroups__V1__MemoryEntry used =
                IO__CONTAINERD__CGROUPS__V1__MEMORY_ENTRY__INIT;
        Io__Containerd__Cgroups__V1__MemoryEntry both =
                IO__CONTAINERD__CGROUPS__V1__MEMORY_ENTRY__INIT;
        struct cgroup_stats stats;
        struct cgroup_detail detail;
        (void)state;
        metrics.cpu = &cpu;
        cpu.usage = &usage;
        usage.total = 9;
        usage.user = 6;
        metrics.memory = &memory;
        memory.usage = &used;
        memory.swap = &both;
        memory.rss = 5;
        memory.inactive_file = 4;
        memory.total_inactive_file = 40;
        used.usage = 100;
        used.limit = 1000;
        used.failcnt = 3;
        both.usage = 130;
        both.limit = 1500;
        assert_int_equal(parse_stats(&metrics.base, "", &stats, &detail), 0);
        assert_int_equal(stats.parts, CGROUP_PART_CPU | CGROUP_PART_MEMORY | CGROUP_PART_DETAIL);
        assert_int_equal(stats.real, 1);
        assert_int_equal(stats.cpu_usage, 9);
        assert_int_equal(detail.cpu_user, 6);
        assert_int_equal(cgroup_working_set(&stats), 60);
        assert_int_equal(stats.memory_rss, 5);
        assert_int_equal(stats.memory_limit, 1000);
        assert_true(stats.swap_known);
        assert_int_equal(stats.swap_usage, 30);
        assert_int_equal(stats.swap_limit, 500);
        assert_int_equal(detail.memory_failures, 3);
        /* What is not told is no limit, and a swap below the memory is none. */
        used.limit = 0;
        both.usage = 99;
        assert_int_equal(parse_stats(&metrics.base, "types.example/", &stats, NULL), 0);
        assert_true(stats.memory_limit == CGROUP_UNLIMITED);
        assert_false(stats.swap_known);
        assert_int_equal(stats.parts & CGROUP_PART_DETAIL, 0);
}

static void test_statistics_of_v2(void **state)
{
        Io__Containerd__Cgroups__V2__Metrics metrics = IO__CONTAINERD__CGROUPS__V2__METRICS__INIT;
        Io__Containerd__Cgroups__V2__CPUStat cpu = IO__CONTAINERD__CGROUPS__V2__CPUSTAT__INIT;
        Io__Containerd__Cgroups__V2__PSIStats pressure =
                IO__CONTAINERD__CGROUPS__V2__PSISTATS__INIT;
        Io__Containerd__Cgroups__V2__PSIData some = IO__CONTAINERD__CGROUPS__V2__PSIDATA__INIT;
        Io__Containerd__Cgroups__V2__PidsStat pids = IO__CONTAINERD__CGROUPS__V2__PIDS_STAT__INIT;
        struct cgroup_stats stats;
        struct cgroup_detail detail;
        struct error err;
        (void)state;
        metrics.cpu = &cpu;
        cpu.usage_usec = 7;
        cpu.nr_throttled = 2;
        cpu.psi = &pressure;
        pressure.some = &some;
        some.total = 11;
        metrics.pids = &pids;
        pids.current = 3;
        pids.limit = UINT64_MAX;
        assert_int_equal(parse_stats(&metrics.base, "", &stats, &detail), 0);
        assert_int_equal(stats.parts, CGROUP_PART_CPU | CGROUP_PART_PIDS | CGROUP_PART_PRESSURE |
                                              CGROUP_PART_DETAIL);
        assert_int_equal(stats.cpu_usage, 7000);
        assert_int_equal(stats.cpu_pressure.some.total, 11);
        assert_int_equal(detail.throttled_periods, 2);
        assert_int_equal(stats.pids, 3);
        assert_true(stats.pids_limit == CGROUP_UNLIMITED);
        assert_true(shim_stats_parse("io.example.Metrics", NULL, 0, &stats, NULL, &err) < 0);
        assert_int_equal(err.code, ERROR_UNIMPLEMENTED);
        assert_non_null(strstr(err.message, "io.example.Metrics"));
        const uint8_t nonsense[] = {0xff, 0xff};
        assert_true(shim_stats_parse(metrics.base.descriptor->name, nonsense, sizeof nonsense,
                                     &stats, NULL, &err) < 0);
        assert_int_equal(err.code, ERROR_DATA_LOSS);
}

/* ---- the monitor's side, held against protobuf's own ---- */

static size_t pack_answer(const Ttrpc__Response *response, uint8_t *bytes)
{
        size_t length = ttrpc__response__pack(response, bytes + SHIM_HEADER);
        memset(bytes, 0, SHIM_HEADER);
        bytes[2] = (uint8_t)(length >> 8);
        bytes[3] = (uint8_t)length;
        bytes[7] = 3;
        bytes[8] = 2;
        return SHIM_HEADER + length;
}

static size_t make_exit(uint8_t *bytes, uint32_t code, int64_t seconds, int32_t nanos)
{
        Containerd__Task__V2__WaitResponse wait = CONTAINERD__TASK__V2__WAIT_RESPONSE__INIT;
        Google__Protobuf__Timestamp time = GOOGLE__PROTOBUF__TIMESTAMP__INIT;
        Ttrpc__Response response = TTRPC__RESPONSE__INIT;
        uint8_t packed[64];
        time.seconds = seconds;
        time.nanos = nanos;
        wait.exit_status = code;
        wait.exited_at = &time;
        response.payload.len = containerd__task__v2__wait_response__pack(&wait, packed);
        response.payload.data = packed;
        return pack_answer(&response, bytes);
}

static void test_an_exit(void **state)
{
        struct shim_answer answer;
        uint8_t bytes[256];
        (void)state;
        size_t length = make_exit(bytes, 137, 1700000000, 5);
        assert_int_equal(shim_parse(bytes, length, &answer), 0);
        assert_int_equal(answer.stream, 3);
        assert_int_equal(answer.code, 0);
        struct shim_end end = shim_wait_answer(&answer);
        assert_int_equal(end.exit_code, 137);
        assert_true(end.finished_at == INT64_C(1700000000000000005));
        /* Go's zero time is none. */
        length = make_exit(bytes, 0, INT64_C(-62135596800), 0);
        assert_int_equal(shim_parse(bytes, length, &answer), 0);
        assert_true(shim_wait_answer(&answer).finished_at == 0);
}

static void test_an_error(void **state)
{
        Ttrpc__Response response = TTRPC__RESPONSE__INIT;
        Google__Rpc__Status status = GOOGLE__RPC__STATUS__INIT;
        struct shim_answer answer;
        uint8_t bytes[256];
        (void)state;
        status.code = 5;
        status.message = "not found";
        response.status = &status;
        size_t length = pack_answer(&response, bytes);
        assert_int_equal(shim_parse(bytes, length, &answer), 0);
        assert_int_equal(answer.code, 5);
        assert_int_equal(answer.message_length, 9);
        assert_memory_equal(answer.message, "not found", 9);
        /* One that was longer than is kept is cut at its end. */
        assert_int_equal(shim_parse(bytes, length - 4, &answer), 0);
        assert_int_equal(answer.message_length, 5);
        bytes[8] = 3;
        assert_int_equal(shim_parse(bytes, length, &answer), -EPROTO);
}

/* In pieces, two in one go, one too long, and the end. */
static void test_receiving(void **state)
{
        struct shim_reader *reader = xcalloc(1, sizeof *reader);
        struct shim_answer answer;
        uint8_t bytes[256], zeroes[1024] = {0};
        int ends[2];
        (void)state;
        assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
        size_t length = make_exit(bytes, 7, 1700000000, 0);
        for (size_t i = 0; i < length; i++) {
                assert_int_equal(shim_receive(ends[0], reader, &answer), 0);
                assert_int_equal(write(ends[1], bytes + i, 1), 1);
        }
        assert_int_equal(shim_receive(ends[0], reader, &answer), 1);
        assert_int_equal(shim_wait_answer(&answer).exit_code, 7);
        assert_int_equal(shim_receive(ends[0], reader, &answer), 0);

        const size_t too_long = SHIM_ANSWER_MAX + 4096;
        const uint8_t header[SHIM_HEADER] = {
                0, 0, (uint8_t)(too_long >> 8), (uint8_t)too_long, 0, 0, 0, 9, 2, 0};
        assert_int_equal(write(ends[1], header, sizeof header), sizeof header);
        for (size_t done = 0; done < too_long; done += sizeof zeroes)
                assert_int_equal(write(ends[1], zeroes, sizeof zeroes), sizeof zeroes);
        assert_int_equal(write(ends[1], bytes, length), length);
        assert_int_equal(shim_receive(ends[0], reader, &answer), 1);
        assert_int_equal(answer.stream, 9);
        assert_int_equal(shim_receive(ends[0], reader, &answer), 1);
        assert_int_equal(shim_wait_answer(&answer).exit_code, 7);
        close(ends[1]);
        assert_int_equal(shim_receive(ends[0], reader, &answer), -EPIPE);
        close(ends[0]);
        free(reader);
}

static void test_writing(void **state)
{
        char memory[128];
        struct text text = text_in(memory, sizeof memory);
        (void)state;
        shim_add_string(&text, 1, "container");
        shim_add_string(&text, 2, "");
        shim_add_number(&text, 3, 300);
        shim_add_number(&text, 4, 0);
        Containerd__Task__V2__KillRequest *kill = containerd__task__v2__kill_request__unpack(
                NULL, text.length, (const uint8_t *)text.data);
        assert_non_null(kill);
        assert_string_equal(kill->id, "container");
        assert_string_equal(kill->exec_id, "");
        assert_int_equal(kill->signal, 300);
        assert_false(kill->all);
        containerd__task__v2__kill_request__free_unpacked(kill, NULL);
}

/* ---- options ---- */

static void test_options_of_runcs_shim(void **state)
{
        struct runtime_handler handler;
        Google__Protobuf__Any any = GOOGLE__PROTOBUF__ANY__INIT;
        (void)state;
        runtime_handler_init(&handler, "shim", "/usr/bin/containerd-shim-runc-v2", "/run/x",
                             RUNTIME_KIND_SHIM, true);
        handler.shim_runtime = xstrdup("/usr/bin/crun");
        assert_true(runtime_is_shim_of_runc(&handler));
        assert_true(shim_options(&handler, &any));
        assert_string_equal(any.type_url, "containerd.runc.v1.Options");
        Containerd__Runc__V1__Options *options =
                containerd__runc__v1__options__unpack(NULL, any.value.len, any.value.data);
        assert_non_null(options);
        assert_string_equal(options->binary_name, "/usr/bin/crun");
        assert_string_equal(options->root, "/run/x");
        assert_true(options->systemd_cgroup);
        containerd__runc__v1__options__free_unpacked(options, NULL);
        free(any.value.data);
        runtime_handler_fini(&handler);
}

static void test_options_of_others(void **state)
{
        struct runtime_handler handler;
        Google__Protobuf__Any any = GOOGLE__PROTOBUF__ANY__INIT;
        (void)state;
        runtime_handler_init(&handler, "kata", "/usr/bin/containerd-shim-kata-v2", "/run/x",
                             RUNTIME_KIND_SHIM, false);
        assert_false(runtime_is_shim_of_runc(&handler));
        assert_false(shim_options(&handler, &any));
        handler.shim_config = xstrdup("/etc/kata.toml");
        assert_true(shim_options(&handler, &any));
        assert_string_equal(any.type_url, "runtimeoptions.v1.Options");
        Runtimeoptions__V1__Options *options =
                runtimeoptions__v1__options__unpack(NULL, any.value.len, any.value.data);
        assert_non_null(options);
        assert_string_equal(options->config_path, "/etc/kata.toml");
        runtimeoptions__v1__options__free_unpacked(options, NULL);
        free(any.value.data);
        runtime_handler_fini(&handler);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_answers_to_the_start),
                cmocka_unit_test(test_statistics_of_v1),
                cmocka_unit_test(test_statistics_of_v2),
                cmocka_unit_test(test_an_exit),
                cmocka_unit_test(test_an_error),
                cmocka_unit_test(test_receiving),
                cmocka_unit_test(test_writing),
                cmocka_unit_test(test_options_of_runcs_shim),
                cmocka_unit_test(test_options_of_others),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
