/* What cgroup files say, as kernels with cgroup v1 and v2 wrote them; and readers on folders made
 * of them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/memory.h"
#include "oci/cgroup_reader.h"
#include "oci/cgroup_stats.h"
#include "oci/process_stats.h"

static const char memory_v1[] =
        "cache 4096\nrss 8192\nmapped_file 12\nswap 1\npgfault 10\npgmajfault 1\n"
        "inactive_file 100\nhierarchical_memory_limit 268435456\n"
        "total_cache 5521408\ntotal_rss 23678976\ntotal_rss_huge 4194304\n"
        "total_mapped_file 193536\ntotal_swap 65536\ntotal_pgfault 832318\n"
        "total_pgmajfault 837\ntotal_inactive_anon 216940544\n"
        "total_inactive_file 2553856\ntotal_active_file 2958336\n";

static const char memory_v2[] =
        "anon 17092608\nfile 40960000\nkernel 2162688\nkernel_stack 65536\n"
        "shmem 0\nfile_mapped 8110080\nfile_dirty 0\ninactive_anon 17039360\n"
        "active_anon 8192\ninactive_file 30720000\nactive_file 10240000\n"
        "pgfault 15011\npgmajfault 42\nworkingset_refault_anon 0\n";

static void numbers(void **state)
{
        uint64_t value = 7;
        (void)state;
        assert_true(cgroup_parse_number("12345\n", &value));
        assert_int_equal(value, 12345);
        assert_true(cgroup_parse_number("max\n", &value));
        assert_true(value == CGROUP_UNLIMITED);
        assert_true(cgroup_parse_number("0", &value));
        assert_int_equal(value, 0);
        value = 7;
        static const char *const wrong[] = {
                "", "\n", "-1\n", "12x\n", "maximum\n", "1 2\n", "99999999999999999999999\n"};
        for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
                assert_false(cgroup_parse_number(wrong[i], &value));
        assert_int_equal(value, 7);
        assert_true(cgroup_parse_key("low 0\noom 1\noom_kill 3\n", "oom_kill", &value));
        assert_int_equal(value, 3);
        assert_true(cgroup_parse_key("low 0\noom 1\noom_kill 3\n", "oom", &value));
        assert_int_equal(value, 1);
        assert_false(cgroup_parse_key("low 0\n", "oom", &value));
        assert_true(cgroup_limit_v1(9223372036854771712ull) == CGROUP_UNLIMITED);
        assert_int_equal(cgroup_limit_v1(4096), 4096);
}

static void memory_of_v1(void **state)
{
        struct cgroup_stats stats = {.memory_usage = 30000000};
        (void)state;
        cgroup_parse_memory_v1(memory_v1, &stats);
        assert_int_equal(stats.memory_rss, 23678976);
        assert_int_equal(stats.memory_cache, 5521408);
        assert_int_equal(stats.memory_mapped_file, 193536);
        assert_int_equal(stats.memory_inactive_file, 2553856);
        assert_int_equal(stats.memory_active_file, 2958336);
        assert_int_equal(stats.page_faults, 832318);
        assert_int_equal(stats.major_page_faults, 837);
        assert_int_equal(stats.swap_usage, 65536);
        assert_int_equal(cgroup_working_set(&stats), 30000000 - 2553856);
        /* The two files are not read at the same moment. */
        stats.memory_usage = 1000;
        assert_int_equal(cgroup_working_set(&stats), 0);
}

static void memory_of_v2(void **state)
{
        struct cgroup_stats stats = {.memory_usage = 60000000};
        (void)state;
        cgroup_parse_memory_v2(memory_v2, &stats);
        assert_int_equal(stats.memory_rss, 17092608);
        assert_int_equal(stats.memory_cache, 40960000);
        assert_int_equal(stats.memory_kernel, 2162688);
        assert_int_equal(stats.memory_mapped_file, 8110080);
        assert_int_equal(stats.memory_inactive_file, 30720000);
        assert_int_equal(stats.page_faults, 15011);
        assert_int_equal(stats.major_page_faults, 42);
        assert_int_equal(cgroup_working_set(&stats), 60000000 - 30720000);
}

static void processor(void **state)
{
        static const char v2[] =
                "usage_usec 4711000\nuser_usec 4000000\nsystem_usec 711000\n"
                "nice_usec 0\nnr_periods 20\nnr_throttled 5\nthrottled_usec 2500\n";
        struct cgroup_detail detail = {0};
        uint64_t usage = 0;
        (void)state;
        cgroup_parse_cpu_v2(v2, &usage, &detail);
        assert_true(usage == 4711000000ull);
        assert_true(detail.cpu_user == 4000000000ull && detail.cpu_system == 711000000ull);
        assert_int_equal(detail.periods, 20);
        assert_int_equal(detail.throttled_periods, 5);
        assert_int_equal(detail.throttled, 2500000);
        cgroup_parse_cpu_v2("usage_usec 99999999999999999\n", &usage, NULL);
        assert_true(usage == UINT64_MAX);
        cgroup_parse_cpu_v1("nr_periods 7\nnr_throttled 2\nthrottled_time 12345\n", &detail);
        assert_int_equal(detail.periods, 7);
        assert_int_equal(detail.throttled_periods, 2);
        assert_int_equal(detail.throttled, 12345);
        cgroup_parse_cpu_max("max 100000\n", &detail);
        assert_true(detail.cpu_quota == CGROUP_UNLIMITED && detail.cpu_period == 100000);
        cgroup_parse_cpu_max("50000 200000\n", &detail);
        assert_true(detail.cpu_quota == 50000 && detail.cpu_period == 200000);
        cgroup_parse_cpu_max("rubbish\n", &detail);
        assert_true(detail.cpu_quota == 50000 && detail.cpu_period == 200000);
}

/* Back from a weight to shares that give the same weight, by the way that runtimes go. */
static void shares(void **state)
{
        (void)state;
        for (uint64_t weight = 1; weight <= 10000; weight++) {
                uint64_t back = cgroup_shares_of_weight(weight);
                assert_int_equal(1 + (back - 2) * 9999 / 262142, weight);
        }
        assert_int_equal(cgroup_shares_of_weight(0), 2);
        assert_int_equal(cgroup_shares_of_weight(1), 2);
        assert_int_equal(cgroup_shares_of_weight(10000), 262144);
}

static void pressure(void **state)
{
        struct cgroup_pressure found;
        (void)state;
        assert_true(
                cgroup_parse_pressure("some avg10=40.12 avg60=23.61 avg300=8.95 total=47257413\n"
                                      "full avg10=1.05 avg60=0.00 avg300=0.00 total=12\n",
                                      &found));
        assert_true(found.known);
        /* To the last bit: a client shows "40.12", not "40.120000000000005". */
        assert_true(found.some.avg10 == 40.12);
        assert_true(found.some.avg60 == 23.61);
        assert_true(found.some.avg300 == 8.95);
        assert_int_equal(found.some.total, 47257413);
        assert_true(found.full.avg10 == 1.05);
        assert_int_equal(found.full.total, 12);
        assert_true(cgroup_parse_pressure("some avg10=0.1250000000000000000000000000000000000000 "
                                          "avg60=0 avg300=7. total=1\n",
                                          &found));
        assert_true(found.some.avg10 == 0.125 && found.some.avg300 == 7);
        /* Kernels before 5.13 had no "full" for processors. */
        assert_true(
                cgroup_parse_pressure("some avg10=0.00 avg60=0.00 avg300=0.00 total=3\n", &found));
        assert_int_equal(found.full.total, 0);
        static const char *const wrong[] = {"", "some\n", "some avg10=x avg60=0 avg300=0 total=1\n",
                                            "some avg10=0.00 avg60=0.00 avg300=0.00\n",
                                            "full avg10=0.00 avg60=0.00 avg300=0.00 total=1\n"};
        for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
                assert_false(cgroup_parse_pressure(wrong[i], &found));
                assert_false(found.known);
        }
}

static void devices(void **state)
{
        struct cgroup_detail detail = {0};
        (void)state;
        cgroup_parse_io_v2(
                "8:16 rbytes=1459200 wbytes=314773504 rios=192 wios=353 dbytes=0 dios=0\n"
                "254:0 rbytes=1 wbytes=2\n7:1\nrubbish\n8:x rbytes=1\n",
                &detail);
        assert_int_equal(detail.device_count, 2);
        assert_true(detail.devices[0].major == 8 && detail.devices[0].minor == 16);
        assert_int_equal(detail.devices[0].read_bytes, 1459200);
        assert_int_equal(detail.devices[0].write_bytes, 314773504);
        assert_int_equal(detail.devices[0].reads, 192);
        assert_int_equal(detail.devices[0].writes, 353);
        assert_int_equal(detail.devices[1].write_bytes, 2);

        detail = (struct cgroup_detail){0};
        cgroup_parse_io_v1("254:0 Read 3092480\n254:0 Write 691314688\n254:0 Sync 469438464\n"
                           "254:0 Total 1084026880\nTotal 1084026880\n",
                           true, &detail);
        cgroup_parse_io_v1("254:0 Read 5\n254:0 Write 9\nTotal 14\n", false, &detail);
        assert_int_equal(detail.device_count, 1);
        assert_int_equal(detail.devices[0].read_bytes, 3092480);
        assert_int_equal(detail.devices[0].write_bytes, 691314688);
        assert_int_equal(detail.devices[0].reads, 5);
        assert_int_equal(detail.devices[0].writes, 9);

        /* More than there is room for: the first ones count. */
        AUTO_BUFFER struct buffer many = BUFFER_INIT;
        for (unsigned i = 0; i < 2 * CGROUP_DEVICES_MAX; i++)
                buffer_printf(&many, "8:%u rbytes=%u\n", i, i);
        detail = (struct cgroup_detail){0};
        cgroup_parse_io_v2(many.data, &detail);
        assert_int_equal(detail.device_count, CGROUP_DEVICES_MAX);
        assert_int_equal(detail.devices[CGROUP_DEVICES_MAX - 1].read_bytes, CGROUP_DEVICES_MAX - 1);
}

static void limits(void **state)
{
        uint64_t soft = 0;
        (void)state;
        assert_true(process_stats_parse_limits(
                "Limit                     Soft Limit           Hard Limit           Units     \n"
                "Max processes             7823                 7823                 processes \n"
                "Max open files            1024                 1048576              files     \n",
                &soft));
        assert_int_equal(soft, 1024);
        assert_true(process_stats_parse_limits("Max open files            unlimited\n", &soft));
        assert_true(soft == UINT64_MAX);
        assert_false(process_stats_parse_limits("Max cpu time              unlimited\n", &soft));
        assert_false(process_stats_parse_limits("x Max open files 3\n", &soft));
}

/* ---- readers ---- */

static char folder[64];

static void put(const char *name, const char *text)
{
        char path[512];
        snprintf(path, sizeof path, "%s/%s", folder, name);
        AUTO_FREE char *parent = xstrndup(path, (size_t)(strrchr(path, '/') - path));
        assert_int_equal(file_make_directories(parent, 0700, NULL), 0);
        AUTO_FD int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
        assert_true(fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text));
}

static int make_folder(void **state)
{
        (void)state;
        strcpy(folder, "/tmp/crisp-cgroup-XXXXXX");
        return mkdtemp(folder) ? 0 : -1;
}

static int remove_folder(void **state)
{
        (void)state;
        return file_remove_tree(folder, NULL);
}

#define ALL                                                                                        \
        (CGROUP_PART_CPU | CGROUP_PART_MEMORY | CGROUP_PART_PIDS | CGROUP_PART_PRESSURE |          \
         CGROUP_PART_DETAIL)

static void put_v2(void)
{
        put("a/b/cpu.stat", "usage_usec 5000\nuser_usec 3000\nsystem_usec 2000\n");
        put("a/b/memory.stat", memory_v2);
        put("a/b/memory.current", "60000000\n");
        put("a/b/memory.max", "100000000\n");
        put("a/b/memory.swap.current", "4096\n");
        put("a/b/memory.swap.max", "max\n");
        put("a/b/memory.peak", "70000000\n");
        put("a/b/memory.low", "0\n");
        put("a/b/memory.events", "low 0\nhigh 0\nmax 9\noom 2\noom_kill 1\n");
        put("a/b/pids.current", "3\n");
        put("a/b/pids.max", "max\n");
        put("a/b/cpu.weight", "100\n");
        put("a/b/cpu.max", "50000 100000\n");
        put("a/b/io.stat", "8:0 rbytes=1 wbytes=2 rios=3 wios=4\n");
        put("a/b/cpu.pressure", "some avg10=1.00 avg60=0.00 avg300=0.00 total=3\n");
}

static void reads_v2(void **state)
{
        struct cgroup_system system = {.mode = CGROUP_MODE_V2, .unified = folder};
        struct cgroup_stats stats;
        struct cgroup_detail detail;
        struct error err;
        (void)state;
        put_v2();
        struct cgroup_reader *reader = cgroup_reader_new(&system, "/a/b");
        assert_int_equal(cgroup_reader_read(reader, ALL, &stats, &detail, &err), 0);
        assert_int_equal(stats.parts, ALL);
        assert_int_equal(stats.cpu_usage, 5000000);
        assert_int_equal(stats.memory_usage, 60000000);
        assert_int_equal(stats.memory_limit, 100000000);
        assert_true(stats.swap_known && stats.swap_usage == 4096);
        assert_true(stats.swap_limit == CGROUP_UNLIMITED);
        assert_int_equal(stats.pids, 3);
        assert_true(stats.pids_limit == CGROUP_UNLIMITED);
        assert_true(stats.cpu_pressure.known && !stats.memory_pressure.known);
        assert_true(stats.real > 0 && stats.monotonic > 0);
        assert_int_equal(detail.cpu_user, 3000000);
        assert_int_equal(detail.memory_usage_max, 70000000);
        assert_int_equal(detail.memory_failures, 9);
        assert_int_equal(detail.oom_kills, 1);
        assert_int_equal(detail.cpu_quota, 50000);
        assert_int_equal(detail.cpu_period, 100000);
        assert_int_equal(detail.device_count, 1);

        /* What is kept open is read anew. */
        put("a/b/memory.current", "61000000\n");
        assert_int_equal(cgroup_reader_read(reader, CGROUP_PART_MEMORY, &stats, NULL, &err), 0);
        assert_int_equal(stats.memory_usage, 61000000);
        assert_int_equal(stats.parts, CGROUP_PART_MEMORY);
        assert_true(cgroup_reader_kept() > 5);
        cgroup_reader_rest(reader);
        assert_int_equal(cgroup_reader_kept(), 0);
        assert_int_equal(cgroup_reader_read(reader, CGROUP_PART_PIDS, &stats, NULL, &err), 0);
        cgroup_reader_free(reader);
        assert_int_equal(cgroup_reader_kept(), 0);
}

static void reads_v1(void **state)
{
        AUTO_FREE char *unified = xprintf("%s/unified", folder);
        AUTO_FREE char *cpu = xprintf("%s/cpu", folder);
        AUTO_FREE char *memory = xprintf("%s/memory", folder);
        AUTO_FREE char *pids = xprintf("%s/pids", folder);
        struct cgroup_system system = {
                .mode = CGROUP_MODE_HYBRID,
                .unified = unified,
                .hierarchies = {{cpu, "cpu,cpuacct"}, {memory, "memory"}, {pids, "pids"}},
                .hierarchy_count = 3,
        };
        struct cgroup_stats stats;
        struct cgroup_detail detail;
        struct error err;
        (void)state;
        put("cpu/a/cpuacct.usage", "5000000\n");
        put("cpu/a/cpuacct.usage_user", "3000000\n");
        put("cpu/a/cpu.stat", "nr_periods 7\nnr_throttled 2\nthrottled_time 12345\n");
        put("cpu/a/cpu.shares", "512\n");
        put("cpu/a/cpu.cfs_quota_us", "-1\n");
        put("cpu/a/cpu.cfs_period_us", "100000\n");
        put("memory/a/memory.stat", memory_v1);
        put("memory/a/memory.usage_in_bytes", "30000000\n");
        put("memory/a/memory.limit_in_bytes", "268435456\n");
        put("memory/a/memory.memsw.limit_in_bytes", "300000000\n");
        put("memory/a/memory.failcnt", "4\n");
        put("memory/a/memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 6\n");
        put("memory/a/memory.soft_limit_in_bytes", "9223372036854771712\n");
        put("pids/a/pids.current", "2\n");
        put("pids/a/pids.max", "50\n");
        put("unified/a/io.pressure", "some avg10=0.00 avg60=0.00 avg300=0.00 total=5\n"
                                     "full avg10=0.00 avg60=0.00 avg300=0.00 total=4\n");
        struct cgroup_reader *reader = cgroup_reader_new(&system, "/a");
        assert_int_equal(cgroup_reader_read(reader, ALL, &stats, &detail, &err), 0);
        assert_int_equal(stats.parts, ALL);
        assert_int_equal(stats.cpu_usage, 5000000);
        assert_int_equal(stats.memory_rss, 23678976);
        assert_int_equal(stats.memory_limit, 268435456);
        assert_true(stats.swap_known);
        assert_int_equal(stats.swap_limit, 300000000 - 268435456);
        assert_int_equal(stats.pids_limit, 50);
        assert_true(stats.io_pressure.known && stats.io_pressure.full.total == 4);
        assert_int_equal(detail.cpu_user, 3000000);
        assert_int_equal(detail.periods, 7);
        assert_int_equal(detail.cpu_shares, 512);
        assert_true(detail.cpu_quota == CGROUP_UNLIMITED);
        assert_int_equal(detail.memory_failures, 4);
        assert_int_equal(detail.oom_kills, 6);
        assert_true(detail.memory_reservation == CGROUP_UNLIMITED);
        assert_int_equal(detail.device_count, 0);
        cgroup_reader_free(reader);
}

static void tells_what_has_gone(void **state)
{
        struct cgroup_system system = {.mode = CGROUP_MODE_V2, .unified = folder};
        struct cgroup_stats stats = {.cpu_usage = 42};
        struct error err;
        (void)state;
        struct cgroup_reader *reader = cgroup_reader_new(&system, "/later");
        assert_true(cgroup_reader_read(reader, ALL & ~(unsigned)CGROUP_PART_DETAIL, &stats, NULL,
                                       &err) < 0);
        assert_int_equal(err.code, ERROR_NOT_FOUND);
        assert_int_equal(stats.cpu_usage, 42);
        put("later/cpu.stat", "usage_usec 1\n");
        assert_int_equal(cgroup_reader_read(reader, CGROUP_PART_CPU, &stats, NULL, &err), 0);
        assert_int_equal(stats.cpu_usage, 1000);
        /* A file without an end is not swallowed whole. */
        AUTO_BUFFER struct buffer big = BUFFER_INIT;
        while (big.length < 100000)
                buffer_add_text(&big, "usage_usec 1\n");
        put("later/cpu.stat", big.data);
        assert_true(cgroup_reader_read(reader, CGROUP_PART_CPU, &stats, NULL, &err) < 0);
        cgroup_reader_free(reader);
}

static void keeps_no_more_than_it_may(void **state)
{
        struct cgroup_system system = {.mode = CGROUP_MODE_V2, .unified = folder};
        struct cgroup_stats stats;
        struct error err;
        (void)state;
        put_v2();
        cgroup_reader_keep(3);
        struct cgroup_reader *one = cgroup_reader_new(&system, "/a/b");
        struct cgroup_reader *two = cgroup_reader_new(&system, "/a/b");
        for (int i = 0; i < 3; i++) {
                assert_int_equal(cgroup_reader_read(one, ALL & ~(unsigned)CGROUP_PART_DETAIL,
                                                    &stats, NULL, &err),
                                 0);
                assert_int_equal(cgroup_reader_read(two, CGROUP_PART_CPU, &stats, NULL, &err), 0);
                assert_int_equal(stats.cpu_usage, 5000000);
                assert_int_equal(cgroup_reader_kept(), 3);
        }
        cgroup_reader_free(one);
        cgroup_reader_free(two);
        assert_int_equal(cgroup_reader_kept(), 0);
        cgroup_reader_keep(CGROUP_READER_KEPT_MAX);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(numbers),
                cmocka_unit_test(memory_of_v1),
                cmocka_unit_test(memory_of_v2),
                cmocka_unit_test(processor),
                cmocka_unit_test(shares),
                cmocka_unit_test(pressure),
                cmocka_unit_test(devices),
                cmocka_unit_test(limits),
                cmocka_unit_test_setup_teardown(reads_v2, make_folder, remove_folder),
                cmocka_unit_test_setup_teardown(reads_v1, make_folder, remove_folder),
                cmocka_unit_test_setup_teardown(tells_what_has_gone, make_folder, remove_folder),
                cmocka_unit_test_setup_teardown(keeps_no_more_than_it_may, make_folder,
                                                remove_folder),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
