#include "image/fetch/output.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/memory.h"

#define BLOCK       512
#define TRAILER     (2 * BLOCK)
#define NAME_LENGTH 100
#define SIZE_OCTAL  (INT64_C(1) << 33) /* what eleven octal digits hold */
#define SIZE_AT     124
#define SIZE_LENGTH 12
#define CHECKSUM_AT 148
#define UNDER_WAY   ".under-way"

struct output {
        int fd;
        bool folder;
        int file_fd;   /* in a folder: of the file under way */
        int64_t start; /* in a tar: of its header */
        int64_t at;
};

struct output *output_new(int fd, bool folder)
{
        struct output *output = xcalloc(1, sizeof(*output));
        output->fd = fd;
        output->folder = folder;
        output->file_fd = -1;
        return output;
}

void output_free(struct output *output)
{
        if (!output)
                return;
        cleanup_fd(&output->file_fd);
        free(output);
}

static int write_at(int fd, const void *bytes, size_t length, int64_t at, struct error *err)
{
        const char *from = bytes;

        while (length > 0) {
                ssize_t count = pwrite(fd, from, length, at);
                if (count < 0 && errno == EINTR)
                        continue;
                if (count < 0)
                        return error_errno(err, errno, "writing the archive");
                from += count;
                length -= (size_t)count;
                at += count;
        }
        return 0;
}

int output_begin(struct output *output, struct error *err)
{
        if (!output->folder) {
                output->start = output->at;
                output->at += BLOCK;
                return 0;
        }
        output->at = 0;
        output->file_fd = openat(output->fd, UNDER_WAY,
                                 O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0644);
        return output->file_fd < 0 ? error_errno(err, errno, "making a file of the layout") : 0;
}

int output_write(struct output *output, const void *bytes, size_t length, struct error *err)
{
        int r = write_at(output->folder ? output->file_fd : output->fd, bytes, length, output->at,
                         err);
        output->at += (int64_t)length;
        return r;
}

/* ---- the end of a file ---- */

static void put_size(char *field, int64_t size)
{
        if (size < SIZE_OCTAL) {
                snprintf(field, SIZE_LENGTH, "%011llo", (unsigned long long)size);
                return;
        }
        /* GNU's form for what is larger: binary, with the first bit set. */
        field[0] = (char)0x80;
        for (int i = SIZE_LENGTH - 1; i > 0; i--, size >>= 8)
                field[i] = (char)size;
}

static void make_header(char header[BLOCK], const char *name, int64_t size)
{
        unsigned sum = 0;

        memset(header, 0, BLOCK);
        memcpy(header, name, strlen(name));
        memcpy(header + 100, "0000644", 7);
        memcpy(header + 108, "0000000", 7);
        memcpy(header + 116, "0000000", 7);
        put_size(header + SIZE_AT, size);
        memcpy(header + 136, "00000000000", 11);
        header[156] = '0';
        memcpy(header + 257, "ustar\00000", 8);
        memset(header + CHECKSUM_AT, ' ', 8);
        for (size_t i = 0; i < BLOCK; i++)
                sum += (unsigned char)header[i];
        snprintf(header + CHECKSUM_AT, 8, "%06o", sum);
        header[CHECKSUM_AT + 7] = ' ';
}

static int end_entry(struct output *output, const char *name, struct error *err)
{
        static const char zeroes[BLOCK];
        char header[BLOCK];
        int64_t size = output->at - output->start - BLOCK;
        size_t rest = (size_t)(output->at % BLOCK);

        if (strlen(name) > NAME_LENGTH)
                return error_set(err, ERROR_FAILED_PRECONDITION,
                                 "%s: a name that is too long for the archive", name);
        make_header(header, name, size);
        int r = write_at(output->fd, header, sizeof(header), output->start, err);
        if (r == 0 && rest > 0)
                r = output_write(output, zeroes, BLOCK - rest, err);
        return r;
}

static int end_file(struct output *output, const char *name, struct error *err)
{
        cleanup_fd(&output->file_fd);
        output->file_fd = -1;
        for (const char *slash = name; (slash = strchr(slash, '/')); slash++) {
                AUTO_FREE char *folder = xprintf("%.*s", (int)(slash - name), name);
                if (mkdirat(output->fd, folder, 0755) < 0 && errno != EEXIST)
                        return error_errno(err, errno, "making folder %s", folder);
        }
        if (renameat(output->fd, UNDER_WAY, output->fd, name) < 0)
                return error_errno(err, errno, "making %s", name);
        return 0;
}

int output_end(struct output *output, const char *name, struct error *err)
{
        return output->folder ? end_file(output, name, err) : end_entry(output, name, err);
}

int output_put(struct output *output, const char *name, const void *bytes, size_t length,
               struct error *err)
{
        int r = output_begin(output, err);
        if (r == 0)
                r = output_write(output, bytes, length, err);
        return r < 0 ? r : output_end(output, name, err);
}

int output_finish(struct output *output, struct error *err)
{
        static const char zeroes[TRAILER];
        return output->folder ? 0 : output_write(output, zeroes, sizeof(zeroes), err);
}
