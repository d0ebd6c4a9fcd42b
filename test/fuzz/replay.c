/*
 * Gives a fuzz target the files of the folders named, one by one; of test/fuzz/corpus/NAME where
 * fuzz_NAME is given none. So the corpus runs again in the ordinary tests, with any compiler and no
 * fuzzing engine.
 */
#include <dirent.h>
#include <errno.h>
#include <stdbool.h>
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

static unsigned run_folder(const char *path)
{
        AUTO_DIR DIR *folder = opendir(path);
        struct dirent *entry;
        unsigned count = 0;

        while (folder && (entry = readdir(folder))) {
                AUTO_FREE char *file = xprintf("%s/%s", path, entry->d_name);

                if (entry->d_name[0] == '.')
                        continue;
                run_file(file);
                count++;
        }
        if (count == 0)
                fprintf(stderr, "%s: no files to replay\n", path);
        return count;
}

int main(int argc, char **argv)
{
        bool all = true;

        if (argc == 1) {
                const char *name = strstr(program_invocation_short_name, "fuzz_");
                AUTO_FREE char *own = xprintf("test/fuzz/corpus/%s", name ? name + 5 : "");

                return run_folder(own) == 0;
        }
        for (int i = 1; i < argc; i++)
                all = run_folder(argv[i]) > 0 && all;
        return !all;
}
