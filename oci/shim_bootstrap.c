/* What a shim answers to its start: where it listens, and what it speaks. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/json.h"
#include "base/memory.h"
#include "oci/shim_private.h"

#define PLACE       "the shim's answer"
#define VERSION_MIN 2

void shim_bootstrap_fini(struct shim_bootstrap *bootstrap)
{
        free(bootstrap->address);
        bootstrap->address = NULL;
}

static int check_address(const char *address, size_t length, struct error *err)
{
        if (!length || length >= TTRPC_ADDRESS_MAX + strlen("unix://"))
                return error_set(err, ERROR_INVALID_ARGUMENT,
                                 PLACE ": no address of a socket: \"%.*s\"",
                                 (int)(length < 200 ? length : 200), address);
        for (size_t i = 0; i < length; i++)
                if (address[i] <= ' ' || address[i] > '~')
                        return error_set(err, ERROR_INVALID_ARGUMENT,
                                         PLACE ": no address of a socket: \"%.*s\"",
                                         (int)(length < 200 ? length : 200), address);
        return 0;
}

static int parse_json(const char *bytes, size_t length, struct shim_bootstrap *bootstrap,
                      struct error *err)
{
        AUTO_JSON json_t *object = NULL;
        const char *address = "", *protocol = "ttrpc";
        int64_t version = VERSION_MIN;
        int result = json_parse(bytes, length, PLACE, &object, err);
        if (result == 0)
                result = json_get_string(object, "address", PLACE, &address, err);
        if (result == 0)
                result = json_get_string(object, "protocol", PLACE, &protocol, err);
        if (result == 0)
                result = json_get_int(object, "version", PLACE, &version, err);
        if (result == 0)
                result = check_address(address, strlen(address), err);
        if (result < 0)
                return result;
        if (version < VERSION_MIN || version > SHIM_VERSION_MAX)
                return error_set(err, ERROR_UNIMPLEMENTED,
                                 PLACE ": version %lld of the task API; crisp speaks 2 and 3",
                                 (long long)version);
        if (strcasecmp(protocol, "ttrpc") != 0)
                return error_set(err, ERROR_UNIMPLEMENTED,
                                 PLACE ": protocol %.40s; crisp speaks ttrpc", protocol);
        bootstrap->address = xstrdup(address);
        bootstrap->version = (int)version;
        return 0;
}

int shim_bootstrap_parse(const char *bytes, size_t length, struct shim_bootstrap *bootstrap,
                         struct error *err)
{
        while (length && (unsigned char)bytes[length - 1] <= ' ')
                length--;
        while (length && (unsigned char)*bytes <= ' ') {
                bytes++;
                length--;
        }
        if (length && *bytes == '{')
                return parse_json(bytes, length, bootstrap, err);
        int result = check_address(bytes, length, err);
        if (result < 0)
                return result;
        bootstrap->address = xstrndup(bytes, length);
        bootstrap->version = VERSION_MIN;
        return 0;
}
