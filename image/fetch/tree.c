#include "image/fetch/tree.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "base/file.h"
#include "base/memory.h"
#include "image/fetch/attributes.h"
#include "image/fetch/path.h"
#include "image/fetch/tree_private.h"

#define FOLDER_COST 32

int tree_new(int root_fd, _Atomic int64_t *notes_left, struct tree **tree, struct error *err)
{
        int fd = fcntl(root_fd, F_DUPFD_CLOEXEC, 0);
        if (fd < 0)
                return error_errno(err, errno, "layer's folder");

        struct tree *new = xcalloc(1, sizeof(*new));
        new->root_fd = fd;
        tree_path_of(fd, new->root_path);
        new->parent_fd = -1;
        notes_init(&new->notes, notes_left);
        *tree = new;
        return 0;
}

void tree_free(struct tree *tree)
{
        if (!tree)
                return;
        for (size_t i = 0; i < tree->folder_count; i++)
                free(tree->folders[i].path);
        free(tree->folders);
        notes_fini(&tree->notes);
        cleanup_fd(&tree->parent_fd);
        cleanup_fd(&tree->root_fd);
        free(tree);
}

static int note_folder_time(struct tree *tree, const char *path, struct timespec modified,
                            struct error *err)
{
        tree->folder_bytes += strlen(path) + FOLDER_COST;
        if (tree->folder_bytes > FETCH_FOLDER_BYTES_MAX)
                return error_set(err, ERROR_RESOURCE_EXHAUSTED,
                                 "the layer's folders have more than %u bytes of names",
                                 FETCH_FOLDER_BYTES_MAX);
        if (tree->folder_count == tree->folder_capacity) {
                tree->folder_capacity = tree->folder_capacity ? tree->folder_capacity * 2 : 256;
                tree->folders =
                        xrealloc(tree->folders, tree->folder_capacity * sizeof(tree->folders[0]));
        }
        tree->folders[tree->folder_count++] = (struct folder_time){xstrdup(path), modified};
        return 0;
}

/* ---- the kinds of entries ---- */

static int add_folder(struct tree *tree, const char *path, const char *name,
                      const struct tree_entry *entry, struct error *err)
{
        int parent_fd = name[0] ? tree->parent_fd : tree->root_fd;
        const char *target = name[0] ? name : ".";
        bool hidden = false;

        if (name[0] && mkdirat(parent_fd, name, 0700) < 0) {
                if (errno != EEXIST)
                        return error_errno(err, errno, "making a folder");
                int r = tree_clear_way(tree, name, true, &hidden, err);
                if (r < 0 && r != -EEXIST)
                        return r;
                if (r == 0 && mkdirat(parent_fd, name, 0700) < 0)
                        return error_errno(err, errno, "making a folder");
        }

        AUTO_FD int fd = openat(parent_fd, target, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        if (fd < 0)
                return error_errno(err, errno, "opening a folder");
        int r = attributes_set(fd, entry, err);
        if (r == 0)
                r = note_folder_time(tree, path, entry->modified, err);
        if (r == 0 && hidden)
                r = notes_opaque(&tree->notes, path, err);
        if (r == 0)
                notes_explicit(&tree->notes, path);
        return r;
}

/* Makes what is neither file nor folder, once. Returns 0 or a negative errno. */
static int make_node(int parent_fd, const char *name, const struct tree_entry *entry)
{
        int r = S_ISLNK(entry->mode)
                        ? symlinkat(entry->symlink, parent_fd, name)
                        : mknodat(parent_fd, name, (entry->mode & S_IFMT) | 0600, entry->device);
        return r < 0 ? -errno : 0;
}

static int add_node(struct tree *tree, const char *name, const struct tree_entry *entry,
                    struct error *err)
{
        bool hidden = false;
        int r = make_node(tree->parent_fd, name, entry);

        if (r == -EEXIST) {
                if ((r = tree_clear_way(tree, name, false, &hidden, err)) < 0)
                        return r;
                r = make_node(tree->parent_fd, name, entry);
        }
        if (r == -EPERM && (S_ISCHR(entry->mode) || S_ISBLK(entry->mode)))
                return error_set(err, ERROR_PERMISSION_DENIED,
                                 "making a device node is not permitted here (it needs CAP_MKNOD)");
        if (r < 0)
                return error_errno(err, r, "making it");
        return attributes_set_at(tree->parent_fd, name, entry, err);
}

static int add_file(struct tree *tree, const char *name, const struct tree_entry *entry, int *fd,
                    struct error *err)
{
        /* Its final mode at once, but for set-id bits, which a file that is being written has not;
         * the umask is 0 and the staging folder closed to others. */
        mode_t mode = entry->mode & 0777;
        static const int flags = O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC;
        bool hidden = false;
        int opened = openat(tree->parent_fd, name, flags, mode);

        if (opened < 0 && errno == EEXIST) {
                int r = tree_clear_way(tree, name, false, &hidden, err);
                if (r < 0)
                        return r;
                opened = openat(tree->parent_fd, name, flags, mode);
        }
        if (opened < 0)
                return error_errno(err, errno, "making a file");
        tree_set_place(tree, name);
        *fd = opened;
        return 0;
}

/* Links name in the open parent to target. Returns -ENOENT, without an error, where the layer has
 * no such target. */
static int try_link(struct tree *tree, const char *name, const struct path *target,
                    struct error *err)
{
        struct stat status;
        AUTO_FD int fd = file_open_in(tree->root_fd, target->parent, O_PATH | O_DIRECTORY, 0, NULL);
        if (fd == -ENOENT || fd == -ENOTDIR)
                return -ENOENT;
        if (fd < 0)
                return error_errno(err, fd, "opening the folder of a hard link's target");

        if (fstatat(fd, target->name, &status, AT_SYMLINK_NOFOLLOW) < 0)
                return errno == ENOENT ? -ENOENT : error_errno(err, errno, "a hard link's target");
        if (S_ISDIR(status.st_mode) || tree_is_whiteout(&status))
                return error_set(err, ERROR_INVALID_ARGUMENT, "a hard link to %s",
                                 S_ISDIR(status.st_mode) ? "a folder" : "a removed file");
        if (linkat(fd, target->name, tree->parent_fd, name, 0) < 0)
                return errno == EEXIST ? -EEXIST : error_errno(err, errno, "making a hard link");
        return 0;
}

static int add_link(struct tree *tree, const char *path, const char *name,
                    const struct tree_entry *entry, struct error *err)
{
        struct path target;
        char target_path[2 * FETCH_PATH_MAX];
        bool hidden = false;

        int r = path_parse(entry->hardlink, &target, err);
        if (r < 0)
                return error_context(err, "hard link to %.*s", SHOWN_MAX, entry->hardlink);
        if (target.kind != PATH_ENTRY)
                return error_set(err, ERROR_INVALID_ARGUMENT,
                                 "hard link to %.*s: not the name of a file", SHOWN_MAX,
                                 entry->hardlink);
        path_join(&target, target_path);
        if (strcmp(path, target_path) == 0)
                return 0;

        r = try_link(tree, name, &target, err);
        if (r == -EEXIST) {
                if ((r = tree_clear_way(tree, name, false, &hidden, err)) < 0)
                        return r;
                r = try_link(tree, name, &target, err);
        }
        if (r == -ENOENT)
                return notes_link(&tree->notes, path, target_path, err);
        return r;
}

static int add_whiteout(struct tree *tree, const char *path, const char *name, struct error *err)
{
        struct stat status;

        if (mknodat(tree->parent_fd, name, S_IFCHR, makedev(0, 0)) == 0)
                return 0;
        if (errno != EEXIST)
                return error_errno(err, errno, "making a whiteout");
        /* A whiteout hides what lower layers have; what this one has beside it stays. */
        if (fstatat(tree->parent_fd, name, &status, AT_SYMLINK_NOFOLLOW) < 0)
                return error_errno(err, errno, "making a whiteout");
        return S_ISDIR(status.st_mode) ? notes_opaque(&tree->notes, path, err) : 0;
}

static int add_entry(struct tree *tree, const struct path *place, const char *path,
                     const struct tree_entry *entry, int *fd, struct error *err)
{
        int r;

        if (place->kind == PATH_ROOT) {
                if (entry->hardlink || !S_ISDIR(entry->mode))
                        return error_set(err, ERROR_INVALID_ARGUMENT, "the root is not a folder");
                return add_folder(tree, path, "", entry, err);
        }
        if (!entry->hardlink && (r = attributes_check(entry, err)) < 0)
                return r;
        if ((r = tree_enter_parent(tree, place->parent, err)) < 0)
                return r;
        if (place->kind == PATH_OPAQUE)
                return notes_opaque(&tree->notes, place->parent, err);
        if (place->kind == PATH_WHITEOUT)
                return add_whiteout(tree, path, place->name, err);
        if (entry->hardlink)
                return add_link(tree, path, place->name, entry, err);

        switch (entry->mode & S_IFMT) {
        case S_IFREG:
                return add_file(tree, place->name, entry, fd, err);
        case S_IFDIR:
                return add_folder(tree, path, place->name, entry, err);
        case S_IFCHR:
                if (entry->device == makedev(0, 0))
                        return error_set(err, ERROR_INVALID_ARGUMENT,
                                         "a character device 0:0, which would be a forged "
                                         "whiteout");
                return add_node(tree, place->name, entry, err);
        case S_IFLNK:
        case S_IFBLK:
        case S_IFIFO:
                return add_node(tree, place->name, entry, err);
        default:
                return error_set(err, ERROR_INVALID_ARGUMENT, "an entry of unknown type");
        }
}

int tree_add(struct tree *tree, const struct tree_entry *entry, int *fd, struct error *err)
{
        struct path place;
        char path[2 * FETCH_PATH_MAX];
        int opened = -1;

        int r = path_parse(entry->path, &place, err);
        if (r == 0 && place.kind != PATH_IGNORED) {
                path_join(&place, path);
                r = add_entry(tree, &place, path, entry, &opened, err);
        }
        if (r < 0)
                return error_context(err, "%.*s", SHOWN_MAX, entry->path);
        *fd = opened;
        return 0;
}

int tree_file_done(struct tree *tree, const struct tree_entry *entry, int fd, struct error *err)
{
        int r = attributes_set(fd, entry, err);
        if (r == 0 && futimens(fd, (struct timespec[2]){entry->modified, entry->modified}) < 0)
                r = error_errno(err, errno, "setting its time");
        close(fd);
        return r < 0 ? error_context(err, "%.*s", SHOWN_MAX, entry->path) : 0;
}

/* ---- the end ---- */

/* Links whose target came after them; what was put in a link's place since needs no link. */
static int settle_links(struct tree *tree, struct error *err)
{
        struct notes *notes = &tree->notes;
        size_t kept = 0;

        for (size_t i = 0; i < notes->link_count; i++) {
                struct fetch_link link = notes->links[i];
                struct path place, target;
                int r;
                if ((r = path_parse(link.path, &place, err)) < 0 ||
                    (r = path_parse(link.target, &target, err)) < 0 ||
                    (r = tree_enter_parent(tree, place.parent, err)) < 0 ||
                    ((r = try_link(tree, place.name, &target, err)) < 0 && r != -ENOENT &&
                     r != -EEXIST))
                        return error_context(err, "%.*s", SHOWN_MAX, link.path);
                /* A settled link's strings go now; the others close ranks. */
                notes->links[i] = (struct fetch_link){0};
                if (r == 0 || r == -EEXIST ||
                    faccessat(tree->parent_fd, place.name, F_OK, AT_SYMLINK_NOFOLLOW) == 0) {
                        free((char *)(uintptr_t)link.path);
                        free((char *)(uintptr_t)link.target);
                } else {
                        notes->links[kept++] = link;
                }
        }
        notes->link_count = kept;
        return 0;
}

int tree_finish(struct tree *tree, struct error *err)
{
        int r = settle_links(tree, err);
        if (r < 0)
                return r;

        for (size_t i = 0; i < tree->folder_count; i++) {
                const struct folder_time *folder = &tree->folders[i];
                AUTO_FD int fd = file_open_in(tree->root_fd, folder->path,
                                              O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0, NULL);
                if (fd < 0)
                        continue; /* replaced by something else */
                if (futimens(fd, (struct timespec[2]){folder->modified, folder->modified}) < 0)
                        return error_errno(err, errno, "%.*s: setting its time", SHOWN_MAX,
                                           folder->path);
        }
        notes_finish(&tree->notes, tree->root_fd);
        return 0;
}

void tree_notes(struct tree *tree, struct fetch_layer *layer)
{
        const struct notes *notes = &tree->notes;

        layer->opaque = notes->opaque_list;
        layer->opaque_count = notes->opaque_count;
        layer->implied = notes->implied_list;
        layer->implied_count = notes->implied_count;
        layer->links = notes->links;
        layer->link_count = notes->link_count;
}
