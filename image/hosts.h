/*
 * hosts: what containerd's and docker's folders of registries say.
 *
 * A hosts folder (/etc/containerd/certs.d) has a folder for each registry, named HOST, HOST_PORT_
 * or HOST:PORT, or "_default" for all others, with a hosts.toml in it; a certs folder
 * (/etc/containers/certs.d, /etc/docker/certs.d) has a folder HOST or HOST:PORT with *.crt, *.cert
 * and *.key. Read anew for each pull. These functions block on the disk. Any thread; what they give
 * is in the arena.
 */
#ifndef CRISP_IMAGE_HOSTS_H
#define CRISP_IMAGE_HOSTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/error.h"
#include "image/request.h"

#define HOSTS_MAX              30      /* [host] tables of a file */
#define HOSTS_DIAL_MAX         3600000 /* ms of a dial_timeout */
#define HOSTS_FOLDER_FILES_MAX 1024

/*
 * The endpoints of registry (HOST[:PORT] as in names) that the first folder for it in dirs (a strv)
 * says; none where there is no folder, or none of its files says where to go. In that case
 * *certificates is the folder that may have certificates, or null. INVALID_ARGUMENT with file and
 * line for a hosts.toml that is not as it should be.
 */
int hosts_endpoints(char *const *dirs, const char *registry, struct arena *arena,
                    struct fetch_endpoint **endpoints, size_t *count, const char **certificates,
                    struct error *err);

/* The same from a file's bytes; file is its path, to which relative ones in it belong. */
int hosts_parse(const char *bytes, size_t length, const char *file, const char *registry,
                struct arena *arena, struct fetch_endpoint **endpoints, size_t *count,
                struct error *err);

/* The first folder for host (HOST[:PORT]) in dirs, or null. */
const char *hosts_certificate_folder(char *const *dirs, const char *host, struct arena *arena);

/*
 * Adds a folder's certificates to an endpoint: *.crt to the authorities, NAME.cert with NAME.key as
 * the client's unless it has one. FAILED_PRECONDITION where one of the two is missing.
 */
int hosts_add_certificates(const char *folder, struct arena *arena, struct fetch_endpoint *endpoint,
                           struct error *err);

#endif
