/*
 * Any bytes as a CNI configuration and as a plugin's result: they are read or refused with a
 * reason. What was read keeps the bounds, and a result says the same in a version after a detour
 * through another.
 */
#include <assert.h>
#include <stdint.h>
#include <string.h>

#include "base/json.h"
#include "base/memory.h"
#include "network/cni_config.h"
#include "network/cni_result.h"
#include "network/namespace.h"
#include "network/network.h"

#define TEXT_MAX 512

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_config(const char *bytes, size_t size, bool single)
{
        AUTO_CNI_NETWORK struct cni_network *network = NULL;
        struct error err = {0};
        if (cni_network_parse(bytes, size, single, "input", &network, &err) < 0) {
                assert(!network && err.code == ERROR_INVALID_ARGUMENT && *err.message);
                return;
        }
        assert(*network->name && !strchr(network->name, '/'));
        assert(network->plugin_count >= 1 && network->plugin_count <= CNI_CONFIG_PLUGINS_MAX);
        for (size_t i = 0; i < network->plugin_count; i++) {
                const char *type = network->plugins[i].type;
                assert(*type && !strchr(type, '/') && strcmp(type, "..") != 0);
                assert(strlen(type) <= CNI_CONFIG_NAME_MAX);
        }
        cni_network_has_capability(network, "portMappings");
        /* What is kept in the cache is read again as the same. */
        AUTO_FREE char *text = json_text(network->json);
        AUTO_CNI_NETWORK struct cni_network *again = NULL;
        assert(cni_network_parse(text, strlen(text), true, "again", &again, &err) == 0);
        assert(json_equal(again->json, network->json));
        assert(again->version == network->version);
}

static void check_result(const char *bytes, size_t size, enum cni_version version)
{
        AUTO_JSON json_t *result = NULL;
        struct error err = {0};
        char **ips = NULL;
        if (cni_result_parse(bytes, size, version, &result, &err) < 0) {
                assert(!result && err.code == ERROR_INTERNAL);
                return;
        }
        if (cni_result_ips(result, "eth0", &ips, &err) < 0)
                assert(!ips);
        assert(strv_length(ips) <= CNI_RESULT_IPS_MAX);
        strv_free(ips);
        for (enum cni_version other = CNI_0_1_0; other <= CNI_1_1_0; other++) {
                AUTO_JSON json_t *converted = cni_result_convert(result, other);
                AUTO_JSON json_t *back = converted ? cni_result_convert(converted, version) : NULL;
                assert(converted && back);
        }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        const char *bytes = (const char *)data;
        char text[TEXT_MAX];
        uint64_t rate = 0;
        check_config(bytes, size, false);
        check_config(bytes, size, true);
        check_result(bytes, size, CNI_0_2_0);
        check_result(bytes, size, CNI_0_4_0);
        check_result(bytes, size, CNI_1_0_0);
        if (size < sizeof text) {
                memcpy(text, bytes, size);
                text[size] = '\0';
                if (network_parse_bandwidth(text, &rate, NULL) == 0)
                        assert(rate >= 1000 && rate <= UINT64_C(1000000000000000));
                namespace_check_sysctl(text, true, true, NULL);
        }
        return 0;
}
