/*
 * Any bytes as an image's USER, /etc/passwd and /etc/group (parted by zeroes): a user whose numbers
 * are within the kernel's range, or a refusal.
 */
#include <assert.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/memory.h"
#include "oci/user.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void put(int folder, const char *name, const uint8_t *bytes, size_t length)
{
        AUTO_FD int fd = openat(folder, name, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
        assert(fd >= 0 && write(fd, bytes, length) == (ssize_t)length);
}

static size_t part(const uint8_t *data, size_t size)
{
        const uint8_t *zero = memchr(data, 0, size);
        return zero ? (size_t)(zero - data) : size;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        char folder[] = "/tmp/crisp-fuzz-user-XXXXXX";
        size_t name_length = part(data, size);
        AUTO_FREE char *name = xstrndup((const char *)data, name_length);
        size_t passwd = name_length < size ? name_length + 1 : size;
        size_t passwd_length = part(data + passwd, size - passwd);
        size_t group = passwd + passwd_length < size ? passwd + passwd_length + 1 : size;

        assert(mkdtemp(folder));
        AUTO_FD int root = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        assert(root >= 0 && mkdirat(root, "etc", 0700) == 0);
        put(root, "etc/passwd", data + passwd, passwd_length);
        put(root, "etc/group", data + group, size - group);

        struct user user = {0};
        struct error err = {0};
        struct user_request request = {.image_user = name};
        if (user_resolve(root, &request, &user, &err) < 0) {
                assert(err.code == ERROR_INVALID_ARGUMENT && err.message[0]);
        } else {
                assert(user.uid != UINT32_MAX && user.gid != UINT32_MAX);
                assert(user.gid_count >= 1 && user.gid_count <= USER_GROUPS_MAX);
                assert(user.gids[0] == user.gid && user.home[0] == '/');
                for (size_t i = 1; i < user.gid_count; i++)
                        assert(user.gids[i] != user.gid);
        }
        user_fini(&user);
        assert(unlinkat(root, "etc/passwd", 0) == 0 && unlinkat(root, "etc/group", 0) == 0);
        assert(unlinkat(root, "etc", AT_REMOVEDIR) == 0 && rmdir(folder) == 0);
        return 0;
}
