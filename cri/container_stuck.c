#include "cri/container_stuck.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buffer.h"
#include "base/file.h"
#include "base/memory.h"
#include "oci/cgroup.h"

#define STAT_MAX      4096
#define LOOKED_AT_MAX 1024 /* processes: a fork bomb that is frozen has any number */

struct stuck_job {
        const struct container *container;
        char *text;
        size_t size;
};

/* The process's name, with what is no letter replaced: it is the container's choice. Null where the
 * process has ended or is about to. */
static char *read_state(pid_t pid, char *state)
{
        AUTO_FREE char *path = xprintf("/proc/%d/stat", (int)pid);
        AUTO_BUFFER struct buffer contents = BUFFER_INIT;
        if (file_read(path, STAT_MAX, &contents, NULL) < 0 || !contents.data)
                return NULL;
        char *open = strchr(contents.data, '('), *close = strrchr(contents.data, ')');
        if (!open || !close || close < open || strlen(close) < 3)
                return NULL;
        *state = close[2];
        for (char *at = open + 1; at < close; at++)
                if (*at <= ' ' || *at > '~')
                        *at = '?';
        return xstrndup(open + 1, (size_t)(close - open - 1));
}

/* Where in the kernel it waits, or nothing where the kernel does not say. */
static void add_place(pid_t pid, char *text, size_t size)
{
        AUTO_FREE char *path = xprintf("/proc/%d/wchan", (int)pid);
        AUTO_BUFFER struct buffer contents = BUFFER_INIT;
        if (file_read(path, STAT_MAX, &contents, NULL) == 0 && contents.data &&
            strcmp(contents.data, "0") != 0)
                snprintf(text, size, " in %.60s", contents.data);
}

static int describe_on_worker(void *argument)
{
        const struct stuck_job *job = argument;
        pid_t *pids = NULL;
        size_t count = 0;
        if (cgroup_processes(&node.cgroups, job->container->cgroup_path, &pids, &count, NULL) < 0)
                return 0;
        snprintf(job->text, job->size, "; %zu of its processes %s left", count,
                 count == 1 ? "is" : "are");
        for (size_t i = 0; i < count && i < LOOKED_AT_MAX; i++) {
                char state = 0, place[80] = "";
                AUTO_FREE char *name = read_state(pids[i], &state);
                /* Who only waits for others to end is not what it hangs on. */
                if (!name || (state != 'D' && state != 'T'))
                        continue;
                if (count > 1 && pids[i] == job->container->pid)
                        continue;
                add_place(pids[i], place, sizeof place);
                size_t used = strlen(job->text);
                snprintf(job->text + used, job->size - used, ", of which %d (%s) waits%s",
                         (int)pids[i], name, place);
                break;
        }
        free(pids);
        return 0;
}

void container_describe_stuck(struct container *container, char *text, size_t size)
{
        struct stuck_job job = {.container = container, .text = text, .size = size};
        *text = '\0';
        task_offload(describe_on_worker, &job);
}
