/* A container's root and mounts, as its process sees them. */
#include <string.h>

#include "base/memory.h"
#include "oci/verify_private.h"

/* The one that lies on top; null where nothing is mounted. */
static const json_t *mounted_at(const struct verify *verify, const char *place)
{
        const json_t *found = NULL, *each;
        size_t i, length = strlen(place);
        while (length > 1 && place[length - 1] == '/')
                length--;
        json_array_foreach (json_object_get(verify->facts, "mounts"), i, each) {
                const char *destination = json_string_value(json_object_get(each, "destination"));
                if (strlen(destination) == length && strncmp(destination, place, length) == 0)
                        found = each;
        }
        return found;
}

static bool lists(const json_t *list, const char *word)
{
        size_t i;
        json_t *each;
        json_array_foreach (list, i, each)
                if (json_is_string(each) && strcmp(json_string_value(each), word) == 0)
                        return true;
        return false;
}

static void check_root(const struct verify *verify)
{
        const json_t *root = json_object_get(verify->facts, "root");
        const char *layers = json_string_value(json_object_get(root, "layers"));
        bool wanted = json_is_true(verify_at(verify->spec, "root", "readonly", NULL));
        bool found = json_is_true(json_object_get(root, "readonly"));
        if (!root) {
                verify_say(verify, VERIFY_FAIL, "root", "nothing is mounted at /");
                return;
        }
        verify_say(verify, wanted == found ? VERIFY_PASS : VERIFY_FAIL, "root", "%s%s%s",
                   found ? "read-only" : "writable", wanted == found ? "" : ", and should be ",
                   wanted == found ? ""
                   : wanted        ? "read-only"
                                   : "writable");
        if (!verify->layers || !layers)
                return;
        bool same = strcmp(verify->layers, layers) == 0;
        verify_say(verify, same ? VERIFY_PASS : VERIFY_FAIL, "root's layers", "%s%s%s", layers,
                   same ? "" : ", and the image's are ", same ? "" : verify->layers);
}

/* What of the options the kernel shows of each mount. */
static const char *missing_option(const json_t *wanted, const json_t *mount)
{
        static const char *const words[] = {"nosuid", "nodev", "noexec", NULL};
        const json_t *options = json_object_get(mount, "options");
        for (const char *const *word = words; *word; word++)
                if (lists(wanted, *word) && !lists(options, *word))
                        return *word;
        bool readonly = lists(wanted, "ro") || lists(wanted, "rro");
        return readonly && !json_is_true(json_object_get(mount, "readonly")) ? "ro" : NULL;
}

static void check_hierarchies(const struct verify *verify, const char *what, const char *place,
                              bool readonly)
{
        size_t i, count = 0, length = strlen(place);
        const char *open = NULL;
        json_t *each;
        json_array_foreach (json_object_get(verify->facts, "mounts"), i, each) {
                const char *type = json_string_value(json_object_get(each, "type"));
                const char *path = json_string_value(json_object_get(each, "destination"));
                if (strcmp(type, "cgroup") != 0 || strncmp(path, place, length) != 0)
                        continue;
                count++;
                if (!json_is_true(json_object_get(each, "readonly")))
                        open = path;
        }
        if (readonly && open)
                verify_say(verify, VERIFY_FAIL, what, "%s is writable, and should not be", open);
        else
                verify_say(verify, VERIFY_PASS, what, "%zu hierarchies, %s", count,
                           open ? "writable" : "read-only");
}

static void check_mount(const struct verify *verify, const json_t *wanted)
{
        const char *place = json_string_value(json_object_get(wanted, "destination"));
        const char *type = json_string_value(json_object_get(wanted, "type"));
        const json_t *options = json_object_get(wanted, "options");
        AUTO_FREE char *what = xprintf("mount %s", place ? place : "");
        const json_t *mount = place ? mounted_at(verify, place) : NULL;
        bool bind = !type || strcmp(type, "bind") == 0 || lists(options, "bind") ||
                    lists(options, "rbind");
        if (!mount) {
                verify_say(verify, VERIFY_FAIL, what, "not mounted");
                return;
        }
        /* With v1 a tmpfs holds the hierarchies, and only those are what counts. */
        if (type && strcmp(type, "cgroup") == 0 && verify->mode != CGROUP_MODE_V2) {
                check_hierarchies(verify, what, place, lists(options, "ro"));
                return;
        }
        const char *found = json_string_value(json_object_get(mount, "type"));
        const char *missing = missing_option(options, mount);
        /* Which file system shows the cgroups differs with the machine. */
        if (!bind && strcmp(found, type) != 0 && strcmp(type, "cgroup") != 0)
                verify_say(verify, VERIFY_FAIL, what, "%s, and should be %s", found, type);
        else if (missing)
                verify_say(verify, VERIFY_FAIL, what, "without %s, which it should have", missing);
        else
                verify_say(verify, VERIFY_PASS, what, "%s, %s", found,
                           json_is_true(json_object_get(mount, "readonly")) ? "read-only"
                                                                            : "writable");
}

/* Runtimes pass over what the kernel has not got; so nothing mounted is only then wrong when
 * something is there: facts say it of each path. */
static void check_paths(const struct verify *verify, const char *list, const char *what)
{
        size_t i, hidden = 0;
        json_t *each;
        AUTO_FREE char *bare = NULL;
        json_array_foreach (verify_at(verify->spec, "linux", list, NULL), i, each) {
                const char *path = json_string_value(each);
                const json_t *mount = path ? mounted_at(verify, path) : NULL;
                bool closed = mount && (json_is_true(json_object_get(mount, "readonly")) ||
                                        strcmp(list, "maskedPaths") == 0);
                if (closed)
                        hidden++;
                else if (path && !bare &&
                         json_is_true(verify_at(verify->facts, "paths", path, NULL)))
                        bare = xstrdup(path);
        }
        if (bare)
                verify_say(verify, VERIFY_FAIL, what, "%s is not, and should be", bare);
        else if (i)
                verify_say(verify, VERIFY_PASS, what, "%zu; the kernel has no others of %zu",
                           hidden, i);
}

void verify_mounts(const struct verify *verify)
{
        size_t i;
        json_t *each;
        check_root(verify);
        json_array_foreach (json_object_get(verify->spec, "mounts"), i, each)
                check_mount(verify, each);
        check_paths(verify, "maskedPaths", "masked paths");
        check_paths(verify, "readonlyPaths", "read-only paths");
}
