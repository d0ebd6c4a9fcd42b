#include "image/stack.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/memory.h"

bool stack_is_whiteout(const struct stat *st)
{
        return S_ISCHR(st->st_mode) && st->st_rdev == makedev(0, 0);
}

bool stack_is_exhausted(const struct stack *stack)
{
        return stack->steps > stack->steps_max;
}

int stack_open(struct stack *stack, size_t layer, const char *path, int flags)
{
        struct open_how how = {
                .flags = (unsigned)(flags | O_NOFOLLOW | O_CLOEXEC),
                .resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS |
                           RESOLVE_NO_XDEV,
        };
        if (++stack->steps > stack->steps_max)
                return -ENOENT;
        long fd;
        do
                fd = syscall(SYS_openat2, stack->layers[layer], path[0] ? path : ".", &how,
                             sizeof(how));
        while (fd < 0 && (errno == EINTR || errno == EAGAIN));
        return fd < 0 ? -errno : (int)fd;
}

int stack_stat(struct stack *stack, size_t layer, const char *path, struct stat *st)
{
        AUTO_FD int fd = stack_open(stack, layer, path, O_PATH);
        if (fd < 0)
                return fd;
        return fstat(fd, st) < 0 ? -errno : 0;
}

bool stack_is_opaque(struct stack *stack, size_t layer, const char *path)
{
        char value[2];
        AUTO_FD int fd = stack_open(stack, layer, path, O_RDONLY | O_DIRECTORY);
        return fd >= 0 && fgetxattr(fd, "trusted.overlay.opaque", value, sizeof(value)) == 1 &&
               value[0] == 'y';
}

/* One more part of the path: which of the view's layers show it. path is all of it up to there. */
static void descend(struct stack *stack, const char *path, struct stack_view *view)
{
        size_t kept = 0;
        for (size_t i = 0; i < view->count; i++) {
                size_t layer = view->layers[i];
                struct stat st;
                if (stack_stat(stack, layer, path, &st) < 0)
                        continue;
                if (S_ISDIR(st.st_mode)) {
                        view->layers[kept++] = layer;
                        if (stack_is_opaque(stack, layer, path))
                                break;
                        continue;
                }
                if (kept == 0 && !stack_is_whiteout(&st)) {
                        view->kind = STACK_OTHER;
                        view->layers[0] = layer;
                        view->count = 1;
                        return;
                }
                view->over = kept > 0 && !stack_is_whiteout(&st);
                view->under = layer;
                break;
        }
        view->count = kept;
        if (kept == 0)
                view->kind = STACK_NOTHING;
}

void stack_look(struct stack *stack, size_t height, const char *path, struct stack_view *view)
{
        view->kind = STACK_FOLDER;
        view->count = height;
        view->over = false;
        for (size_t i = 0; i < height; i++)
                view->layers[i] = height - 1 - i;
        if (!path[0] || strcmp(path, ".") == 0)
                return;
        AUTO_FREE char *prefix = xstrdup(path);
        for (char *end = prefix; view->kind == STACK_FOLDER;) {
                end = strchr(end, '/');
                if (end)
                        *end = '\0';
                view->over = false;
                descend(stack, prefix, view);
                if (!end)
                        return;
                *end++ = '/';
        }
        /* Something else than a folder, and the path goes on. */
        view->kind = STACK_NOTHING;
        view->count = 0;
}

/* Puts a symlink's target before what is left of the path. */
static int follow(struct stack *stack, const struct stack_view *view, char out[PATH_MAX],
                  size_t length, char rest[PATH_MAX])
{
        char target[PATH_MAX], joined[PATH_MAX];
        AUTO_FD int fd = stack_open(stack, view->layers[0], out, O_PATH);
        ssize_t size = fd < 0 ? -1 : readlinkat(fd, "", target, sizeof(target) - 1);
        if (size < 0)
                return fd < 0 ? fd : -errno;
        target[size] = '\0';
        int needed = snprintf(joined, sizeof(joined), "%s/%s", target, rest);
        if (needed < 0 || needed >= PATH_MAX)
                return -ENAMETOOLONG;
        memcpy(rest, joined, (size_t)needed + 1);
        out[target[0] == '/' ? 0 : length] = '\0';
        return 0;
}

int stack_resolve(struct stack *stack, size_t height, const char *path, bool follow_last,
                  char out[PATH_MAX])
{
        AUTO_FREE struct stack_view *view = xcalloc(1, sizeof(*view));
        char rest[PATH_MAX];
        unsigned links = 0;
        if (strlen(path) >= PATH_MAX)
                return -ENAMETOOLONG;
        strcpy(rest, path);
        out[0] = '\0';
        for (;;) {
                char *part = rest + strspn(rest, "/");
                size_t size = strcspn(part, "/");
                if (size == 0)
                        return 0;
                char name[NAME_MAX + 1];
                if (size > NAME_MAX)
                        return -ENAMETOOLONG;
                memcpy(name, part, size);
                name[size] = '\0';
                memmove(rest, part + size, strlen(part + size) + 1);
                if (strcmp(name, ".") == 0)
                        continue;
                size_t length = strlen(out);
                if (strcmp(name, "..") == 0) {
                        char *slash = strrchr(out, '/');
                        out[slash ? (size_t)(slash - out) : 0] = '\0';
                        continue;
                }
                if (length + size + 2 > PATH_MAX)
                        return -ENAMETOOLONG;
                sprintf(out + length, "%s%s", length ? "/" : "", name);
                if (!follow_last && rest[strspn(rest, "/")] == '\0')
                        return 0;
                stack_look(stack, height, out, view);
                struct stat st;
                if (view->kind != STACK_OTHER || stack_stat(stack, view->layers[0], out, &st) < 0 ||
                    !S_ISLNK(st.st_mode))
                        continue;
                if (++links > STACK_LINKS_MAX)
                        return -ELOOP;
                int result = follow(stack, view, out, length, rest);
                if (result < 0)
                        return result;
        }
}

static bool covers(struct stack *stack, size_t layer, const char *path)
{
        AUTO_FREE char *prefix = xstrdup(path);
        for (char *end = prefix;;) {
                struct stat st;
                end = strchr(end, '/');
                if (end)
                        *end = '\0';
                if (stack_stat(stack, layer, prefix, &st) < 0)
                        return false;
                if (!S_ISDIR(st.st_mode) || !end)
                        return true;
                if (stack_is_opaque(stack, layer, prefix))
                        return true;
                *end++ = '/';
        }
}

bool stack_is_covered(struct stack *stack, size_t layer, const char *path)
{
        for (size_t i = layer + 1; i < stack->count; i++)
                if (covers(stack, i, path))
                        return true;
        return false;
}
