/* Statistics: rates, sources that do not answer, netlink's answers, the table of metrics. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <fcntl.h>
#include <linux/if_link.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/memory.h"
#include "base/task.h"
#include "cri/call_metrics.h"
#include "cri/metric_groups.h"
#include "cri/metrics_machine.h"
#include "cri/node.h"
#include "cri/pod_metric_table.h"
#include "cri/stats_source.h"
#include "network/interface_stats.h"

/* ---- rates ---- */

static void rates(void **state)
{
        struct stats_rate rate = {0};
        (void)state;
        stats_rate_add(&rate, 10 * NSEC_PER_SEC, 1000);
        assert_false(rate.known);
        /* Too soon to be compared: the first one stays what is compared with. */
        stats_rate_add(&rate, 10 * NSEC_PER_SEC + NSEC_PER_SEC / 2, 5000000);
        assert_false(rate.known);
        stats_rate_add(&rate, 12 * NSEC_PER_SEC, 1000 + 3 * NSEC_PER_SEC);
        assert_true(rate.known);
        assert_true(rate.nano_cores == 1500000000);
        stats_rate_add(&rate, 14 * NSEC_PER_SEC, 1000 + 3 * NSEC_PER_SEC);
        assert_true(rate.known && rate.nano_cores == 0);
        /* A counter that went back, or a long time without looking: from the beginning. */
        stats_rate_add(&rate, 16 * NSEC_PER_SEC, 5);
        assert_false(rate.known);
        stats_rate_add(&rate, 18 * NSEC_PER_SEC, 5 + 2 * NSEC_PER_SEC);
        assert_true(rate.known && rate.nano_cores == 1000000000);
        stats_rate_add(&rate, 18 * NSEC_PER_SEC + STATS_RATE_LONGEST + 1, 10 * NSEC_PER_SEC);
        assert_false(rate.known);
}

/* ---- sources ---- */

static char folder[64];

static void put(const char *path, const char *text)
{
        AUTO_FREE char *full = xprintf("%s/%s", folder, path);
        AUTO_FREE char *parent = xstrndup(full, (size_t)(strrchr(full, '/') - full));
        assert_int_equal(file_make_directories(parent, 0700, NULL), 0);
        AUTO_FD int fd = open(full, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
        assert_true(fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text));
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
        strcpy(folder, "/tmp/crisp-stats-XXXXXX");
        assert_non_null(mkdtemp(folder));
        assert_int_equal(loop_init(8, &err), 0);
        node.cgroups = (struct cgroup_system){.mode = CGROUP_MODE_V2, .unified = folder};
        body = function;
        task_start("test", run_body, NULL);
        loop_run();
        loop_fini();
        node.cgroups = (struct cgroup_system){0};
        assert_int_equal(file_remove_tree(folder, NULL), 0);
}

static void read_several_body(void)
{
        struct stats_source *sources[3];
        struct stats_wish wishes[3];
        put("a/cpu.stat", "usage_usec 1\n");
        put("b/cpu.stat", "usage_usec 2\n");
        put("c/pids.current", "3\n");
        for (int i = 0; i < 3; i++) {
                char path[] = {'/', (char)('a' + i), '\0'};
                sources[i] = stats_source_new(path, NULL, 0);
                assert_null(stats_source_last(sources[i]));
                wishes[i] = (struct stats_wish){sources[i], STATS_PARTS_BASIC};
        }
        stats_source_read(wishes, 3);
        assert_int_equal(stats_source_last(sources[0])->stats.cpu_usage, 1000);
        assert_int_equal(stats_source_last(sources[1])->stats.cpu_usage, 2000);
        assert_int_equal(stats_source_last(sources[2])->stats.parts, CGROUP_PART_PIDS);
        assert_int_equal(stats_source_last(sources[2])->stats.pids, 3);
        for (int i = 0; i < 3; i++) {
                stats_source_close(sources[i]);
                stats_source_unref(sources[i]);
        }
        assert_int_equal(cgroup_reader_kept(), 0);
}

static void reads_several(void **state)
{
        (void)state;
        in_a_task(read_several_body);
}

/* A pipe that nobody writes to stands for a file that does not answer. */
static void pass_stuck_body(void)
{
        AUTO_FREE char *pipe = xprintf("%s/stuck/cpu.stat", folder);
        put("stuck/pids.current", "1\n");
        put("fine/cpu.stat", "usage_usec 7\n");
        assert_int_equal(mkfifo(pipe, 0600), 0);
        struct stats_source *stuck = stats_source_new("/stuck", NULL, 0);
        struct stats_source *fine = stats_source_new("/fine", NULL, 0);
        struct stats_wish wishes[] = {{stuck, STATS_PARTS_BASIC}, {fine, STATS_PARTS_BASIC}};
        stats_source_read(wishes, 2);
        assert_null(stats_source_last(stuck));
        assert_int_equal(stats_source_last(fine)->stats.cpu_usage, 7000);
        assert_int_equal(stats_source_stuck(), 1);
        /* It is not waited for again, and takes no second worker. */
        put("fine/cpu.stat", "usage_usec 8\n");
        int64_t before = clock_monotonic();
        stats_source_read(wishes, 2);
        assert_true(clock_monotonic() >= before);
        assert_int_equal(stats_source_last(fine)->stats.cpu_usage, 8000);
        assert_int_equal(stats_source_stuck(), 1);
        /* It is closed while it is stuck, which nobody waits for either. */
        stats_source_close(stuck);
        /* Then it answers: the worker comes back, and nothing stays open. */
        AUTO_FD int writer = open(pipe, O_WRONLY | O_CLOEXEC);
        assert_true(writer >= 0);
        close(take_fd(&writer));
        while (stats_source_stuck())
                task_sleep_until(clock_after(NSEC_PER_MSEC));
        stats_source_close(fine);
        stats_source_unref(fine);
        stats_source_unref(stuck);
        assert_int_equal(cgroup_reader_kept(), 0);
}

static void passes_what_is_stuck(void **state)
{
        (void)state;
        in_a_task(pass_stuck_body);
}

static unsigned askers;

static void ask_same(void *argument)
{
        struct stats_wish wish = {argument, STATS_PARTS_BASIC};
        stats_source_read(&wish, 1);
        assert_int_equal(stats_source_last(argument)->stats.cpu_usage, 9000);
        askers--;
}

static void read_at_once_body(void)
{
        put("same/cpu.stat", "usage_usec 9\n");
        struct stats_source *source = stats_source_new("/same", NULL, 0);
        struct stats_wish sample = {source, CGROUP_PART_CPU};
        askers = 20;
        for (unsigned i = 0; i < 20; i++)
                task_start("ask", ask_same, source);
        /* A sample, which is less than what they want, in between. */
        stats_source_read(&sample, 1);
        while (askers)
                task_sleep_until(clock_after(NSEC_PER_MSEC));
        stats_source_close(source);
        stats_source_unref(source);
}

static void requests_at_once(void **state)
{
        (void)state;
        in_a_task(read_at_once_body);
}

/* ---- netlink ---- */

struct answer {
        char bytes[4096];
        size_t length;
};

static void add_attribute(struct answer *answer, unsigned short type, const void *value,
                          size_t size)
{
        struct rtattr head = {.rta_len = (unsigned short)RTA_LENGTH(size), .rta_type = type};
        memcpy(answer->bytes + answer->length, &head, sizeof head);
        memcpy(answer->bytes + answer->length + RTA_LENGTH(0), value, size);
        answer->length += RTA_SPACE(size);
}

static void add_link(struct answer *answer, const char *name, unsigned flags, uint64_t rx)
{
        size_t start = answer->length;
        struct ifinfomsg info = {.ifi_flags = flags};
        struct rtnl_link_stats64 counters = {.rx_bytes = rx, .tx_errors = 4};
        memcpy(answer->bytes + start + NLMSG_HDRLEN, &info, sizeof info);
        answer->length = start + NLMSG_SPACE(sizeof info);
        add_attribute(answer, IFLA_IFNAME, name, strlen(name) + 1);
        add_attribute(answer, IFLA_STATS64, &counters, sizeof counters);
        struct nlmsghdr head = {.nlmsg_len = (unsigned)(answer->length - start),
                                .nlmsg_type = RTM_NEWLINK};
        memcpy(answer->bytes + start, &head, sizeof head);
}

static void interfaces(void **state)
{
        static struct interface_stats list[INTERFACE_STATS_MAX];
        struct answer answer = {.length = 0};
        size_t count = 0;
        bool done = false;
        (void)state;
        add_link(&answer, "lo", IFF_LOOPBACK, 1);
        add_link(&answer, "eth0", 0, 1234567890123);
        assert_int_equal(interface_stats_parse(answer.bytes, answer.length, list, &count, &done),
                         0);
        assert_int_equal(count, 2);
        assert_false(done);
        assert_true(list[0].loopback && !list[1].loopback);
        assert_string_equal(list[1].name, "eth0");
        assert_true(list[1].rx_bytes == 1234567890123 && list[1].tx_errors == 4);

        struct nlmsghdr end = {.nlmsg_len = sizeof end, .nlmsg_type = NLMSG_DONE};
        assert_int_equal(interface_stats_parse(&end, sizeof end, list, &count, &done), 0);
        assert_true(done);
        struct {
                struct nlmsghdr head;
                int number;
        } failed = {{.nlmsg_len = sizeof failed, .nlmsg_type = NLMSG_ERROR}, -EPERM};
        assert_int_equal(interface_stats_parse(&failed, sizeof failed, list, &count, &done),
                         -EPERM);
        /* Cut anywhere, it is either refused or tells less. */
        for (size_t cut = 0; cut < answer.length; cut++) {
                AUTO_FREE char *part = xcalloc(1, cut + 1);
                memcpy(part, answer.bytes, cut);
                count = 0;
                interface_stats_parse(part, cut, list, &count, &done);
                assert_true(count < 2);
        }
}

/* ---- words and tables ---- */

static void groups(void **state)
{
        char *all[] = {"all", NULL}, *two[] = {"cpu", "diskIO", NULL}, *none[] = {NULL};
        (void)state;
        assert_int_equal(pod_metric_groups_of(all), (1u << POD_METRIC_GROUPS) - 1);
        assert_int_equal(pod_metric_groups_of(two), 1u << POD_METRICS_CPU |
                                                            1u << POD_METRICS_DISK_IO |
                                                            1u << POD_METRICS_ALWAYS);
        assert_int_equal(pod_metric_groups_of(none), 1u << POD_METRICS_ALWAYS);
        assert_int_equal(pod_metric_groups_of(NULL), 1u << POD_METRICS_ALWAYS);
        assert_true(pod_metric_word_is_known("pressure") && pod_metric_word_is_known("all"));
        assert_false(pod_metric_word_is_known("CPU") || pod_metric_word_is_known(""));
        assert_int_equal(collectors_of(all), (1u << METRIC_COLLECTORS) - 1);
        assert_true(collector_word_is_known("calls"));
        assert_false(collector_word_is_known("cpu"));
}

static void table(void **state)
{
        (void)state;
        for (enum pod_metric_id id = 0; id < POD_METRIC_COUNT; id++) {
                const struct pod_metric *metric = &pod_metric_table[id];
                assert_non_null(metric->name);
                assert_non_null(metric->help);
                assert_int_equal(strncmp(metric->name, "container_", 10), 0);
                assert_true(metric->group < POD_METRIC_GROUPS);
                for (enum pod_metric_id other = 0; other < id; other++)
                        assert_string_not_equal(metric->name, pod_metric_table[other].name);
        }
        assert_int_equal(pod_metric_label_count(METRIC_BLKIO_USAGE), 4);
        assert_int_equal(pod_metric_label_count(METRIC_CPU_USAGE), 1);
        assert_int_equal(pod_metric_label_count(METRIC_LAST_SEEN), 0);
}

static void calls(void **state)
{
        static const char method[] = "Method";
        struct call_metric metric;
        (void)state;
        assert_false(call_metrics_get(0, &metric));
        call_metrics_note(method, ERROR_OK, 2 * NSEC_PER_MSEC);
        call_metrics_note(method, ERROR_NOT_FOUND, 1000 * NSEC_PER_SEC);
        call_metrics_note(NULL, ERROR_UNIMPLEMENTED, 1);
        assert_true(call_metrics_get(0, &metric));
        assert_string_equal(metric.method, "Method");
        assert_int_equal(metric.latency.count, 2);
        assert_int_equal(metric.latency.upto[0], 0);
        assert_int_equal(metric.latency.upto[1], 1);
        assert_int_equal(metric.latency.upto[HISTOGRAM_BUCKETS - 1], 1);
        assert_int_equal(metric.errors[ERROR_NOT_FOUND], 1);
        assert_true(call_metrics_get(1, &metric));
        assert_string_equal(metric.method, "unknown");
        assert_false(call_metrics_get(2, &metric));
}

static void defunct(void **state)
{
        (void)state;
        assert_true(metrics_machine_is_defunct("12 (sh) Z 1 12"));
        assert_true(metrics_machine_is_defunct("12 (a) b) Z 1 12"));
        assert_false(metrics_machine_is_defunct("12 (Z) S 1 12"));
        assert_false(metrics_machine_is_defunct("12 (sh"));
        assert_false(metrics_machine_is_defunct(""));
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(rates),
                cmocka_unit_test(reads_several),
                cmocka_unit_test(passes_what_is_stuck),
                cmocka_unit_test(requests_at_once),
                cmocka_unit_test(interfaces),
                cmocka_unit_test(groups),
                cmocka_unit_test(table),
                cmocka_unit_test(calls),
                cmocka_unit_test(defunct),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
