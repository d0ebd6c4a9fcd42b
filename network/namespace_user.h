/*
 * namespace_user: namespaces inside a user namespace of their own. For namespace.c.
 *
 * Only a process may make a user namespace that has no other threads: it takes a child.
 */
#ifndef CRISP_NETWORK_NAMESPACE_USER_H
#define CRISP_NETWORK_NAMESPACE_USER_H

#include "base/error.h"
#include "network/namespace.h"

/*
 * Makes the user namespace of options->users and inside it the others that are asked for, and pins
 * all of them, as they come from the kernel. Blocks. What a failure leaves is the caller's to
 * unpin.
 */
int namespace_user_pin(const struct namespace_options *options, struct error *err);

/* Takes the calling thread into those pins, but for the user namespace: from the host it has all
 * rights in them. */
int namespace_user_join(const struct namespace_options *options, struct error *err);

#endif
