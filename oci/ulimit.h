/*
 * ulimit: limits of a process as people write them.
 */
#ifndef CRISP_OCI_ULIMIT_H
#define CRISP_OCI_ULIMIT_H

#include "base/error.h"
#include "oci/spec.h"

/*
 * "nofile=SOFT:HARD", or "nofile=BOTH"; -1 is unlimited. limit->type is a literal. INVALID_ARGUMENT
 * for a name that Linux does not have, for what is no number, and for SOFT above HARD. Pure; any
 * thread.
 */
int ulimit_parse(const char *text, struct spec_rlimit *limit, struct error *err);

#endif
