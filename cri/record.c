#include "cri/record.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buffer.h"
#include "base/file.h"
#include "base/id.h"
#include "base/json.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/task.h"

#define RECORD_FILE_MAX (16 * 1024 * 1024) /* a request is no larger than a gRPC message */
#define NEW_PREFIX      ".new-"
#define REMOVED_PREFIX  ".removed-"
#define ASIDE_PREFIX    "aside-"
#define MAP_COMPARE_MAX 4096 /* entries; larger maps must be in the same order to be the same */

/* ---- protobuf and arenas ---- */

static void *allocate(void *arena, size_t size)
{
        return arena_alloc(arena, size);
}

static void keep(void *arena, void *pointer)
{
        (void)arena;
        (void)pointer;
}

void record_arena_allocator(struct arena *arena, ProtobufCAllocator *allocator)
{
        *allocator = (ProtobufCAllocator){.alloc = allocate, .free = keep, .allocator_data = arena};
}

ProtobufCMessage *record_copy_message(struct arena *arena, const ProtobufCMessage *message)
{
        size_t size = protobuf_c_message_get_packed_size(message);
        AUTO_FREE uint8_t *bytes = xcalloc(1, size);
        protobuf_c_message_pack(message, bytes);
        ProtobufCAllocator allocator;
        record_arena_allocator(arena, &allocator);
        ProtobufCMessage *copy =
                protobuf_c_message_unpack(message->descriptor, &allocator, size, bytes);
        if (!copy)
                abort(); /* what we packed ourselves unpacks */
        return copy;
}

static bool packed_equal(const ProtobufCMessage *a, const ProtobufCMessage *b)
{
        size_t size = protobuf_c_message_get_packed_size(a);
        if (size != protobuf_c_message_get_packed_size(b))
                return false;
        AUTO_FREE uint8_t *left = xcalloc(1, size);
        AUTO_FREE uint8_t *right = xcalloc(1, size);
        protobuf_c_message_pack(a, left);
        protobuf_c_message_pack(b, right);
        return memcmp(left, right, size) == 0;
}

/* A map's entries are messages with key 1 and value 2, repeated; Go sends them in another order
 * each time. */
static bool is_map(const ProtobufCFieldDescriptor *field)
{
        if (field->label != PROTOBUF_C_LABEL_REPEATED || field->type != PROTOBUF_C_TYPE_MESSAGE)
                return false;
        const ProtobufCMessageDescriptor *entry = field->descriptor;
        size_t length = strlen(entry->short_name);
        return entry->n_fields == 2 && length > 5 &&
               strcmp(entry->short_name + length - 5, "Entry") == 0;
}

static bool same_map(ProtobufCMessage *const *a, ProtobufCMessage *const *b, size_t count)
{
        bool *used = xcalloc(count, sizeof *used);
        bool same = true;
        for (size_t i = 0; i < count && same; i++) {
                same = false;
                for (size_t j = 0; j < count && !same; j++) {
                        if (!used[j] && packed_equal(a[i], b[j]))
                                used[j] = same = true;
                        if (count > MAP_COMPARE_MAX && j >= i)
                                break;
                }
        }
        free(used);
        return same;
}

static bool same_field(const ProtobufCMessage *a, const ProtobufCMessage *b,
                       const ProtobufCFieldDescriptor *field)
{
        const char *left = (const char *)a + field->offset;
        const char *right = (const char *)b + field->offset;
        if (field->label == PROTOBUF_C_LABEL_REPEATED) {
                size_t count = *(const size_t *)((const char *)a + field->quantifier_offset);
                if (count != *(const size_t *)((const char *)b + field->quantifier_offset))
                        return false;
                ProtobufCMessage *const *lefts = *(ProtobufCMessage *const *const *)left;
                ProtobufCMessage *const *rights = *(ProtobufCMessage *const *const *)right;
                if (is_map(field))
                        return same_map(lefts, rights, count);
                for (size_t i = 0; i < count; i++)
                        if (!record_same_message(lefts[i], rights[i]))
                                return false;
                return true;
        }
        const ProtobufCMessage *left_message = *(const ProtobufCMessage *const *)left;
        const ProtobufCMessage *right_message = *(const ProtobufCMessage *const *)right;
        if (!left_message || !right_message)
                return left_message == right_message;
        return record_same_message(left_message, right_message);
}

bool record_same_message(const ProtobufCMessage *a, const ProtobufCMessage *b)
{
        const ProtobufCMessageDescriptor *descriptor = a->descriptor;
        if (b->descriptor != descriptor)
                return false;
        /* What is no message is compared packed: copies without the members that are messages. */
        AUTO_FREE ProtobufCMessage *left = xcalloc(1, descriptor->sizeof_message);
        AUTO_FREE ProtobufCMessage *right = xcalloc(1, descriptor->sizeof_message);
        memcpy(left, a, descriptor->sizeof_message);
        memcpy(right, b, descriptor->sizeof_message);
        for (unsigned i = 0; i < descriptor->n_fields; i++) {
                const ProtobufCFieldDescriptor *field = &descriptor->fields[i];
                if (field->type != PROTOBUF_C_TYPE_MESSAGE)
                        continue;
                if (!same_field(a, b, field))
                        return false;
                if (field->label == PROTOBUF_C_LABEL_REPEATED) {
                        *(size_t *)((char *)left + field->quantifier_offset) = 0;
                        *(size_t *)((char *)right + field->quantifier_offset) = 0;
                } else {
                        *(void **)((char *)left + field->offset) = NULL;
                        *(void **)((char *)right + field->offset) = NULL;
                }
        }
        return packed_equal(left, right);
}

/* ---- making ---- */

struct job {
        const char *folder, *id;
        const void *config;
        size_t config_length;
        char *record;
        bool durable;
        struct error *err;
};

static int write_new_file(const char *folder, const char *name, const void *bytes, size_t length,
                          struct error *err)
{
        AUTO_FREE char *path = xprintf("%s/%s", folder, name);
        AUTO_FD int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
        if (fd < 0)
                return error_errno(err, errno, "create %s", path);
        const char *from = bytes;
        while (length) {
                ssize_t count = write(fd, from, length);
                if (count < 0 && errno == EINTR)
                        continue;
                if (count < 0)
                        return error_errno(err, errno, "write %s", path);
                from += count;
                length -= (size_t)count;
        }
        return 0;
}

static int fill_and_place(const struct job *job, const char *beside, const char *path)
{
        int result = write_new_file(beside, "config.pb", job->config, job->config_length, job->err);
        if (result == 0)
                result = write_new_file(beside, "record.json", job->record, strlen(job->record),
                                        job->err);
        if (result == 0 && rename(beside, path) < 0)
                result = error_errno(job->err, errno, "rename %s", beside);
        return result;
}

static int create_on_worker(void *argument)
{
        struct job *job = argument;
        AUTO_FREE char *beside = xprintf("%s/" NEW_PREFIX "%s", job->folder, job->id);
        AUTO_FREE char *path = xprintf("%s/%s", job->folder, job->id);
        if (mkdir(beside, 0700) < 0)
                return error_errno(job->err, errno, "make folder %s", beside);
        int result = fill_and_place(job, beside, path);
        if (result < 0) {
                file_remove_tree(beside, NULL);
                file_remove_tree(path, NULL);
        }
        return result;
}

static char *record_text(json_t *record)
{
        json_object_set_new(record, "version", json_integer(RECORD_VERSION));
        return json_text(record);
}

int record_create(const char *folder, const char *id, const ProtobufCMessage *request,
                  json_t *record, struct error *err)
{
        size_t size = protobuf_c_message_get_packed_size(request);
        AUTO_FREE uint8_t *config = xcalloc(1, size);
        protobuf_c_message_pack(request, config);
        AUTO_FREE char *text = record_text(record);
        struct job job = {.folder = folder,
                          .id = id,
                          .config = config,
                          .config_length = size,
                          .record = text,
                          .err = err};
        int result = task_offload(create_on_worker, &job);
        return result < 0 ? error_context(err, "write record") : 0;
}

static int sync_file(const char *path, struct error *err)
{
        AUTO_FD int fd = open(path, O_RDONLY | O_CLOEXEC);
        if (fd < 0)
                return error_errno(err, errno, "open %s", path);
        return fsync(fd) < 0 ? error_errno(err, errno, "sync %s", path) : 0;
}

static int replace_on_worker(void *argument)
{
        struct job *job = argument;
        AUTO_FREE char *path = xprintf("%s/%s/record.json", job->folder, job->id);
        size_t length = strlen(job->record);
        if (!job->durable)
                return file_replace_volatile(path, job->record, length, 0600, job->err);
        AUTO_FREE char *config = xprintf("%s/%s/config.pb", job->folder, job->id);
        AUTO_FREE char *folder = xprintf("%s/%s", job->folder, job->id);
        int result = sync_file(config, job->err);
        if (result == 0)
                result = file_replace(path, job->record, length, 0600, job->err);
        return result == 0 ? file_sync_parent(folder, job->err) : result;
}

int record_replace(const char *folder, const char *id, json_t *record, bool durable,
                   struct error *err)
{
        AUTO_FREE char *text = record_text(record);
        struct job job = {
                .folder = folder, .id = id, .record = text, .durable = durable, .err = err};
        int result = task_offload(replace_on_worker, &job);
        return result < 0 ? error_context(err, "write record") : 0;
}

static int remove_on_worker(void *argument)
{
        struct job *job = argument;
        AUTO_FREE char *path = xprintf("%s/%s", job->folder, job->id);
        AUTO_FREE char *removed = xprintf("%s/" REMOVED_PREFIX "%s", job->folder, job->id);
        if (rename(path, removed) < 0 && errno != ENOENT)
                return error_errno(job->err, errno, "rename %s", path);
        int result = file_sync_parent(path, job->err);
        return result < 0 ? result : file_remove_tree(removed, job->err);
}

int record_remove(const char *folder, const char *id, struct error *err)
{
        struct job job = {.folder = folder, .id = id, .err = err};
        int result = task_offload(remove_on_worker, &job);
        return result < 0 ? error_context(err, "remove record") : 0;
}

/* ---- reading ---- */

static int read_file_of(const char *folder, const char *id, const char *name,
                        struct buffer *contents, struct error *err)
{
        AUTO_FREE char *path = xprintf("%s/%s/%s", folder, id, name);
        return file_read(path, RECORD_FILE_MAX, contents, err);
}

static int parse_record(const char *folder, const char *id, const struct buffer *text,
                        json_t **record, struct error *err)
{
        AUTO_JSON json_t *value = NULL;
        if (json_parse(text->data, text->length, "record.json", &value, err) < 0)
                return error_set(err, ERROR_DATA_LOSS, "%s/%s: record.json is not JSON", folder,
                                 id);
        int64_t version = 0;
        if (json_get_int(value, "version", "record.json", &version, err) < 0 || version < 1 ||
            version > RECORD_VERSION)
                return error_set(err, ERROR_DATA_LOSS,
                                 "%s/%s: record.json has version %lld, this crisp reads 1 to %d",
                                 folder, id, (long long)version, RECORD_VERSION);
        *record = take_ptr(value);
        return 0;
}

int record_load_state(const char *folder, const char *id, json_t **record, struct error *err)
{
        AUTO_BUFFER struct buffer text = BUFFER_INIT;
        int result = read_file_of(folder, id, "record.json", &text, err);
        return result < 0 ? result : parse_record(folder, id, &text, record, err);
}

int record_load(const char *folder, const char *id, const ProtobufCMessageDescriptor *descriptor,
                struct arena *arena, ProtobufCMessage **request, json_t **record, struct error *err)
{
        AUTO_BUFFER struct buffer text = BUFFER_INIT;
        AUTO_BUFFER struct buffer config = BUFFER_INIT;
        AUTO_JSON json_t *value = NULL;
        int result = read_file_of(folder, id, "record.json", &text, err);
        if (result == 0)
                result = read_file_of(folder, id, "config.pb", &config, err);
        if (result == 0 && !text.length)
                return error_set(err, ERROR_NOT_FOUND, "%s/%s: an intent that a power cut left",
                                 folder, id);
        if (result == 0)
                result = parse_record(folder, id, &text, &value, err);
        if (result < 0)
                return result;
        ProtobufCAllocator allocator;
        record_arena_allocator(arena, &allocator);
        ProtobufCMessage *message = protobuf_c_message_unpack(descriptor, &allocator, config.length,
                                                              (const uint8_t *)config.data);
        if (!message)
                return error_set(err, ERROR_DATA_LOSS, "%s/%s: config.pb is damaged", folder, id);
        *request = message;
        *record = take_ptr(value);
        return 0;
}

int record_list(const char *folder, char ***ids, char ***leftovers, struct error *err)
{
        AUTO_DIR DIR *dir = opendir(folder);
        if (!dir)
                return error_errno(err, errno, "read folder %s", folder);
        char **found = NULL;
        char **left = NULL;
        struct dirent *entry;
        while ((entry = readdir(dir))) {
                if (strlen(entry->d_name) == ID_LENGTH && id_is_hex(entry->d_name))
                        strv_push(&found, entry->d_name);
                else if (strncmp(entry->d_name, NEW_PREFIX, strlen(NEW_PREFIX)) == 0 ||
                         strncmp(entry->d_name, REMOVED_PREFIX, strlen(REMOVED_PREFIX)) == 0)
                        strv_push(&left, entry->d_name);
        }
        *ids = found;
        *leftovers = left;
        return 0;
}

void record_set_aside(const char *folder, const char *id, const struct error *reason)
{
        struct error err;
        AUTO_FREE char *from = xprintf("%s/%s", folder, id);
        AUTO_FREE char *to = xprintf("%s/" ASIDE_PREFIX "%s", folder, id);
        AUTO_FREE char *why = xprintf("%s/reason", to);
        log_failure(reason, "a record cannot be read and is set aside", "record", to, NULL);
        if (rename(from, to) < 0) {
                error_errno(&err, errno, "rename %s", from);
                log_failure(&err, "setting a record aside failed", "record", from, NULL);
                return;
        }
        if (file_replace_volatile(why, reason->message, strlen(reason->message), 0600, &err) < 0)
                log_failure(&err, "the reason could not be written", "record", to, NULL);
}
