#include "cri/config_check.h"

#include <string.h>

#include "base/arena.h"
#include "cri/annotation.h"
#include "cri/pull_cgroup.h"
#include "oci/device.h"
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

static const char *check_device(const char *text)
{
        AUTO_ARENA struct arena *arena = arena_new();
        struct device_text device;
        return device_parse(arena, text, &device, NULL) < 0
                       ? "is not SOURCE[:DESTINATION][:ACCESS], with absolute paths, DESTINATION "
                         "below /dev and ACCESS of the letters r, w and m"
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
        case CONFIG_DEVICES:
                return check_device(text);
        case CONFIG_VARIABLES:
                return check_variable(text);
        case CONFIG_ULIMITS:
                return ulimit_parse(text, &limit, NULL) < 0
                               ? "is not NAME=SOFT:HARD, with numbers or -1 and SOFT not above HARD"
                               : NULL;
        case CONFIG_TIMEZONE:
                return check_timezone(text);
        case CONFIG_PULL_CGROUP:
                return check_pull_cgroup(text);
        default:
                return NULL;
        }
}
