/*
 * split_format: a record's bytes, as its writer and its reader share them. Pure; any thread.
 */
#ifndef CRISP_IMAGE_FETCH_SPLIT_FORMAT_H
#define CRISP_IMAGE_FETCH_SPLIT_FORMAT_H

#include <stddef.h>
#include <stdint.h>

#define SPLIT_MAGIC       "crisptar"
#define SPLIT_VERSION     1
#define SPLIT_VERSION_AT  8
#define SPLIT_KEPT_AT     9
#define SPLIT_LENGTH_AT   16
#define SPLIT_HEADER_SIZE 24
#define SPLIT_NUMBER_MAX  10 /* bytes of a number */
#define SPLIT_SUM_SIZE    8

#define SPLIT_RAW  'r'
#define SPLIT_FILE 'f'
#define SPLIT_SUM  'c'
#define SPLIT_KEPT 'k'

/* Writes the number, seven bits a byte, the lowest first; returns how many bytes it took. */
static inline size_t split_number_encode(uint64_t number, char out[SPLIT_NUMBER_MAX])
{
        size_t length = 0;
        for (; number >= 0x80; number >>= 7)
                out[length++] = (char)(0x80 | (number & 0x7f));
        out[length++] = (char)number;
        return length;
}

/* Eight bytes, little-endian. */
static inline void split_fixed_encode(uint64_t number, char out[8])
{
        for (int i = 0; i < 8; i++)
                out[i] = (char)(number >> (8 * i));
}

static inline uint64_t split_fixed_decode(const char bytes[8])
{
        uint64_t number = 0;
        for (int i = 7; i >= 0; i--)
                number = number << 8 | (unsigned char)bytes[i];
        return number;
}

#endif
