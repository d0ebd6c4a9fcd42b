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
                       strcmp(entry->d_name, layer) == 0);
        assert(fstatat(fd, "canary", &status, AT_SYMLINK_NOFOLLOW) == 0);
        assert(S_ISREG(status.st_mode) && status.st_nlink == 1 && status.st_size == 0);
}

static void unpack(int fd, const uint8_t *data, size_t size)
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
                .diff_id = diff_id, .layers_fd = fd, .limits = &limits, .notes_left = &notes_left};
        assert(layer_unpacker_start(&job, ring, &unpacker, &err) == 0);
        if (ring_write(ring, (const char *)data, size) == 0)
                ring_finish(ring);
        int r = layer_unpacker_join(unpacker, &err);
        assert(r == 0 || (err.code != ERROR_OK && err.message[0]));
        assert(r == 0 || err.code != ERROR_CANCELLED);
        check_place(fd, job.name);
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
        unpack(fd, data, size);
        close(fd);
        assert(file_remove_tree(path, NULL) == 0);
        return 0;
}
