#include "image/fetch/stored.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/memory.h"
#include "image/fetch/beneath.h"
#include "image/fetch/digest.h"
#include "image/fetch/limits.h"

int stored_open(const struct stored *stored, const char *folder, const char *digest, int flags)
{
        const char *colon = strchr(digest, ':');
        AUTO_FREE char *path = xprintf("%s/%s", folder, colon ? colon + 1 : digest);
        int fd = -ENOENT;
        for (size_t i = 0; i < stored->count && fd == -ENOENT; i++)
                fd = beneath_open(stored->fds[i], path, flags);
        return fd;
}

int stored_read(const struct stored *stored, const char *folder, const char *digest,
                struct buffer *contents, struct error *err)
{
        struct stat status;
        AUTO_FD int fd = stored_open(stored, folder, digest, O_RDONLY | O_NONBLOCK);

        if (fd < 0)
                return error_errno(err, fd, "opening it");
        if (fstat(fd, &status) < 0)
                return error_errno(err, errno, "looking at it");
        if (!S_ISREG(status.st_mode) || status.st_size > FETCH_DOCUMENT_MAX * INT64_C(16))
                return error_set(err, ERROR_DATA_LOSS, "it is not a file of a sensible size");
        for (;;) {
                char *space = buffer_reserve(contents, 65536);
                ssize_t count = read(fd, space, 65536);
                if (count < 0)
                        return error_errno(err, errno, "reading it");
                if (count == 0)
                        return 0;
                contents->length += (size_t)count;
        }
}

int stored_document(const struct stored *stored, const char *folder, const char *digest,
                    struct buffer *contents, struct error *err)
{
        int r = stored_read(stored, folder, digest, contents, err);
        return r < 0 ? r
                     : digest_check_bytes(contents->data ? contents->data : "", contents->length,
                                          digest, err);
}
