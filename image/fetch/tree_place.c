/* Where an entry of a layer comes to be: its parent, and what is there already. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "base/file.h"
#include "base/memory.h"
#include "image/fetch/tree_private.h"

bool tree_path_of(int fd, char path[2 * FETCH_PATH_MAX])
{
        char link[32];

        snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
        ssize_t length = readlink(link, path, 2 * FETCH_PATH_MAX - 1);
        if (length < 0)
                return false;
        path[length] = '\0';
        return true;
}

void tree_watch_replaced(struct tree *tree, tree_replaced *replaced, void *argument)
{
        tree->replaced = replaced;
        tree->replaced_argument = argument;
}

void tree_set_place(struct tree *tree, const char *name)
{
        snprintf(tree->place, sizeof(tree->place), "%s%s%s", tree->resolved,
                 tree->resolved[0] ? "/" : "", name);
}

const char *tree_place(const struct tree *tree)
{
        return tree->place;
}

bool tree_is_whiteout(const struct stat *status)
{
        return S_ISCHR(status->st_mode) && status->st_rdev == makedev(0, 0);
}

static void forget_parent(struct tree *tree)
{
        cleanup_fd(&tree->parent_fd);
        tree->parent_fd = -1;
}

static int make_folder(int parent_fd, const char *name)
{
        if (mkdirat(parent_fd, name, 0700) < 0)
                return -errno;
        /* A setgid parent hands its group and the bit down. */
        if (fchownat(parent_fd, name, 0, 0, AT_SYMLINK_NOFOLLOW) < 0 ||
            fchmodat(parent_fd, name, 0755, 0) < 0)
                return -errno;
        return 0;
}

/* Makes the folder path, whose parent parent_fd is, where the archive only implies it. */
static int imply_folder(struct tree *tree, int parent_fd, const char *path, const char *name,
                        struct error *err)
{
        struct stat status;
        bool hidden = false;

        if (fstatat(parent_fd, name, &status, AT_SYMLINK_NOFOLLOW) == 0) {
                if (S_ISLNK(status.st_mode))
                        return error_set(err, ERROR_FAILED_PRECONDITION,
                                         "%.*s is a symlink to what this layer does not have",
                                         SHOWN_MAX, path);
                if (!tree_is_whiteout(&status))
                        return error_set(err, ERROR_INVALID_ARGUMENT, "%.*s is not a folder",
                                         SHOWN_MAX, path);
                /* What was here below is gone, and something new takes its place. */
                if (unlinkat(parent_fd, name, 0) < 0)
                        return error_errno(err, errno, "replacing a whiteout");
                hidden = true;
        }
        int r = make_folder(parent_fd, name);
        if (r < 0)
                return error_errno(err, r, "making %.*s", SHOWN_MAX, path);
        r = notes_implied(&tree->notes, path, err);
        if (r == 0 && hidden)
                r = notes_opaque(&tree->notes, path, err);
        return r;
}

/* Opens path as a folder, making what is missing of it. Returns a descriptor. */
static int open_implied(struct tree *tree, const char *path, struct error *err)
{
        char prefix[FETCH_PATH_MAX];
        AUTO_FD int fd = file_open_in(tree->root_fd, ".", O_PATH | O_DIRECTORY, 0, err);
        const char *at = path;

        while (fd >= 0 && *at) {
                size_t length = strcspn(at, "/");
                char name[NAME_MAX + 1];
                memcpy(name, at, length);
                name[length] = '\0';
                at += length;
                memcpy(prefix, path, (size_t)(at - path));
                prefix[at - path] = '\0';
                if (*at == '/')
                        at++;

                int next = file_open_in(tree->root_fd, prefix, O_PATH | O_DIRECTORY, 0, NULL);
                if (next == -ENOENT || next == -ENOTDIR) {
                        int r = imply_folder(tree, fd, prefix, name, err);
                        if (r < 0)
                                return r;
                        next = file_open_in(tree->root_fd, prefix, O_PATH | O_DIRECTORY, 0, NULL);
                }
                if (next < 0)
                        return error_errno(err, next, "%.*s", SHOWN_MAX, prefix);
                close(fd);
                fd = next;
        }
        return take_fd(&fd);
}

/*
 * Finds the folder's path without symlinks. A path is only so deep, but through symlinks to deep
 * folders an archive could go on: nobody could remove such a tree.
 */
static int resolve_parent(struct tree *tree, int fd, char resolved[2 * FETCH_PATH_MAX],
                          struct error *err)
{
        size_t root = strlen(tree->root_path);
        char path[2 * FETCH_PATH_MAX];
        int depth = 0;

        if (root > 0 && tree_path_of(fd, path) && strncmp(path, tree->root_path, root) == 0) {
                const char *below = path + root;
                for (const char *c = below; *c; c++)
                        depth += *c == '/';
                strcpy(resolved, below + (*below == '/'));
                if (depth <= FETCH_DEPTH_MAX)
                        return 0;
        }
        return error_set(err, ERROR_INVALID_ARGUMENT, "more than %d folders deep", FETCH_DEPTH_MAX);
}

int tree_enter_parent(struct tree *tree, const char *path, struct error *err)
{
        if (tree->parent_fd >= 0 && strcmp(tree->parent, path) == 0)
                return 0;
        AUTO_FD int fd = file_open_in(tree->root_fd, path, O_PATH | O_DIRECTORY, 0, NULL);
        if (fd == -ENOENT || fd == -ENOTDIR)
                fd = open_implied(tree, path, err);
        else if (fd < 0)
                error_errno(err, fd, "opening its folder");
        if (fd < 0)
                return fd;
        char resolved[2 * FETCH_PATH_MAX];
        int r = resolve_parent(tree, fd, resolved, err);
        if (r < 0)
                return r;
        forget_parent(tree);
        tree->parent_fd = take_fd(&fd);
        strcpy(tree->parent, path);
        strcpy(tree->resolved, resolved);
        return 0;
}

int tree_clear_way(struct tree *tree, const char *name, bool keep_folder, bool *hidden,
                   struct error *err)
{
        struct stat status;

        if (fstatat(tree->parent_fd, name, &status, AT_SYMLINK_NOFOLLOW) < 0)
                return error_errno(err, errno, "looking at the entry it replaces");
        if (S_ISDIR(status.st_mode) && keep_folder)
                return -EEXIST;
        if (tree->replaced && (S_ISDIR(status.st_mode) || S_ISREG(status.st_mode))) {
                tree_set_place(tree, name);
                int r = tree->replaced(tree->replaced_argument, tree->parent_fd, name, tree->place,
                                       S_ISDIR(status.st_mode), err);
                if (r < 0)
                        return r;
        }
        if (S_ISDIR(status.st_mode)) {
                /* file_remove_tree wants a path; this one leads to the open parent whatever its own
                 * path is now. */
                AUTO_FREE char *path = xprintf("/proc/self/fd/%d/%s", tree->parent_fd, name);
                return file_remove_tree(path, err);
        }
        *hidden = tree_is_whiteout(&status);
        if (unlinkat(tree->parent_fd, name, 0) < 0)
                return error_errno(err, errno, "replacing an earlier entry");
        return 0;
}
