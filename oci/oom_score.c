#include "oci/oom_score.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/buffer.h"
#include "base/file.h"
#include "oci/spec_private.h"

#define SCORE_TEXT_MAX  32
#define CGROUP_TEXT_MAX (64 * 1024) /* bytes of /proc/PID/cgroup */

/* A file of a process, zero-ended; -1 where it has ended. */
static int read_at(int folder, const char *name, char *text, size_t size)
{
        AUTO_FD int fd = openat(folder, name, O_RDONLY | O_CLOEXEC);
        if (fd < 0)
                return -1;
        ssize_t length = read(fd, text, size - 1);
        if (length < 0)
                return -1;
        text[length] = '\0';
        return 0;
}

int oom_score_allowed(int wanted)
{
        char text[SCORE_TEXT_MAX];
        AUTO_FD int self = open("/proc/self", O_PATH | O_DIRECTORY | O_CLOEXEC);
        if (spec_capability_own(CAP_SYS_RESOURCE) || self < 0 ||
            read_at(self, "oom_score_adj", text, sizeof text) < 0)
                return wanted;
        int own = atoi(text);
        return wanted < own ? own : wanted;
}

/* Its folder in /proc stays the process's, also when its number is given to another: so what is
 * asked of the folder and what is written there are the same process's. */
static int change_one(pid_t pid, const char *path, int from, int to)
{
        char name[64], text[SCORE_TEXT_MAX];
        snprintf(name, sizeof name, "/proc/%d", (int)pid);
        AUTO_FD int process = open(name, O_PATH | O_DIRECTORY | O_CLOEXEC);
        AUTO_FREE char *cgroups = calloc(1, CGROUP_TEXT_MAX);
        if (process < 0 || !cgroups || read_at(process, "cgroup", cgroups, CGROUP_TEXT_MAX) < 0 ||
            !strstr(cgroups, path) || read_at(process, "oom_score_adj", text, sizeof text) < 0 ||
            atoi(text) != from)
                return 0;
        AUTO_FD int fd = openat(process, "oom_score_adj", O_WRONLY | O_CLOEXEC);
        int length = snprintf(text, sizeof text, "%d", to);
        if (fd < 0 || write(fd, text, (size_t)length) < 0)
                return errno == ENOENT || errno == ESRCH ? 0 : -errno;
        return 0;
}

int oom_score_change(const struct cgroup_system *system, const char *path, int from, int to,
                     struct error *err)
{
        AUTO_FREE pid_t *pids = NULL;
        size_t count = 0;
        int result = cgroup_processes(system, path, &pids, &count, err);
        for (size_t i = 0; result == 0 && i < count; i++) {
                result = change_one(pids[i], path, from, to);
                if (result < 0)
                        error_errno(err, result, "set oom_score_adj of process %d", (int)pids[i]);
        }
        return result;
}
