/* Which files there are, and which of them count. */
#include "oci/hook.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

#include "base/file.h"
#include "base/memory.h"
#include "oci/hook_private.h"

#define SUFFIX ".json"

struct found {
        const char *name;
        struct hook_file file;
};

struct collection {
        struct arena *arena;
        struct found *files;
        size_t count, room;
        struct buffer complaints;
};

static void complain(struct collection *collection, const struct error *err)
{
        buffer_printf(&collection->complaints, "%s%s", collection->complaints.length ? "\n" : "",
                      err->message);
}

static int is_hook(const struct dirent *entry)
{
        size_t length = strlen(entry->d_name), tail = strlen(SUFFIX);
        return length > tail && strcmp(entry->d_name + length - tail, SUFFIX) == 0;
}

static void put(struct collection *collection, const char *name, const struct hook_file *file)
{
        for (size_t i = 0; i < collection->count; i++) {
                if (strcmp(collection->files[i].name, name) == 0) {
                        collection->files[i].file = *file;
                        return;
                }
        }
        if (collection->count == collection->room) {
                size_t room = collection->room ? collection->room * 2 : 16;
                struct found *larger = arena_array(collection->arena, room, sizeof *larger);
                if (collection->count)
                        memcpy(larger, collection->files, collection->count * sizeof *larger);
                collection->files = larger;
                collection->room = room;
        }
        collection->files[collection->count++] =
                (struct found){.name = arena_strdup(collection->arena, name), .file = *file};
}

/* Whether the host runs it, so that it must be there now. */
static bool is_of_host(const struct hook_file *file)
{
        for (int stage = 0; stage < SPEC_HOOK_STAGES; stage++)
                if (file->stages[stage] && stage != SPEC_HOOK_START_CONTAINER)
                        return true;
        return false;
}

static int read_hook(const char *path, struct arena *arena, struct hook_file *file,
                     struct error *err)
{
        AUTO_BUFFER struct buffer bytes = BUFFER_INIT;
        AUTO_JSON json_t *document = NULL;
        struct stat st;
        int result = file_read(path, HOOK_FILE_MAX, &bytes, err);
        if (result == 0)
                result = json_parse(bytes.data, bytes.length, path, &document, err);
        if (result == 0)
                result = hook_parse(document, path, arena, file, err);
        if (result == 0 && is_of_host(file) && stat(file->hook.path, &st) < 0)
                result = error_errno(err, errno, "%s: hook %s", path, file->hook.path);
        return result;
}

static void read_folder(struct collection *collection, const char *folder)
{
        struct dirent **entries = NULL;
        struct error err;
        int count = scandir(folder, &entries, is_hook, NULL);
        if (count < 0 && errno != ENOENT) {
                error_errno(&err, errno, "read folder %s", folder);
                complain(collection, &err);
        }
        if (count > HOOK_FILES_MAX) {
                error_set(&err, ERROR_FAILED_PRECONDITION, "%s: of %d files %d are read", folder,
                          count, HOOK_FILES_MAX);
                complain(collection, &err);
        }
        for (int i = 0; i < count; i++) {
                AUTO_FREE char *path = xprintf("%s/%s", folder, entries[i]->d_name);
                struct hook_file file;
                struct stat st;
                /* A pipe would hold us up; a file may have gone again. */
                if (i < HOOK_FILES_MAX && stat(path, &st) == 0 && S_ISREG(st.st_mode)) {
                        if (read_hook(path, collection->arena, &file, &err) < 0)
                                complain(collection, &err);
                        else
                                put(collection, entries[i]->d_name, &file);
                }
                free(entries[i]);
        }
        free(entries);
}

static int by_name(const void *a, const void *b)
{
        const struct found *left = a, *right = b;
        int order = strcasecmp(left->name, right->name);
        return order ? order : strcmp(left->name, right->name);
}

static void add(const struct collection *collection, const struct hook_question *question,
                struct spec_options *options)
{
        size_t most = options->hook_count + collection->count * SPEC_HOOK_STAGES;
        struct spec_hook *hooks = arena_array(collection->arena, most + 1, sizeof *hooks);
        size_t count = options->hook_count;
        if (count)
                memcpy(hooks, options->hooks, count * sizeof *hooks);
        for (size_t i = 0; i < collection->count; i++) {
                const struct hook_file *file = &collection->files[i].file;
                if (!hook_matches(file, question))
                        continue;
                for (int stage = 0; stage < SPEC_HOOK_STAGES; stage++) {
                        if (!file->stages[stage])
                                continue;
                        hooks[count] = file->hook;
                        hooks[count++].stage = (enum spec_hook_stage)stage;
                }
        }
        options->hooks = hooks;
        options->hook_count = count;
}

void hook_select(char *const *folders, const struct hook_question *question, struct arena *arena,
                 struct spec_options *options, const char **complaints)
{
        struct collection collection = {.arena = arena, .complaints = BUFFER_INIT};
        for (; folders && *folders; folders++)
                read_folder(&collection, *folders);
        if (collection.count)
                qsort(collection.files, collection.count, sizeof *collection.files, by_name);
        add(&collection, question, options);
        *complaints = collection.complaints.length ? arena_strdup(arena, collection.complaints.data)
                                                   : NULL;
        buffer_fini(&collection.complaints);
}
