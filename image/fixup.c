#include "image/fixup.h"

int fixup_build(int store_fd, struct layer *const *layers, size_t count, int directory_fd,
                const char *name, struct layer *fixup, bool *needed, struct error *err)
{
        *needed = false;
        return 0;
}
