#include "image/trust/box.h"

#include <errno.h>
#include <grp.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#define NOBODY          65534
#define FIRST_FOREIGN   3
#define SCRATCH_OPTIONS "size=16m,nr_inodes=1k,mode=0700,uid=65534,gid=65534"

#define CPU_SECONDS_MAX 30
#define FILE_BYTES_MAX  (16u << 20)
#define MEMORY_MAX      (1u << 30)
#define FILES_MAX       256

static int limit(int resource, rlim_t most, struct error *err)
{
        struct rlimit bound = {most, most};
        return setrlimit((__rlimit_resource_t)resource, &bound) < 0
                       ? error_errno(err, errno, "setrlimit")
                       : 0;
}

static int set_limits(struct error *err)
{
        int r;
        if ((r = limit(RLIMIT_CORE, 0, err)) < 0 ||
            (r = limit(RLIMIT_CPU, CPU_SECONDS_MAX, err)) < 0 ||
            (r = limit(RLIMIT_FSIZE, FILE_BYTES_MAX, err)) < 0 ||
            (r = limit(RLIMIT_NOFILE, FILES_MAX, err)) < 0)
                return r;
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
        /* A sanitizer's shadow takes terabytes of address space. */
        r = limit(RLIMIT_AS, MEMORY_MAX, err);
#endif
        return r;
}

int box_enter(struct error *err)
{
        close_range(FIRST_FOREIGN, ~0U, 0);
        umask(077);
        if (unshare(CLONE_NEWNET | CLONE_NEWNS | CLONE_NEWIPC | CLONE_NEWUTS) < 0)
                return error_errno(err, errno, "unshare");
        if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
                return error_errno(err, errno, "make mounts private");
        if (mount("tmpfs", BOX_SCRATCH, "tmpfs", MS_NOSUID | MS_NODEV | MS_NOEXEC,
                  SCRATCH_OPTIONS) < 0 ||
            chdir(BOX_SCRATCH) < 0)
                return error_errno(err, errno, "mount %s", BOX_SCRATCH);
        int r = set_limits(err);
        if (r < 0)
                return r;
        if (setgroups(0, NULL) < 0 || setresgid(NOBODY, NOBODY, NOBODY) < 0 ||
            setresuid(NOBODY, NOBODY, NOBODY) < 0)
                return error_errno(err, errno, "become nobody");
        if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
                return error_errno(err, errno, "no_new_privs");
        return 0;
}
