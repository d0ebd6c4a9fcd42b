/*
 * conf_template: a CNI configuration with places for the node's ranges.
 *
 * The language is a part of Go's text/template, which containerd's users write: {{.PodCIDR}},
 * {{.PodCIDRRanges}}, {{.Routes}}; {{range .X}}, {{range $v := .X}}, {{range $i, $v := .X}}, {{if
 * .X}},
 * {{if $i}}, {{else}}, {{end}}; {{.}}, {{$v}}; comments; and - at either side of a place, which
 * takes the white space there along. Anything else is refused.
 */
#ifndef CRISP_NETWORK_CONF_TEMPLATE_H
#define CRISP_NETWORK_CONF_TEMPLATE_H

#include "base/buffer.h"
#include "base/error.h"

#define CONF_TEMPLATE_MAX   (1024 * 1024) /* bytes of a template, and of what comes of it */
#define CONF_TEMPLATE_STEPS 100000        /* places gone through, each as often as it is */
#define CONF_TEMPLATE_DEPTH 16            /* of range and if in each other */

struct conf_template_values {
        char *const *ranges; /* strv, not empty: the first is PodCIDR too */
        char *const *routes; /* strv */
};

/* Adds what comes of it to out. INVALID_ARGUMENT with the line for what is not understood. In
 * memory; any thread. */
int conf_template_render(const char *text, size_t length, const struct conf_template_values *values,
                         struct buffer *out, struct error *err);

#endif
