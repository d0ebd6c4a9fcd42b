/*
 * spec_private: what the files of oci/spec*.c share. For nobody else.
 */
#ifndef CRISP_OCI_SPEC_PRIVATE_H
#define CRISP_OCI_SPEC_PRIVATE_H

#include <stdbool.h>

/* Whether this process has the capability of this number (linux/capability.h) and may give it on.
 */
bool spec_capability_own(int number);

#endif
