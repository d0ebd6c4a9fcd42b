#include "image/fixup.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "base/buffer.h"
#include "base/cleanup.h"
#include "base/file.h"
#include "base/memory.h"
#include "base/table.h"
#include "image/stack.h"

#define XATTR_LIST_MAX  65536 /* what the kernel takes */
#define XATTR_VALUE_MAX 65536
#define TREE_DEPTH_MAX  256 /* of what is moved behind a symlink */
#define OVERLAY_PREFIX  "trusted.overlay."

struct link {
        const char *path, *target; /* in the notes */
};

struct notes {
        struct buffer text;
        struct table *implied; /* paths; null where there are none */
        struct link *links;
        size_t link_count;
};

struct redirect {
        char *from, *to;
};

/* A folder of the fix-up, and the times that it shall have once it is filled. */
struct made {
        char *path;
        struct timespec times[2];
};

struct fixup {
        struct stack stack;
        struct notes *notes; /* for each layer */
        int directory_fd;    /* where it is made, as name */
        const char *name;
        int root_fd; /* -1 until something was put into it */
        struct redirect *redirects;
        size_t redirect_count;
        struct made *made;
        size_t made_count;
        size_t inodes;
        struct stack_view *view; /* scratch */
        struct error *err;
};

/* ---- notes ---- */

static int read_notes(int store_fd, const struct layer *layer, struct notes *notes,
                      struct error *err)
{
        const char *hex = layer_hex(layer->name);
        AUTO_FREE char *path = layer->home ? xprintf("%s/notes/%s", layer->home, hex)
                                           : xprintf("/proc/self/fd/%d/notes/%s", store_fd, hex);
        int result = file_read(path, FIXUP_NOTES_MAX, &notes->text, err);
        if (result < 0)
                return result;
        notes->implied = table_new();
        const char *at = notes->text.data, *end = at + notes->text.length;
        size_t links = 0;
        for (const char *c = at; c < end; c += strlen(c) + 1)
                links++;
        notes->links = xcalloc(links, sizeof(*notes->links));
        while (at < end) {
                char kind = *at++;
                const char *text = at;
                at += strlen(at) + 1;
                if (kind == 'i') {
                        table_put(notes->implied, text, notes);
                } else if (kind == 'l' && at < end) {
                        notes->links[notes->link_count++] = (struct link){text, at};
                        at += strlen(at) + 1;
                } else {
                        return error_set(err, ERROR_DATA_LOSS, "notes of layer %s: broken",
                                         layer->name);
                }
        }
        return 0;
}

static bool is_implied(const struct fixup *fixup, size_t layer, const char *path)
{
        const struct table *implied = fixup->notes[layer].implied;
        return implied && table_get(implied, path[0] ? path : ".");
}

/* ---- making folders ---- */

static void copy_xattrs(int from_fd, int to_fd)
{
        AUTO_FREE char *names = xcalloc(1, XATTR_LIST_MAX);
        AUTO_FREE char *value = xcalloc(1, XATTR_VALUE_MAX);
        ssize_t length = flistxattr(from_fd, names, XATTR_LIST_MAX);
        for (char *name = names; length > 0 && name < names + length; name += strlen(name) + 1) {
                if (strncmp(name, OVERLAY_PREFIX, strlen(OVERLAY_PREFIX)) == 0)
                        continue;
                ssize_t size = fgetxattr(from_fd, name, value, XATTR_VALUE_MAX);
                if (size >= 0)
                        fsetxattr(to_fd, name, value, (size_t)size, 0);
        }
}

static int copy_metadata(struct fixup *fixup, size_t layer, const char *path, int to_fd)
{
        struct stat st;
        AUTO_FD int fd = stack_open(&fixup->stack, layer, path, O_RDONLY | O_DIRECTORY);
        if (fd < 0)
                return error_errno(fixup->err, fd, "open %s", path);
        if (fstat(fd, &st) < 0 || fchown(to_fd, st.st_uid, st.st_gid) < 0 ||
            fchmod(to_fd, st.st_mode & 07777) < 0)
                return error_errno(fixup->err, errno, "give folder %s its owner and mode", path);
        copy_xattrs(fd, to_fd);
        return 0;
}

/* Notes the times that the layer's folder has for the one in the fix-up. */
static void keep_times(struct fixup *fixup, size_t layer, const char *source, const char *path)
{
        struct stat st;
        if (stack_stat(&fixup->stack, layer, source, &st) < 0)
                return;
        size_t next = fixup->made_count++;
        fixup->made = xrealloc(fixup->made, fixup->made_count * sizeof(*fixup->made));
        fixup->made[next] = (struct made){xstrdup(path), {st.st_atim, st.st_mtim}};
}

/* The layer whose folder says what this one is like: the highest that has an entry for it, or else
 * the highest. */
static size_t speaker(const struct fixup *fixup, const struct stack_view *view, const char *path)
{
        for (size_t i = 0; i < view->count; i++)
                if (!is_implied(fixup, view->layers[i], path))
                        return view->layers[i];
        return view->layers[0];
}

static int describe_folder(struct fixup *fixup, const char *path, int fd)
{
        stack_look(&fixup->stack, fixup->stack.count, path, fixup->view);
        if (fixup->view->kind != STACK_FOLDER || fixup->view->count == 0)
                return fchmod(fd, 0755) < 0 ? error_errno(fixup->err, errno, "mode of %s", path)
                                            : 0;
        size_t layer = speaker(fixup, fixup->view, path);
        keep_times(fixup, layer, path, path);
        return copy_metadata(fixup, layer, path, fd);
}

static int open_root(struct fixup *fixup)
{
        if (fixup->root_fd >= 0)
                return 0;
        if (mkdirat(fixup->directory_fd, fixup->name, 0700) < 0)
                return error_errno(fixup->err, errno, "make folder %s", fixup->name);
        fixup->root_fd = openat(fixup->directory_fd, fixup->name,
                                O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        if (fixup->root_fd < 0)
                return error_errno(fixup->err, errno, "open %s", fixup->name);
        fixup->inodes++;
        return describe_folder(fixup, "", fixup->root_fd);
}

/* A descriptor of the folder at path in the fix-up, made with its parents where it is not there. */
static int open_folder(struct fixup *fixup, const char *path)
{
        int result = open_root(fixup);
        if (result < 0)
                return result;
        AUTO_FD int fd = fcntl(fixup->root_fd, F_DUPFD_CLOEXEC, 0);
        AUTO_FREE char *prefix = xstrdup(path);
        char *part = prefix;
        while (fd >= 0 && *part) {
                char *slash = strchr(part, '/');
                if (slash)
                        *slash = '\0';
                bool made = mkdirat(fd, part, 0700) == 0;
                if (!made && errno != EEXIST)
                        return error_errno(fixup->err, errno, "make folder %s", prefix);
                int next = openat(fd, part, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
                if (next < 0)
                        return error_errno(fixup->err, errno, "open folder %s", prefix);
                close(fd);
                fd = next;
                if (made) {
                        fixup->inodes++;
                        result = describe_folder(fixup, prefix, fd);
                        if (result < 0)
                                return result;
                }
                if (!slash)
                        break;
                *slash = '/';
                part = slash + 1;
        }
        return fd < 0 ? error_errno(fixup->err, errno, "open folder %s", path) : take_fd(&fd);
}

/* ---- putting files ---- */

/* Links what a layer has at source to path in the fix-up, in place of what may be there. */
static int put_link(struct fixup *fixup, size_t layer, const char *source, const char *path)
{
        AUTO_FREE char *parent = xstrdup(path);
        char *slash = strrchr(parent, '/');
        const char *base = slash ? slash + 1 : path;
        AUTO_FREE char *name = xstrdup(base);
        if (slash)
                *slash = '\0';
        AUTO_FD int to_fd = open_folder(fixup, slash ? parent : "");
        if (to_fd < 0)
                return to_fd;
        AUTO_FD int fd = stack_open(&fixup->stack, layer, source, O_PATH);
        if (fd < 0)
                return error_errno(fixup->err, fd, "open %s", source);
        if (unlinkat(to_fd, name, 0) < 0 && errno != ENOENT)
                return error_errno(fixup->err, errno, "replace %s", path);
        if (linkat(fd, "", to_fd, name, AT_EMPTY_PATH) < 0)
                return error_errno(fixup->err, errno, "link %s", path);
        fixup->inodes++;
        return 0;
}

/* ---- folders that a layer implies ---- */

static bool same_metadata(struct fixup *fixup, size_t a, size_t b, const char *path)
{
        struct stat one, other;
        AUTO_FD int fd = stack_open(&fixup->stack, b, path, O_RDONLY | O_DIRECTORY);
        return fd >= 0 && stack_stat(&fixup->stack, a, path, &one) == 0 && fstat(fd, &other) == 0 &&
               one.st_mode == other.st_mode && one.st_uid == other.st_uid &&
               one.st_gid == other.st_gid && one.st_mtim.tv_sec == other.st_mtim.tv_sec &&
               one.st_mtim.tv_nsec == other.st_mtim.tv_nsec && flistxattr(fd, NULL, 0) <= 0;
}

static int merge_folder(struct fixup *fixup, size_t layer, const char *from, const char *to,
                        unsigned depth);

static int merge_entry(struct fixup *fixup, size_t layer, const char *from, const char *to,
                       unsigned depth)
{
        struct stat st;
        int result = stack_stat(&fixup->stack, layer, from, &st);
        if (result < 0)
                return error_errno(fixup->err, result, "look at %s", from);
        if (S_ISDIR(st.st_mode))
                return merge_folder(fixup, layer, from, to, depth + 1);
        if (stack_is_covered(&fixup->stack, layer, to))
                return 0;
        return put_link(fixup, layer, from, to);
}

/* Puts what a layer has in folder `from` where a symlink below would have led it: into `to`. */
static int merge_folder(struct fixup *fixup, size_t layer, const char *from, const char *to,
                        unsigned depth)
{
        if (depth > TREE_DEPTH_MAX)
                return error_set(fixup->err, ERROR_FAILED_PRECONDITION,
                                 "%.200s: more than %d folders deep", from, TREE_DEPTH_MAX);
        AUTO_FD int to_fd = open_folder(fixup, to);
        if (to_fd < 0)
                return to_fd;
        int result = 0;
        if (depth > 0 && !is_implied(fixup, layer, from)) {
                keep_times(fixup, layer, from, to);
                result = copy_metadata(fixup, layer, from, to_fd);
        }
        if (result < 0)
                return result;
        if (stack_is_opaque(&fixup->stack, layer, from) &&
            fsetxattr(to_fd, OVERLAY_PREFIX "opaque", "y", 1, 0) < 0)
                return error_errno(fixup->err, errno, "mark folder %s opaque", to);

        int fd = stack_open(&fixup->stack, layer, from, O_RDONLY | O_DIRECTORY);
        AUTO_DIR DIR *dir = fd < 0 ? NULL : fdopendir(fd);
        if (!dir)
                return error_errno(fixup->err, fd < 0 ? fd : errno, "open %s", from);
        struct dirent *entry;
        while (result == 0 && (entry = readdir(dir))) {
                if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
                        continue;
                AUTO_FREE char *source = xprintf("%s/%s", from, entry->d_name);
                AUTO_FREE char *target = xprintf("%s%s%s", to, to[0] ? "/" : "", entry->d_name);
                if (strlen(target) >= PATH_MAX)
                        return error_errno(fixup->err, ENAMETOOLONG, "%.200s", target);
                result = merge_entry(fixup, layer, source, target, depth);
        }
        return result;
}

static bool is_inside(const char *path, const char *folder)
{
        size_t length = strlen(folder);
        return strncmp(path, folder, length) == 0 && (path[length] == '/' || !path[length]);
}

static int redirect(struct fixup *fixup, const struct stack_view *view, const char *path)
{
        char to[PATH_MAX];
        struct stat st;
        AUTO_FREE struct stack_view *below = xcalloc(1, sizeof(*below));
        /* As the layers below the first that implies the folder show it: there the symlink is seen.
         */
        size_t height = view->layers[view->count - 1];
        if (stack_stat(&fixup->stack, view->under, path, &st) < 0 || !S_ISLNK(st.st_mode) ||
            stack_resolve(&fixup->stack, height, path, true, to) < 0 || is_inside(to, path))
                return 0;
        stack_look(&fixup->stack, height, to, below);
        if (below->kind != STACK_FOLDER)
                return 0;

        /* Each path is compared with all of them; honest images have a handful. */
        if (fixup->redirect_count == FIXUP_REDIRECTS_MAX)
                return error_set(fixup->err, ERROR_RESOURCE_EXHAUSTED,
                                 "more than %d folders of one layer where another has a symlink",
                                 FIXUP_REDIRECTS_MAX);
        size_t next = fixup->redirect_count++;
        fixup->redirects =
                xrealloc(fixup->redirects, fixup->redirect_count * sizeof(*fixup->redirects));
        fixup->redirects[next] = (struct redirect){xstrdup(path), xstrdup(to)};
        int result = put_link(fixup, view->under, path, path);
        for (size_t i = view->count; result == 0 && i-- > 0;)
                result = merge_folder(fixup, view->layers[i], path, to, 0);
        return result;
}

static bool all_implied(const struct fixup *fixup, const struct stack_view *view, const char *path)
{
        for (size_t i = 0; i < view->count; i++)
                if (!is_implied(fixup, view->layers[i], path))
                        return false;
        return true;
}

/* What lies behind a symlink by now has been dealt with together with it. */
static bool is_redirected(const struct fixup *fixup, const char *path)
{
        for (size_t i = 0; i < fixup->redirect_count; i++)
                if (is_inside(path, fixup->redirects[i].from))
                        return true;
        return false;
}

static int mend_folder(struct fixup *fixup, size_t layer, const char *path)
{
        AUTO_FREE struct stack_view *view = xcalloc(1, sizeof(*view));
        if (is_redirected(fixup, path))
                return 0;
        stack_look(&fixup->stack, fixup->stack.count, path, view);
        /* Where a higher layer has the folder too, it is that one's to mend or to say. */
        if (view->kind != STACK_FOLDER || view->count == 0 || view->layers[0] != layer)
                return 0;
        if (view->over && all_implied(fixup, view, path))
                return redirect(fixup, view, path);
        size_t source = speaker(fixup, view, path);
        if (source == layer || same_metadata(fixup, layer, source, path))
                return 0;
        AUTO_FD int fd = open_folder(fixup, path);
        return fd < 0 ? fd : 0;
}

static int compare_paths(const void *a, const void *b)
{
        return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static int mend_folders(struct fixup *fixup, size_t layer)
{
        const struct table *implied = fixup->notes[layer].implied;
        size_t count = implied ? table_size(implied) : 0, cursor = 0, i = 0;
        AUTO_FREE const char **paths = xcalloc(count + 1, sizeof(*paths));
        int result = 0;
        while (i < count && table_next(implied, &cursor, &paths[i]))
                i++;
        /* Parents first: where one is a symlink, so is the way to its children. */
        qsort(paths, count, sizeof(*paths), compare_paths);
        for (i = 0; i < count && result == 0; i++)
                if (strcmp(paths[i], ".") != 0)
                        result = mend_folder(fixup, layer, paths[i]);
        return result;
}

/* ---- hard links into other layers ---- */

/* Where a path is now that folders have become symlinks, on the heap. */
static char *moved_path(const struct fixup *fixup, const char *path)
{
        for (size_t i = 0; i < fixup->redirect_count; i++) {
                const struct redirect *redirect = &fixup->redirects[i];
                size_t length = strlen(redirect->from);
                if (!is_inside(path, redirect->from) || !path[length])
                        continue;
                return xprintf("%s%s%s", redirect->to, redirect->to[0] ? "/" : "",
                               path + length + 1);
        }
        return xstrdup(path);
}

/* A link to a link of the same layer, which was made just now. */
static bool link_within(struct fixup *fixup, const char *target, const char *path)
{
        if (fixup->root_fd < 0)
                return false;
        AUTO_FD int fd = file_open_in(fixup->root_fd, target, O_PATH | O_NOFOLLOW, 0, NULL);
        struct stat st;
        if (fd < 0 || fstat(fd, &st) < 0 || S_ISDIR(st.st_mode) || stack_is_whiteout(&st))
                return false;
        AUTO_FREE char *parent = xstrdup(path);
        char *slash = strrchr(parent, '/');
        AUTO_FREE char *name = xstrdup(slash ? slash + 1 : path);
        if (slash)
                *slash = '\0';
        AUTO_FD int to_fd = open_folder(fixup, slash ? parent : "");
        if (to_fd < 0)
                return false;
        unlinkat(to_fd, name, 0);
        fixup->inodes++;
        return linkat(fd, "", to_fd, name, AT_EMPTY_PATH) == 0;
}

static int mend_link(struct fixup *fixup, size_t layer, const struct link *link)
{
        AUTO_FREE struct stack_view *view = xcalloc(1, sizeof(*view));
        char source[PATH_MAX];
        AUTO_FREE char *path = moved_path(fixup, link->path);
        AUTO_FREE char *target = moved_path(fixup, link->target);
        if (stack_is_covered(&fixup->stack, layer, path) || link_within(fixup, target, path))
                return 0;
        view->kind = STACK_NOTHING;
        if (stack_resolve(&fixup->stack, layer + 1, target, false, source) == 0)
                stack_look(&fixup->stack, layer + 1, source, view);
        if (view->kind != STACK_OTHER)
                return error_set(fixup->err, ERROR_FAILED_PRECONDITION,
                                 "hard link %.200s leads to %.200s, which is not there", link->path,
                                 link->target);
        return put_link(fixup, view->layers[0], source, path);
}

/* ---- as a whole ---- */

static int build(struct fixup *fixup)
{
        int result = 0;
        size_t count = fixup->stack.count;
        for (size_t i = 0; result == 0 && i < count; i++)
                result = mend_folders(fixup, i);
        for (size_t i = 0; result == 0 && i < count; i++)
                for (size_t j = 0; result == 0 && j < fixup->notes[i].link_count; j++)
                        result = mend_link(fixup, i, &fixup->notes[i].links[j]);
        if (stack_is_exhausted(&fixup->stack))
                return error_set(fixup->err, ERROR_RESOURCE_EXHAUSTED,
                                 "its layers depend on each other in too many places");
        return result;
}

/* Filling a folder has changed its times: those that the layers give come back. Of two for a folder
 * the later counts. */
static void restore_times(struct fixup *fixup)
{
        for (size_t i = 0; i < fixup->made_count; i++) {
                AUTO_FD int fd = open_folder(fixup, fixup->made[i].path);
                if (fd >= 0)
                        futimens(fd, fixup->made[i].times);
        }
}

static int open_layers(struct fixup *fixup, int store_fd, struct layer *const *layers, size_t count)
{
        for (size_t i = 0; i < count; i++) {
                AUTO_FREE char *path = layer_path(layers[i]);
                int fd = openat(store_fd, path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
                if (fd < 0)
                        return error_errno(fixup->err, errno, "open %s", path);
                fixup->stack.layers[fixup->stack.count++] = fd;
                if (layers[i]->noted) {
                        int result = read_notes(store_fd, layers[i], &fixup->notes[i], fixup->err);
                        if (result < 0)
                                return result;
                }
        }
        return 0;
}

static void fini(struct fixup *fixup, size_t count)
{
        for (size_t i = 0; i < fixup->stack.count; i++)
                close(fixup->stack.layers[i]);
        for (size_t i = 0; i < count; i++) {
                buffer_fini(&fixup->notes[i].text);
                table_free(fixup->notes[i].implied);
                free(fixup->notes[i].links);
        }
        for (size_t i = 0; i < fixup->redirect_count; i++) {
                free(fixup->redirects[i].from);
                free(fixup->redirects[i].to);
        }
        if (fixup->root_fd >= 0)
                close(fixup->root_fd);
        free(fixup->stack.layers);
        free(fixup->notes);
        free(fixup->redirects);
        for (size_t i = 0; i < fixup->made_count; i++)
                free(fixup->made[i].path);
        free(fixup->made);
        free(fixup->view);
}

int fixup_build(int store_fd, struct layer *const *layers, size_t count, int directory_fd,
                const char *name, struct layer *layer, bool *needed, struct error *err)
{
        struct fixup fixup = {
                .stack = {.layers = xcalloc(count, sizeof(int)), .steps_max = FIXUP_STEPS_MAX},
                .notes = xcalloc(count, sizeof(struct notes)),
                .directory_fd = directory_fd,
                .name = name,
                .root_fd = -1,
                .view = xcalloc(1, sizeof(struct stack_view)),
                .err = err,
        };
        int result = open_layers(&fixup, store_fd, layers, count);
        if (result == 0)
                result = build(&fixup);
        if (result == 0) {
                restore_times(&fixup);
                *needed = fixup.root_fd >= 0;
                layer->inodes = fixup.inodes;
        }
        fini(&fixup, count);
        return result < 0 ? error_context(err, "layers together") : 0;
}
