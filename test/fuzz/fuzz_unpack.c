/*
 * Any bytes as a layer, compressed or not, through the threads that a pull uses. Whatever it is:
 * nothing appears beside the layer's own folder, and what is outside stays as it was.
 */
#include <assert.h>
#include <fcntl.h>
#include <locale.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/memory.h"
#include "image/fetch/digest.h"
#include "image/fetch/layer.h"
#include "image/fetch/limits.h"
#include "image/fetch/ring.h"
#include "image/fetch/split.h"

#define UNPACKED_MAX (16 << 20)
#define ENTRIES_MAX  2000

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Exactly the canary and the layer's folder are in the place. */
static void check_place(int fd, const char *layer)
{
        AUTO_DIR DIR *dir = fdopendir(fcntl(fd, F_DUPFD_CLOEXEC, 0));
        const struct dirent *entry;
        struct stat status;

        assert(dir);
        rewinddir(dir);
        while ((entry = readdir(dir)))
                assert(entry->d_name[0] == '.' || strcmp(entry->d_name, "canary") == 0 ||
                       strcmp(entry->d_name, "tars") == 0 || strcmp(entry->d_name, layer) == 0);
        assert(fstatat(fd, "canary", &status, AT_SYMLINK_NOFOLLOW) == 0);
        assert(S_ISREG(status.st_mode) && status.st_nlink == 1 && status.st_size == 0);
}

static int add_remade(void *argument, const char *bytes, size_t length, struct error *err)
{
        (void)err;
        digest_add(argument, bytes, length);
        return 0;
}

static void damage_told(void *argument, const char *path, const char *how)
{
        (void)argument;
        (void)path;
        (void)how;
        abort();
}

/* What was unpacked can be made again, unless there is no record. */
static void check_remade(int fd, int tars_fd, const char *name, const char *diff_id)
{
        AUTO_FD int record = openat(tars_fd, name, O_RDONLY | O_CLOEXEC);
        AUTO_FD int root = openat(fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        AUTO_DIGEST struct digest *digest = digest_new(NULL);
        struct split_sink sink = {add_remade, damage_told, digest};
        struct error err = {0};

        if (record < 0)
                return;
        assert(split_remake(record, root, &sink, &err) == 0);
        assert(digest_check(digest, diff_id, &err) == 0);
}

static void unpack(int fd, int tars_fd, const uint8_t *data, size_t size)
{
        struct fetch_limits limits = {.unpacked_bytes = UNPACKED_MAX, .entries = ENTRIES_MAX};
        _Atomic int64_t notes_left = FETCH_NOTES_BYTES_MAX;
        char diff_id[REFERENCE_DIGEST_MAX + 1];
        AUTO_DIGEST struct digest *digest = digest_new(NULL);
        AUTO_RING struct ring *ring = ring_new(FETCH_RING_SIZE);
        struct layer_unpacker *unpacker;
        struct error err = {0};

        digest_add(digest, data, size);
        digest_finish(digest, diff_id);
        struct layer_job job = {
                .diff_id = diff_id,
                .layers_fd = fd,
                .tars_fd = tars_fd,
                .limits = &limits,
                .notes_left = &notes_left,
        };
        assert(layer_unpacker_start(&job, ring, &unpacker, &err) == 0);
        if (ring_write(ring, (const char *)data, size) == 0)
                ring_finish(ring);
        int r = layer_unpacker_join(unpacker, &err);
        assert(r == 0 || (err.code != ERROR_OK && err.message[0]));
        assert(r == 0 || err.code != ERROR_CANCELLED);
        check_place(fd, job.name);
        if (r == 0)
                check_remade(fd, tars_fd, job.name, diff_id);
        tree_free(job.tree);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        char path[] = "/tmp/crisp-fuzz-XXXXXX";

        if (!setlocale(LC_CTYPE, "C.UTF-8") || !mkdtemp(path))
                abort();
        int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        int canary = openat(fd, "canary", O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
        assert(fd >= 0 && canary >= 0);
        close(canary);
        assert(mkdirat(fd, "tars", 0700) == 0);
        int tars_fd = openat(fd, "tars", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        assert(tars_fd > 0);
        unpack(fd, tars_fd, data, size);
        close(tars_fd);
        close(fd);
        assert(file_remove_tree(path, NULL) == 0);
        return 0;
}
