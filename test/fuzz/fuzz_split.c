/*
 * Any bytes as a layer's record, beside a tree with a few files: a stream of the length that it
 * says comes of it, or an error.
 */
#include <assert.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "image/fetch/split.h"

#define LENGTH_MAX (8 << 20) /* of streams that are made: a record may say any length */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int count(void *argument, const char *bytes, size_t length, struct error *err)
{
        int64_t *made = argument;
        (void)bytes;
        *made += (int64_t)length;
        return *made > LENGTH_MAX ? error_set(err, ERROR_CANCELLED, "enough") : 0;
}

static void damage_told(void *argument, const char *path, const char *how)
{
        (void)argument;
        assert(path[0] && how[0]);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        char path[] = "/tmp/crisp-fuzz-XXXXXX";
        int64_t made = 0, length = -1;
        struct split_sink sink = {count, damage_told, &made};
        struct error err = {0};

        if (!mkdtemp(path))
                abort();
        int root = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        int file = openat(root, "file", O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
        int record = memfd_create("record", MFD_CLOEXEC);
        assert(write(file, "contents", 8) == 8);
        assert(write(record, data, size) == (ssize_t)size);
        int r = split_remake(record, root, &sink, &err);
        assert(r == 0 || (err.code != ERROR_OK && err.message[0]));
        assert(r < 0 || (split_length(record, &length, &err) == 0 && length == made));
        close(file);
        close(record);
        close(root);
        assert(file_remove_tree(path, NULL) == 0);
        return 0;
}
