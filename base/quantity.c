#include "base/quantity.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#define DIGITS_MAX   18 /* of the number; the product with any suffix fits 128 bits */
#define EXPONENT_MAX 18

static const struct {
        const char *name;
        int decimal; /* power of ten */
        int binary;  /* power of two */
} suffixes[] = {
        {"", 0, 0},    {"n", -9, 0},  {"u", -6, 0},  {"m", -3, 0},  {"k", 3, 0},   {"M", 6, 0},
        {"G", 9, 0},   {"T", 12, 0},  {"P", 15, 0},  {"E", 18, 0},  {"Ki", 0, 10}, {"Mi", 0, 20},
        {"Gi", 0, 30}, {"Ti", 0, 40}, {"Pi", 0, 50}, {"Ei", 0, 60},
};

/* Reads the suffix or the exponent behind a number. */
static bool parse_suffix(const char *text, int *decimal, int *binary)
{
        for (size_t i = 0; i < sizeof suffixes / sizeof *suffixes; i++)
                if (strcmp(text, suffixes[i].name) == 0) {
                        *decimal = suffixes[i].decimal;
                        *binary = suffixes[i].binary;
                        return true;
                }
        if (*text != 'e' && *text != 'E')
                return false;
        const char *digits = text + 1;
        bool negative = *digits == '-';
        if (*digits == '-' || *digits == '+')
                digits++;
        size_t length = strspn(digits, "0123456789");
        if (length == 0 || length > 2 || digits[length])
                return false;
        int exponent = atoi(digits);
        *decimal = negative ? -exponent : exponent;
        *binary = 0;
        return exponent <= EXPONENT_MAX;
}

static bool parse(const char *text, unsigned __int128 *value)
{
        unsigned __int128 number = 0;
        int digits = 0, decimals = 0, decimal, binary;
        bool point = false;
        if (*text == '+')
                text++;
        for (;; text++) {
                if (*text == '.' && !point) {
                        point = true;
                        continue;
                }
                if (*text < '0' || *text > '9')
                        break;
                number = number * 10 + (unsigned)(*text - '0');
                decimals += point;
                if (++digits > DIGITS_MAX)
                        return false;
        }
        if (digits == 0 || !parse_suffix(text, &decimal, &binary))
                return false;
        number <<= binary;
        for (decimal -= decimals; decimal > 0; decimal--)
                number *= 10;
        /* Kubernetes rounds a fraction up. */
        for (bool rest = false; decimal < 0; decimal++) {
                rest = rest || number % 10;
                number = number / 10 + (decimal == -1 && rest);
        }
        *value = number;
        return true;
}

int quantity_parse(const char *text, uint64_t *value)
{
        unsigned __int128 wide;
        if (!text || !parse(text, &wide))
                return -EINVAL;
        if (wide > UINT64_MAX)
                return -ERANGE;
        *value = (uint64_t)wide;
        return 0;
}
