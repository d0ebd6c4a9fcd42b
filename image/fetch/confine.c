#include "image/fetch/confine.h"

#include <errno.h>
#include <linux/capability.h>
#include <stdint.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define FIRST_FOREIGN_FD 3

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
