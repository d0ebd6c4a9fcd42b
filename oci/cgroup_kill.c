/* cgroups' processes: listed, killed, moved. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "base/buffer.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/memory.h"
#include "oci/cgroup_private.h"

#define PROCS_MAX       (8 * 1024 * 1024) /* bytes of a cgroup.procs: a million processes */
#define PROC_CGROUP_MAX (128 * 1024)      /* bytes of /proc/PID/cgroup */
#define PROCESSES_MAX   (1024 * 1024)
#define FREEZER_WAIT    (5 * NSEC_PER_MSEC)
#define POLL_FIRST      (NSEC_PER_MSEC / 4)
#define POLL_LONGEST    (20 * NSEC_PER_MSEC)

struct pids {
        pid_t *items;
        size_t count;
        size_t capacity;
};

static void add_pid(struct pids *pids, pid_t pid)
{
        if (pids->count == PROCESSES_MAX)
                return;
        if (pids->count == pids->capacity) {
                pids->capacity = pids->capacity ? pids->capacity * 2 : 16;
                pids->items = xrealloc(pids->items, pids->capacity * sizeof *pids->items);
        }
        pids->items[pids->count++] = pid;
}

static int by_number(const void *a, const void *b)
{
        pid_t left = *(const pid_t *)a, right = *(const pid_t *)b;
        return left < right ? -1 : left > right;
}

static void sort_unique(struct pids *pids)
{
        size_t kept = 0;
        if (pids->count == 0)
                return;
        qsort(pids->items, pids->count, sizeof *pids->items, by_number);
        for (size_t i = 0; i < pids->count; i++)
                if (kept == 0 || pids->items[kept - 1] != pids->items[i])
                        pids->items[kept++] = pids->items[i];
        pids->count = kept;
}

/* Adds the processes of one folder and of those below it. A folder that is gone has none. */
static int collect(const char *folder, unsigned depth, struct pids *pids, struct error *err)
{
        AUTO_FREE char *path = xprintf("%s/cgroup.procs", folder);
        AUTO_BUFFER struct buffer contents = BUFFER_INIT;
        struct error why;
        int result = file_read(path, PROCS_MAX, &contents, &why);
        /* A threaded cgroup below a container's says EOPNOTSUPP: its processes are listed by its
         * domain, above. */
        if (result == -ENOENT || result == -ENODEV)
                return 0;
        if (result < 0 && result != -EOPNOTSUPP) {
                if (err)
                        *err = why;
                return result;
        }
        char *state = NULL;
        for (char *line = contents.data ? strtok_r(contents.data, "\n", &state) : NULL; line;
             line = strtok_r(NULL, "\n", &state)) {
                /* 0 is a process that our PID namespace does not see. */
                pid_t pid = (pid_t)atoi(line);
                if (pid > 0)
                        add_pid(pids, pid);
        }
        AUTO_DIR DIR *dir = depth < CGROUP_DEPTH_MAX ? opendir(folder) : NULL;
        struct dirent *entry;
        result = 0;
        while (result == 0 && dir && (entry = readdir(dir))) {
                if (entry->d_type != DT_DIR || strcmp(entry->d_name, ".") == 0 ||
                    strcmp(entry->d_name, "..") == 0)
                        continue;
                AUTO_FREE char *below = xprintf("%s/%s", folder, entry->d_name);
                result = collect(below, depth + 1, pids, err);
        }
        return result;
}

static int collect_everywhere(const struct cgroup_system *system, const char *path,
                              struct pids *pids, struct error *err)
{
        const char *roots[CGROUP_ROOTS_MAX];
        size_t count = cgroup_roots(system, roots);
        int result = 0;
        for (size_t i = 0; result == 0 && i < count; i++) {
                AUTO_FREE char *folder = xprintf("%s%s", roots[i], path);
                result = collect(folder, 0, pids, err);
        }
        sort_unique(pids);
        return result;
}

int cgroup_processes(const struct cgroup_system *system, const char *path, pid_t **result_pids,
                     size_t *count, struct error *err)
{
        struct pids pids = {0};
        int result = cgroup_check_path(path, err);
        if (result == 0)
                result = collect_everywhere(system, path, &pids, err);
        if (result < 0) {
                free(pids.items);
                return result;
        }
        *result_pids = pids.items;
        *count = pids.count;
        return 0;
}

/* ---- killed ---- */

/* Whether /proc/PID/cgroup says that the process is in path or below it, in any hierarchy. */
static bool is_member(pid_t pid, const char *path)
{
        char file[64];
        snprintf(file, sizeof file, "/proc/%d/cgroup", (int)pid);
        AUTO_BUFFER struct buffer contents = BUFFER_INIT;
        if (file_read(file, PROC_CGROUP_MAX, &contents, NULL) < 0 || !contents.data)
                return false;
        size_t length = strlen(path);
        char *state = NULL;
        for (char *line = strtok_r(contents.data, "\n", &state); line;
             line = strtok_r(NULL, "\n", &state)) {
                const char *own = strchr(line, ':');
                own = own ? strchr(own + 1, ':') : NULL;
                if (own && strncmp(own + 1, path, length) == 0 &&
                    (own[1 + length] == '/' || own[1 + length] == '\0'))
                        return true;
        }
        return false;
}

/* The pidfd comes before the look: if the number has gone to somebody else meanwhile, the signal
 * meets nobody. */
static void kill_member(pid_t pid, const char *path)
{
        AUTO_FD int pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
        if (pidfd >= 0 && is_member(pid, path))
                syscall(SYS_pidfd_send_signal, pidfd, SIGKILL, NULL, 0);
}

static void write_quietly(const char *path, const char *text)
{
        file_write(path, text, NULL);
}

/* Stops everything in it for a moment, so that nothing forks between our look and our signal. */
static void freeze(const struct cgroup_system *system, const char *path, bool frozen)
{
        bool v2 = system->mode == CGROUP_MODE_V2;
        AUTO_FREE char *file =
                cgroup_file(system, path, "freezer", v2 ? "cgroup.freeze" : "freezer.state");
        if (!file)
                return;
        write_quietly(file, v2 ? frozen ? "1" : "0" : frozen ? "FROZEN" : "THAWED");
        if (frozen) {
                struct timespec wait = {0, FREEZER_WAIT};
                nanosleep(&wait, NULL);
        }
}

void cgroup_thaw(const struct cgroup_system *system, const char *path)
{
        freeze(system, path, false);
}

/* True when the kernel did it all at once (Linux 5.14, v2). */
static bool kill_at_once(const struct cgroup_system *system, const char *path)
{
        if (system->mode != CGROUP_MODE_V2)
                return false;
        AUTO_FREE char *file = cgroup_file(system, path, "", "cgroup.kill");
        return file_write(file, "1", NULL) == 0;
}

static void kill_each(const struct cgroup_system *system, const char *path, const struct pids *pids)
{
        for (size_t i = 0; i < pids->count; i++)
                kill_member(pids->items[i], path);
        /* A frozen process, be it by us or by a pause, dies only when it is thawed. */
        freeze(system, path, false);
}

int cgroup_kill(const struct cgroup_system *system, const char *path, int64_t deadline,
                struct error *err)
{
        int result = cgroup_check_path(path, err);
        int64_t pause = POLL_FIRST;
        for (unsigned round = 0; result == 0; round++) {
                struct pids pids = {0};
                bool done = kill_at_once(system, path);
                /* What forks faster than we look is still there in the third round. */
                bool frozen = !done && round >= 2;
                if (frozen)
                        freeze(system, path, true);
                result = collect_everywhere(system, path, &pids, err);
                size_t left = pids.count;
                if (left && !done)
                        kill_each(system, path, &pids);
                else if (frozen)
                        freeze(system, path, false);
                free(pids.items);
                if (result < 0 || left == 0)
                        return result;
                if (clock_monotonic() >= deadline)
                        return error_set(err, ERROR_DEADLINE_EXCEEDED,
                                         "kill cgroup %s: %zu processes are still there", path,
                                         left);
                struct timespec wait = {0, pause};
                nanosleep(&wait, NULL);
                pause = pause * 2 < POLL_LONGEST ? pause * 2 : POLL_LONGEST;
        }
        return result;
}
