/*
 * spdy_dictionary: what SPDY/3's compression of headers starts from.
 */
#ifndef CRISP_CRI_STREAM_SPDY_DICTIONARY_H
#define CRISP_CRI_STREAM_SPDY_DICTIONARY_H

#define SPDY_DICTIONARY_SIZE 1423 /* bytes */

/* The dictionary, made at the first call. Any thread. */
const unsigned char *spdy_dictionary(void);

#endif
