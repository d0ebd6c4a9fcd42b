/*
 * box: what crisp-trust gives up before it meets strangers' bytes.
 */
#ifndef CRISP_IMAGE_TRUST_BOX_H
#define CRISP_IMAGE_TRUST_BOX_H

#include "base/error.h"

#define BOX_SCRATCH "/tmp" /* the only folder it can write to: in memory, and gone with it */

/*
 * Once, as root, before anything is read: from then on the process and those that it starts have no
 * network, no capabilities and no way to get any, nobody's user ID, bounded memory, time and file
 * sizes, and an empty BOX_SCRATCH of their own.
 */
int box_enter(struct error *err);

#endif
