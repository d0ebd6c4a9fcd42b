/*
 * container_inspect: crisp.v1's calls about a container: what it is by its specification and by the
 * kernel, and its pausing.
 *
 * rpc_handler functions, for tasks. They wait for /proc and the cgroups on a worker.
 */
#ifndef CRISP_CRI_CONTAINER_INSPECT_H
#define CRISP_CRI_CONTAINER_INSPECT_H

#include "cri/rpc.h"

int container_inspect_handler(struct rpc *rpc, const void *request, void *response,
                              struct error *err);
int container_verify_handler(struct rpc *rpc, const void *request, void *response,
                             struct error *err);
int container_pause_handler(struct rpc *rpc, const void *request, void *response,
                            struct error *err);
int container_unpause_handler(struct rpc *rpc, const void *request, void *response,
                              struct error *err);

#endif
