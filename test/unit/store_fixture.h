/* A store in a folder of the test's own, and images to put into it. */
#ifndef CRISP_TEST_STORE_FIXTURE_H
#define CRISP_TEST_STORE_FIXTURE_H

#include "test/unit/image_fixture.h"

#include <dirent.h>
#include <jansson.h>
#include <sys/mount.h>

#include "image/record.h"

static const unsigned ONE[] = {0xa1};
static const unsigned TWO[] = {0xa1, 0xb2};
static const unsigned REPEATED[] = {0xa1, 0xb2, 0xa1};

static inline void put(struct store *store, const char *name, unsigned id, const unsigned *diff_ids,
                       size_t count)
{
        struct error err;
        if (store_image_as(store, name, id, diff_ids, count, fill_with_name, &err) < 0)
                fail_msg("%s", err.message);
}

static inline const char *layer_dir(unsigned diff_id)
{
        return at("images/layers/%064x", diff_id);
}

static inline unsigned entries_in(const char *path)
{
        unsigned count = 0;
        DIR *dir = opendir(path);
        assert_non_null(dir);
        while (readdir(dir))
                count++;
        closedir(dir);
        return count - 2;
}

/* Nothing but what images need. */
static inline void assert_clean(unsigned images, unsigned layers)
{
        assert_int_equal(entries_in(at("images/staging")), 0);
        assert_int_equal(entries_in(at("images/records")), images);
        assert_int_equal(entries_in(at("images/configs")), images);
        assert_int_equal(entries_in(at("images/manifests")), images);
        assert_int_equal(entries_in(at("images/layers")), layers);
        assert_int_equal(entries_in(at("images/l")), layers);
}

/* The number of an image with layers ONE whose ID begins so. */
static inline unsigned image_that_begins(const char *prefix)
{
        for (unsigned number = 0;; number++) {
                AUTO_FREE char *text = config_text_of(number, ONE, 1);
                AUTO_FREE char *id = digest_of_text(text);
                if (strncmp(id, prefix, strlen(prefix)) == 0)
                        return number;
        }
}

#define TASK_TEST(name)                                                                            \
        static void test_##name(void **state)                                                      \
        {                                                                                          \
                (void)state;                                                                       \
                in_task(name);                                                                     \
        }

#endif
