/* The store as a start finds it, and what a crash left in it. */
#include <assert.h>
#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/id.h"
#include "base/log.h"
#include "base/memory.h"
#include "image/record.h"
#include "image/store_private.h"

const char *const store_folders[STORE_FOLDERS] = {
        "artifacts", "records", "configs", "manifests", "layers", "fixups",     "notes",
        "tars",      "l",       "staging", "aside",     "empty",  "signatures", "replaced",
};

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

static int make_folders(struct store *store, struct error *err)
{
        int result = file_make_directories(store->directory, 0700, err);
        if (result < 0)
                return result;
        store->fd = open(store->directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (store->fd < 0)
                return error_errno(err, errno, "open %s", store->directory);
        for (size_t i = 0; i < STORE_FOLDERS; i++)
                if (mkdirat(store->fd, store_folders[i], 0700) < 0 && errno != EEXIST)
                        return error_errno(err, errno, "make folder %s/%s", store->directory,
                                           store_folders[i]);
        /* What overlayfs mounts where an image has fewer layers than it demands. */
        if ((mkdirat(store->fd, "empty/1", 0755) < 0 && errno != EEXIST) ||
            (mkdirat(store->fd, "empty/2", 0755) < 0 && errno != EEXIST))
                return error_errno(err, errno, "make folder %s/empty", store->directory);
        spread_folder(store->fd, "staging");
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
        size_t length = strlen(name), suffix = strlen(STORE_RECORD_SUFFIX);
        if (length <= suffix || strcmp(name + length - suffix, STORE_RECORD_SUFFIX) != 0)
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
        opened->spread = spread_new();
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
