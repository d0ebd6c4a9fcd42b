#include "conmon/place.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "conmon/text.h"

static int make_address(const char *path, struct sockaddr_un *address, int *folder)
{
        struct text text = text_in(address->sun_path, sizeof(address->sun_path));
        static char directory[PATH_MAX];
        const char *name = strrchr(path, '/');
        int fd;

        address->sun_family = AF_UNIX;
        text_add(&text, path);
        if (!text.cut)
                return 0;
        if (!name || (size_t)(name - path) >= sizeof(directory))
                return -ENAMETOOLONG;
        memcpy(directory, path, (size_t)(name - path));
        directory[name - path] = 0;
        fd = open(directory, O_PATH | O_DIRECTORY | O_CLOEXEC);
        if (fd < 0)
                return -errno;
        text = text_in(address->sun_path, sizeof(address->sun_path));
        text_add(&text, "/proc/");
        text_add_number(&text, getpid());
        text_add(&text, "/fd/");
        text_add_number(&text, fd);
        text_add(&text, name);
        if (text.cut) {
                close(fd);
                return -ENAMETOOLONG;
        }
        *folder = fd;
        return 0;
}

int place_listen(const char *path, int type, int backlog, struct sockaddr_un *address, int *folder)
{
        struct sockaddr_un here = {0};
        int directory = -1;
        mode_t mask;
        int fd, result;

        result = make_address(path, &here, &directory);
        if (result < 0)
                return result;
        fd = socket(AF_UNIX, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        if (fd < 0) {
                result = -errno;
                goto failed;
        }
        if (unlink(path) < 0 && errno != ENOENT) {
                result = -errno;
                goto failed;
        }
        mask = umask(0177);
        result = bind(fd, (struct sockaddr *)&here, sizeof(here)) < 0 ? -errno : 0;
        umask(mask);
        if (!result && listen(fd, backlog) < 0)
                result = -errno;
        if (result < 0)
                goto failed;
        if (address && folder) {
                *address = here;
                *folder = directory;
        } else if (directory >= 0) {
                close(directory);
        }
        return fd;

failed:
        if (fd >= 0)
                close(fd);
        if (directory >= 0)
                close(directory);
        return result;
}
