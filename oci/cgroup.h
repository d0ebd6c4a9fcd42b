/*
 * cgroup: where containers, monitors and pods sit among the kernel's control groups.
 *
 * A path here ("/kubepods/podX/ID") counts from the root of each hierarchy; folders of the kubelet
 * are not ours, and we remove only what we made. Everything but the pure functions blocks (the
 * kernel's cgroup lock may be held for milliseconds): from a task, call it in task_offload. Any
 * thread.
 */
#ifndef CRISP_OCI_CGROUP_H
#define CRISP_OCI_CGROUP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/cleanup.h"
#include "base/error.h"

#define CGROUP_HIERARCHIES_MAX 24
#define CGROUP_PATH_MAX        4000 /* bytes of a path of ours */
#define CGROUP_DEPTH_MAX       64   /* folders below a container's cgroup that are walked */

enum cgroup_driver { CGROUP_DRIVER_CGROUPFS, CGROUP_DRIVER_SYSTEMD };
/* HYBRID: v1 with a v2 tree beside it that has no controllers of use; runtimes treat it as v1, and
 * so do we. */
enum cgroup_mode { CGROUP_MODE_V1, CGROUP_MODE_HYBRID, CGROUP_MODE_V2 };

struct cgroup_hierarchy {
        char *mount;       /* "/sys/fs/cgroup/memory" */
        char *controllers; /* "cpu,cpuacct", or "name=systemd" */
};

/* What this machine has; read once at the start. */
struct cgroup_system {
        enum cgroup_mode mode;
        char *unified; /* where cgroup2 is mounted, or null */
        struct cgroup_hierarchy hierarchies[CGROUP_HIERARCHIES_MAX]; /* v1's; none on v2 */
        size_t hierarchy_count;
        /* Swap can be limited: without it, leave spec_resources' memory_swap at 0. */
        bool swap;
};

/* From /proc/self/mountinfo. FAILED_PRECONDITION where no cgroups are mounted. The caller calls
 * cgroup_system_fini. */
int cgroup_probe(struct cgroup_system *system, struct error *err);
/* The same from a file of that form, for tests. */
int cgroup_probe_file(const char *mountinfo, struct cgroup_system *system, struct error *err);
void cgroup_system_fini(struct cgroup_system *system);

/* ---- names: pure ---- */

/* Where one container is (or a pod's holder). */
struct cgroup_place {
        char *runtime_path; /* what the specification's linux.cgroupsPath says; heap */
        char *path;         /* where that is in each hierarchy: "/kubepods/podX/ID"; heap */
        char *parent;       /* the folder above, in each hierarchy; heap */
};

/*
 * parent is the kubelet's cgroup_parent, or null or empty for the default ("/crisp", or
 * "system.slice"). With cgroupfs it is a path; with systemd a path whose last part names the slice,
 * or a slice's name. INVALID_ARGUMENT for other forms and for "..". name: an id.
 */
int cgroup_place(enum cgroup_driver driver, const char *parent, const char *name,
                 struct cgroup_place *place, struct error *err);
void cgroup_place_fini(struct cgroup_place *place);

#define AUTO_CGROUP_PLACE CLEANUP(cgroup_place_fini)

/* A file of a cgroup, on the heap: cgroup_file(s, "/a/b", "memory", "memory.stat"). Null where that
 * controller has no hierarchy. */
char *cgroup_file(const struct cgroup_system *system, const char *path, const char *controller,
                  const char *file);
/* Whether containers can be limited by this controller. On v2 it asks the kernel's file: does not
 * wait. */
bool cgroup_has(const struct cgroup_system *system, const char *controller);
/* What the cgroup uses of memory now, in bytes. NOT_FOUND where nothing counts it. Blocks. */
int cgroup_memory_usage(const struct cgroup_system *system, const char *path, int64_t *bytes,
                        struct error *err);
/* The file that counts OOM kills (v1 memory.oom_control, v2 memory.events), on the heap; null where
 * there is none. */
char *cgroup_oom_file(const struct cgroup_system *system, const char *path);
/* That of the folder above where it counts for those below (v2) and may outlive the own one, which
 * systemd removes; else null. */
char *cgroup_oom_parent_file(const struct cgroup_system *system, enum cgroup_driver driver,
                             const char *path);
/* Whether that file, of a cgroup that is still there, counts a kill. Blocks. */
bool cgroup_oom_killed(const struct cgroup_system *system, const char *path);

/* ---- folders ---- */

/*
 * Makes the folder in every hierarchy where it is missing. *made is the topmost folder that was
 * missing (heap), or null when all was there; the caller records it and passes it to
 * cgroup_parent_remove when the pod is removed.
 */
int cgroup_parent_ensure(const struct cgroup_system *system, const char *path, char **made,
                         struct error *err);
/* Removes path and the folders above it up to made, as far as they are empty; in use or gone is
 * fine. A null made removes nothing. */
void cgroup_parent_remove(const struct cgroup_system *system, const char *path, const char *made);

/*
 * A cgroup that a process of ours (monitor, pod holder) is started in: goes into process_options'
 * cgroup_fd and cgroup_v1_tasks. The caller calls cgroup_leaf_fini, which removes nothing, and
 * cgroup_remove at the end.
 */
struct cgroup_leaf {
        int fd;       /* v2: the folder; -1 on v1 */
        char **tasks; /* v1: the `tasks` files, null-terminated; null on v2 */
};
#define CGROUP_LEAF_INIT                                                                           \
        {                                                                                          \
                .fd = -1                                                                           \
        }
/* controllers: on v1, in which hierarchies ("pids", "memory"), null-terminated; null is in all. */
int cgroup_leaf_make(const struct cgroup_system *system, const char *path,
                     const char *const *controllers, struct cgroup_leaf *leaf, struct error *err);
void cgroup_leaf_fini(struct cgroup_leaf *leaf);

#define AUTO_CGROUP_LEAF CLEANUP(cgroup_leaf_fini)

/*
 * Removes the cgroup and all below it in every hierarchy. Not there is fine. Waits for processes
 * that are just ending until deadline (monotonic ns); what is still in use then is -EBUSY.
 */
int cgroup_remove(const struct cgroup_system *system, const char *path, int64_t deadline,
                  struct error *err);

/* Whether the folder is there in any hierarchy. */
bool cgroup_exists(const struct cgroup_system *system, const char *path);

/* Lets a frozen cgroup go on: nothing in it ends before. Not there is fine. */
void cgroup_thaw(const struct cgroup_system *system, const char *path);

/* ---- processes ---- */

/* The processes in the cgroup and below it, each once, in *pids (heap) and *count. None when it is
 * not there. */
int cgroup_processes(const struct cgroup_system *system, const char *path, pid_t **pids,
                     size_t *count, struct error *err);

/*
 * Kills every process in the cgroup and below it and waits until none is left: 0, or -ETIMEDOUT
 * (DEADLINE_EXCEEDED) at deadline with how many are left. Fork bombs are frozen first. Not there is
 * fine.
 */
int cgroup_kill(const struct cgroup_system *system, const char *path, int64_t deadline,
                struct error *err);

#endif
