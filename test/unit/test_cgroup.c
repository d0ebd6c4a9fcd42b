/* Cgroups: what a machine has, where things go, and (where this process may) the kernel's own. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/memory.h"
#include "base/process.h"
#include "oci/cgroup.h"
#include "oci/cgroup_private.h"

static char folder[] = "/tmp/crisp-test-cgroup-XXXXXX";

static int set_up(void **state)
{
        (void)state;
        return mkdtemp(folder) == NULL;
}

static int tear_down(void **state)
{
        (void)state;
        return file_remove_tree(folder, NULL);
}

static int probe(const char *mountinfo, struct cgroup_system *system, struct error *err)
{
        AUTO_FREE char *path = xprintf("%s/mountinfo", folder);
        assert_int_equal(file_replace_volatile(path, mountinfo, strlen(mountinfo), 0600, NULL), 0);
        return cgroup_probe_file(path, system, err);
}

static void probes_v1(void **state)
{
        struct cgroup_system system;
        struct error err;
        (void)state;
        assert_int_equal(probe("20 1 0:5 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755\n"
                               "21 20 0:6 / /sys/fs/cgroup/cpu,cpuacct rw shared:3 - cgroup cgroup "
                               "rw,cpu,cpuacct\n"
                               "22 20 0:7 / /sys/fs/cgroup/systemd rw - cgroup cgroup "
                               "rw,xattr,release_agent=/x,name=systemd\n"
                               "23 20 0:6 / /other/cpu rw - cgroup cgroup rw,cpu,cpuacct\n"
                               "24 20 0:8 / /sys/fs/cgroup/a\\040b rw - cgroup cgroup rw,memory\n"
                               "25 20 0:9 / /nosuch rw - cgroup\n"
                               "26 rubbish\n",
                               &system, &err),
                         0);
        assert_int_equal(system.mode, CGROUP_MODE_V1);
        assert_int_equal(system.hierarchy_count, 3);
        assert_string_equal(system.hierarchies[0].controllers, "cpu,cpuacct");
        assert_string_equal(system.hierarchies[1].controllers, "name=systemd");
        assert_string_equal(system.hierarchies[2].mount, "/sys/fs/cgroup/a b");
        assert_true(cgroup_controls(&system.hierarchies[0], "cpu"));
        assert_true(cgroup_controls(&system.hierarchies[0], "cpuacct"));
        assert_false(cgroup_controls(&system.hierarchies[0], "cp"));
        AUTO_FREE char *file = cgroup_file(&system, "/x", "cpuacct", "f");
        assert_string_equal(file, "/sys/fs/cgroup/cpu,cpuacct/x/f");
        assert_null(cgroup_file(&system, "/x", "pids", "f"));
        AUTO_FREE char *oom = cgroup_oom_file(&system, "/x");
        assert_string_equal(oom, "/sys/fs/cgroup/a b/x/memory.oom_control");
        /* It counts nobody else's. */
        assert_null(cgroup_oom_parent_file(&system, CGROUP_DRIVER_SYSTEMD, "/a/x"));
        cgroup_system_fini(&system);
}

static void probes_v2_and_hybrid(void **state)
{
        struct cgroup_system system;
        struct error err;
        (void)state;
        assert_int_equal(probe("20 1 0:5 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw,nsdelegate\n"
                               "21 1 0:6 / /opt/net_cls rw - cgroup cgroup rw,net_cls\n",
                               &system, &err),
                         0);
        assert_int_equal(system.mode, CGROUP_MODE_V2);
        assert_int_equal(system.hierarchy_count, 0);
        AUTO_FREE char *file = cgroup_file(&system, "/", "pids", "pids.max");
        assert_string_equal(file, "/sys/fs/cgroup/pids.max");
        AUTO_FREE char *oom = cgroup_oom_file(&system, "/a/b");
        assert_string_equal(oom, "/sys/fs/cgroup/a/b/memory.events");
        AUTO_FREE char *parent = cgroup_oom_parent_file(&system, CGROUP_DRIVER_SYSTEMD, "/a/b");
        assert_string_equal(parent, "/sys/fs/cgroup/a/memory.events");
        assert_null(cgroup_oom_parent_file(&system, CGROUP_DRIVER_CGROUPFS, "/a/b"));
        /* The root has none. */
        assert_null(cgroup_oom_parent_file(&system, CGROUP_DRIVER_SYSTEMD, "/a"));
        cgroup_system_fini(&system);

        assert_int_equal(probe("20 1 0:5 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n"
                               "21 1 0:6 / /sys/fs/cgroup/pids rw - cgroup cgroup rw,pids\n",
                               &system, &err),
                         0);
        assert_int_equal(system.mode, CGROUP_MODE_HYBRID);
        assert_int_equal(system.hierarchy_count, 1);
        cgroup_system_fini(&system);

        assert_true(probe("20 1 0:5 / / rw - ext4 /dev/sda rw\n", &system, &err) < 0);
        assert_int_equal(err.code, ERROR_FAILED_PRECONDITION);
}

static void place(enum cgroup_driver driver, const char *parent, const char *runtime,
                  const char *path, const char *above)
{
        AUTO_CGROUP_PLACE struct cgroup_place found = {0};
        struct error err;
        assert_int_equal(cgroup_place(driver, parent, "id", &found, &err), 0);
        assert_string_equal(found.runtime_path, runtime);
        assert_string_equal(found.path, path);
        assert_string_equal(found.parent, above);
}

static void places(void **state)
{
        (void)state;
        place(CGROUP_DRIVER_CGROUPFS, "/kubepods/podX", "/kubepods/podX/id", "/kubepods/podX/id",
              "/kubepods/podX");
        place(CGROUP_DRIVER_CGROUPFS, "kubepods//podX/.", "/kubepods/podX/id", "/kubepods/podX/id",
              "/kubepods/podX");
        place(CGROUP_DRIVER_CGROUPFS, NULL, "/crisp/id", "/crisp/id", "/crisp");
        place(CGROUP_DRIVER_CGROUPFS, "/", "/id", "/id", "/");
        place(CGROUP_DRIVER_SYSTEMD,
              "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-podX.slice",
              "kubepods-burstable-podX.slice:crisp:id",
              "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-podX.slice/"
              "crisp-id.scope",
              "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-podX.slice");
        place(CGROUP_DRIVER_SYSTEMD, "a-b.slice", "a-b.slice:crisp:id",
              "/a.slice/a-b.slice/crisp-id.scope", "/a.slice/a-b.slice");
        place(CGROUP_DRIVER_SYSTEMD, "", "system.slice:crisp:id", "/system.slice/crisp-id.scope",
              "/system.slice");
        place(CGROUP_DRIVER_SYSTEMD, "-.slice", "-.slice:crisp:id", "/crisp-id.scope", "/");
}

static void refused_places(void **state)
{
        static const struct {
                enum cgroup_driver driver;
                const char *parent, *name;
        } wrong[] = {
                {CGROUP_DRIVER_CGROUPFS, "/a/../b", "id"},
                {CGROUP_DRIVER_CGROUPFS, "..", "id"},
                {CGROUP_DRIVER_CGROUPFS, "/kubepods.slice", "id"},
                {CGROUP_DRIVER_CGROUPFS, "/a", "b/c"},
                {CGROUP_DRIVER_CGROUPFS, "/a", ""},
                {CGROUP_DRIVER_CGROUPFS, "/a", ".."},
                {CGROUP_DRIVER_SYSTEMD, "/kubepods/podX", "id"},
                {CGROUP_DRIVER_SYSTEMD, "a--b.slice", "id"},
                {CGROUP_DRIVER_SYSTEMD, "-a.slice", "id"},
                {CGROUP_DRIVER_SYSTEMD, "a-.slice", "id"},
                {CGROUP_DRIVER_SYSTEMD, ".slice", "id"},
                {CGROUP_DRIVER_SYSTEMD, "/..", "id"},
                {CGROUP_DRIVER_SYSTEMD, "a.slice", "b:c"},
        };
        (void)state;
        for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
                struct cgroup_place found = {0};
                struct error err = {0};
                assert_int_equal(
                        cgroup_place(wrong[i].driver, wrong[i].parent, wrong[i].name, &found, &err),
                        -EINVAL);
                assert_int_equal(err.code, ERROR_INVALID_ARGUMENT);
                assert_null(found.path);
        }
}

/* A machine whose hierarchies are ordinary folders: what is made and removed, and what is not. */
static struct cgroup_system pretended(void)
{
        struct cgroup_system system = {.mode = CGROUP_MODE_V1, .hierarchy_count = 3};
        static const char *const names[] = {"memory", "freezer", "cpuset"};
        for (size_t i = 0; i < 3; i++) {
                system.hierarchies[i].mount = xprintf("%s/%s", folder, names[i]);
                system.hierarchies[i].controllers = xstrdup(names[i]);
                mkdir(system.hierarchies[i].mount, 0755);
        }
        return system;
}

static bool there(const char *path)
{
        AUTO_FREE char *whole = xprintf("%s%s", folder, path);
        return access(whole, F_OK) == 0;
}

static void make(const char *path)
{
        AUTO_FREE char *whole = xprintf("%s%s", folder, path);
        assert_int_equal(file_make_directories(whole, 0755, NULL), 0);
}

static void removes_what_it_made(void **state)
{
        struct cgroup_system system = pretended();
        struct error err = {0};
        (void)state;
        /* Without the kernel's own files a cpuset cannot be filled: only the other two. */
        free(system.hierarchies[2].mount);
        free(system.hierarchies[2].controllers);
        system.hierarchy_count = 2;

        make("/memory/kubepods");
        AUTO_FREE char *made = NULL;
        assert_int_equal(cgroup_parent_ensure(&system, "/kubepods/a/b", &made, &err), 0);
        /* In the freezer's hierarchy even the kubelet's was missing. */
        assert_string_equal(made, "/kubepods");
        assert_true(there("/memory/kubepods/a/b"));
        assert_true(there("/freezer/kubepods/a/b"));
        char *again = (char *)"untouched";
        assert_int_equal(cgroup_parent_ensure(&system, "/kubepods/a/b", &again, &err), 0);
        assert_null(again);
        cgroup_parent_remove(&system, "/kubepods/a/b", NULL);
        assert_true(there("/memory/kubepods/a/b"));
        make("/memory/kubepods/a/other");
        cgroup_parent_remove(&system, "/kubepods/a/b", "/kubepods/a");
        assert_false(there("/memory/kubepods/a/b"));
        assert_true(there("/memory/kubepods/a/other"));
        assert_true(there("/freezer/kubepods"));
        assert_false(there("/freezer/kubepods/a"));

        make("/memory/kubepods/id/below/deeper");
        assert_true(cgroup_exists(&system, "/kubepods/id"));
        assert_int_equal(cgroup_remove(&system, "/kubepods/id", 0, &err), 0);
        assert_false(cgroup_exists(&system, "/kubepods/id"));
        assert_int_equal(cgroup_remove(&system, "/kubepods/id", 0, &err), 0);
        assert_true(there("/memory/kubepods"));

        /* What is nobody's to remove. */
        assert_int_equal(cgroup_remove(&system, "/", 0, &err), -EINVAL);
        assert_int_equal(cgroup_remove(&system, "", 0, &err), -EINVAL);
        assert_int_equal(cgroup_remove(&system, "/a/../kubepods", 0, &err), -EINVAL);
        assert_int_equal(cgroup_kill(&system, "/", 0, &err), -EINVAL);
        cgroup_system_fini(&system);
}

static void commands_cgroups(void **state)
{
        struct cgroup_system system = pretended();
        struct cgroup_child child = {0};
        struct error err = {0};
        (void)state;
        make("/memory/c");
        make("/freezer/c");
        make("/cpuset/c");
        assert_int_equal(cgroup_child_make(&system, "/c/exec", false, &child, &err), 0);
        assert_string_equal(child.controller, "freezer");
        assert_null(child.cpuset_tasks);
        assert_true(there("/freezer/c/exec"));
        assert_false(there("/memory/c/exec"));
        cgroup_child_dissolve(&system, "/c/exec");
        assert_false(there("/freezer/c/exec"));

        assert_int_equal(cgroup_child_make(&system, "/c/exec", true, &child, &err), 0);
        assert_null(child.controller);
        assert_non_null(strstr(child.cpuset_tasks, "/cpuset/c/tasks"));
        assert_true(there("/memory/c/exec"));
        assert_false(there("/cpuset/c/exec"));
        free(child.cpuset_tasks);
        cgroup_child_dissolve(&system, "/c/exec");
        assert_false(there("/memory/c/exec"));

        /* The container's own cgroup is never made by this. */
        assert_int_equal(cgroup_child_make(&system, "/gone/exec", true, &child, &err), -ENOENT);
        assert_int_equal(cgroup_child_make(&system, "/gone/exec", false, &child, &err), -ENOENT);
        assert_false(there("/memory/gone"));
        cgroup_system_fini(&system);
}

/* ---- the kernel's ---- */

static struct process start_in(const struct cgroup_leaf *leaf, const char *script)
{
        char *argv[] = {(char *)"sh", (char *)"-c", (char *)script, NULL};
        char *environment[] = {(char *)"PATH=/usr/bin:/bin", NULL};
        struct process_options options = PROCESS_OPTIONS_INIT;
        struct process process;
        options.path = "/bin/sh";
        options.argv = argv;
        options.environment = environment;
        options.cgroup_fd = leaf->fd;
        options.cgroup_v1_tasks = (const char *const *)leaf->tasks;
        assert_int_equal(process_start(&options, &process, NULL), 0);
        return process;
}

static void kills_all_of_a_cgroup(void **state)
{
        struct cgroup_system system;
        struct error err = {0};
        (void)state;
        if (geteuid() != 0 || cgroup_probe(&system, &err) < 0)
                skip();
        AUTO_FREE char *path = xprintf("/crisp-test-%d", (int)getpid());
        AUTO_FREE char *leaf_path = xprintf("%s/leaf", path);
        AUTO_CGROUP_LEAF struct cgroup_leaf leaf = CGROUP_LEAF_INIT;
        if (cgroup_leaf_make(&system, leaf_path, NULL, &leaf, &err) < 0) {
                cgroup_remove(&system, path, 0, NULL);
                cgroup_system_fini(&system);
                skip();
        }
        /* Some of it has left its session and its parent. */
        struct process process =
                start_in(&leaf, "(setsid sleep 1000 &) ; sleep 1000 & setsid sleep 1000 & wait");
        AUTO_FREE pid_t *pids = NULL;
        size_t count = 0;
        int64_t deadline = clock_after(20 * NSEC_PER_SEC);
        while (count < 4 && clock_monotonic() < deadline) {
                free(pids);
                pids = NULL;
                assert_int_equal(cgroup_processes(&system, path, &pids, &count, &err), 0);
        }
        assert_true(count >= 4);
        /* Not empty: it stays. */
        assert_int_equal(cgroup_remove(&system, path, 0, &err), -EBUSY);

        assert_int_equal(cgroup_kill(&system, path, deadline, &err), 0);
        free(pids);
        pids = NULL;
        assert_int_equal(cgroup_processes(&system, path, &pids, &count, &err), 0);
        assert_int_equal(count, 0);
        int status;
        while (process_reap(&process, &status) == -EAGAIN && clock_monotonic() < deadline)
                usleep(1000);
        assert_int_equal(WTERMSIG(status), SIGKILL);
        assert_int_equal(cgroup_remove(&system, path, deadline, &err), 0);
        assert_false(cgroup_exists(&system, path));
        assert_int_equal(cgroup_kill(&system, path, deadline, &err), 0);
        cgroup_system_fini(&system);
}

static void dissolves_into_its_parent(void **state)
{
        struct cgroup_system system;
        struct error err = {0};
        (void)state;
        if (geteuid() != 0 || cgroup_probe(&system, &err) < 0)
                skip();
        AUTO_FREE char *path = xprintf("/crisp-test-child-%d", (int)getpid());
        AUTO_FREE char *child_path = xprintf("%s/exec", path);
        AUTO_CGROUP_LEAF struct cgroup_leaf leaf = CGROUP_LEAF_INIT;
        if (cgroup_leaf_make(&system, child_path, NULL, &leaf, &err) < 0) {
                cgroup_remove(&system, path, 0, NULL);
                cgroup_system_fini(&system);
                skip();
        }
        struct process process = start_in(&leaf, "exec sleep 1000");
        cgroup_child_dissolve(&system, child_path);
        assert_false(cgroup_exists(&system, child_path));
        AUTO_FREE pid_t *pids = NULL;
        size_t count = 0;
        assert_int_equal(cgroup_processes(&system, path, &pids, &count, &err), 0);
        assert_int_equal(count, 1);
        assert_int_equal(pids[0], process.pid);
        int64_t deadline = clock_after(20 * NSEC_PER_SEC);
        assert_int_equal(cgroup_kill(&system, path, deadline, &err), 0);
        int status;
        while (process_reap(&process, &status) == -EAGAIN && clock_monotonic() < deadline)
                usleep(1000);
        assert_int_equal(cgroup_remove(&system, path, deadline, &err), 0);
        cgroup_system_fini(&system);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(probes_v1),
                cmocka_unit_test(probes_v2_and_hybrid),
                cmocka_unit_test(places),
                cmocka_unit_test(refused_places),
                cmocka_unit_test(removes_what_it_made),
                cmocka_unit_test(commands_cgroups),
                cmocka_unit_test(kills_all_of_a_cgroup),
                cmocka_unit_test(dissolves_into_its_parent),
        };
        return cmocka_run_group_tests(tests, set_up, tear_down);
}
