#include "base/sha256.h"

#include <sha2.h>
#include <stdint.h>

void sha256_hex(const void *bytes, size_t length, char out[SHA256_HEX + 1])
{
        SHA2_CTX context;

        SHA256Init(&context);
        SHA256Update(&context, bytes, length);
        SHA256End(&context, out);
}
