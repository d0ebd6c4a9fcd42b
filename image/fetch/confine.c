#include "image/fetch/confine.h"

#include <errno.h>
#include <fcntl.h>
#include <iconv.h>
#include <linux/capability.h>
#include <linux/landlock.h>
#include <linux/securebits.h>
#include <stdint.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "image/box.h"
#include "image/fetch/root.h"
#include "image/fetch/syscalls.h"

#define ABI_WITH_REFER    2 /* the first under which links and renames may cross folders */
#define ABI_WITH_TRUNCATE 3
#ifndef LANDLOCK_ACCESS_FS_TRUNCATE
#define LANDLOCK_ACCESS_FS_TRUNCATE (1ULL << 14)
#endif

/*
 * Owners, modes and times of whatever files (CHOWN, FOWNER, FSETID), folders closed to everybody
 * (DAC_OVERRIDE), device nodes, and file capabilities.
 */
static const int KEPT[] = {CAP_CHOWN,  CAP_DAC_OVERRIDE, CAP_FOWNER,
                           CAP_FSETID, CAP_MKNOD,        CAP_SETFCAP};

int confine_start(int first_foreign_fd, struct error *err)
{
        close_range((unsigned)first_foreign_fd, ~0U, 0);
        umask(0);
        if (setrlimit(RLIMIT_CORE, &(struct rlimit){0, 0}) < 0)
                return error_errno(err, errno, "turning core dumps off");
        return 0;
}

/* ---- capabilities ---- */

static bool is_kept(int capability)
{
        for (size_t i = 0; i < sizeof(KEPT) / sizeof(KEPT[0]); i++)
                if (KEPT[i] == capability)
                        return true;
        return false;
}

/*
 * That there is no way back: not by a program with capabilities, nor by being root. Both need
 * CAP_SETPCAP; who has not even that can regain nothing either, with no_new_privs.
 */
static void close_ways_back(void)
{
        for (int i = 0; prctl(PR_CAPBSET_READ, i, 0, 0, 0) >= 0; i++)
                if (!is_kept(i))
                        prctl(PR_CAPBSET_DROP, i, 0, 0, 0);
        prctl(PR_SET_SECUREBITS,
              SECBIT_NOROOT | SECBIT_NOROOT_LOCKED | SECBIT_NO_SETUID_FIXUP |
                      SECBIT_NO_SETUID_FIXUP_LOCKED | SECBIT_KEEP_CAPS_LOCKED |
                      SECBIT_NO_CAP_AMBIENT_RAISE | SECBIT_NO_CAP_AMBIENT_RAISE_LOCKED,
              0, 0, 0);
}

static int drop_capabilities(struct error *err)
{
        struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
        struct __user_cap_data_struct now[_LINUX_CAPABILITY_U32S_3];
        struct __user_cap_data_struct then[_LINUX_CAPABILITY_U32S_3] = {0};

        close_ways_back();
        if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
                return error_errno(err, errno, "no_new_privs");
        /* glibc has no wrappers, and libcap is not worth a library for two calls. */
        if (syscall(SYS_capget, &header, now) < 0)
                return error_errno(err, errno, "reading capabilities");
        for (size_t i = 0; i < sizeof(KEPT) / sizeof(KEPT[0]); i++) {
                uint32_t bit = CAP_TO_MASK(KEPT[i]);
                unsigned word = CAP_TO_INDEX(KEPT[i]);
                then[word].permitted |= now[word].permitted & bit;
                then[word].effective |= now[word].permitted & bit;
        }
        if (syscall(SYS_capset, &header, then) < 0)
                return error_errno(err, errno, "giving up capabilities");
        return 0;
}

/* ---- writing ---- */

/* All that changes what is on the disk. */
static uint64_t writes(long abi)
{
        uint64_t access = LANDLOCK_ACCESS_FS_WRITE_FILE | LANDLOCK_ACCESS_FS_REMOVE_DIR |
                          LANDLOCK_ACCESS_FS_REMOVE_FILE | LANDLOCK_ACCESS_FS_MAKE_CHAR |
                          LANDLOCK_ACCESS_FS_MAKE_DIR | LANDLOCK_ACCESS_FS_MAKE_REG |
                          LANDLOCK_ACCESS_FS_MAKE_SOCK | LANDLOCK_ACCESS_FS_MAKE_FIFO |
                          LANDLOCK_ACCESS_FS_MAKE_BLOCK | LANDLOCK_ACCESS_FS_MAKE_SYM |
                          LANDLOCK_ACCESS_FS_REFER;
        return abi >= ABI_WITH_TRUNCATE ? access | LANDLOCK_ACCESS_FS_TRUNCATE : access;
}

static int allow_writes(int rules, uint64_t access, const char *folder, struct error *err)
{
        AUTO_FD int fd = open(folder, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        struct landlock_path_beneath_attr below = {.allowed_access = access, .parent_fd = fd};
        if (fd < 0 ||
            syscall(SYS_landlock_add_rule, rules, LANDLOCK_RULE_PATH_BENEATH, &below, 0) < 0)
                return error_errno(err, errno, "confine writing to %s", folder);
        return 0;
}

/* Landlock. Nothing where the kernel has none that lets a link be made from one folder to another
 * (before 5.19, or turned off). */
static int confine_writes(const struct confine_box *box, struct error *err)
{
        long abi = syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);
        if (abi < ABI_WITH_REFER)
                return 0;
        struct landlock_ruleset_attr ruleset = {.handled_access_fs = writes(abi)};
        AUTO_FD int rules = (int)syscall(SYS_landlock_create_ruleset, &ruleset, sizeof(ruleset), 0);
        if (rules < 0)
                return error_errno(err, errno, "confine writing");
        for (size_t i = 0; i < box->folder_count; i++) {
                int r = !box->folders[i].writable ? 0
                                                  : allow_writes(rules, ruleset.handled_access_fs,
                                                                 box->folders[i].path, err);
                if (r < 0)
                        return r;
        }
        if (syscall(SYS_landlock_restrict_self, rules, 0) < 0)
                return error_errno(err, errno, "confine writing");
        return 0;
}

/* ---- the whole ---- */

/* What libraries would read from files at their first use. */
static void warm_up(void)
{
        iconv_t converter = iconv_open("UTF-8", "UTF-8");
        if (converter != (iconv_t)-1)
                iconv_close(converter);
        tzset();
}

int confine_close(struct confine_box *box, struct error *err)
{
        int r;

        if (box->folder_count == 0 || box->folder_count > CONFINE_FOLDERS_MAX)
                return error_set(err, ERROR_INVALID_ARGUMENT, "box: no folders, or too many");
        warm_up();
        if (!BOX_SANITIZED && (r = root_close(box, err)) < 0)
                return r;
        if (chdir(box->folders[0].path) < 0)
                return error_set(err, ERROR_INVALID_ARGUMENT, "%s: no such folder",
                                 box->folders[0].path);
        if ((r = drop_capabilities(err)) < 0 || (r = confine_writes(box, err)) < 0)
                return r;
        return BOX_SANITIZED ? 0 : syscalls_limit(box->network, err);
}
