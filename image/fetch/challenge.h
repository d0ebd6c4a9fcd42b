/*
 * challenge: what a registry demands with a 401 (RFC 9110 section 11.6.1).
 */
#ifndef CRISP_IMAGE_FETCH_CHALLENGE_H
#define CRISP_IMAGE_FETCH_CHALLENGE_H

#include <stdbool.h>

#define CHALLENGE_VALUE_MAX 2048 /* bytes of a parameter; longer ones are left out */

enum challenge_scheme { CHALLENGE_NONE, CHALLENGE_BASIC, CHALLENGE_BEARER };

struct challenge {
        enum challenge_scheme scheme;
        char realm[CHALLENGE_VALUE_MAX];
        char service[CHALLENGE_VALUE_MAX];
        char scope[CHALLENGE_VALUE_MAX];
};

/*
 * Reads WWW-Authenticate values, a line each, and gives the one to answer: Bearer with a realm
 * before Basic. False, with scheme NONE, where there is neither. Pure.
 */
bool challenge_parse(const char *lines, struct challenge *challenge);

#endif
