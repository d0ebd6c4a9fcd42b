#include "oci/scope.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <systemd/sd-bus.h>

#include "base/buffer.h"
#include "base/file.h"
#include "base/memory.h"
#include "oci/cpu_list.h"

#define ADDRESS       "unix:path=/run/systemd/private" /* root's, and there without a bus, too */
#define DESTINATION   "org.freedesktop.systemd1"
#define MANAGER_PATH  "/org/freedesktop/systemd1"
#define MANAGER       "org.freedesktop.systemd1.Manager"
#define INTERFACE     "org.freedesktop.systemd1.Scope"
#define UNITS         "/org/freedesktop/systemd1/unit"
#define ANSWER_MAX    (10 * UINT64_C(1000000)) /* microseconds */
#define FILE_SIZE_MAX 65536
#define SECOND        UINT64_C(1000000) /* microseconds */
#define PERCENT       (SECOND / 100)    /* of a processor, in a second */

static const struct {
        const char *file, *property;
} numbers[] = {
        {"memory.max", "MemoryMax"},   {"memory.swap.max", "MemorySwapMax"},
        {"memory.high", "MemoryHigh"}, {"memory.low", "MemoryLow"},
        {"memory.min", "MemoryMin"},   {"pids.max", "TasksMax"},
};

static const struct {
        const char *file, *property;
} sets[] = {
        {"cpuset.cpus", "AllowedCPUs"},
        {"cpuset.mems", "AllowedMemoryNodes"},
};

struct scope {
        const struct cgroup_system *system;
        const char *path;
        const char *name;
        char *object;
        sd_bus *bus;
        sd_bus_message *change; /* null before the first difference */
};

static void scope_fini(struct scope *scope)
{
        sd_bus_message_unref(scope->change);
        sd_bus_flush_close_unref(scope->bus);
        free(scope->object);
}

static void free_error(sd_bus_error *error)
{
        sd_bus_error_free(error);
}

/* 0 too for what is not there any more. */
static int explain(const struct scope *scope, int result, const sd_bus_error *error,
                   struct error *err)
{
        if (result >= 0 || sd_bus_error_has_name(error, "org.freedesktop.systemd1.NoSuchUnit") ||
            sd_bus_error_has_name(error, SD_BUS_ERROR_UNKNOWN_OBJECT))
                return 0;
        if (error && error->message)
                return error_set(err, ERROR_UNAVAILABLE, "systemd, of %s: %s", scope->name,
                                 error->message);
        return error_errno(err, result, "talk to systemd about %s", scope->name);
}

/* Fails where the controller or the scope is not there, or nothing is said. */
static int read_file(const struct scope *scope, const char *name, struct buffer *text)
{
        AUTO_FREE char *file = cgroup_file(scope->system, scope->path, "", name);
        int result = file_read(file, FILE_SIZE_MAX, text, NULL);
        return result == 0 && !text->data ? -ENODATA : result;
}

static uint64_t number_of(const char *text)
{
        return strncmp(text, "max", 3) == 0 ? UINT64_MAX : strtoull(text, NULL, 10);
}

static int add(struct scope *scope, const char *type, const char *property)
{
        int result = 0;
        if (!scope->change) {
                result = sd_bus_message_new_method_call(scope->bus, &scope->change, DESTINATION,
                                                        MANAGER_PATH, MANAGER, "SetUnitProperties");
                if (result >= 0)
                        result = sd_bus_message_append(scope->change, "sb", scope->name, 1);
                if (result >= 0)
                        result = sd_bus_message_open_container(scope->change, 'a', "(sv)");
        }
        if (result >= 0)
                result = sd_bus_message_open_container(scope->change, 'r', "sv");
        if (result >= 0)
                result = sd_bus_message_append(scope->change, "s", property);
        if (result >= 0)
                result = sd_bus_message_open_container(scope->change, 'v', type);
        return result;
}

static int add_end(struct scope *scope)
{
        int result = sd_bus_message_close_container(scope->change);
        return result < 0 ? result : sd_bus_message_close_container(scope->change);
}

static int add_number(struct scope *scope, const char *property, uint64_t value)
{
        int result = add(scope, "t", property);
        if (result >= 0)
                result = sd_bus_message_append(scope->change, "t", value);
        return result < 0 ? result : add_end(scope);
}

static int compare_number(struct scope *scope, const char *property, uint64_t value,
                          sd_bus_error *error)
{
        uint64_t known;
        int result = sd_bus_get_property_trivial(scope->bus, DESTINATION, scope->object, INTERFACE,
                                                 property, error, 't', &known);
        return result < 0 || known == value ? result : add_number(scope, property, value);
}

static int compare_numbers(struct scope *scope, sd_bus_error *error)
{
        int result = 0;
        for (size_t i = 0; result >= 0 && i < sizeof numbers / sizeof *numbers; i++) {
                AUTO_BUFFER struct buffer text = BUFFER_INIT;
                if (read_file(scope, numbers[i].file, &text) == 0)
                        result = compare_number(scope, numbers[i].property, number_of(text.data),
                                                error);
        }
        return result;
}

/* "50000 100000": what of the period. */
static int compare_quota(struct scope *scope, sd_bus_error *error)
{
        AUTO_BUFFER struct buffer text = BUFFER_INIT;
        if (read_file(scope, "cpu.max", &text) < 0)
                return 0;
        const char *space = strchr(text.data, ' ');
        uint64_t quota = number_of(text.data), period = space ? number_of(space + 1) : 0;
        if (quota == UINT64_MAX)
                return compare_number(scope, "CPUQuotaPerSecUSec", UINT64_MAX, error);
        if (period == 0 || quota > UINT64_MAX / SECOND)
                return 0;
        uint64_t share = (quota * SECOND / period + PERCENT - 1) / PERCENT * PERCENT;
        int result = compare_number(scope, "CPUQuotaPeriodUSec", period, error);
        return result < 0 ? result : compare_number(scope, "CPUQuotaPerSecUSec", share, error);
}

/* A byte for each eight, the lowest first. */
static size_t to_bytes(const struct cpu_list *set, uint8_t bytes[CPU_LIST_MAX / 8])
{
        size_t length = 0;
        memset(bytes, 0, CPU_LIST_MAX / 8);
        for (size_t i = cpu_list_next(set, 0); i < CPU_LIST_MAX; i = cpu_list_next(set, i + 1)) {
                bytes[i / 8] |= (uint8_t)(1 << (i % 8));
                length = i / 8 + 1;
        }
        return length;
}

static size_t without_zeros(const uint8_t *bytes, size_t length)
{
        while (length && bytes[length - 1] == 0)
                length--;
        return length;
}

static int compare_set(struct scope *scope, const char *property, const struct cpu_list *set,
                       sd_bus_error *error)
{
        uint8_t bytes[CPU_LIST_MAX / 8];
        size_t length = to_bytes(set, bytes), known_length = 0;
        const void *known = NULL;
        CLEANUP(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
        int result = sd_bus_get_property(scope->bus, DESTINATION, scope->object, INTERFACE,
                                         property, error, &reply, "ay");
        if (result >= 0)
                result = sd_bus_message_read_array(reply, 'y', &known, &known_length);
        if (result < 0)
                return result;
        known_length = without_zeros(known, known_length);
        if (length == 0 || (length == known_length && memcmp(bytes, known, length) == 0))
                return 0;
        result = add(scope, "ay", property);
        if (result >= 0)
                result = sd_bus_message_append_array(scope->change, 'y', bytes, length);
        return result < 0 ? result : add_end(scope);
}

static int compare_sets(struct scope *scope, sd_bus_error *error)
{
        int result = 0;
        for (size_t i = 0; result >= 0 && i < sizeof sets / sizeof *sets; i++) {
                AUTO_BUFFER struct buffer text = BUFFER_INIT;
                struct error ignored;
                struct cpu_list set;
                if (read_file(scope, sets[i].file, &text) == 0 &&
                    cpu_list_parse(text.data, &set, &ignored) == 0)
                        result = compare_set(scope, sets[i].property, &set, error);
        }
        return result;
}

static int connect_to_systemd(struct scope *scope)
{
        int result = sd_bus_new(&scope->bus);
        if (result >= 0)
                result = sd_bus_set_address(scope->bus, ADDRESS);
        if (result >= 0)
                result = sd_bus_set_method_call_timeout(scope->bus, ANSWER_MAX);
        if (result >= 0)
                result = sd_bus_start(scope->bus);
        return result < 0 ? result : sd_bus_path_encode(UNITS, scope->name, &scope->object);
}

int scope_tell(const struct cgroup_system *system, const char *path, struct error *err)
{
        CLEANUP(free_error) sd_bus_error error = SD_BUS_ERROR_NULL;
        const char *slash = strrchr(path, '/');
        CLEANUP(scope_fini)
        struct scope scope = {.system = system, .path = path, .name = slash ? slash + 1 : path};
        if (system->mode != CGROUP_MODE_V2)
                return 0;
        int result = connect_to_systemd(&scope);
        if (result >= 0)
                result = compare_numbers(&scope, &error);
        if (result >= 0)
                result = compare_quota(&scope, &error);
        if (result >= 0)
                result = compare_sets(&scope, &error);
        if (result >= 0 && scope.change)
                result = sd_bus_message_close_container(scope.change);
        if (result >= 0 && scope.change)
                result = sd_bus_call(scope.bus, scope.change, 0, &error, NULL);
        return explain(&scope, result, &error, err);
}
