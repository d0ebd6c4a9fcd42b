/*
 * Any bytes as a template of a configuration, as what nft and iptables list, and as the kernel's
 * list of flows: they are read within their bounds or refused with a reason.
 */
#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/buffer.h"
#include "base/memory.h"
#include "network/conf_template.h"
#include "network/conntrack.h"
#include "network/hostport.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool is_any(void *argument, const char *id)
{
        (void)argument;
        return id[0] != 'k';
}

static void check_listing(const char *bytes, size_t size, enum hostport_tool tool)
{
        AUTO_BUFFER struct buffer text = BUFFER_INIT;
        struct error err = {0};
        if (hostport_write_removal(tool, "/owner", false, bytes, size, is_any, NULL, &text, &err) <
            0) {
                assert(err.code == ERROR_DATA_LOSS && *err.message);
                return;
        }
        /* Each thing to go takes no more than its own line and a few words. */
        assert(text.length <= 8 * size + 64);
}

static void check_template(const char *bytes, size_t size)
{
        char *ranges[] = {(char *)"10.0.0.0/8", (char *)"fd00::/8", NULL};
        const struct conf_template_values values = {.ranges = ranges, .routes = ranges};
        AUTO_BUFFER struct buffer out = BUFFER_INIT;
        struct error err = {0};
        if (conf_template_render(bytes, size, &values, &out, &err) < 0)
                assert(err.code == ERROR_INVALID_ARGUMENT && *err.message);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        const struct nlattr *tuple;
        /* Aligned, and with nothing readable behind it. */
        AUTO_FREE char *copy = malloc(size ? size : 1);
        memcpy(copy, data, size);
        check_template(copy, size);
        check_listing(copy, size, HOSTPORT_NFT);
        check_listing(copy, size, HOSTPORT_IPTABLES);
        if (conntrack_match_udp(copy, size, 53, &tuple) == 0)
                assert((const char *)tuple >= copy && (const char *)tuple < copy + size);
        return 0;
}
