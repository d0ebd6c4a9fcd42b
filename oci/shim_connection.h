/*
 * shim_connection: a pod's shim as it is kept, reached and heard. For oci/shim*.c alone.
 */
#ifndef CRISP_OCI_SHIM_CONNECTION_H
#define CRISP_OCI_SHIM_CONNECTION_H

#include "oci/shim_private.h"

/* Writes and reads FOLDER/shim.json: small files of a tmpfs. Reading does nothing where it is
 * known; -ENOENT (UNAVAILABLE) where there is none. */
int shim_record_write(const struct shim *shim, struct error *err);
int shim_record_read(struct shim *shim, struct error *err);

/* Makes the pipe that the shim writes its own log to, and tells what comes out of it. */
int shim_log_open(struct shim *shim, struct error *err);

#endif
