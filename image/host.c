#include "image/host.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#define HTTPS_PORT_SUFFIX ":443"
#define HOST_MAX          300 /* bytes with the final zero: a name of 255, a scheme, a port */

bool host_is_loopback(const char *host)
{
        struct in_addr v4;
        struct in6_addr v6;
        char bare[64];
        size_t length = strlen(host);

        if (length > 2 && length < sizeof(bare) && host[0] == '[' && host[length - 1] == ']') {
                memcpy(bare, host + 1, length - 2);
                bare[length - 2] = '\0';
                return inet_pton(AF_INET6, bare, &v6) == 1 && IN6_IS_ADDR_LOOPBACK(&v6);
        }
        if (strcasecmp(host, "localhost") == 0)
                return true;
        return inet_pton(AF_INET, host, &v4) == 1 && (ntohl(v4.s_addr) >> 24) == 127;
}

bool host_is_plain(const char *registry)
{
        char host[HOST_MAX];
        const char *end = registry[0] == '[' ? strchr(registry, ']') : NULL;
        const char *colon = strchr(end ? end : registry, ':');

        if (colon && strcmp(colon, HTTPS_PORT_SUFFIX) == 0)
                return false;
        snprintf(host, sizeof(host), "%.*s",
                 (int)(colon ? (size_t)(colon - registry) : strlen(registry)), registry);
        return host_is_loopback(host);
}

static void simplify(const char *address, char out[HOST_MAX])
{
        const char *host = strstr(address, "://");
        host = host ? host + 3 : address;
        snprintf(out, HOST_MAX, "%.*s", (int)strcspn(host, "/"), host);

        size_t length = strlen(out), suffix = strlen(HTTPS_PORT_SUFFIX);
        if (length > suffix && strcmp(out + length - suffix, HTTPS_PORT_SUFFIX) == 0)
                out[length - suffix] = '\0';
        if (strcasecmp(out, HOST_DOCKER_SERVER) == 0 || strcasecmp(out, "index.docker.io") == 0)
                snprintf(out, HOST_MAX, "%s", HOST_DOCKER);
}

bool host_is_same(const char *a, const char *b)
{
        char first[HOST_MAX], second[HOST_MAX];

        /* What is cut would be like whatever begins the same. */
        if (strlen(a) >= HOST_MAX || strlen(b) >= HOST_MAX)
                return false;
        simplify(a, first);
        simplify(b, second);
        return strcasecmp(first, second) == 0;
}
