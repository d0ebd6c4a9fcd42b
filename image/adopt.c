#include "image/adopt.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/json.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/process.h"
#include "base/task.h"
#include "image/config.h"
#include "image/fetcher.h"
#include "image/pull_private.h"
#include "image/store_keep.h"

#define RECORD_BYTES_MAX 65536

struct orphan {
        struct puller *puller;
        char *staging;
        char *reference;
        struct process process; /* pidfd -1: it has ended */
        struct sharer *sharer;
};

/* ---- its end ---- */

static void keep_layers(const struct orphan *orphan)
{
        struct error err;
        if (store_keep(orphan->puller->store, orphan->staging, NULL, &err) < 0)
                log_failure(&err, "layers of an earlier daemon's pull could not be kept", "image",
                            orphan->reference, NULL);
}

/* False where even a kill does not end it. */
static bool await_end(struct orphan *orphan)
{
        int64_t deadline = clock_after(ADOPT_TIME);
        while (task_wait_fd(orphan->process.pidfd, EPOLLIN, clock_after(ADOPT_LOOK), NULL) < 0) {
                if (sharer_is_awaited(orphan->sharer)) {
                        keep_layers(orphan);
                        sharer_settle(orphan->sharer);
                }
                if (clock_monotonic() < deadline)
                        continue;
                log_warning("crisp-image of an earlier daemon hangs: it is killed", "image",
                            orphan->reference, NULL);
                process_kill(&orphan->process);
                return task_wait_fd(orphan->process.pidfd, EPOLLIN, clock_after(FETCHER_END_WAIT),
                                    NULL) == 0;
        }
        return true;
}

static void orphan_task(void *argument)
{
        struct orphan *orphan = argument;
        bool ended = orphan->process.pidfd < 0 || await_end(orphan);
        if (ended)
                keep_layers(orphan);
        sharer_end(orphan->sharer);
        if (ended)
                store_unstage(orphan->puller->store, orphan->staging);
        else
                free(orphan->staging);
        if (orphan->process.pidfd >= 0)
                close(orphan->process.pidfd);
        free(orphan->reference);
        free(orphan);
}

/* ---- what is there ---- */

/* What the folder says was in the reach of a program that read strangers' bytes: only a process of
 * that program's name is taken for it. */
static bool is_crisp_image(pid_t pid)
{
        AUTO_BUFFER struct buffer name = BUFFER_INIT;
        AUTO_FREE char *path = xprintf("/proc/%d/comm", (int)pid);
        return file_read(path, 64, &name, NULL) == 0 && strcmp(name.data, "crisp-image\n") == 0;
}

/* False where the folder is not of this boot, or of something else. */
static bool read_record(struct orphan *orphan)
{
        AUTO_BUFFER struct buffer text = BUFFER_INIT;
        AUTO_BUFFER struct buffer boot = BUFFER_INIT;
        AUTO_JSON json_t *record = NULL;
        AUTO_FREE char *path = xprintf("%s/" FETCHER_RECORD, orphan->staging);
        const char *boot_id = "", *reference = "";
        int64_t pid = 0, start_time = 0;

        if (file_read_plain(AT_FDCWD, path, RECORD_BYTES_MAX, &text, NULL) < 0 ||
            file_read(FETCHER_BOOT_ID, 64, &boot, NULL) < 0 ||
            json_parse(text.data, text.length, path, &record, NULL) < 0 ||
            json_get_int(record, "pid", path, &pid, NULL) < 0 ||
            json_get_int(record, "start_time", path, &start_time, NULL) < 0 ||
            json_get_string(record, "boot_id", path, &boot_id, NULL) < 0 ||
            json_get_string(record, "reference", path, &reference, NULL) < 0)
                return false;
        size_t length = strcspn(boot.data, "\n");
        if (strlen(boot_id) != length || memcmp(boot_id, boot.data, length) != 0 || pid <= 1 ||
            pid > INT32_MAX)
                return false;
        orphan->reference = xstrdup(reference);
        orphan->process.pid = (pid_t)pid;
        orphan->process.pidfd = process_open((pid_t)pid, (uint64_t)start_time);
        if (orphan->process.pidfd >= 0 && !is_crisp_image((pid_t)pid)) {
                close(orphan->process.pidfd);
                orphan->process.pidfd = -1;
        }
        return true;
}

/* It fetches all layers that the store has not: nobody answers it any more. */
static void claim_layers(struct orphan *orphan)
{
        AUTO_BUFFER struct buffer text = BUFFER_INIT;
        AUTO_IMAGE_CONFIG struct image_config *config = NULL;
        AUTO_FREE char *path = xprintf("%s/config.json", orphan->staging);

        if (file_read_plain(AT_FDCWD, path, IMAGE_CONFIG_BYTES_MAX, &text, NULL) < 0 ||
            image_config_parse(text.data, text.length, "image configuration", &config, NULL) < 0)
                return;
        for (char **diff_id = config->diff_ids; diff_id && *diff_id; diff_id++) {
                struct store_hold *here = store_hold_layer(orphan->puller->store, *diff_id);
                if (!here && digest_is_valid(*diff_id))
                        sharer_claim(orphan->sharer, *diff_id);
                store_hold_free(here);
        }
}

static bool adopt(struct puller *puller, const char *folder, const char *name)
{
        struct orphan *orphan = xcalloc(1, sizeof(*orphan));
        orphan->puller = puller;
        orphan->process.pidfd = -1;
        orphan->staging = xprintf("%s/%s", folder, name);
        if (!read_record(orphan)) {
                free(orphan->staging);
                free(orphan);
                return false;
        }
        store_keep_stage(puller->store, name);
        orphan->sharer = sharer_new(puller->share, orphan->staging, NULL, NULL);
        claim_layers(orphan);
        if (orphan->process.pidfd >= 0)
                log_info("crisp-image goes on from before the start", "image", orphan->reference,
                         NULL);
        task_start("adopted pull", orphan_task, orphan);
        return true;
}

void puller_adopt(struct puller *puller)
{
        struct store_usage usage;
        unsigned count = 0;

        store_usage(puller->store, &usage);
        AUTO_FREE char *path = xprintf("%s/staging", usage.directory);
        DIR *folder = opendir(path);
        struct dirent *entry;
        if (!folder)
                return;
        while (count < ADOPT_PULL_MAX && (entry = readdir(folder)))
                if (entry->d_name[0] != '.' && adopt(puller, path, entry->d_name))
                        count++;
        closedir(folder);
}
