/*
 * signals: CRI's enumeration of signals, and the kernel's numbers.
 */
#ifndef CRISP_CRI_SIGNALS_H
#define CRISP_CRI_SIGNALS_H

#include "api/cri/runtime_v1.pb-c.h"
#include "base/error.h"

/*
 * The signal that stops a container: the request's, else the image's (null or empty: none), else
 * SIGTERM. INVALID_ARGUMENT for a name that is none.
 */
int signals_effective(const Runtime__V1__ContainerConfig *config, const char *image_signal,
                      int *number, struct error *err);

/* CRI's value of a number; RUNTIME_DEFAULT for one that it does not have. */
Runtime__V1__Signal signals_to_cri(int number);

#endif
