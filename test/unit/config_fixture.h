/* A folder for each test, with a configuration in it that is read as on a machine with both
 * runtimes. */
#ifndef CRISP_TEST_CONFIG_FIXTURE_H
#define CRISP_TEST_CONFIG_FIXTURE_H

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/file.h"
#include "base/memory.h"
#include "cri/config.h"
#include "cri/config_load.h"

static char *folder;

static inline int begin(void **state)
{
        folder = xstrdup("/tmp/test_config.XXXXXX");
        return mkdtemp(folder) ? 0 : -1;
}

static inline int end(void **state)
{
        int rc = file_remove_tree(folder, NULL);

        free(folder);
        return rc;
}

static inline void write_file(const char *name, const char *text)
{
        AUTO_FREE char *path = xprintf("%s/%s", folder, name);
        AUTO_FREE char *parent = xstrndup(path, (size_t)(strrchr(path, '/') - path));

        assert_int_equal(file_make_directories(parent, 0755, NULL), 0);
        assert_int_equal(file_replace_volatile(path, text, strlen(text), 0755, NULL), 0);
}

/* Both runtimes, cgroupfs. */
static char runc_path[] = "/usr/sbin/runc", crun_path[] = "/usr/bin/crun";
static const struct config_machine machine = {.runc = runc_path, .crun = crun_path};

static inline int try_load(struct config **config, struct error *err)
{
        AUTO_FREE char *path = xprintf("%s/c.toml", folder);

        *err = (struct error){0};
        return config_load_on(&machine, path, config, err);
}

static inline struct config *load(const char *text)
{
        struct config *config = NULL;
        struct error err;

        write_file("c.toml", text);
        if (try_load(&config, &err) < 0)
                fail_msg("%s\nis refused: %s", text, err.message);
        return config;
}

/* message without the folder before it. */
static inline void assert_refused(const char *text, const char *message)
{
        struct config *config = NULL;
        struct error err;
        size_t length = strlen(folder) + 1;

        write_file("c.toml", text);
        if (try_load(&config, &err) == 0)
                fail_msg("%s\nis accepted", text);
        assert_null(config);
        assert_int_equal(err.code, ERROR_INVALID_ARGUMENT);
        assert_true(strlen(err.message) > length);
        assert_string_equal(strncmp(err.message, folder, length - 1) == 0 ? err.message + length
                                                                          : err.message,
                            message);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, begin, end)

#endif
