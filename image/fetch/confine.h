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

/*
 * After confine_process: from now on the process can make, change, rename and remove files below
 * folder alone (Landlock). Does nothing where the kernel has no Landlock that lets a link be made
 * from one folder to another (before 5.19, or turned off).
 */
int confine_writes(const char *folder, struct error *err);

#endif
