/* Which files there are, and which of them has a device. */
#include "oci/cdi.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/file.h"
#include "base/memory.h"
#include "base/yaml.h"
#include "oci/cdi_private.h"

#define KNOWN_SHOWN 20 /* devices that an error lists */

struct registry {
        struct arena *arena;
        struct folder {
                struct cdi_file *files;
                size_t count;
        } * folders; /* the first ones go first */
        size_t folder_count;
        struct buffer complaints;
};

/* ---- reading ---- */

static bool ends_with(const char *name, const char *ending)
{
        size_t length = strlen(name), tail = strlen(ending);
        return length > tail && strcmp(name + length - tail, ending) == 0;
}

static int is_document(const struct dirent *entry)
{
        return ends_with(entry->d_name, ".json") || ends_with(entry->d_name, ".yaml");
}

static int compare_names(const struct dirent **one, const struct dirent **other)
{
        return strcmp((*one)->d_name, (*other)->d_name); /* whatever the locale is */
}

static int read_file(const char *path, struct arena *arena, struct cdi_file *file,
                     struct error *err)
{
        AUTO_BUFFER struct buffer bytes = BUFFER_INIT;
        AUTO_JSON json_t *document = NULL;
        int result = file_read(path, CDI_FILE_MAX, &bytes, err);
        if (result < 0)
                return result;
        result = ends_with(path, ".json")
                         ? json_parse(bytes.data, bytes.length, path, &document, err)
                         : yaml_read(bytes.data, bytes.length, path, &document, err);
        return result < 0 ? result : cdi_parse(document, path, arena, file, err);
}

static void complain(struct registry *registry, const struct error *err)
{
        buffer_printf(&registry->complaints, "%s%s", registry->complaints.length ? "\n" : "",
                      err->message);
}

static void read_folder(struct registry *registry, const char *path, struct folder *folder)
{
        struct dirent **entries = NULL;
        struct error err;
        int count = scandir(path, &entries, is_document, compare_names);
        if (count < 0 && errno != ENOENT) {
                error_errno(&err, errno, "read folder %s", path);
                complain(registry, &err);
        }
        if (count > CDI_FILES_MAX) {
                error_set(&err, ERROR_FAILED_PRECONDITION, "%s: of %d files the first %d are read",
                          path, count, CDI_FILES_MAX);
                complain(registry, &err);
        }
        folder->files =
                arena_array(registry->arena, count > 0 ? (size_t)count : 1, sizeof *folder->files);
        for (int i = 0; i < count; i++) {
                AUTO_FREE char *name = xprintf("%s/%s", path, entries[i]->d_name);
                struct stat st;
                free(entries[i]);
                /* A pipe would hold us up; a file may have gone again. */
                if (i >= CDI_FILES_MAX || stat(name, &st) < 0 || !S_ISREG(st.st_mode))
                        continue;
                if (read_file(name, registry->arena, &folder->files[folder->count], &err) < 0)
                        complain(registry, &err);
                else
                        folder->count++;
        }
        free(entries);
}

static void read_all(struct registry *registry, char *const *folders)
{
        size_t count = strv_length((char **)folders);
        registry->folders = arena_array(registry->arena, count + 1, sizeof *registry->folders);
        registry->folder_count = count;
        for (size_t i = 0; i < count; i++)
                read_folder(registry, folders[count - 1 - i], &registry->folders[i]);
}

/* ---- finding ---- */

static const struct cdi_device *find_in_file(const struct cdi_file *file, const char *name)
{
        size_t length = strlen(file->kind);
        if (strncmp(file->kind, name, length) != 0 || name[length] != '=')
                return NULL;
        for (size_t i = 0; i < file->device_count; i++)
                if (strcmp(file->devices[i].name, name + length + 1) == 0)
                        return &file->devices[i];
        return NULL;
}

static void add_known(const struct registry *registry, struct buffer *out)
{
        size_t count = 0;
        for (size_t f = 0; f < registry->folder_count; f++) {
                for (size_t i = 0; i < registry->folders[f].count; i++) {
                        const struct cdi_file *file = &registry->folders[f].files[i];
                        for (size_t d = 0; d < file->device_count; d++)
                                if (count++ < KNOWN_SHOWN)
                                        buffer_printf(out, "%s%s=%s", count > 1 ? ", " : "",
                                                      file->kind, file->devices[d].name);
                }
        }
        if (count > KNOWN_SHOWN)
                buffer_printf(out, " and %zu more", count - KNOWN_SHOWN);
        if (count == 0)
                buffer_add_text(out, "none");
}

static int not_found(const struct registry *registry, struct error *err)
{
        AUTO_BUFFER struct buffer known = BUFFER_INIT;
        add_known(registry, &known);
        return error_set(err, ERROR_FAILED_PRECONDITION, "no such CDI device; known are: %s%s%s",
                         known.data, registry->complaints.length ? "; wrong are: " : "",
                         registry->complaints.length ? registry->complaints.data : "");
}

static int find(const struct registry *registry, const char *name, const struct cdi_file **file,
                const struct cdi_device **device, struct error *err)
{
        for (size_t f = 0; f < registry->folder_count; f++) {
                const struct folder *folder = &registry->folders[f];
                const struct cdi_file *found = NULL;
                for (size_t i = 0; i < folder->count; i++) {
                        const struct cdi_device *here = find_in_file(&folder->files[i], name);
                        if (here && found)
                                return error_set(err, ERROR_FAILED_PRECONDITION,
                                                 "it is both in %s and in %s", found->path,
                                                 folder->files[i].path);
                        if (here) {
                                found = &folder->files[i];
                                *file = found;
                                *device = here;
                        }
                }
                if (found)
                        return 0;
        }
        return not_found(registry, err);
}

static bool is_among(const struct cdi_file *const *files, size_t count, const struct cdi_file *file)
{
        for (size_t i = 0; i < count; i++)
                if (files[i] == file)
                        return true;
        return false;
}

static int inject(const struct registry *registry, const char *const *names, size_t count,
                  struct spec_options *options, struct error *err)
{
        const struct cdi_file **files = arena_array(registry->arena, count + 1, sizeof(void *));
        for (size_t i = 0; i < count; i++) {
                const struct cdi_device *device = NULL;
                int result = find(registry, names[i], &files[i], &device, err);
                if (result == 0 && !is_among(files, i, files[i]))
                        result = cdi_apply(&files[i]->edits, registry->arena, options, err);
                if (result == 0)
                        result = cdi_apply(&device->edits, registry->arena, options, err);
                if (result < 0)
                        return error_context(err, "%s", names[i]);
        }
        return 0;
}

int cdi_inject(char *const *folders, const char *const *names, size_t count, struct arena *arena,
               struct spec_options *options, const char **complaints, struct error *err)
{
        struct registry registry = {.arena = arena, .complaints = BUFFER_INIT};
        read_all(&registry, folders);
        *complaints =
                registry.complaints.length ? arena_strdup(arena, registry.complaints.data) : NULL;
        int result = inject(&registry, names, count, options, err);
        buffer_fini(&registry.complaints);
        return result;
}
