#include "image/fetch/endpoint.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/memory.h"
#include "image/fetch/http.h"

#define DOCKER_REGISTRY   "docker.io"
#define DOCKER_HOST       "registry-1.docker.io"
#define HTTPS_PORT_SUFFIX ":443"

/* host[:port] without the standard port and Docker Hub's several names. out is the size of the
 * input at least. */
static void plain_host(const char *address, char *out, size_t size)
{
        const char *host = strstr(address, "://");
        host = host ? host + 3 : address;
        snprintf(out, size, "%.*s", (int)strcspn(host, "/"), host);

        size_t length = strlen(out), suffix = strlen(HTTPS_PORT_SUFFIX);
        if (length > suffix && strcmp(out + length - suffix, HTTPS_PORT_SUFFIX) == 0)
                out[length - suffix] = '\0';
        if (strcasecmp(out, DOCKER_HOST) == 0 || strcasecmp(out, "index.docker.io") == 0)
                snprintf(out, size, "%s", DOCKER_REGISTRY);
}

/* Whether credentials for address (empty: those for the reference's registry) may go to the
 * endpoint's host. */
static bool are_for(const char *address, const struct reference *reference, const char *host)
{
        char first[REFERENCE_NAME_MAX + 16], second[REFERENCE_NAME_MAX + 16];

        plain_host(address && address[0] ? address : reference->registry, first, sizeof(first));
        plain_host(host, second, sizeof(second));
        return strcasecmp(first, second) == 0;
}

static bool registry_is_plain(const char *registry)
{
        char host[REFERENCE_NAME_MAX + 1];
        const char *end = registry[0] == '[' ? strchr(registry, ']') : NULL;
        const char *colon = strchr(end ? end : registry, ':');

        if (colon && strcmp(colon, HTTPS_PORT_SUFFIX) == 0)
                return false;
        snprintf(host, sizeof(host), "%.*s",
                 (int)(colon ? (size_t)(colon - registry) : strlen(registry)), registry);
        return http_host_is_loopback(host);
}

static int set_endpoint(struct endpoint *endpoint, const struct fetch_endpoint *from,
                        const struct reference *reference,
                        const struct fetch_credentials *credentials, struct error *err)
{
        bool plain = strncasecmp(from->url, "http://", 7) == 0;
        if (!plain && strncasecmp(from->url, "https://", 8) != 0)
                return error_set(err, ERROR_INVALID_ARGUMENT,
                                 "endpoint \"%.200s\": expected https:// or http://", from->url);

        const char *host = from->url + (plain ? 7 : 8);
        size_t host_length = strcspn(host, "/?#");
        const char *prefix = host + host_length;
        const char *repository = from->repository ? from->repository : reference->repository;
        if (host_length == 0 || host_length > REFERENCE_NAME_MAX || memchr(host, '@', host_length))
                return error_set(err, ERROR_INVALID_ARGUMENT,
                                 "endpoint \"%.200s\": expected a host and nothing before it",
                                 from->url);
        while (*prefix == '/')
                prefix++;
        size_t prefix_length = strlen(prefix);
        while (prefix_length > 0 && prefix[prefix_length - 1] == '/')
                prefix_length--;

        endpoint->name = xstrndup(host, host_length);
        endpoint->insecure = from->insecure;
        endpoint->url =
                xprintf("%s://%s/v2/%.*s%s%s", plain ? "http" : "https", endpoint->name,
                        (int)prefix_length, prefix, prefix_length > 0 ? "/" : "", repository);
        bool ours = are_for(credentials->server_address, reference, endpoint->name);
        return auth_new(ours ? credentials : NULL, repository, plain, from->insecure,
                        &endpoint->auth, err);
}

int endpoint_list_new(const struct fetch_request *request, const struct reference *reference,
                      struct endpoint **endpoints, size_t *count, struct error *err)
{
        bool plain = registry_is_plain(reference->registry);
        const char *host = strcmp(reference->registry, DOCKER_REGISTRY) == 0 ? DOCKER_HOST
                                                                             : reference->registry;
        AUTO_FREE char *url = xprintf("%s://%s", plain ? "http" : "https", host);
        const struct fetch_endpoint itself = {.url = url};
        const struct fetch_endpoint *from = request->endpoint_count ? request->endpoints : &itself;
        size_t number = request->endpoint_count ? request->endpoint_count : 1;
        struct endpoint *list = xcalloc(number, sizeof(list[0]));

        for (size_t i = 0; i < number; i++) {
                int r = set_endpoint(&list[i], &from[i], reference, &request->credentials, err);
                if (r < 0) {
                        endpoint_list_free(list, number);
                        return r;
                }
        }
        *endpoints = list;
        *count = number;
        return 0;
}

void endpoint_list_free(struct endpoint *endpoints, size_t count)
{
        for (size_t i = 0; i < count; i++) {
                free(endpoints[i].url);
                free(endpoints[i].name);
                auth_free(endpoints[i].auth);
        }
        free(endpoints);
}
