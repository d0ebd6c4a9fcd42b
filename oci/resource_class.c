#include "oci/resource_class.h"

#include <errno.h>
#include <glob.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "base/buffer.h"
#include "base/file.h"
#include "base/json.h"
#include "base/memory.h"
#include "base/yaml.h"

#define WEIGHT_LEAST   10
#define WEIGHT_MOST    1000
#define DIGITS_MAX     18
#define QUANTITY_MAX   64 /* bytes */
#define GROUP_NAME_MAX 200

/* ---- quantities ---- */

static uint64_t unit_of(const char *suffix)
{
        static const struct {
                const char *suffix;
                uint64_t unit;
        } units[] = {
                {"", 1},
                {"k", 1000},
                {"M", 1000000},
                {"G", 1000000000},
                {"T", 1000000000000},
                {"P", 1000000000000000},
                {"Ki", UINT64_C(1) << 10},
                {"Mi", UINT64_C(1) << 20},
                {"Gi", UINT64_C(1) << 30},
                {"Ti", UINT64_C(1) << 40},
                {"Pi", UINT64_C(1) << 50},
        };
        for (size_t i = 0; i < sizeof units / sizeof *units; i++)
                if (strcmp(suffix, units[i].suffix) == 0)
                        return units[i].unit;
        return 0;
}

int resource_class_quantity(const char *text, uint64_t *value, struct error *err)
{
        const char *at = text;
        unsigned __int128 number = 0, scale = 1;
        unsigned digits = 0;
        bool point = false;
        for (; (*at >= '0' && *at <= '9') || (*at == '.' && !point); at++) {
                if (*at == '.') {
                        point = true;
                        continue;
                }
                if (++digits > DIGITS_MAX)
                        break;
                number = number * 10 + (unsigned)(*at - '0');
                if (point)
                        scale *= 10;
        }
        at += strspn(at, " ");
        uint64_t unit = unit_of(at);
        if (!digits || digits > DIGITS_MAX || !unit || strlen(text) > QUANTITY_MAX)
                return error_set(err, ERROR_INVALID_ARGUMENT,
                                 "\"%.64s\" is not a quantity such as 50M", text);
        number = (number * unit + scale - 1) / scale;
        if (number > INT64_MAX)
                return error_set(err, ERROR_INVALID_ARGUMENT, "\"%.64s\" is too much", text);
        *value = (uint64_t)number;
        return 0;
}

/* A member that is a number or a text; *present tells whether it is there. */
static int get_quantity(const json_t *object, const char *key, uint64_t *value, bool *present,
                        struct error *err)
{
        const json_t *member = json_object_get(object, key);
        *present = member && !json_is_null(member) &&
                   !(json_is_string(member) && !*json_string_value(member));
        if (!*present)
                return 0;
        if (json_is_integer(member) && json_integer_value(member) >= 0) {
                *value = (uint64_t)json_integer_value(member);
                return 0;
        }
        int result = resource_class_quantity(
                json_is_string(member) ? json_string_value(member) : "", value, err);
        return result < 0 ? error_context(err, "%s", key) : 0;
}

/* ---- devices ---- */

struct list {
        struct spec_block_device *devices;
        size_t count;
};

/* A later line of the class goes before. */
static int put_device(struct list *list, dev_t device, uint64_t value, struct arena *arena,
                      struct error *err)
{
        for (size_t i = 0; i < list->count; i++) {
                if (list->devices[i].device_major == major(device) &&
                    list->devices[i].device_minor == minor(device)) {
                        list->devices[i].value = value;
                        return 0;
                }
        }
        if (list->count == RESOURCE_CLASS_DEVICES_MAX)
                return error_set(err, ERROR_INVALID_ARGUMENT, "more than %d devices",
                                 RESOURCE_CLASS_DEVICES_MAX);
        if (!list->devices)
                list->devices =
                        arena_array(arena, RESOURCE_CLASS_DEVICES_MAX, sizeof *list->devices);
        list->devices[list->count++] = (struct spec_block_device){
                .device_major = major(device), .device_minor = minor(device), .value = value};
        return 0;
}

/* The kernel limits whole disks. */
static bool is_disk(const char *path, const char *blocks, dev_t *device)
{
        struct stat info;
        if (stat(path, &info) < 0 || !S_ISBLK(info.st_mode))
                return false;
        *device = info.st_rdev;
        AUTO_FREE char *partition =
                xprintf("%s/%u:%u/partition", blocks, major(info.st_rdev), minor(info.st_rdev));
        return access(partition, F_OK) < 0;
}

struct reading {
        const char *blocks;
        struct arena *arena;
        struct spec_block_io *limits;
        struct list lists[SPEC_BLOCK_LIMITS];
        struct error *err;
};

/* Puts the values of one line of the class on all devices that match the pattern. */
static int put_pattern(struct reading *reading, const char *pattern, const uint64_t *values,
                       const bool *present)
{
        glob_t found;
        int result = 0;
        if (glob(pattern, 0, NULL, &found) != 0)
                return 0;
        for (size_t i = 0; i < found.gl_pathc && result == 0; i++) {
                dev_t device;
                if (!is_disk(found.gl_pathv[i], reading->blocks, &device))
                        continue;
                for (size_t k = 0; k < SPEC_BLOCK_LIMITS && result == 0; k++)
                        if (present[k])
                                result = put_device(&reading->lists[k], device, values[k],
                                                    reading->arena, reading->err);
        }
        globfree(&found);
        return result;
}

static int read_line(struct reading *reading, const json_t *line)
{
        static const char *const keys[] = {
                [SPEC_BLOCK_WEIGHT] = "Weight",
                [SPEC_BLOCK_READ_BYTES] = "ThrottleReadBps",
                [SPEC_BLOCK_WRITE_BYTES] = "ThrottleWriteBps",
                [SPEC_BLOCK_READ_OPERATIONS] = "ThrottleReadIOPS",
                [SPEC_BLOCK_WRITE_OPERATIONS] = "ThrottleWriteIOPS",
        };
        uint64_t values[SPEC_BLOCK_LIMITS] = {0};
        bool present[SPEC_BLOCK_LIMITS] = {0};
        int result = 0;
        if (!json_is_object(line))
                return error_set(reading->err, ERROR_INVALID_ARGUMENT, "its items are no mappings");
        for (size_t i = 0; i < SPEC_BLOCK_LIMITS && result == 0; i++)
                result = get_quantity(line, keys[i], &values[i], &present[i], reading->err);
        if (result < 0)
                return result;
        if (present[0] && (values[0] < WEIGHT_LEAST || values[0] > WEIGHT_MOST))
                return error_set(reading->err, ERROR_INVALID_ARGUMENT,
                                 "Weight: %" PRIu64 " is not between %d and %d", values[0],
                                 WEIGHT_LEAST, WEIGHT_MOST);
        const json_t *devices = json_object_get(line, "Devices");
        if (!devices || json_is_null(devices)) {
                if (present[0])
                        reading->limits->weight = (unsigned)values[0];
                for (size_t i = 1; i < SPEC_BLOCK_LIMITS; i++)
                        if (present[i])
                                return error_set(reading->err, ERROR_INVALID_ARGUMENT,
                                                 "%s without Devices", keys[i]);
                return 0;
        }
        for (size_t i = 0; i < json_array_size(devices) && result == 0; i++) {
                const char *pattern = json_string_value(json_array_get(devices, i));
                result = pattern ? put_pattern(reading, pattern, values, present)
                                 : error_set(reading->err, ERROR_INVALID_ARGUMENT,
                                             "Devices: not a list of paths");
        }
        return result;
}

static const json_t *class_lines(const json_t *document, const char *class)
{
        const json_t *classes = json_object_get(document, "Classes");
        return json_object_get(classes ? classes : json_object_get(document, "classes"), class);
}

int resource_class_parse_block_io(const char *text, size_t length, const char *place,
                                  const char *class, const char *blocks, struct arena *arena,
                                  const struct spec_block_io **limits, struct error *err)
{
        AUTO_JSON json_t *document = NULL;
        int result = yaml_read(text, length, place, &document, err);
        if (result < 0)
                return result;
        const json_t *lines = class_lines(document, class);
        if (!json_is_array(lines))
                return error_set(err, ERROR_NOT_FOUND, "%s: it has no class \"%.100s\"", place,
                                 class);
        struct reading reading = {.blocks = blocks,
                                  .arena = arena,
                                  .limits = arena_alloc(arena, sizeof *reading.limits),
                                  .err = err};
        for (size_t i = 0; i < json_array_size(lines) && result == 0; i++)
                result = read_line(&reading, json_array_get(lines, i));
        if (result < 0)
                return error_context(err, "%s: class %.100s", place, class);
        for (size_t i = 0; i < SPEC_BLOCK_LIMITS; i++) {
                reading.limits->limits[i].devices = reading.lists[i].devices;
                reading.limits->limits[i].count = reading.lists[i].count;
        }
        *limits = reading.limits;
        return 0;
}

int resource_class_block_io(const char *file, const char *class, const char *blocks,
                            struct arena *arena, const struct spec_block_io **limits,
                            struct error *err)
{
        AUTO_BUFFER struct buffer text = BUFFER_INIT;
        int result = file_read(file, RESOURCE_CLASS_FILE_MAX, &text, err);
        return result < 0 ? result
                          : resource_class_parse_block_io(text.data ? text.data : "", text.length,
                                                          file, class, blocks, arena, limits, err);
}

/* ---- RDT ---- */

static const json_t *rdt_class(const json_t *document, const char *class)
{
        const json_t *partitions = json_object_get(document, "partitions");
        const char *name;
        json_t *partition;
        json_object_foreach ((json_t *)partitions, name, partition) {
                const json_t *found = json_object_get(json_object_get(partition, "classes"), class);
                if (found)
                        return found;
        }
        return NULL;
}

int resource_class_check_rdt(const char *file, const char *class, enum resource_class_origin origin,
                             const char *root, struct error *err)
{
        AUTO_BUFFER struct buffer text = BUFFER_INIT;
        AUTO_JSON json_t *document = NULL;
        int result = file_read(file, RESOURCE_CLASS_FILE_MAX, &text, err);
        if (result == 0)
                result = yaml_read(text.data ? text.data : "", text.length, file, &document, err);
        if (result < 0)
                return result;
        const json_t *found = rdt_class(document, class);
        if (!found || !*class || *class == '.' || strchr(class, '/') ||
            strlen(class) > GROUP_NAME_MAX)
                return error_set(err, ERROR_NOT_FOUND, "%s: it has no class \"%.100s\"", file,
                                 class);
        const char *denied =
                origin == RESOURCE_CLASS_OF_POD ? "denyPodAnnotation" : "denyContainerAnnotation";
        if (json_is_true(json_object_get(json_object_get(found, "kubernetes"), denied)))
                return error_set(err, ERROR_PERMISSION_DENIED, "%s: class %s: %s", file, class,
                                 denied);
        AUTO_FREE char *group = xprintf("%s/%s/tasks", root, class);
        if (access(group, F_OK) < 0)
                return error_set(err, ERROR_FAILED_PRECONDITION,
                                 "class %s has no group %s/%s: mount resctrl and make it", class,
                                 root, class);
        return 0;
}
