#include "network/cni_result.h"

#include <arpa/inet.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "base/json.h"
#include "base/memory.h"

#define ADDRESS_MAX 64 /* an IPv6 address with its prefix length has at most 49 bytes */

/* Until 0.2.0 a result has one address of each family. */
static bool is_old(enum cni_version version)
{
        return version <= CNI_0_2_0;
}

/* Splits "10.1.2.3/24"; gives the address in its canonical form and its family, 0 where it is none.
 */
static int parse_address(const char *text, char out[INET6_ADDRSTRLEN])
{
        char address[ADDRESS_MAX];
        unsigned char binary[sizeof(struct in6_addr)];
        size_t length = text ? strcspn(text, "/") : 0;
        if (length == 0 || length >= sizeof address)
                return 0;
        memcpy(address, text, length);
        address[length] = '\0';
        int family = strchr(address, ':') ? AF_INET6 : AF_INET;
        if (inet_pton(family, address, binary) != 1)
                return 0;
        inet_ntop(family, binary, out, INET6_ADDRSTRLEN);
        return family;
}

static int family_of(const json_t *text)
{
        char address[INET6_ADDRSTRLEN];
        return parse_address(json_string_value(text), address);
}

/* ---- from one version to another ---- */

static void set_copy(json_t *object, const char *key, const json_t *value)
{
        if (value)
                json_object_set_new(object, key, json_deep_copy(value));
}

static void add_old_address(const json_t *old, const char *version, json_t *ips, json_t *routes)
{
        if (!json_is_object(old))
                return;
        json_t *entry = json_pack("{s:s}", "version", version);
        set_copy(entry, "address", json_object_get(old, "ip"));
        set_copy(entry, "gateway", json_object_get(old, "gateway"));
        json_array_append_new(ips, entry);
        size_t index;
        json_t *route;
        json_array_foreach (json_object_get(old, "routes"), index, route)
                json_array_append_new(routes, json_deep_copy(route));
}

static json_t *new_from_old(const json_t *result)
{
        json_t *converted = json_object();
        json_t *ips = json_array(), *routes = json_array();
        add_old_address(json_object_get(result, "ip4"), "4", ips, routes);
        add_old_address(json_object_get(result, "ip6"), "6", ips, routes);
        json_object_set_new(converted, "ips", ips);
        json_object_set_new(converted, "routes", routes);
        set_copy(converted, "dns", json_object_get(result, "dns"));
        return converted;
}

static json_t *old_address(const json_t *result, int family)
{
        size_t index;
        json_t *ip, *route;
        json_array_foreach (json_object_get(result, "ips"), index, ip) {
                if (family_of(json_object_get(ip, "address")) != family)
                        continue;
                json_t *old = json_object(), *routes = json_array();
                set_copy(old, "ip", json_object_get(ip, "address"));
                set_copy(old, "gateway", json_object_get(ip, "gateway"));
                json_array_foreach (json_object_get(result, "routes"), index, route) {
                        if (family_of(json_object_get(route, "dst")) == family)
                                json_array_append_new(routes, json_deep_copy(route));
                }
                json_object_set_new(old, "routes", routes);
                return old;
        }
        return NULL;
}

static json_t *old_from_new(const json_t *result)
{
        json_t *converted = json_object();
        json_t *ip4 = old_address(result, AF_INET), *ip6 = old_address(result, AF_INET6);
        if (ip4)
                json_object_set_new(converted, "ip4", ip4);
        if (ip6)
                json_object_set_new(converted, "ip6", ip6);
        set_copy(converted, "dns", json_object_get(result, "dns"));
        return converted;
}

/* Before 1.0.0 each address tells its family; from then on it must not. */
static void mark_families(json_t *result, enum cni_version version)
{
        size_t index;
        json_t *ip;
        json_array_foreach (json_object_get(result, "ips"), index, ip) {
                int family = family_of(json_object_get(ip, "address"));
                if (version >= CNI_1_0_0)
                        json_object_del(ip, "version");
                else if (family && !json_object_get(ip, "version"))
                        json_object_set_new(ip, "version",
                                            json_string(family == AF_INET ? "4" : "6"));
        }
}

json_t *cni_result_convert(const json_t *result, enum cni_version version)
{
        const json_t *text = json_object_get(result, "cniVersion");
        enum cni_version from = version;
        if (json_is_string(text) && *json_string_value(text) &&
            cni_version_parse(json_string_value(text), &from) < 0)
                return NULL;
        json_t *converted = is_old(from) == is_old(version) ? json_deep_copy(result)
                            : is_old(from)                  ? new_from_old(result)
                                                            : old_from_new(result);
        if (!is_old(version) && from != version)
                mark_families(converted, version);
        json_object_set_new(converted, "cniVersion", json_string(cni_version_name(version)));
        return converted;
}

int cni_result_parse(const char *bytes, size_t length, enum cni_version version, json_t **result,
                     struct error *err)
{
        AUTO_JSON json_t *json = NULL;
        int status = json_parse(bytes ? bytes : "", length, "its result", &json, err);
        if (status < 0) {
                if (err)
                        err->code = ERROR_INTERNAL;
                return status;
        }
        if (!json_is_object(json))
                return error_set(err, ERROR_INTERNAL, "its result is no JSON object");
        const char *text = NULL;
        if (json_get_string(json, "cniVersion", "its result", &text, NULL) < 0)
                return error_set(err, ERROR_INTERNAL, "its result: cniVersion: expected a string");
        json_t *converted = cni_result_convert(json, version);
        if (!converted)
                return error_set(err, ERROR_INTERNAL,
                                 "its result has cniVersion %.32s, asked for was %s", text,
                                 cni_version_name(version));
        *result = converted;
        return 0;
}

/* ---- addresses ---- */

static int add_ip(char ***ips, const json_t *value, struct error *err)
{
        char address[INET6_ADDRSTRLEN];
        const char *text = json_string_value(value);
        if (!parse_address(text, address))
                return error_set(err, ERROR_INTERNAL, "\"%.64s\" in the result is no address",
                                 text ? text : "");
        if (strv_length(*ips) < CNI_RESULT_IPS_MAX)
                strv_push(ips, address);
        return 0;
}

/* What an entry of ips belongs to. */
enum belonging { OF_INTERFACE, OF_NAMESPACE, OF_HOST };

static int belonging_of(const json_t *result, const json_t *ip, const char *interface,
                        enum belonging *belonging, struct error *err)
{
        const json_t *index = json_object_get(ip, "interface");
        *belonging = OF_INTERFACE;
        if (!index || json_is_null(index))
                return 0;
        const json_t *interfaces = json_object_get(result, "interfaces");
        json_int_t number = json_integer_value(index);
        if (!json_is_integer(index) || number < 0 || (size_t)number >= json_array_size(interfaces))
                return error_set(err, ERROR_INTERNAL,
                                 "an address in the result is of an interface that is not there");
        const json_t *entry = json_array_get(interfaces, (size_t)number);
        const char *name = json_string_value(json_object_get(entry, "name"));
        const char *sandbox = json_string_value(json_object_get(entry, "sandbox"));
        if (!name || strcmp(name, interface) != 0)
                *belonging = sandbox && *sandbox ? OF_NAMESPACE : OF_HOST;
        return 0;
}

int cni_result_ips(const json_t *result, const char *interface, char ***ips, struct error *err)
{
        char **of[OF_HOST + 1] = {NULL};
        int status = 0;
        static const char *const old[] = {"ip4", "ip6"};
        for (size_t i = 0; status == 0 && i < 2; i++) {
                const json_t *entry = json_object_get(result, old[i]);
                if (json_is_object(entry))
                        status = add_ip(&of[OF_INTERFACE], json_object_get(entry, "ip"), err);
        }
        const json_t *list = json_object_get(result, "ips");
        for (size_t i = 0; status == 0 && i < json_array_size(list); i++) {
                const json_t *ip = json_array_get(list, i);
                enum belonging belonging;
                status = belonging_of(result, ip, interface, &belonging, err);
                if (status == 0)
                        status = add_ip(&of[belonging], json_object_get(ip, "address"), err);
        }
        if (status == 0)
                *ips = of[OF_INTERFACE] ? take_ptr(of[OF_INTERFACE]) : take_ptr(of[OF_NAMESPACE]);
        for (size_t i = 0; i <= OF_HOST; i++)
                strv_free(of[i]);
        return status;
}
