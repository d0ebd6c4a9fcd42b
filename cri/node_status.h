/*
 * node_status: the handlers of Status, RuntimeConfig and UpdateRuntimeConfig.
 */
#ifndef CRISP_CRI_NODE_STATUS_H
#define CRISP_CRI_NODE_STATUS_H

#include "cri/rpc.h"

rpc_handler node_status_handler, node_runtime_config_handler, node_update_runtime_config_handler;

#endif
