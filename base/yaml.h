/*
 * yaml: a YAML document as jansson values, for formats that are written in JSON or YAML.
 */
#ifndef CRISP_BASE_YAML_H
#define CRISP_BASE_YAML_H

#include <jansson.h>
#include <stddef.h>

#include "base/error.h"

#define YAML_DEPTH_MAX 64 /* mappings and sequences inside each other */

/*
 * Reads one document. Plain scalars become null, true, false or whole numbers (decimal, 0x, 0o, 0b,
 * and octal with a zero in front, as YAML 1.1 has it) where they look so; all others, and numbers
 * with a point, stay text. Refused are what would make one value of many (aliases), tags but !!str,
 * two members of one name, keys that are no text, zero bytes, and more than one document.
 * INVALID_ARGUMENT "PLACE:LINE: ...". A new reference in *value. Any thread; pure.
 */
int yaml_read(const char *bytes, size_t length, const char *place, json_t **value,
              struct error *err);

#endif
