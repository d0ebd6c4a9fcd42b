#include "cri/config_check.h"

#include <arpa/inet.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "base/memory.h"
#include "cri/annotation.h"
#include "cri/metric_groups.h"
#include "cri/users_range.h"
#include "oci/cpu_list.h"
#include "cri/pull_cgroup.h"
#include "oci/device.h"
#include "oci/idmap.h"
#include "oci/spec.h"
#include "oci/ulimit.h"

static const char *check_variable(const char *text)
{
        const char *equals = strchr(text, '=');
        return equals && equals > text ? NULL : "is not NAME=value";
}

/* A name below /usr/share/zoneinfo. */
static const char *check_timezone(const char *text)
{
        static const char wrong[] = "is neither local nor the name of a time zone";
        if (*text == '/' || strstr(text, "//") || strlen(text) > 200)
                return wrong;
        for (const char *part = text; part; part = strchr(part, '/')) {
                part += *part == '/';
                if (*part == '.')
                        return wrong;
        }
        return NULL;
}

static bool is_port(const char *text)
{
        size_t digits = strspn(text, "0123456789");
        return digits && digits <= 5 && !text[digits] && strtol(text, NULL, 10) <= UINT16_MAX;
}

/* "127.0.0.1:9090", "[::1]:9090" or a path. */
static const char *check_endpoint(const char *text)
{
        static const char wrong[] = "is neither ADDRESS:PORT nor the path of a socket";
        struct in6_addr ignored;
        char address[INET6_ADDRSTRLEN + 1];
        if (*text == '/')
                return strlen(text) <= CONFIG_SOCKET_PATH_MAX && !strstr(text, "/..") ? NULL
                                                                                      : wrong;
        const char *colon = strrchr(text, ':');
        bool six = *text == '[';
        const char *end = six && colon && colon > text ? colon - 1 : colon;
        size_t length = end ? (size_t)(end - text) - six : 0;
        if (!*text)
                return NULL;
        if (!colon || !is_port(colon + 1) || (six && *end != ']') || length >= sizeof address)
                return wrong;
        memcpy(address, text + six, length);
        address[length] = '\0';
        return inet_pton(six ? AF_INET6 : AF_INET, address, &ignored) == 1 ? NULL : wrong;
}

static const char *check_device(const char *text)
{
        AUTO_ARENA struct arena *arena = arena_new();
        struct device_text device;
        return device_parse(arena, text, &device, NULL) < 0
                       ? "is not SOURCE[:DESTINATION][:ACCESS], with absolute paths, DESTINATION "
                         "below /dev and ACCESS of the letters r, w and m"
                       : NULL;
}

static const char *check_id_maps(const char *text)
{
        AUTO_FREE struct spec_id_map *maps = NULL;
        size_t count = 0;
        return *text && (idmap_parse(text, &maps, &count, NULL) < 0 ||
                         idmap_check(maps, count, NULL) < 0)
                       ? "is not CONTAINER:HOST:LENGTH,... of ranges that do not overlap, with the "
                         "container's ID 0 among them"
                       : NULL;
}

static const char *check_id_range(const char *text)
{
        struct users_range range;
        return *text && users_range_parse(text, &range, NULL) < 0
                       ? "is not FIRST:LENGTH of user and group IDs"
                       : NULL;
}

static const char *check_pull_cgroup(const char *text)
{
        AUTO_CGROUP_PLACE struct cgroup_place place = {0};
        enum cgroup_driver driver = pull_cgroup_driver(text);
        if (!*text || strcmp(text, PULL_CGROUP_POD) == 0)
                return NULL;
        return (driver == CGROUP_DRIVER_CGROUPFS && *text != '/') ||
                               cgroup_place(driver, text, "pull", &place, NULL) < 0 ||
                               strcmp(place.parent, "/") == 0
                       ? "is neither a cgroup's path below the root, nor a slice, nor pod"
                       : NULL;
}

const char *config_check_item(enum config_type type, const char *text)
{
        struct spec_rlimit limit;

        switch (type) {
        case CONFIG_ANNOTATIONS:
                return annotation_is_known(text) ? NULL
                                                 : "is not an annotation that can be allowed";
        case CONFIG_POD_METRICS:
                return pod_metric_word_is_known(text)
                               ? NULL
                               : "is none of cpu, disk, diskIO, hugetlb, memory, network, oom, "
                                 "process, spec, pressure and all";
        case CONFIG_COLLECTORS:
                return collector_word_is_known(text)
                               ? NULL
                               : "is none of calls, images, containers, network, process, cgroups, "
                                 "logs and all";
        case CONFIG_ENDPOINT:
                return check_endpoint(text);
        case CONFIG_DEVICES:
                return check_device(text);
        case CONFIG_VARIABLES:
                return check_variable(text);
        case CONFIG_CPUS:
                return cpu_list_parse(text, &(struct cpu_list){0}, NULL) < 0
                               ? "is no list of processors such as 0-3,8"
                               : NULL;
        case CONFIG_AFFINITY:
                return *text && strcmp(text, "first") != 0 ? "is neither empty nor first" : NULL;
        case CONFIG_ID_MAPS:
                return check_id_maps(text);
        case CONFIG_ID_RANGE:
                return check_id_range(text);
        case CONFIG_TEXT:
                return *text ? NULL : "must not be empty";
        case CONFIG_ULIMITS:
                return ulimit_parse(text, &limit, NULL) < 0
                               ? "is not NAME=SOFT:HARD, with numbers or -1 and SOFT not above HARD"
                               : NULL;
        case CONFIG_TIMEZONE:
                return check_timezone(text);
        case CONFIG_CAPABILITIES:
                return spec_capability_is_known(text) ? NULL : "is no capability";
        case CONFIG_NAME:
                return *text && !strpbrk(text, " \t\n\"") ? NULL : "is no name";
        case CONFIG_PULL_CGROUP:
                return check_pull_cgroup(text);
        default:
                return NULL;
        }
}
