/* Files that the node lets each container see: its time zone, and whether FIPS mode is on. */
#include "cri/container_spec.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/memory.h"
#include "cri/annotation.h"

#define ZONES        "/usr/share/zoneinfo"
#define LOCALTIME    "/etc/localtime"
#define FIPS_SWITCH  "/proc/sys/crypto/fips_enabled"
#define DISABLE_FIPS "disable-fips.crio.io"
/* Where distributions that know FIPS mode look for their policies, and the images' own for FIPS. */
#define BACK_ENDS      "/etc/crypto-policies/back-ends"
#define FIPS_BACK_ENDS "/usr/share/crypto-policies/back-ends/FIPS"

/* Unless the container has a mount of its own there. */
static void add_file(struct container_spec *draft, const char *source, const char *destination)
{
        static const char *const options[] = {"bind",   "rprivate", "ro", "nosuid",
                                              "noexec", "nodev",    NULL};
        struct spec_options *spec = &draft->spec;
        struct spec_mount *mounts =
                arena_array(draft->arena, spec->mount_count + 1, sizeof *mounts);
        if (spec->mount_count)
                memcpy(mounts, spec->mounts, spec->mount_count * sizeof *mounts);
        if (spec_find_mount(mounts, spec->mount_count, destination))
                return;
        mounts[spec->mount_count++] = (struct spec_mount){
                .destination = destination, .source = source, .type = "bind", .options = options};
        spec->mounts = mounts;
}

/* ---- time ---- */

/* The file itself, not a symlink to it, so that the node's zone may change without changing what a
 * container sees. */
static int set_timezone(struct container_spec *draft)
{
        const char *zone = node.config->runtime.timezone;
        if (!*zone)
                return 0;
        bool local = strcmp(zone, "local") == 0;
        AUTO_FREE char *path = local ? xstrdup(LOCALTIME) : xprintf(ZONES "/%s", zone);
        char resolved[PATH_MAX];
        struct stat st;
        if (!realpath(path, resolved) || stat(resolved, &st) < 0) {
                if (local && errno == ENOENT)
                        return 0; /* such a node has the time of UTC */
                return error_errno(draft->err, errno, "runtime.timezone: %s", path);
        }
        if (!S_ISREG(st.st_mode))
                return error_set(draft->err, ERROR_FAILED_PRECONDITION,
                                 "runtime.timezone: %s is not a file", path);
        add_file(draft, arena_strdup(draft->arena, resolved), LOCALTIME);
        return 0;
}

/* ---- FIPS ---- */

static bool fips_is_on(void)
{
        AUTO_BUFFER struct buffer text = BUFFER_INIT;
        return file_read(FIPS_SWITCH, 16, &text, NULL) == 0 && text.length && text.data[0] == '1';
}

/* The image's own policies for FIPS take the place of those that it uses; an image without them has
 * nothing to switch. */
static int use_policies(struct container_spec *draft)
{
        AUTO_FD int root = open(draft->spec.root, O_PATH | O_DIRECTORY | O_CLOEXEC);
        if (root < 0)
                return error_errno(draft->err, errno, "open %s", draft->spec.root);
        AUTO_FD int back_ends = file_open_in(root, FIPS_BACK_ENDS, O_PATH | O_DIRECTORY, 0, NULL);
        if (back_ends < 0)
                return 0;
        /* As the kernel found it inside of the root: the runtime opens it from outside. */
        AUTO_FREE char *link = xprintf("/proc/self/fd/%d", back_ends);
        char path[PATH_MAX];
        ssize_t length = readlink(link, path, sizeof path);
        if (length <= 0 || length >= (ssize_t)sizeof path)
                return error_errno(draft->err, length < 0 ? errno : ENAMETOOLONG, "read %s", link);
        add_file(draft, arena_strndup(draft->arena, path, (size_t)length), BACK_ENDS);
        return 0;
}

/* Programs in it read the kernel's switch; the kernel itself goes on as it was booted. */
static int hide_switch(struct container_spec *draft)
{
        static const char off[] = "0\n";
        AUTO_FREE char *path = container_run_path(draft->container, "fips_enabled");
        int result = file_replace_volatile(path, off, sizeof off - 1, 0444, draft->err);
        if (result == 0)
                add_file(draft, arena_strdup(draft->arena, path), FIPS_SWITCH);
        return result;
}

static int set_fips(struct container_spec *draft)
{
        if (!fips_is_on())
                return 0;
        return annotation_is_true(annotation_of_container(draft->container, DISABLE_FIPS))
                       ? hide_switch(draft)
                       : use_policies(draft);
}

int container_spec_files(struct container_spec *draft)
{
        int result = set_timezone(draft);
        return result < 0 ? result : set_fips(draft);
}
