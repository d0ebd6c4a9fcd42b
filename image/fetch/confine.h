/*
 * confine: what the process gives up before it meets strangers' bytes.
 */
#ifndef CRISP_IMAGE_FETCH_CONFINE_H
#define CRISP_IMAGE_FETCH_CONFINE_H

#include "base/error.h"

/*
 * Once, before other threads are started: closes descriptors beyond the first three, gives up every
 * capability that unpacking does not need, the gaining of new ones and core dumps (they would have
 * the credentials in them), and clears the umask (modes are the archive's).
 */
int confine_process(struct error *err);

#endif
