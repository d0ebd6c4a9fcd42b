/* What the kernel has of a container beside its process: sysctls of its namespaces, devices. */
#include <fcntl.h>
#include <linux/bpf.h>
#include <pthread.h>
#include <sched.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/file.h"
#include "base/memory.h"
#include "base/process.h"
#include "oci/facts_private.h"

#define SYSCTL_NAME_MAX 256
#define PROGRAMS_MAX    64          /* of v2 that are counted */
#define DEVICES_MAX     (64 * 1024) /* bytes of a list of devices */

/* ---- sysctls ---- */

struct reading {
        pid_t pid;
        const json_t *names; /* an object */
        json_t *values;
};

/* net.ipv4.conf.eth0/100.forwarding: the first separator is the one that separates. */
static bool to_path(const char *name, char path[SYSCTL_NAME_MAX])
{
        const char *first = strpbrk(name, "./");
        bool dots = first && *first == '.';
        size_t length = strlen(name);
        if (!length || length >= SYSCTL_NAME_MAX || strstr(name, ".."))
                return false;
        memcpy(path, name, length + 1);
        for (char *byte = path; dots && *byte; byte++)
                if (*byte == '.' || *byte == '/')
                        *byte = *byte == '.' ? '/' : '.';
        return !strstr(path, "..");
}

static json_t *read_sysctl(const char *name)
{
        char below[SYSCTL_NAME_MAX];
        AUTO_BUFFER struct buffer text = BUFFER_INIT;
        if (!to_path(name, below))
                return NULL;
        AUTO_FREE char *path = xprintf("/proc/sys/%s", below);
        if (file_read(path, FACTS_LIMIT_MAX, &text, NULL) < 0 || !text.data)
                return NULL;
        text.data[strcspn(text.data, "\n")] = '\0';
        return json_string(text.data);
}

/* /proc/sys shows each who looks his own namespaces: so this thread goes into the container's, and
 * ends there. */
static void *read_sysctls(void *argument)
{
        struct reading *reading = argument;
        AUTO_FD int process = (int)syscall(SYS_pidfd_open, reading->pid, 0);
        const char *name;
        json_t *ignored;
        if (process < 0 || setns(process, CLONE_NEWNET | CLONE_NEWIPC) < 0)
                return NULL;
        json_object_foreach ((json_t *)reading->names, name, ignored) {
                json_t *value = read_sysctl(name);
                if (value)
                        json_object_set_new(reading->values, name, value);
        }
        return NULL;
}

json_t *facts_sysctls(pid_t pid, const json_t *spec)
{
        struct reading reading = {
                .pid = pid,
                .names = json_object_get(json_object_get(spec, "linux"), "sysctl"),
                .values = json_object(),
        };
        pthread_t thread;
        if (json_object_size(reading.names) &&
            pthread_create(&thread, NULL, read_sysctls, &reading) == 0)
                pthread_join(thread, NULL);
        return reading.values;
}

/* ---- devices ---- */

static json_t *listed_devices(const struct cgroup_system *system, const char *cgroup_path)
{
        AUTO_FREE char *path = cgroup_file(system, cgroup_path, "devices", "devices.list");
        AUTO_BUFFER struct buffer text = BUFFER_INIT;
        char *state = NULL;
        if (!path || file_read(path, DEVICES_MAX, &text, NULL) < 0)
                return NULL;
        json_t *all = json_array();
        for (char *line = text.data ? strtok_r(text.data, "\n", &state) : NULL; line;
             line = strtok_r(NULL, "\n", &state))
                json_array_append_new(all, json_string(line));
        return all;
}

/* What a program of v2 allows cannot be read of it: only that there is one. */
static json_t *device_programs(const struct cgroup_system *system, const char *cgroup_path)
{
        AUTO_FREE char *path = cgroup_file(system, cgroup_path, "cgroup", "");
        AUTO_FD int folder = path ? open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
        __u32 programs[PROGRAMS_MAX];
        union bpf_attr query = {0};
        if (folder < 0)
                return NULL;
        query.query.target_fd = (__u32)folder;
        query.query.attach_type = BPF_CGROUP_DEVICE;
        query.query.prog_ids = (__u64)(uintptr_t)programs;
        query.query.prog_cnt = PROGRAMS_MAX;
        return syscall(SYS_bpf, BPF_PROG_QUERY, &query, sizeof query) < 0
                       ? NULL
                       : json_integer(query.query.prog_cnt);
}

void facts_devices(const struct cgroup_system *system, const char *cgroup_path, json_t *facts)
{
        bool v2 = system->mode == CGROUP_MODE_V2;
        json_t *found =
                v2 ? device_programs(system, cgroup_path) : listed_devices(system, cgroup_path);
        if (found)
                json_object_set_new(facts, v2 ? "devicePrograms" : "devices", found);
}
