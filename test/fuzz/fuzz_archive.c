/*
 * Any bytes as an archive with images, as a load meets it: files are found in it or it is refused,
 * and nothing is read beyond what they say.
 */
#include <assert.h>
#include <fcntl.h>
#include <locale.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/file.h"
#include "image/fetch/archive.h"

#define WRITTEN_MAX  (8 << 20)
#define DOCUMENT_MAX (1 << 20)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void look(const struct archive_index *index)
{
        static const char *const NAMES[] = {"manifest.json", "oci-layout", "index.json", "a/b"};

        for (size_t i = 0; i < sizeof(NAMES) / sizeof(NAMES[0]); i++) {
                AUTO_BUFFER struct buffer bytes = BUFFER_INIT;
                struct error err = {0};
                int r = archive_get(index, NAMES[i], DOCUMENT_MAX, &bytes, &err);
                assert(r == 0 || (err.code != ERROR_OK && err.message[0]));
                assert(bytes.length <= DOCUMENT_MAX);
        }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        char path[] = "/tmp/crisp-fuzz-XXXXXX";
        struct archive_index *index = NULL;
        struct error err = {0};

        if (!setlocale(LC_CTYPE, "C.UTF-8") || !mkdtemp(path))
                abort();
        int staging = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        int fd = memfd_create("archive", MFD_CLOEXEC);
        assert(write(fd, data, size) == (ssize_t)size);
        assert(lseek(fd, 0, SEEK_SET) == 0);
        int r = archive_index_new(fd, staging, WRITTEN_MAX, &index, &err);
        assert(r == 0 || (err.code != ERROR_OK && err.message[0]));
        if (r == 0)
                look(index);
        archive_index_free(index);
        close(fd);
        close(staging);
        assert(file_remove_tree(path, NULL) == 0);
        return 0;
}
