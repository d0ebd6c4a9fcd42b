/* Quantities of bandwidth annotations. */
#include <errno.h>

#include "base/quantity.h"
#include "network/network.h"

#define RATE_MIN UINT64_C(1000)
#define RATE_MAX UINT64_C(1000000000000000)

int network_parse_bandwidth(const char *text, uint64_t *rate, struct error *err)
{
        uint64_t bits = 0;
        int result = quantity_parse(text, &bits);
        if (result == -EINVAL)
                return error_set(err, ERROR_INVALID_ARGUMENT,
                                 "bandwidth \"%.64s\": expected bits a second like 10M",
                                 text ? text : "");
        if (result < 0 || bits < RATE_MIN || bits > RATE_MAX)
                return error_set(err, ERROR_INVALID_ARGUMENT,
                                 "bandwidth \"%.64s\": must be 1k to 1P bits a second", text);
        *rate = bits;
        return 0;
}
