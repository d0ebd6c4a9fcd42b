/* TOML documents beside the JSON that they stand for, or the error that they are refused with. */
#ifndef CRISP_TEST_TOML_FIXTURE_H
#define CRISP_TEST_TOML_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/buffer.h"
#include "base/json.h"
#include "base/memory.h"
#include "base/toml.h"

struct valid {
        const char *toml;
        const char *json;
};

struct invalid {
        const char *toml;
        const char *message; /* without "t:" */
};

static inline void check_valid(const struct valid *cases, size_t count)
{
        for (size_t i = 0; i < count; i++) {
                AUTO_TOML struct toml *document = NULL;
                AUTO_FREE char *text = NULL, *expected = NULL;
                AUTO_JSON json_t *json = NULL;
                struct error err = {0};

                if (toml_parse(cases[i].toml, strlen(cases[i].toml), "t", &document, &err) < 0)
                        fail_msg("%s\nis refused: %s", cases[i].toml, err.message);
                json = json_loads(cases[i].json, JSON_ALLOW_NUL, NULL);
                if (!json)
                        fail_msg("not JSON: %s", cases[i].json);
                text = json_text(document->tree);
                expected = json_text(json);
                assert_string_equal(text, expected);
        }
}

static inline void check_invalid(const struct invalid *cases, size_t count)
{
        for (size_t i = 0; i < count; i++) {
                struct toml *document = NULL;
                struct error err = {0};
                AUTO_FREE char *expected = xprintf("t:%s", cases[i].message);

                if (toml_parse(cases[i].toml, strlen(cases[i].toml), "t", &document, &err) == 0)
                        fail_msg("%s\nis accepted", cases[i].toml);
                assert_null(document);
                assert_int_equal(err.code, ERROR_INVALID_ARGUMENT);
                assert_string_equal(err.message, expected);
        }
}

#define VALID(cases)   check_valid(cases, sizeof(cases) / sizeof((cases)[0]))
#define INVALID(cases) check_invalid(cases, sizeof(cases) / sizeof((cases)[0]))

#endif
