#include "image/host.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base/memory.h"

#define HTTPS_PORT_SUFFIX ":443"

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
        char host[HOST_LENGTH_MAX + 1];
        const char *end = registry[0] == '[' ? strchr(registry, ']') : NULL;
        const char *colon = strchr(end ? end : registry, ':');

        if (colon && strcmp(colon, HTTPS_PORT_SUFFIX) == 0)
                return false;
        snprintf(host, sizeof(host), "%.*s",
                 (int)(colon ? (size_t)(colon - registry) : strlen(registry)), registry);
        return host_is_loopback(host);
}

char *host_url(const char *registry)
{
        bool docker = strcmp(registry, HOST_DOCKER) == 0;
        return xprintf("%s://%s", host_is_plain(registry) ? "http" : "https",
                       docker ? HOST_DOCKER_SERVER : registry);
}

void host_name(const char *address, char out[HOST_LENGTH_MAX + 1])
{
        const char *scheme = strstr(address, "://");
        const char *host = scheme ? scheme + 3 : address;
        size_t length = strcspn(host, "/"), suffix = strlen(HTTPS_PORT_SUFFIX);

        out[0] = '\0';
        /* What is cut would be like whatever begins the same. */
        if (length > HOST_LENGTH_MAX)
                return;
        for (size_t i = 0; i < length; i++)
                out[i] = (char)tolower((unsigned char)host[i]);
        out[length] = '\0';
        if (length > suffix && strcmp(out + length - suffix, HTTPS_PORT_SUFFIX) == 0)
                out[length - suffix] = '\0';
        if (strcmp(out, HOST_DOCKER_SERVER) == 0 || strcmp(out, "index.docker.io") == 0)
                strcpy(out, HOST_DOCKER);
}

bool host_is_same(const char *a, const char *b)
{
        char first[HOST_LENGTH_MAX + 1], second[HOST_LENGTH_MAX + 1];

        host_name(a, first);
        host_name(b, second);
        return first[0] && strcmp(first, second) == 0;
}
