/*
 * Any output of a container, in reads of any size: joined again as the kubelet does it, the log has
 * the same bytes.
 */
#include <assert.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "conmon/crilog.h"

#define OUTPUT_MAX (1 << 20) /* bytes */
#define INPUT_MAX  (1 << 16) /* bytes; as many newlines give a log of less than 3 MiB */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static char text[4 * OUTPUT_MAX], joined[OUTPUT_MAX + 1], pending[CRILOG_LINE_DEFAULT];

static size_t join(size_t length)
{
        static const char head[] = "1970-01-01T00:00:00.000000001Z stdout ";
        size_t done = 0;

        for (char *line = text; line < text + length;) {
                char *content = line + sizeof(head) - 1 + 2;
                char tag = content[-2];
                char *end = memchr(content, '\n', (size_t)(text + length - content));

                assert(memcmp(line, head, sizeof(head) - 1) == 0);
                assert((tag == 'F' || tag == 'P') && content[-1] == ' ');
                assert(end && end - content <= CRILOG_LINE_DEFAULT);
                memcpy(joined + done, content, (size_t)(end - content));
                done += (size_t)(end - content);
                if (tag == 'F')
                        joined[done++] = '\n';
                line = end + 1;
        }
        return done;
}

/* The first two bytes are the size of a read. Each of the others stands for many, so that lines get
 * long. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        static char output[OUTPUT_MAX];
        static struct crilog log;
        struct crilog_stream stream = {.name = "stdout", .bytes = pending};
        size_t length = 0, read_size;
        char path[64];
        ssize_t got;
        int file;

        if (size < 2 || size > INPUT_MAX)
                return 0;
        read_size = (size_t)(data[0] << 8 | data[1]) + 1;
        for (size_t i = 2; i < size && length + 1024 < OUTPUT_MAX; i++) {
                size_t count = data[i] == '\n' ? 1 : (size_t)data[i] * 4 + 1;

                memset(output + length, data[i], count);
                length += count;
        }
        snprintf(path, sizeof(path), "/tmp/fuzz-crilog-XXXXXX");
        file = mkostemp(path, O_CLOEXEC); /* a log that is a symlink is refused, /proc's too */
        memset(&log, 0, sizeof(log));
        assert(file >= 0 && crilog_open(&log, path, &(struct crilog_bounds){0}) == 0);
        unlink(path);
        for (size_t done = 0; done < length; done += read_size)
                crilog_write(&log, &stream, output + done,
                             length - done < read_size ? length - done : read_size, 1);
        crilog_finish(&log, &stream, 1);
        got = pread(file, text, sizeof(text), 0);
        assert(got >= 0 && (size_t)got == log.size && log.lost_lines == 0);
        assert(join((size_t)got) == length);
        assert(memcmp(joined, output, length) == 0);
        crilog_close(&log);
        close(file);
        return 0;
}
