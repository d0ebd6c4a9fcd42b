/* Processors taken out of load balancing: which files of the cgroups above are written. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/memory.h"
#include "oci/cpu_isolation.h"
#include "oci/setting.h"

static char folder[] = "/tmp/crisp-test-isolation-XXXXXX";
static char *kept;

static void put(const char *path, const char *file, const char *text)
{
        AUTO_FREE char *name = xprintf("%s%s/%s", folder, path, file);
        AUTO_FREE char *parent = xprintf("%s%s", folder, path);
        assert_int_equal(file_make_directories(parent, 0755, NULL), 0);
        assert_int_equal(file_replace_volatile(name, text, strlen(text), 0644, NULL), 0);
}

static void expect(const char *path, const char *file, const char *wanted)
{
        AUTO_FREE char *name = xprintf("%s%s/%s", folder, path, file);
        AUTO_FREE char *text = setting_read(name, NULL);
        assert_non_null(text);
        assert_string_equal(text, wanted);
}

static int set_up(void **state)
{
        (void)state;
        if (!mkdtemp(folder))
                return 1;
        kept = xprintf("%s/kept", folder);
        return 0;
}

static int tear_down(void **state)
{
        (void)state;
        free(kept);
        return file_remove_tree(folder, NULL);
}

static struct cgroup_system v2(void)
{
        return (struct cgroup_system){.mode = CGROUP_MODE_V2, .unified = folder};
}

static void a_partition(void **state)
{
        struct cgroup_system system = v2();
        struct cpu_list cpus, more;
        (void)state;
        put("/k", "cpuset.cpus", "0-1\n");
        put("/k", "cpuset.cpus.exclusive", "7\n");
        put("/k/pod", "cpuset.cpus", "\n");
        put("/k/pod", "cpuset.cpus.exclusive", "\n");
        put("/k/pod/c", "cpuset.cpus", "2-3\n");
        put("/k/pod/c", "cpuset.cpus.exclusive", "\n");
        put("/k/pod/c", "cpuset.cpus.partition", "member\n");
        cpu_list_parse("2-3", &cpus, NULL);
        assert_int_equal(cpu_isolation_begin(&system, "/k/pod/c", &cpus, kept, "c", NULL), 0);
        expect("/k", "cpuset.cpus", "0-3");
        expect("/k", "cpuset.cpus.exclusive", "2-3,7");
        expect("/k/pod", "cpuset.cpus", "");
        expect("/k/pod", "cpuset.cpus.exclusive", "2-3");
        expect("/k/pod/c", "cpuset.cpus.exclusive", "2-3");
        expect("/k/pod/c", "cpuset.cpus.partition", "isolated");
        /* Another one beside it. */
        put("/k/pod/d", "cpuset.cpus", "5\n");
        put("/k/pod/d", "cpuset.cpus.exclusive", "\n");
        put("/k/pod/d", "cpuset.cpus.partition", "member\n");
        cpu_list_parse("5", &more, NULL);
        assert_int_equal(cpu_isolation_begin(&system, "/k/pod/d", &more, kept, "d", NULL), 0);
        expect("/k/pod", "cpuset.cpus.exclusive", "2-3,5");
        /* The container's own cgroup is gone already when it has ended. */
        AUTO_FREE char *own = xprintf("%s/k/pod/c", folder);
        assert_int_equal(file_remove_tree(own, NULL), 0);
        assert_int_equal(cpu_isolation_end(&system, kept, "c", NULL), 0);
        expect("/k/pod", "cpuset.cpus.exclusive", "5");
        expect("/k", "cpuset.cpus.exclusive", "5,7");
        assert_int_equal(cpu_isolation_end(&system, kept, "d", NULL), 0);
        assert_int_equal(cpu_isolation_end(&system, kept, "d", NULL), 0);
        expect("/k/pod", "cpuset.cpus.exclusive", "");
        expect("/k", "cpuset.cpus.exclusive", "7");
        assert_null(setting_owners(kept));
}

static void an_old_kernel(void **state)
{
        struct cgroup_system system = v2();
        struct cpu_list cpus;
        struct error err;
        (void)state;
        put("/old/c", "cpuset.cpus", "1\n");
        cpu_list_parse("1", &cpus, NULL);
        assert_true(cpu_isolation_begin(&system, "/old/c", &cpus, kept, "o", &err) < 0);
        assert_int_equal(err.code, ERROR_FAILED_PRECONDITION);
        assert_non_null(strstr(err.message, "6.7"));
}

static void v1(void **state)
{
        AUTO_FREE char *mount = xprintf("%s/cpuset", folder);
        struct cgroup_system system = {
                .mode = CGROUP_MODE_V1,
                .hierarchies = {{.mount = mount, .controllers = (char *)"cpuset"}},
                .hierarchy_count = 1};
        struct cpu_list cpus;
        (void)state;
        put("/cpuset/p/c", "cpuset.sched_load_balance", "1\n");
        cpu_list_parse("1", &cpus, NULL);
        assert_int_equal(cpu_isolation_begin(&system, "/p/c", &cpus, kept, "c", NULL), 0);
        expect("/cpuset/p/c", "cpuset.sched_load_balance", "0");
        assert_int_equal(cpu_isolation_end(&system, kept, "c", NULL), 0);
}

static void quotas(void **state)
{
        struct cgroup_system system = v2();
        (void)state;
        put("/q", "cpu.max", "50000 100000\n");
        assert_int_equal(cpu_isolation_lift_quota(&system, "/q", NULL), 0);
        expect("/q", "cpu.max", "max");
        assert_int_equal(cpu_isolation_lift_quota(&system, "/nowhere", NULL), 0);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(a_partition),
                cmocka_unit_test(an_old_kernel),
                cmocka_unit_test(v1),
                cmocka_unit_test(quotas),
        };
        return cmocka_run_group_tests(tests, set_up, tear_down);
}
