/*
 * host: the names of registries' hosts. Pure; any thread.
 */
#ifndef CRISP_IMAGE_HOST_H
#define CRISP_IMAGE_HOST_H

#include <stdbool.h>
#include <stddef.h>

#define HOST_DOCKER        "docker.io"            /* as it stands in names */
#define HOST_DOCKER_SERVER "registry-1.docker.io" /* who answers for it */
#define HOST_LENGTH_MAX    300                    /* bytes: a name of 255, and its port */

/* Whether host (without port, brackets allowed) names this machine: localhost, 127.0.0.0/8, ::1. */
bool host_is_loopback(const char *host);

/* Whether a registry ("host" or "host:port") is spoken to without TLS where nobody says how: one on
 * this machine, unless it has the port of https. */
bool host_is_plain(const char *registry);

/* "https://registry-1.docker.io" for docker.io, "http://localhost:5000" for that: the URL of a
 * registry where nobody says how it is reached, on the heap. */
char *host_url(const char *registry);

/*
 * The host of an address ("https://index.docker.io/v1/", "registry.example:443/team") in the form
 * in which hosts are compared: lower-case, without scheme, path and the port of https, Docker Hub
 * always as docker.io. Empty for what is longer than a name can be.
 */
void host_name(const char *address, char out[HOST_LENGTH_MAX + 1]);

/*
 * Whether two registries are the same one: a URL's scheme and path, the port of https and Docker
 * Hub's several names do not count.
 */
bool host_is_same(const char *a, const char *b);

#endif
