/*
 * quantity: numbers as Kubernetes writes them, "10M", "1.5Gi", "2e3".
 */
#ifndef CRISP_BASE_QUANTITY_H
#define CRISP_BASE_QUANTITY_H

#include <stdint.h>

/*
 * Decimal with the suffix n, u, m, k, M, G, T, P, E, Ki, Mi, Gi, Ti, Pi or Ei, or with an exponent;
 * what is left of a fraction is rounded up, as Kubernetes does. Not negative. -EINVAL for anything
 * else and null, -ERANGE for what 64 bits do not hold; *value is untouched then. Any thread.
 */
int quantity_parse(const char *text, uint64_t *value);

#endif
