/*
 * pod_metrics: ListMetricDescriptors, ListPodSandboxMetrics and their stream.
 *
 * Loop's thread only.
 */
#ifndef CRISP_CRI_POD_METRICS_H
#define CRISP_CRI_POD_METRICS_H

#include "cri/rpc.h"

rpc_handler pod_metrics_descriptors_handler, pod_metrics_list_handler, pod_metrics_stream_handler;

#endif
