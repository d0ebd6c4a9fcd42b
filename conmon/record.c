#include "conmon/record.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "conmon/protocol.h"
#include "conmon/text.h"

static void add_field(struct text *text, const char *name, int64_t value)
{
        text_add(text, name);
        text_add(text, "=");
        text_add_number(text, value);
        text_add(text, "\n");
}

static int write_synced(int directory, const char *name, const struct text *text)
{
        int fd = openat(directory, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW,
                        0600);
        size_t done = 0;
        int result = 0;

        if (fd < 0)
                return -errno;
        while (!result && done < text->length) {
                ssize_t written = write(fd, text->data + done, text->length - done);

                if (written > 0)
                        done += (size_t)written;
                else if (written == 0)
                        result = -ENOSPC;
                else if (errno != EINTR)
                        result = -errno;
        }
        if (!result && fsync(fd) < 0)
                result = -errno;
        close(fd);
        return result;
}

int exit_record_write(const char *directory, const struct exit_record *record)
{
        static const char beside[] = MONITOR_EXIT_RECORD ".new";
        char memory[512];
        struct text text = text_in(memory, sizeof(memory));
        int fd, result;

        add_field(&text, "version", MONITOR_EXIT_RECORD_VERSION);
        add_field(&text, "pid", record->pid);
        add_field(&text, "start_time", (int64_t)record->start_time);
        add_field(&text, "exit_code", record->exit_code);
        add_field(&text, "signal", record->signal);
        add_field(&text, "oom_killed", record->oom_killed);
        add_field(&text, "finished_at", record->finished_at);

        fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (fd < 0)
                return -errno;
        result = write_synced(fd, beside, &text);
        if (!result && renameat(fd, beside, fd, MONITOR_EXIT_RECORD) < 0)
                result = -errno;
        if (!result && fsync(fd) < 0)
                result = -errno;
        close(fd);
        return result;
}
