#include "image/fetch/confine.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/landlock.h>
#include <stdint.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/cleanup.h"

#define FIRST_FOREIGN_FD 3

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

static int drop_capabilities(struct error *err)
{
        struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
        struct __user_cap_data_struct now[_LINUX_CAPABILITY_U32S_3];
        struct __user_cap_data_struct then[_LINUX_CAPABILITY_U32S_3] = {0};

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

int confine_process(struct error *err)
{
        close_range(FIRST_FOREIGN_FD, ~0U, 0);
        umask(0);
        if (setrlimit(RLIMIT_CORE, &(struct rlimit){0, 0}) < 0)
                return error_errno(err, errno, "turning core dumps off");
        if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
                return error_errno(err, errno, "no_new_privs");
        return drop_capabilities(err);
}

/* All that changes what is on the disk; reading is free: certificates, resolv.conf, libraries. */
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

int confine_writes(const char *folder, struct error *err)
{
        long abi = syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);
        if (abi < ABI_WITH_REFER)
                return 0;
        struct landlock_ruleset_attr ruleset = {.handled_access_fs = writes(abi)};
        AUTO_FD int fd = open(folder, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        if (fd < 0)
                return error_errno(err, errno, "open %s", folder);
        AUTO_FD int rules = (int)syscall(SYS_landlock_create_ruleset, &ruleset, sizeof(ruleset), 0);
        struct landlock_path_beneath_attr below = {.allowed_access = ruleset.handled_access_fs,
                                                   .parent_fd = fd};
        if (rules < 0 ||
            syscall(SYS_landlock_add_rule, rules, LANDLOCK_RULE_PATH_BENEATH, &below, 0) < 0 ||
            syscall(SYS_landlock_restrict_self, rules, 0) < 0)
                return error_errno(err, errno, "confine writing to %s", folder);
        return 0;
}
