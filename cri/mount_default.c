#include "cri/mount_default.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "base/buffer.h"
#include "base/file.h"
#include "base/memory.h"
#include "base/tree.h"

#define BLANKS " \t\r"

static bool has_dot_dot(const char *path)
{
        for (const char *at = strstr(path, "/.."); at; at = strstr(at + 1, "/.."))
                if (at[3] == '\0' || at[3] == '/')
                        return true;
        return false;
}

static int add_line(char *line, struct mount_defaults *defaults, struct error *err)
{
        line += strspn(line, BLANKS);
        size_t length = strlen(line);
        while (length > 0 && strchr(BLANKS, line[length - 1]))
                line[--length] = '\0';
        if (*line != '/')
                return 0;
        char *colon = strchr(line, ':');
        if (colon)
                *colon = '\0';
        const char *destination = colon ? colon + 1 : line;
        if (*destination != '/' || has_dot_dot(destination))
                return error_set(err, ERROR_INVALID_ARGUMENT,
                                 "\"%.200s\" is no absolute path without \"..\"", destination);
        if (defaults->count == MOUNT_DEFAULT_MAX)
                return error_set(err, ERROR_INVALID_ARGUMENT, "more than %d mounts",
                                 MOUNT_DEFAULT_MAX);
        defaults->list = xrealloc(defaults->list, (defaults->count + 1) * sizeof *defaults->list);
        defaults->list[defaults->count++] = (struct mount_default){
                .source = xstrdup(line), .destination = xstrdup(destination)};
        return 0;
}

int mount_defaults_parse(const char *text, const char *name, struct mount_defaults *defaults,
                         struct error *err)
{
        AUTO_MOUNT_DEFAULTS struct mount_defaults found = MOUNT_DEFAULTS_INIT;
        for (unsigned number = 1; *text; number++) {
                size_t length = strcspn(text, "\n");
                AUTO_FREE char *line = xstrndup(text, length);
                int result = add_line(line, &found, err);
                if (result < 0)
                        return error_context(err, "%s:%u", name, number);
                text += length + (text[length] == '\n');
        }
        *defaults = found;
        found = (struct mount_defaults)MOUNT_DEFAULTS_INIT;
        return 0;
}

int mount_defaults_read(const char *path, struct mount_defaults *defaults, struct error *err)
{
        static const char *const usual[] = {"/etc/containers/mounts.conf",
                                            "/usr/share/containers/mounts.conf"};
        size_t count = *path ? 1 : sizeof usual / sizeof *usual;
        for (size_t i = 0; i < count; i++) {
                const char *name = *path ? path : usual[i];
                AUTO_BUFFER struct buffer text = BUFFER_INIT;
                int result = file_read(name, MOUNT_DEFAULT_FILE_MAX, &text, err);
                if (result == 0)
                        return mount_defaults_parse(text.data ? text.data : "", name, defaults,
                                                    err);
                if (result != -ENOENT || *path)
                        return result;
        }
        *defaults = (struct mount_defaults)MOUNT_DEFAULTS_INIT;
        return 0;
}

void mount_defaults_fini(struct mount_defaults *defaults)
{
        for (size_t i = 0; i < defaults->count; i++) {
                free(defaults->list[i].source);
                free(defaults->list[i].destination);
        }
        free(defaults->list);
        *defaults = (struct mount_defaults)MOUNT_DEFAULTS_INIT;
}

int mount_default_copy(const struct mount_default *mount, const char *target, struct error *err)
{
        static const struct tree_bounds bounds = {MOUNT_DEFAULT_ENTRIES, MOUNT_DEFAULT_BYTES};
        AUTO_FD int fd = open(mount->source, O_PATH | O_CLOEXEC);
        if (fd < 0 && errno == ENOENT)
                return 0;
        if (fd < 0)
                return error_errno(err, errno, "open %s", mount->source);
        int result = tree_copy(fd, target, true, &bounds, err);
        return result < 0 ? error_context(err, "%s", mount->source) : 1;
}
