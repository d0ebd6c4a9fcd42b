#include "base/program.h"

#include <limits.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/memory.h"

#ifndef CRISP_LIBEXECDIR
#define CRISP_LIBEXECDIR "/usr/libexec/crisp"
#endif

char *program_path(const char *name)
{
        char self[PATH_MAX];
        ssize_t length = readlink("/proc/self/exe", self, sizeof(self));

        /* A path that was cut is of no use; of a removed executable the folder is still right. */
        if (length > 0 && (size_t)length < sizeof(self)) {
                const char *slash = memrchr(self, '/', (size_t)length);
                AUTO_FREE char *beside =
                        xprintf("%.*s/%s", slash ? (int)(slash - self) : 0, self, name);

                if (access(beside, X_OK) == 0)
                        return take_ptr(beside);
        }
        return xprintf("%s/%s", CRISP_LIBEXECDIR, name);
}
