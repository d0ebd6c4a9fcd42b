/*
 * services: the handlers of the CRI's two services and of crisp's own, crisp.v1.
 *
 * Handlers are rpc_handler functions; the tables name them.
 */
#ifndef CRISP_CRI_SERVICES_H
#define CRISP_CRI_SERVICES_H

#include "cri/rpc.h"

extern const struct rpc_service runtime_service;
extern const struct rpc_service image_service;
extern const struct rpc_service crisp_service;

#endif
