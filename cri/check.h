/*
 * check: whether this machine can be a node, thing by thing, with what to do where it cannot.
 */
#ifndef CRISP_CRI_CHECK_H
#define CRISP_CRI_CHECK_H

#include <stdbool.h>
#include <stdio.h>

#include "cri/config.h"

/*
 * Looks at everything that the daemon will need, and writes a line for each, or one JSON array.
 * 0 where nothing failed; warnings alone are fine. Blocks: it runs handlers' programs, in a loop of
 * its own. The daemon may run or not, and nothing of it is touched.
 */
int check_node(const struct config *config, bool json, FILE *out);

#endif
