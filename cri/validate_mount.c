/* What a container may have mounted. */
#include "cri/validate_private.h"

#include <string.h>

#include "oci/idmap.h"

/* It has no host path and no mounts that could spread, and nobody writes to it. */
static int check_image_mount(const Runtime__V1__Mount *mount, struct error *err)
{
        if (*mount->host_path)
                return validate_invalid(err, "config.mounts", "both an image and a host_path");
        if (mount->n_uidmappings || mount->n_gidmappings)
                return validate_unsupported(err, "config.mounts.uidMappings",
                                            "mappings of an image's files are");
        if (!mount->readonly)
                return validate_invalid(err, "config.mounts.readonly",
                                        "false, but images are read-only");
        if (mount->propagation != RUNTIME__V1__MOUNT_PROPAGATION__PROPAGATION_PRIVATE)
                return validate_invalid(err, "config.mounts.propagation",
                                        "an image has no mounts that could spread");
        return 0;
}

static int check_recursive(const Runtime__V1__Mount *mount, struct error *err)
{
        static const char field[] = "config.mounts.recursive_read_only";
        if (!mount->readonly)
                return validate_invalid(err, field, "it needs readonly");
        if (mount->propagation != RUNTIME__V1__MOUNT_PROPAGATION__PROPAGATION_PRIVATE)
                return validate_invalid(err, field, "it needs private propagation");
        return 0;
}

/* Behind what names no component: "//" and "/.". */
static const char *next_component(const char *path)
{
        for (;;) {
                path += strspn(path, "/");
                if (path[0] != '.' || (path[1] != '/' && path[1] != '\0'))
                        return path;
                path++;
        }
}

/* Whether path is folder, or below it. */
static bool path_is_below(const char *path, const char *folder)
{
        for (;;) {
                path = next_component(path);
                folder = next_component(folder);
                size_t length = strcspn(folder, "/");
                if (length == 0)
                        return true;
                if (strcspn(path, "/") != length || strncmp(path, folder, length) != 0)
                        return false;
                path += length;
                folder += length;
        }
}

static int check_mappings(Runtime__V1__IDMapping *const *mappings, size_t count, const char *field,
                          struct error *err)
{
        if (count == 0)
                return validate_invalid(err, field, "of users and groups one is missing");
        if (count > IDMAP_RANGES_MAX)
                return error_set(err, ERROR_INVALID_ARGUMENT, "%s: %zu ranges, the kernel takes %d",
                                 field, count, IDMAP_RANGES_MAX);
        for (size_t i = 0; i < count; i++)
                if (mappings[i]->length == 0 ||
                    mappings[i]->host_id > UINT32_MAX - mappings[i]->length ||
                    mappings[i]->container_id > UINT32_MAX - mappings[i]->length)
                        return validate_invalid(err, field, "a range is empty or too long");
        return 0;
}

/* Those that take a right away, and how access times are kept: the others would change what the
 * request says elsewhere, or give the container more of the host than the mount that it binds. */
static int check_mount_options(const Runtime__V1__Mount *mount, struct error *err)
{
        static const char *const known[] = {"noexec",  "nosuid",     "nodev",
                                            "noatime", "nodiratime", "relatime"};
        for (size_t i = 0; i < mount->n_mount_options; i++) {
                size_t k = 0, count = sizeof known / sizeof *known;
                while (k < count && strcmp(mount->mount_options[i], known[k]) != 0)
                        k++;
                if (k == count)
                        return error_set(err, ERROR_INVALID_ARGUMENT,
                                         "config.mounts.mount_options: \"%.40s\" is none of "
                                         "noexec, nosuid, nodev, noatime, nodiratime and relatime",
                                         mount->mount_options[i]);
        }
        return 0;
}

/* As the runtimes do, but before anything is made: of /proc a container may cover what its
 * statistics are read from, and no more. Whoever wants all of it covered binds another /proc. */
static int check_destination(const char *path, struct error *err)
{
        static const char *const allowed[] = {
                "/proc",
                "/proc/cpuinfo",
                "/proc/diskstats",
                "/proc/meminfo",
                "/proc/stat",
                "/proc/swaps",
                "/proc/uptime",
                "/proc/loadavg",
                "/proc/slabinfo",
                "/proc/net/dev",
                "/proc/sys/kernel/ns_last_pid",
                "/proc/sys/crypto/fips_enabled",
        };
        if (!path_is_below(path, "/proc"))
                return 0;
        for (size_t i = 0; i < sizeof allowed / sizeof *allowed; i++)
                if (path_is_below(path, allowed[i]) && path_is_below(allowed[i], path))
                        return 0;
        return error_set(err, ERROR_INVALID_ARGUMENT,
                         "config.mounts.container_path: %.200s: nothing may be mounted there, "
                         "inside /proc",
                         path);
}

int validate_mount(const Runtime__V1__Mount *mount, struct error *err)
{
        int result = validate_absolute(mount->container_path, "config.mounts.container_path", err);
        if (result < 0)
                return result;
        result = check_mount_options(mount, err);
        if (result == 0 && (mount->n_uidmappings || mount->n_gidmappings)) {
                result = check_mappings(mount->uidmappings, mount->n_uidmappings,
                                        "config.mounts.uidMappings", err);
                if (result == 0)
                        result = check_mappings(mount->gidmappings, mount->n_gidmappings,
                                                "config.mounts.gidMappings", err);
                /* What goes with the container's own mounts would then go from the host, too. */
                if (result == 0 &&
                    mount->propagation == RUNTIME__V1__MOUNT_PROPAGATION__PROPAGATION_BIDIRECTIONAL)
                        result = validate_unsupported(err, "config.mounts.propagation",
                                                      "mapped owners with Bidirectional are");
        }
        if (result == 0 && mount->recursive_read_only)
                result = check_recursive(mount, err);
        if (result < 0)
                return result;
        if (mount->image && *mount->image->image)
                result = check_image_mount(mount, err);
        else
                result = validate_absolute(mount->host_path, "config.mounts.host_path", err);
        if (result == 0 && validate_has_dot_dot(mount->container_path))
                result =
                        validate_invalid(err, "config.mounts.container_path", "it contains \"..\"");
        if (result == 0)
                result = check_destination(mount->container_path, err);
        if (result == 0 &&
            mount->propagation > RUNTIME__V1__MOUNT_PROPAGATION__PROPAGATION_BIDIRECTIONAL)
                result = validate_invalid(err, "config.mounts.propagation", "unknown value");
        return result;
}
