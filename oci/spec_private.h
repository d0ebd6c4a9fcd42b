/*
 * spec_private: what the files of oci/spec*.c share. For nobody else.
 */
#ifndef CRISP_OCI_SPEC_PRIVATE_H
#define CRISP_OCI_SPEC_PRIVATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "base/json.h"
#include "oci/spec.h"

#define SPEC_PLACE_MAX 160 /* bytes of an error's place that come from outside */

/*
 * The first error of a draft stays in it; what is made after that is never used. So the code below
 * reads as the document does.
 */
struct spec_draft {
        struct error *err;
        int result;
};

/* ---- members of objects, and the texts in them (spec_json.c) ---- */

void spec_fail(struct spec_draft *draft, const char *format, ...)
        __attribute__((format(printf, 2, 3)));
/* A string; place and name say what holds it when it is not UTF-8. name may be null. */
json_t *spec_text(struct spec_draft *draft, const char *value, const char *place, const char *name);
void spec_put(json_t *object, const char *key, json_t *value);
void spec_put_text(struct spec_draft *draft, json_t *object, const char *key, const char *value);
void spec_put_number(json_t *object, const char *key, int64_t value);
/*
 * A limit that the kernel counts in 64 bits. jansson reads and writes signed numbers alone;
 * "unlimited" becomes the largest of them, which no resource reaches.
 */
json_t *spec_unsigned(uint64_t value);
json_t *spec_texts(struct spec_draft *draft, const char *const *values, const char *place);
void spec_put_pairs(struct spec_draft *draft, json_t *object, const char *key,
                    const struct spec_pair *pairs, size_t count);
void spec_put_id_maps(json_t *object, const char *key, const struct spec_id_map *maps,
                      size_t count);

/* ---- the parts of the document ---- */

json_t *spec_process(struct spec_draft *draft, const struct spec_options *options);
json_t *spec_linux(struct spec_draft *draft, const struct spec_options *options);
json_t *spec_hooks(struct spec_draft *draft, const struct spec_options *options);
json_t *spec_resources(struct spec_draft *draft, const struct spec_resources *limits);

/* "CAP_CHOWN" for 0; null for a number that has no name here. */
const char *spec_capability_name(int number);

/* Whether this process has the capability of this number (linux/capability.h) and may give it on.
 */
bool spec_capability_own(int number);

#endif
