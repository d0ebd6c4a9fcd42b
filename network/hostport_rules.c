/* The texts that nft and iptables-restore are given, and what they are asked to remove. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/buffer.h"
#include "base/json.h"
#include "network/hostport.h"

#define ID_MAX   128
#define RULE_MAX 1024 /* bytes of a rule that could be ours */

/* FNV-1a: it keeps daemons of one machine apart, and nobody out. */
void hostport_mark(const char *owner, char mark[HOSTPORT_MARK_SIZE])
{
        uint32_t hash = UINT32_C(2166136261);
        for (; *owner; owner++)
                hash = (hash ^ (unsigned char)*owner) * UINT32_C(16777619);
        snprintf(mark, HOSTPORT_MARK_SIZE, "crisp%08" PRIx32, hash);
}

static bool is_v6(const char *ip)
{
        return strchr(ip, ':') != NULL;
}

static bool is_any(const char *ip)
{
        return !ip || !*ip || strcmp(ip, "0.0.0.0") == 0 || strcmp(ip, "::") == 0;
}

/* Whether the port is for this family; an empty address is for both. */
static bool applies(const struct network_port *port, bool v6)
{
        return port->host_port && (!port->host_ip || !*port->host_ip || is_v6(port->host_ip) == v6);
}

static bool any_applies(const struct hostport_pod *pod, bool v6)
{
        for (size_t i = 0; i < pod->count; i++)
                if (applies(&pod->ports[i], v6))
                        return true;
        return false;
}

/* ---- nftables ---- */

/* Made anew with each pod, as adding what is there does nothing: somebody may have flushed it. */
static void write_table(bool v6, struct buffer *text)
{
        const char *ip = v6 ? "ip6" : "ip", *address = v6 ? "ipv6_addr" : "ipv4_addr";
        AUTO_BUFFER struct buffer at = BUFFER_INIT;
        buffer_printf(&at, "%s " HOSTPORT_TABLE, ip);
        const char *table = at.data;
        buffer_printf(text, "add table %s\n", table);
        buffer_printf(text,
                      "add map %s ports { type inet_proto . inet_service : %s . inet_service ; }\n",
                      table, address);
        buffer_printf(text,
                      "add map %s addressed { type %s . inet_proto . inet_service : %s . "
                      "inet_service ; }\n",
                      table, address, address);
        buffer_printf(text, "add set %s loops { type %s . %s ; }\n", table, address, address);
        buffer_printf(text, "add chain %s dispatch\nflush chain %s dispatch\n", table, table);
        buffer_printf(text,
                      "add rule %s dispatch dnat %s addr . port to %s daddr . meta l4proto . th "
                      "dport map @addressed\n",
                      table, ip, ip);
        buffer_printf(text,
                      "add rule %s dispatch dnat %s addr . port to meta l4proto . th dport map "
                      "@ports\n",
                      table, ip);
        static const char *const hooks[] = {"prerouting", "output"};
        for (size_t i = 0; i < 2; i++) {
                buffer_printf(text,
                              "add chain %s %s { type nat hook %s priority -100 ; }\n"
                              "flush chain %s %s\n"
                              "add rule %s %s fib daddr type local goto dispatch\n",
                              table, hooks[i], hooks[i], table, hooks[i], table, hooks[i]);
        }
        /* A pod that calls itself by a host port, and calls from the loopback interface, would get
         * answers that do not come back this way. */
        buffer_printf(text,
                      "add chain %s postrouting { type nat hook postrouting priority 100 ; }\n"
                      "flush chain %s postrouting\n"
                      "add rule %s postrouting ct status dnat %s saddr . %s daddr @loops "
                      "masquerade\n",
                      table, table, table, ip, ip);
        if (!v6)
                buffer_printf(text,
                              "add rule %s postrouting ct status dnat ip saddr 127.0.0.0/8 "
                              "masquerade\n",
                              table);
}

static void write_nft(const struct hostport_pod *pod, const char *ip, struct buffer *text)
{
        char mark[HOSTPORT_MARK_SIZE];
        bool v6 = is_v6(ip);
        const char *family = v6 ? "ip6" : "ip";
        hostport_mark(pod->owner, mark);
        write_table(v6, text);
        for (size_t i = 0; i < pod->count; i++) {
                const struct network_port *port = &pod->ports[i];
                if (!applies(port, v6))
                        continue;
                bool any = is_any(port->host_ip);
                buffer_printf(text, "add element %s " HOSTPORT_TABLE " %s { %s%s%s . %d ", family,
                              any ? "ports" : "addressed", any ? "" : port->host_ip,
                              any ? "" : " . ", port->protocol, (int)port->host_port);
                buffer_printf(text, "comment \"%s %s\" : %s . %d }\n", mark, pod->id, ip,
                              (int)port->container_port);
        }
        buffer_printf(text,
                      "add element %s " HOSTPORT_TABLE " loops { %s . %s comment \"%s %s\" }\n",
                      family, ip, ip, mark, pod->id);
}

/* ---- iptables ---- */

static void write_iptables(const struct hostport_pod *pod, const char *ip, struct buffer *text)
{
        static const char *const chains[] = {"PREROUTING", "OUTPUT"};
        char mark[HOSTPORT_MARK_SIZE];
        bool v6 = is_v6(ip);
        hostport_mark(pod->owner, mark);
        buffer_add_text(text, "*nat\n");
        for (size_t i = 0; i < pod->count; i++) {
                const struct network_port *port = &pod->ports[i];
                for (size_t k = 0; applies(port, v6) && k < 2; k++) {
                        bool any = is_any(port->host_ip);
                        buffer_printf(text, "-A %s%s%s -p %s -m addrtype --dst-type LOCAL -m %s ",
                                      chains[k], any ? "" : " -d ", any ? "" : port->host_ip,
                                      port->protocol, port->protocol);
                        buffer_printf(text,
                                      "--dport %d -m comment --comment \"%s %s\" -j DNAT "
                                      "--to-destination %s%s%s:%d\n",
                                      (int)port->host_port, mark, pod->id, v6 ? "[" : "", ip,
                                      v6 ? "]" : "", (int)port->container_port);
                }
        }
        buffer_printf(text,
                      "-A POSTROUTING -s %s -d %s -m conntrack --ctstate DNAT -m comment --comment "
                      "\"%s %s\" -j MASQUERADE\nCOMMIT\n",
                      ip, ip, mark, pod->id);
}

void hostport_write_add(enum hostport_tool tool, const struct hostport_pod *pod, const char *ip,
                        struct buffer *text)
{
        if (!any_applies(pod, is_v6(ip)))
                return;
        if (tool == HOSTPORT_NFT)
                write_nft(pod, ip, text);
        else
                write_iptables(pod, ip, text);
}

/* ---- removing ---- */

struct removal {
        char mark[HOSTPORT_MARK_SIZE];
        bool v6;
        bool (*gone)(void *argument, const char *id);
        void *argument;
        struct buffer *text;
};

/* Whether a comment is of a pod of this owner that is gone. length does not count quotes. */
static bool is_gone(const struct removal *removal, const char *comment, size_t length)
{
        size_t mark = strlen(removal->mark);
        char id[ID_MAX + 1];
        if (length <= mark + 1 || length - mark - 1 > ID_MAX ||
            memcmp(comment, removal->mark, mark) != 0 || comment[mark] != ' ')
                return false;
        memcpy(id, comment + mark + 1, length - mark - 1);
        id[length - mark - 1] = '\0';
        return removal->gone(removal->argument, id);
}

/* "tcp . 80", from {"concat": ["tcp", 80]}. */
static bool write_key(const json_t *value, struct buffer *text)
{
        const json_t *parts = json_object_get(value, "concat"), *part;
        size_t i;
        if (!json_is_array(parts))
                return false;
        json_array_foreach (parts, i, part) {
                if (json_is_string(part))
                        buffer_printf(text, "%s%s", i ? " . " : "", json_string_value(part));
                else if (json_is_integer(part))
                        buffer_printf(text, "%s%" JSON_INTEGER_FORMAT, i ? " . " : "",
                                      json_integer_value(part));
                else
                        return false;
        }
        return true;
}

static void remove_elements(const struct removal *removal, const json_t *container)
{
        const char *name = json_string_value(json_object_get(container, "name"));
        const json_t *entry;
        size_t i;
        if (!name)
                return;
        json_array_foreach (json_object_get(container, "elem"), i, entry) {
                /* A map's entry is a pair of key and value, a set's is the key. */
                const json_t *key = json_is_array(entry) ? json_array_get(entry, 0) : entry;
                const json_t *element = json_object_get(key, "elem");
                const char *comment = json_string_value(json_object_get(element, "comment"));
                AUTO_BUFFER struct buffer text = BUFFER_INIT;
                if (comment && is_gone(removal, comment, strlen(comment)) &&
                    write_key(json_object_get(element, "val"), &text))
                        buffer_printf(removal->text,
                                      "delete element %s " HOSTPORT_TABLE " %s { %s }\n",
                                      removal->v6 ? "ip6" : "ip", name, text.data);
        }
}

static int remove_nft(const struct removal *removal, const char *listing, size_t length,
                      struct error *err)
{
        AUTO_JSON json_t *json = NULL;
        json_t *objects = NULL, *object;
        size_t i;
        int result = json_parse(listing, length, "nft's list", &json, err);
        if (result == 0)
                result = json_get_array(json, "nftables", "nft's list", &objects, err);
        if (result < 0)
                return error_set(err, ERROR_DATA_LOSS, "what nft lists cannot be understood");
        json_array_foreach (objects, i, object) {
                remove_elements(removal, json_object_get(object, "map"));
                remove_elements(removal, json_object_get(object, "set"));
        }
        return 0;
}

/* A line of iptables-save, "-A CHAIN ... --comment "MARK ID" ...", with a D in the place of the A.
 */
static void remove_iptables(const struct removal *removal, const char *listing, size_t length)
{
        static const char option[] = "--comment \"";
        bool any = false;
        for (size_t at = 0; at < length;) {
                const char *line = listing + at;
                const char *end = memchr(line, '\n', length - at);
                size_t size = end ? (size_t)(end - line) : length - at;
                char copy[RULE_MAX];
                at += size + 1;
                if (size < 3 || size >= sizeof copy || memcmp(line, "-A ", 3) != 0)
                        continue;
                memcpy(copy, line, size);
                copy[size] = '\0';
                const char *comment = strstr(copy, option);
                if (!comment)
                        continue;
                comment += sizeof option - 1;
                if (!is_gone(removal, comment, strcspn(comment, "\"")))
                        continue;
                buffer_printf(removal->text, "%s-D%s\n", any ? "" : "*nat\n", copy + 2);
                any = true;
        }
        if (any)
                buffer_add_text(removal->text, "COMMIT\n");
}

int hostport_write_removal(enum hostport_tool tool, const char *owner, bool v6, const char *listing,
                           size_t length, bool (*gone)(void *argument, const char *id),
                           void *argument, struct buffer *text, struct error *err)
{
        struct removal removal = {.v6 = v6, .gone = gone, .argument = argument, .text = text};
        hostport_mark(owner, removal.mark);
        if (tool == HOSTPORT_NFT)
                return remove_nft(&removal, listing, length, err);
        remove_iptables(&removal, listing, length);
        return 0;
}
