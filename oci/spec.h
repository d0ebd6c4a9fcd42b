/*
 * spec: the OCI runtime specification of a container (config.json).
 *
 * The caller fills struct spec_options, whose pointers are all borrowed and need live only during
 * the call; zeroes mean "leave out" unless a field says otherwise. Pure functions unless said; any
 * thread. Building one takes well under a millisecond.
 */
#ifndef CRISP_OCI_SPEC_H
#define CRISP_OCI_SPEC_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/arena.h"
#include "base/error.h"

#define SPEC_VERSION  "1.0.2"
#define SPEC_FILE_MAX (16 * 1024 * 1024) /* bytes of a config.json that we read back */

struct spec_pair {
        const char *key;
        const char *value; /* null is "" */
};

struct spec_mount {
        const char *destination;    /* absolute, in the container */
        const char *source;         /* null leaves it out */
        const char *type;           /* "bind", "tmpfs", ...; null leaves it out */
        const char *const *options; /* null-terminated, or null */
        /* An idmapped mount: both, or neither. See id_maps of the options for the terms. */
        const struct spec_id_map *uid_maps;
        size_t uid_map_count;
        const struct spec_id_map *gid_maps;
        size_t gid_map_count;
};

struct spec_id_map {
        uint32_t container_id;
        uint32_t host_id;
        uint32_t length;
};

enum spec_namespace_kind {
        SPEC_NAMESPACE_MOUNT,
        SPEC_NAMESPACE_PID,
        SPEC_NAMESPACE_NETWORK,
        SPEC_NAMESPACE_IPC,
        SPEC_NAMESPACE_UTS,
        SPEC_NAMESPACE_USER,
        SPEC_NAMESPACE_CGROUP,
};

struct spec_namespace {
        enum spec_namespace_kind kind;
        const char
                *path; /* to join; null makes a new one. A kind that is not listed is the host's */
};

struct spec_rlimit {
        const char *type; /* "RLIMIT_NOFILE" */
        uint64_t hard, soft;
};

/* A device node to make, with the rule that allows it. See spec_device_read. */
struct spec_device {
        const char *path;   /* in the container */
        const char *source; /* the node on the host that it is like, or null */
        char type;          /* 'c' or 'b'; 'p' is a pipe, without numbers and rules */
        unsigned device_major, device_minor;
        mode_t mode; /* permission bits */
        uint32_t uid, gid;
        const char *access; /* "rwm" or a part of it */
};

/* A further device rule, after the standard ones. */
struct spec_device_rule {
        bool allow;
        char type;            /* 'a', 'c' or 'b' */
        int64_t device_major; /* -1 is any */
        int64_t device_minor;
        const char *access;
};

/* Limits of block I/O for one device. */
struct spec_block_device {
        unsigned device_major, device_minor;
        uint64_t value; /* a weight, or bytes or operations a second */
};

enum spec_block_limit {
        SPEC_BLOCK_WEIGHT,
        SPEC_BLOCK_READ_BYTES,
        SPEC_BLOCK_WRITE_BYTES,
        SPEC_BLOCK_READ_OPERATIONS,
        SPEC_BLOCK_WRITE_OPERATIONS,
        SPEC_BLOCK_LIMITS,
};

struct spec_block_io {
        unsigned weight; /* of all devices that have none of their own; 0 leaves it out */
        struct {
                const struct spec_block_device *devices;
                size_t count;
        } limits[SPEC_BLOCK_LIMITS];
};

/* 0 leaves a number out (as CRI means it), so -1 is how a limit is lifted. */
struct spec_resources {
        uint64_t cpu_shares;
        int64_t cpu_quota;       /* us in each period */
        uint64_t cpu_period;     /* us */
        const char *cpuset_cpus; /* null or empty is left out */
        const char *cpuset_mems;
        int64_t memory_limit; /* bytes */
        int64_t memory_swap;  /* bytes, memory and swap together */
        int64_t pids_limit;
        const struct spec_hugepage {
                const char *size; /* "2MB" */
                uint64_t limit;   /* bytes; 0 is a limit too */
        } * hugepages;
        size_t hugepage_count;
        const struct spec_block_io *block_io; /* or null */
        const struct spec_pair *unified;      /* cgroup v2 files and what is written there */
        size_t unified_count;
};

/* Names as "CAP_CHOWN", null-terminated; null is an empty set. */
struct spec_capabilities {
        const char *const *bounding;
        const char *const *effective;
        const char *const *permitted;
        const char *const *inheritable;
        const char *const *ambient;
};

/* When in a container's life the runtime runs a hook. */
enum spec_hook_stage {
        SPEC_HOOK_PRESTART,
        SPEC_HOOK_CREATE_RUNTIME,
        SPEC_HOOK_CREATE_CONTAINER,
        SPEC_HOOK_START_CONTAINER,
        SPEC_HOOK_POSTSTART,
        SPEC_HOOK_POSTSTOP,
        SPEC_HOOK_STAGES
};

struct spec_hook {
        enum spec_hook_stage stage;
        const char *path;        /* absolute; of the host, but for startContainer */
        const char *const *args; /* with argv[0], null-terminated; null is the path alone */
        const char *const *env;  /* "NAME=value", null-terminated, or null */
        int64_t timeout;         /* s; 0 leaves it out */
};

/* linux.intelRdt; what is null is left out. */
struct spec_rdt {
        const char *clos_id, *l3_cache_schema, *mem_bw_schema;
};

struct spec_options {
        const char *version; /* of the specification, that the runtime speaks; null: SPEC_VERSION */
        /* the process */
        char *const *args; /* at least one */
        char *const *env;  /* "NAME=value" */
        const char *cwd;   /* null is "/" */
        bool terminal;
        uint32_t uid, gid;
        const uint32_t *additional_gids;
        size_t additional_gid_count;
        bool has_umask;
        uint32_t umask;
        struct spec_capabilities capabilities;
        bool no_new_privileges;
        const char *exec_affinity; /* processors on which commands begin; null or empty: all */
        bool has_oom_score_adj;
        int oom_score_adj;
        const struct spec_rlimit *rlimits;
        size_t rlimit_count;
        const char *apparmor_profile; /* null or empty leaves it out */
        const char *selinux_label;

        /* the tree */
        const char *root; /* absolute path of the root file system */
        bool root_readonly;
        const char *hostname; /* only with a UTS namespace; null or empty leaves it out */
        const struct spec_mount *mounts; /* in any order: see spec_build */
        size_t mount_count;
        const char *mount_label;

        /* Linux */
        const struct spec_namespace *namespaces;
        size_t namespace_count;
        const struct spec_id_map *uid_maps; /* of a new user namespace */
        size_t uid_map_count;
        const struct spec_id_map *gid_maps;
        size_t gid_map_count;
        const char *cgroup_path; /* as the runtime wants it: struct cgroup_place's runtime_path */
        struct spec_resources resources;
        const char *rdt_class; /* group of resctrl; null or empty leaves it out */
        const struct spec_device *devices;
        size_t device_count;
        const struct spec_device_rule *device_rules;
        size_t device_rule_count;
        bool all_devices; /* one rule that allows all, in place of the standard ones */
        const char *const *masked_paths; /* null-terminated; null is none */
        const char *const *readonly_paths;
        const struct spec_pair *sysctls;
        size_t sysctl_count;
        const char *root_propagation; /* "rslave", "rshared"; null is the runtime's "private" */
        const struct spec_rdt *rdt;   /* null leaves it out */
        const json_t *seccomp;        /* linux.seccomp as it is to be; null is unconfined */

        const struct spec_hook *hooks; /* those of one stage run in the order given */
        size_t hook_count;
        const struct spec_pair *annotations;
        size_t annotation_count;
};

/* "createRuntime" and the like; SPEC_HOOK_STAGES for a word that is none. */
enum spec_hook_stage spec_hook_stage_of(const char *name);

/*
 * The specification as JSON text on the heap in *text. Mounts are ordered by the depth of their
 * destination, and those of one depth stay in the order given, so that nothing is hidden by what is
 * mounted above it later. Text that is not UTF-8 is INVALID_ARGUMENT naming what holds it ("env
 * \"LC_X\": not UTF-8"): JSON has no bytes, and runtimes written in Go would change them in
 * silence.
 */
int spec_build(const struct spec_options *options, char **text, struct error *err);

/* Builds and writes BUNDLE/config.json (mode 0600, not synced: it is built anew from the record).
 * Blocks on the disk. */
int spec_write(const struct spec_options *options, const char *bundle, struct error *err);

/* linux.resources alone, for `update --resources -`. */
int spec_resources_build(const struct spec_resources *resources, char **text, struct error *err);

/*
 * Puts other limits, and where has_oom_score_adj is true another score, into the config.json of a
 * bundle that no runtime has read yet; device rules and what others wrote there stay. Blocks on the
 * disk.
 */
int spec_change_resources(const char *bundle, const struct spec_resources *resources,
                          bool has_oom_score_adj, int oom_score_adj, struct error *err);

/*
 * What every container's tree has: /proc, /dev, /dev/pts, /dev/mqueue, /sys and /sys/fs/cgroup;
 * also a bind of shm_path on /dev/shm where shm_path (borrowed: it lives as long as the result) is
 * not null. Returns *count mounts in the arena, with room for `extra` more after them.
 */
struct spec_mount_defaults {
        const char *shm_path;
        bool sys_writable; /* privileged */
        bool cgroup_writable;
        bool host_network_in_user_namespace; /* sysfs cannot be mounted there: the host's is bound,
                                                read-only */
};
struct spec_mount *spec_default_mounts(struct arena *arena,
                                       const struct spec_mount_defaults *defaults, size_t extra,
                                       size_t *count);

/* A destination that is mounted already among these, compared as cleaned paths; null when there is
 * none. */
struct spec_mount *spec_find_mount(struct spec_mount *mounts, size_t count,
                                   const char *destination);

/* Null-terminated; literals. The kernel's files that no container sees or changes by default. */
extern const char *const SPEC_MASKED_PATHS[];
extern const char *const SPEC_READONLY_PATHS[];
/* The 14 capabilities of a container that asks for nothing. */
extern const char *const SPEC_DEFAULT_CAPABILITIES[];

/*
 * The default capabilities, then those dropped and added, by name with or without CAP_ in any case,
 * "ALL" for all that this process has in its bounding set. ALL is done first, so that "drop ALL,
 * add X" leaves X and "add ALL, drop X" all but X. That makes the bounding, effective and permitted
 * sets, and the inheritable one where it is wanted; what is ambient and not dropped is in all five,
 * since the kernel takes it in no other way. INVALID_ARGUMENT for an unknown name,
 * FAILED_PRECONDITION for one that this process has not got. The vectors are in the arena.
 */
struct spec_capability_request {
        const char *const *defaults; /* null for SPEC_DEFAULT_CAPABILITIES */
        char *const *add;
        size_t add_count;
        char *const *drop;
        size_t drop_count;
        char *const *ambient;
        size_t ambient_count;
        bool inheritable;
};
int spec_capabilities_choose(struct arena *arena, const struct spec_capability_request *request,
                             struct spec_capabilities *sets, struct error *err);
/* Whether there is a capability of this name, with or without CAP_. */
bool spec_capability_is_known(const char *name);
/* All that this process has in its bounding set (privileged containers). */
const char *const *spec_capabilities_all(struct arena *arena);

/*
 * Fills *device from the node at host_path, its source (type, numbers, mode, owner), for `path` in
 * the container (both borrowed). A folder or plain file is INVALID_ARGUMENT. Blocks on the disk.
 */
int spec_device_read(const char *host_path, const char *path, const char *access,
                     struct spec_device *device, struct error *err);

#endif
