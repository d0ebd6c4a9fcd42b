/* The store as a start finds it, and what a crash left in it. */
#include <assert.h>
#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/fs.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/id.h"
#include "base/log.h"
#include "base/memory.h"
#include "image/record.h"
#include "image/store_private.h"

#define RECORD_SUFFIX ".json"

static const char *const FOLDERS[] = {
        "artifacts", "records", "configs", "manifests", "layers", "fixups",     "notes",
        "tars",      "l",       "staging", "aside",     "empty",  "signatures", "replaced",
};
#define FOLDER_COUNT (sizeof(FOLDERS) / sizeof(FOLDERS[0]))

/* ---- folders ---- */

int store_list_folder(int store_fd, const char *folder, char ***names, struct error *err)
{
        int fd = openat(store_fd, folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        AUTO_DIR DIR *dir = fd < 0 ? NULL : fdopendir(fd);
        if (!dir) {
                int number = errno;
                if (fd >= 0)
                        close(fd);
                return error_errno(err, number, "read folder %s", folder);
        }
        struct dirent *entry;
        while ((errno = 0, entry = readdir(dir)))
                if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
                        strv_push(names, entry->d_name);
        return errno ? error_errno(err, errno, "read folder %s", folder) : 0;
}

/*
 * ext4 then spreads the folders made here over the disk. Otherwise it looks for inodes past all
 * that were recently removed, and unpacking where a tree was just removed takes several times as
 * long. Other file systems refuse.
 */
static void spread_folders(int store_fd, const char *folder)
{
        AUTO_FD int fd = openat(store_fd, folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        int flags;
        if (fd >= 0 && ioctl(fd, FS_IOC_GETFLAGS, &flags) == 0 && !(flags & FS_TOPDIR_FL)) {
                flags |= FS_TOPDIR_FL;
                ioctl(fd, FS_IOC_SETFLAGS, &flags);
        }
}

static int make_folders(struct store *store, struct error *err)
{
        int result = file_make_directories(store->directory, 0700, err);
        if (result < 0)
                return result;
        store->fd = open(store->directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (store->fd < 0)
                return error_errno(err, errno, "open %s", store->directory);
        for (size_t i = 0; i < FOLDER_COUNT; i++)
                if (mkdirat(store->fd, FOLDERS[i], 0700) < 0 && errno != EEXIST)
                        return error_errno(err, errno, "make folder %s/%s", store->directory,
                                           FOLDERS[i]);
        /* What overlayfs mounts where an image has fewer layers than it demands. */
        if ((mkdirat(store->fd, "empty/1", 0755) < 0 && errno != EEXIST) ||
            (mkdirat(store->fd, "empty/2", 0755) < 0 && errno != EEXIST))
                return error_errno(err, errno, "make folder %s/empty", store->directory);
        spread_folders(store->fd, "layers");
        spread_folders(store->fd, "staging");
        return 0;
}

static bool is_there(int store_fd, const char *path, mode_t type)
{
        struct stat st;
        return fstatat(store_fd, path, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
               (st.st_mode & S_IFMT) == type;
}

/* ---- loading ---- */

static void set_aside(struct store *store, const char *name, const struct error *why)
{
        char text[ERROR_MESSAGE_MAX + ERROR_WORD_MAX];
        AUTO_FREE char *from = xprintf("records/%s", name);
        AUTO_FREE char *to = xprintf("aside/%s", name);
        AUTO_FREE char *reason = xprintf("%s/aside/%s.reason", store->directory, name);
        error_render(why, text, sizeof(text));
        log_warning("image record is set aside", "file", name, "error", text, NULL);
        file_replace(reason, text, strlen(text), 0600, NULL);
        if (renameat(store->fd, from, store->fd, to) < 0)
                log_warning("image record could not be set aside", "file", name, "error",
                            strerror(errno), NULL);
}

/* The ID that the name of a record promises, or null. On the heap. */
static char *record_id(const char *name)
{
        size_t length = strlen(name), suffix = strlen(RECORD_SUFFIX);
        if (length <= suffix || strcmp(name + length - suffix, RECORD_SUFFIX) != 0)
                return NULL;
        length -= suffix;
        char *id = xprintf("%s:%.*s", length > ID_LENGTH ? "sha512" : "sha256", (int)length, name);
        if (digest_is_valid(id))
                return id;
        free(id);
        return NULL;
}

char *store_missing_part(int store_fd, const struct image *image)
{
        AUTO_FREE char *config = xprintf("configs/%s", layer_hex(image->id));
        AUTO_FREE char *manifest = xprintf("manifests/%s", layer_hex(image->manifest_digest));
        if (!is_there(store_fd, config, S_IFREG))
                return take_ptr(config);
        if (!is_there(store_fd, manifest, S_IFREG))
                return take_ptr(manifest);
        for (size_t i = 0; i <= image->layer_count; i++) {
                const struct layer *layer =
                        i < image->layer_count ? image->layers[i] : image->fixup;
                AUTO_FREE char *path = layer ? layer_path(layer) : NULL;
                if (path && !is_there(store_fd, path, S_IFDIR))
                        return take_ptr(path);
        }
        return NULL;
}

void store_drop_record(struct image *image)
{
        for (size_t i = 0; i < image->layer_count; i++)
                layer_free(image->layers[i]);
        layer_free(image->fixup);
        image_free(image);
}

static bool goes_before(const struct image *one, const struct image *other)
{
        /* Stores are taken in by their rank. */
        return one->home != other->home || one->generation > other->generation;
}

void store_claim_names(struct store *store, struct image *image, char *const *names)
{
        AUTO_FREE char **copy = NULL;
        size_t count = strv_length(names);
        copy = xcalloc(count + 1, sizeof(*copy));
        for (size_t i = 0; i < count; i++)
                copy[i] = xstrdup(names[i]);
        for (size_t i = 0; i < count; i++) {
                struct image *other = table_get(store->names, copy[i]);
                if (other && other != image && goes_before(other, image)) {
                        store_drop_name(store, image, copy[i]);
                } else {
                        if (other && other != image)
                                store_drop_name(store, other, copy[i]);
                        table_put(store->names, copy[i], image);
                }
                free(copy[i]);
        }
}

/* A layer keeps the short name that it has; numbers are kept as pointers, which are never null. */
static void take_layer(struct store *store, const struct table *links, struct layer **slot)
{
        struct layer *own = *slot;

        assert(own);
        struct layer *known = table_get(store_layers_like(store, own), own->name);
        if (known && known->home == own->home) {
                layer_free(own);
                *slot = known;
        } else {
                AUTO_FREE char *path = layer_path(own);
                own->number = (unsigned)(uintptr_t)table_get(links, path);
                store_add_layer(store, own);
        }
        (*slot)->refs++;
}

static void take_image(struct store *store, const struct table *links, struct image *image)
{
        for (size_t i = 0; i < image->layer_count; i++)
                take_layer(store, links, &image->layers[i]);
        if (image->fixup)
                take_layer(store, links, &image->fixup);
        table_put(store->images, image->id, image);
        store_claim_names(store, image, image->tags);
        store_claim_names(store, image, image->digests);
        if (image->generation > store->generation)
                store->generation = image->generation;
}

int store_read_record(const char *directory, const char *name, struct image **image,
                      struct error *err)
{
        AUTO_BUFFER struct buffer text = BUFFER_INIT;
        AUTO_FREE char *path = xprintf("%s/records/%s", directory, name);
        AUTO_FREE char *id = record_id(name);

        *image = NULL;
        if (!id)
                return 0;
        int result = file_read(path, RECORD_BYTES_MAX, &text, err);
        if (result < 0)
                return result;
        return record_decode(text.data ? text.data : "", text.length, id, image, err);
}

static void load_record(struct store *store, const struct table *links, const char *name)
{
        struct image *image;
        struct error err;

        if (store_read_record(store->directory, name, &image, &err) < 0) {
                set_aside(store, name, &err);
                return;
        }
        if (!image)
                return; /* a file that was being written: store_clean removes it */
        store_extra_lend(store, image);
        AUTO_FREE char *missing = store_missing_part(store->fd, image);
        if (missing) {
                log_warning("image is not whole and has to be pulled again", "image", image->id,
                            "missing", missing, NULL);
                store_drop_record(image);
                return;
        }
        take_image(store, links, image);
}

/* Adds the short names that are there to *links: trees to their numbers. */
static int load_links(struct store *store, struct table *links, struct error *err)
{
        static const char up[] = "../";
        char **names = NULL;
        int result = store_list_folder(store->fd, "l", &names, err);
        for (char **name = names; name && *name; name++) {
                char target[PATH_MAX];
                AUTO_FREE char *path = xprintf("l/%s", *name);
                ssize_t length = readlinkat(store->fd, path, target, sizeof(target) - 1);
                char *end;
                unsigned long number = strtoul(*name, &end, 10);
                if (length <= 0 || *end || number == 0 || number > LAYER_NUMBER_MAX)
                        continue;
                target[length] = '\0';
                const char *tree = target;
                if (strncmp(target, up, strlen(up)) == 0)
                        tree += strlen(up);
                table_put(links, tree, (void *)(uintptr_t)number);
        }
        strv_free(names);
        return result;
}

/* Short names are not synced when they are made: here they are made good. */
static int link_layers(struct store *store, const struct table *links, struct error *err)
{
        size_t cursor = 0;
        const struct layer *layer;
        while ((layer = table_next(store->numbers, &cursor, NULL))) {
                AUTO_FREE char *path = layer_path(layer);
                if ((unsigned)(uintptr_t)table_get(links, path) == layer->number)
                        continue;
                int result = layer_link(store->fd, layer, err);
                if (result < 0)
                        return result;
        }
        return 0;
}

int store_open(const char *directory, char *const *additional, struct store **store,
               struct error *err)
{
        struct store *opened = xcalloc(1, sizeof(*opened));
        opened->fd = -1;
        opened->directory = xstrdup(directory);
        opened->images = table_new();
        opened->names = table_new();
        opened->layers = table_new();
        opened->fixups = table_new();
        opened->artifacts = table_new();
        opened->numbers = table_new();
        opened->stages = table_new();
        opened->lent = table_new();
        opened->additional = strv_dup(additional);

        char **records = NULL;
        struct store_extra extra = {0};
        struct table *links = table_new();
        int result = make_folders(opened, err);
        if (result == 0)
                result = load_links(opened, links, err);
        if (result == 0)
                store_extra_read(opened, links, &extra);
        if (result == 0)
                result = store_list_folder(opened->fd, "records", &records, err);
        for (char **name = records; result == 0 && name && *name; name++)
                load_record(opened, links, *name);
        strv_free(records);
        if (result == 0)
                store_extra_take(opened, &extra);
        store_extra_fini(&extra);
        if (result == 0)
                result = link_layers(opened, links, err);
        table_free(links);
        if (result < 0) {
                store_free(opened);
                return error_context(err, "image store");
        }
        *store = opened;
        return 0;
}

/* ---- cleaning ---- */

struct clean_job {
        struct store *store;
        char **names[FOLDER_COUNT]; /* what is in each folder, then what of it is garbage */
        char stage[17];
        bool failed; /* something could not be removed */
        struct error *err;
};

static int list_work(void *argument)
{
        struct clean_job *job = argument;
        int result = 0;
        for (size_t i = 0; result == 0 && i < FOLDER_COUNT; i++)
                result = store_list_folder(job->store->fd, FOLDERS[i], &job->names[i], job->err);
        return result;
}

/* Digests that are named by images, so that the files of all others are garbage. */
static void note_wanted(struct table *wanted, const char *folder, const char *name,
                        const char *suffix)
{
        AUTO_FREE char *path = xprintf("%s/%s%s", folder, name, suffix);
        table_put(wanted, path, wanted);
}

static struct table *wanted_paths(struct store *store)
{
        struct table *wanted = table_new();
        const struct image *image;
        const struct layer *layer;
        const char *name;
        size_t cursor = 0;
        while ((image = table_next(store->images, &cursor, NULL))) {
                note_wanted(wanted, "records", layer_hex(image->id), RECORD_SUFFIX);
                note_wanted(wanted, "configs", layer_hex(image->id), "");
                note_wanted(wanted, "manifests", layer_hex(image->manifest_digest), "");
                note_wanted(wanted, "signatures", layer_hex(image->manifest_digest), "");
        }
        cursor = 0;
        while ((layer = table_next(store->numbers, &cursor, &name))) {
                const char *hex = layer_hex(layer->name);
                note_wanted(wanted, "l", name, "");
                AUTO_FREE char *path = layer_path(layer);
                table_put(wanted, path, wanted);
                if (!layer->is_fixup && !layer->is_artifact)
                        note_wanted(wanted, "tars", hex, "");
                if (layer->noted)
                        note_wanted(wanted, "notes", hex, "");
        }
        cursor = 0;
        while (table_next(store->stages, &cursor, &name))
                note_wanted(wanted, "staging", name, "");
        return wanted;
}

/* A tree that was set aside is "HEX.SUFFIX"; while its layer is mounted it stays. */
static bool is_mounted(const struct store *store, const char *name)
{
        int length = (int)strcspn(name, ".");
        AUTO_FREE char *narrow = xprintf("sha256:%.*s", length, name);
        AUTO_FREE char *wide = xprintf("sha512:%.*s", length, name);
        return store->doubtful || store_layer_is_mounted(store, narrow) ||
               store_layer_is_mounted(store, wide);
}

/* Leaves only the garbage in each list. */
static void keep_garbage(struct clean_job *job)
{
        struct table *wanted = wanted_paths(job->store);
        for (size_t i = 0; i < FOLDER_COUNT; i++) {
                char **garbage = NULL;
                bool kept = strcmp(FOLDERS[i], "aside") == 0 || strcmp(FOLDERS[i], "empty") == 0;
                /* A container that runs on an image whose record was lost still has these mounted.
                 */
                if (job->store->doubtful &&
                    (strcmp(FOLDERS[i], "layers") == 0 || strcmp(FOLDERS[i], "fixups") == 0 ||
                     strcmp(FOLDERS[i], "artifacts") == 0))
                        kept = true;
                bool replaced = strcmp(FOLDERS[i], "replaced") == 0;
                for (char **name = job->names[i]; !kept && name && *name; name++) {
                        if (replaced && is_mounted(job->store, *name))
                                continue;
                        AUTO_FREE char *path = xprintf("%s/%s", FOLDERS[i], *name);
                        if (!table_get(wanted, path))
                                strv_push(&garbage, *name);
                }
                strv_free(job->names[i]);
                job->names[i] = garbage;
        }
        table_free(wanted);
}

static void clean_entry(struct clean_job *job, const char *folder, const char *name,
                        unsigned number)
{
        int fd = job->store->fd;
        AUTO_FREE char *path = xprintf("%s/%s", folder, name);
        struct error err;
        if (unlinkat(fd, path, 0) == 0 || errno == ENOENT)
                return;
        if (store_move_away(fd, path, job->stage, number, &err) < 0) {
                log_failure(&err, "left-over could not be removed", "path", path, NULL);
                job->failed = true;
        }
}

static int clean_work(void *argument)
{
        struct clean_job *job = argument;
        unsigned number = 0;
        /* On a full disk there is no room for it: then all is removed where it is. */
        store_make_stage(job->store->fd, job->stage, NULL);
        for (size_t i = 0; i < FOLDER_COUNT; i++)
                for (char **name = job->names[i]; name && *name; name++)
                        clean_entry(job, FOLDERS[i], *name, number++);
        return 0;
}

static void destroy_removed(struct store *store)
{
        char **ids = NULL;
        const struct image *image;
        size_t cursor = 0;
        while ((image = table_next(store->images, &cursor, NULL)))
                if (image->removed && table_size(image->users) == 0)
                        strv_push(&ids, image->id);
        for (char **id = ids; id && *id; id++) {
                struct error err;
                if (store_destroy(store, *id, &err) < 0) {
                        log_failure(&err, "image could not be removed", "image", *id, NULL);
                        store_clean_soon(store);
                }
        }
        strv_free(ids);
}

void store_clean(struct store *store)
{
        struct error err;
        struct clean_job job = {.store = store, .err = &err};
        char *trash = NULL;

        store->cleaned = true;
        destroy_removed(store);
        task_lock(&store->lock, CLOCK_NEVER);
        int result = task_offload(list_work, &job);
        if (result == 0) {
                keep_garbage(&job);
                id_random_hex(job.stage, sizeof(job.stage) - 1);
                table_put(store->stages, job.stage, store);
                trash = xprintf("%s/staging/%s", store->directory, job.stage);
                result = task_offload(clean_work, &job);
        }
        if (result < 0)
                log_failure(&err, "image store could not be cleaned", NULL);
        if (result < 0 || job.failed)
                store_clean_soon(store);
        for (size_t i = 0; i < FOLDER_COUNT; i++)
                strv_free(job.names[i]);
        task_unlock(&store->lock);
        store_unstage(store, trash);
}

/* ---- cleaning again ---- */

static void on_clean_time(void *argument);

static void clean_at(struct store *store, int64_t delay)
{
        timer_free(store->clean_timer);
        store->clean_timer = timer_new(clock_after(delay), on_clean_time, store);
}

static void clean_task(void *argument)
{
        struct store *store = argument;
        store->left_over = false;
        store_clean(store);
        clean_at(store, store->left_over ? store->clean_retry : store->clean_period);
}

static void on_clean_time(void *argument)
{
        struct store *store = argument;
        timer_free(store->clean_timer);
        store->clean_timer = NULL;
        task_start("clean image store", clean_task, store);
}

void store_clean_soon(struct store *store)
{
        /* Without a timer the look is under way, and sees to the next one. */
        if (store->clean_timer && !store->left_over)
                clean_at(store, store->clean_retry);
        store->left_over = true;
}

void store_keep_clean(struct store *store, int64_t period, int64_t retry)
{
        store->clean_period = period;
        store->clean_retry = retry;
        task_start("clean image store", clean_task, store);
}
