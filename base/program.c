#include "base/program.h"

#include <limits.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/memory.h"

char *program_path(const char *name)
{
        char self[PATH_MAX];
        ssize_t length = readlink("/proc/self/exe", self, sizeof self - 1);
        if (length > 0) {
                self[length] = '\0';
                char *slash = strrchr(self, '/');
                if (slash) {
                        AUTO_FREE char *beside =
                                xprintf("%.*s/%s", (int)(slash - self), self, name);
                        if (access(beside, X_OK) == 0)
                                return take_ptr(beside);
                }
        }
        return xprintf("%s/%s", CRISP_LIBEXECDIR, name);
}
