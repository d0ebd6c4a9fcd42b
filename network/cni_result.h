/*
 * cni_result: what a chain of plugins answers, in every version.
 *
 * Versions up to 0.2.0 have ip4 and ip6; from 0.3.0 on there is a list of ips with an index into
 * interfaces, until 1.0.0 with a version beside each. In memory; any thread.
 */
#ifndef CRISP_NETWORK_CNI_RESULT_H
#define CRISP_NETWORK_CNI_RESULT_H

#include <jansson.h>

#include "base/error.h"
#include "network/cni_config.h"

#define CNI_RESULT_IPS_MAX 32

/*
 * Parses what a plugin printed after ADD and puts it into the network's version, which the plugin
 * may have missed. INVALID input is INTERNAL with the reason. *result is a new reference.
 */
int cni_result_parse(const char *bytes, size_t length, enum cni_version version, json_t **result,
                     struct error *err);

/* A result as a value of this version: a new reference, or null where it cannot be told in it. */
json_t *cni_result_convert(const json_t *result, enum cni_version version);

/*
 * The addresses of interface in the result's order, without prefix length: a strv. Addresses that
 * belong to no interface count; where none is the interface's, those of any interface inside the
 * namespace do. INTERNAL where one is no address. *ips is null when there are none.
 */
int cni_result_ips(const json_t *result, const char *interface, char ***ips, struct error *err);

#endif
