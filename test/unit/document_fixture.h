/* Digests to write into documents, and an arena for each test. */
#ifndef CRISP_TEST_DOCUMENT_FIXTURE_H
#define CRISP_TEST_DOCUMENT_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/memory.h"
#include "image/fetch/challenge.h"
#include "image/fetch/http.h"
#include "image/fetch/manifest.h"
#include "image/fetch/path.h"
#include "image/fetch/refusal.h"
#include "image/host.h"
#include "image/request.h"

#define HEX64 "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
#define SHA   "sha256:" HEX64
#define SHA2                                                                                       \
        "sha256:"                                                                                  \
        "f123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
#define CONFIG "\"config\":{\"digest\":\"" SHA "\",\"size\":7}"
#define LAYER  "{\"mediaType\":\"x\",\"digest\":\"" SHA2 "\",\"size\":9}"

static inline int set_up(void **state)
{
        *state = arena_new();
        return 0;
}

static inline int tear_down(void **state)
{
        arena_free(*state);
        return 0;
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

#endif
