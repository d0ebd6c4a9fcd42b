/*
 * Gives a fuzz target the files of the folders named, one by one: the corpus runs again in the
 * ordinary tests, with any compiler and no fuzzing engine.
 */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buffer.h"
#include "base/cleanup.h"
#include "base/error.h"
#include "base/file.h"
#include "base/memory.h"

#define INPUT_MAX (16 * 1024 * 1024)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void run_file(const char *path)
{
        AUTO_BUFFER struct buffer contents = BUFFER_INIT;
        AUTO_FREE uint8_t *copy = NULL;
        struct error err;

        if (file_read(path, INPUT_MAX, &contents, &err) < 0) {
                fprintf(stderr, "%s\n", err.message);
                exit(1);
        }
        fprintf(stderr, "%s\n", path);
        /* a copy of just this size, so that a sanitizer sees a read beyond its end */
        copy = xrealloc(NULL, contents.length > 0 ? contents.length : 1);
        if (contents.length > 0)
                memcpy(copy, contents.data, contents.length);
        LLVMFuzzerTestOneInput(copy, contents.length);
}

int main(int argc, char **argv)
{
        unsigned count = 0;

        for (int i = 1; i < argc; i++) {
                AUTO_DIR DIR *folder = opendir(argv[i]);
                struct dirent *entry;

                while (folder && (entry = readdir(folder))) {
                        AUTO_FREE char *path = xprintf("%s/%s", argv[i], entry->d_name);

                        if (entry->d_name[0] == '.')
                                continue;
                        run_file(path);
                        count++;
                }
        }
        if (count == 0)
                fprintf(stderr, "no files to replay\n");
        return count == 0;
}
