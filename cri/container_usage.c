#include "cri/container_usage.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

#include "base/file.h"
#include "base/log.h"
#include "base/memory.h"
#include "cri/container.h"

#define PERIOD       (10 * NSEC_PER_SEC) /* between two measurements of one container, at least */
#define SHARE        20                  /* and at least so many times what the last one took */
#define BLOCK_SIZE   512                 /* of st_blocks */
#define WRITABLE_DIR "upper"

static struct {
        bool measuring;
        int64_t next_at;                     /* monotonic ns: the folder itself */
        struct container_usage_total folder; /* without what is in it */
} state;

struct measure_job {
        const char *directory;
        struct container_usage usage;
        struct error err;
};

/* The writable layer is told apart from what is beside it. */
static int add_part(const char *directory, const char *name, struct container_usage *usage,
                    struct error *err)
{
        AUTO_FREE char *path = xprintf("%s/%s", directory, name);
        unsigned long long bytes = 0, inodes = 0;
        int result = file_tree_usage(path, &bytes, &inodes, err);
        if (result < 0)
                return result;
        usage->folder_bytes += bytes;
        usage->folder_inodes += inodes;
        if (strcmp(name, WRITABLE_DIR) == 0) {
                usage->bytes = bytes;
                usage->inodes = inodes;
        }
        return 0;
}

static int measure_on_worker(void *argument)
{
        struct measure_job *job = argument;
        struct stat status;
        AUTO_DIR DIR *dir = opendir(job->directory);
        if (!dir || fstat(dirfd(dir), &status) < 0)
                return errno == ENOENT
                               ? 0
                               : error_errno(&job->err, errno, "measure %s", job->directory);
        job->usage.folder_bytes = (unsigned long long)status.st_blocks * BLOCK_SIZE;
        job->usage.folder_inodes = 1;
        struct dirent *entry;
        int result = 0;
        while (result == 0 && (entry = readdir(dir)))
                if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
                        result = add_part(job->directory, entry->d_name, &job->usage, &job->err);
        return result;
}

static void measure(struct container *container)
{
        AUTO_FREE char *directory = container_state_path(container, "");
        struct measure_job job = {.directory = directory};
        bool ended = container->phase == CONTAINER_EXITED && container->clean;
        int64_t began = clock_monotonic();
        job.usage.timestamp = clock_real();
        int result = task_offload(measure_on_worker, &job);
        int64_t now = clock_monotonic();
        int64_t pause = (now - began) * SHARE;
        container->usage.next_at = now + (pause > PERIOD ? pause : PERIOD);
        if (result < 0) {
                log_failure(&job.err, "a container's folder could not be measured", "container",
                            container->id, NULL);
                return;
        }
        job.usage.next_at = container->usage.next_at;
        job.usage.known = true;
        job.usage.final = ended;
        container->usage = job.usage;
}

void container_usage_begin(struct container *container)
{
        container->usage = (struct container_usage){.begun = true};
}

struct folder_job {
        struct container_usage_total total;
};

static int measure_folder_on_worker(void *argument)
{
        struct folder_job *job = argument;
        struct stat status;
        struct statvfs fs;
        if (stat(node.containers_dir, &status) == 0) {
                job->total.bytes = (unsigned long long)status.st_blocks * BLOCK_SIZE;
                job->total.inodes = 1;
        }
        if (statvfs(node.containers_dir, &fs) == 0) {
                job->total.fs_bytes = (unsigned long long)fs.f_blocks * fs.f_frsize;
                job->total.fs_inodes = fs.f_files;
                job->total.fs_inodes_free = fs.f_ffree;
        }
        return 0;
}

static bool is_due(const struct container *container, int64_t now)
{
        return container->phase != CONTAINER_CREATING && !container->usage.final &&
               now >= container->usage.next_at;
}

static void measure_task(void *argument)
{
        struct folder_job folder = {0};
        (void)argument;
        /* Held: any of them may go, and the table change, while one is measured. */
        int64_t now = clock_monotonic();
        struct container **held = xcalloc(table_size(node.containers) + 1, sizeof(*held));
        size_t count = 0, cursor = 0;
        for (struct container *each; (each = table_next(node.containers, &cursor, NULL));)
                if (is_due(each, now))
                        held[count++] = container_ref(each);
        for (size_t i = 0; i < count; i++) {
                if (held[i]->phase != CONTAINER_REMOVED)
                        measure(held[i]);
                container_unref(held[i]);
        }
        free(held);
        task_offload(measure_folder_on_worker, &folder);
        state.folder = folder.total;
        state.folder.timestamp = clock_real();
        state.next_at = clock_after(PERIOD);
        state.measuring = false;
}

void container_usage_refresh(void)
{
        if (state.measuring)
                return;
        int64_t now = clock_monotonic();
        bool due = now >= state.next_at;
        size_t cursor = 0;
        for (struct container *each; !due && (each = table_next(node.containers, &cursor, NULL));)
                due = is_due(each, now);
        if (!due)
                return;
        state.measuring = true;
        task_start("measure containers", measure_task, NULL);
}

void container_usage_total(struct container_usage_total *total)
{
        *total = state.folder;
        size_t cursor = 0;
        for (struct container *each; (each = table_next(node.containers, &cursor, NULL));) {
                total->bytes += each->usage.folder_bytes;
                total->inodes += each->usage.folder_inodes;
                if (each->usage.timestamp > total->timestamp)
                        total->timestamp = each->usage.timestamp;
        }
}
