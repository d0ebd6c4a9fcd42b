/*
 * id: names that nobody else has.
 */
#ifndef CRISP_BASE_ID_H
#define CRISP_BASE_ID_H

#include <stdbool.h>
#include <stddef.h>

#define ID_LENGTH 64 /* hexadecimal digits, as CRI clients expect */

/* Fills out with 64 random hexadecimal digits and a zero, from getrandom(2). Any thread. */
void id_generate(char out[ID_LENGTH + 1]);

/* Fills out with length lower-case hexadecimal random digits and a zero. */
void id_random_hex(char *out, size_t length);

/* Whether text is made of lower-case hexadecimal digits alone, 1 to 64 of them. */
bool id_is_hex(const char *text);

#endif
