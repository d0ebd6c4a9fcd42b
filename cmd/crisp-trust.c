/*
 * crisp-trust: verifies what was signed about one image. image/verification.h says how the daemon
 * and it speak.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/arena.h"
#include "base/buffer.h"
#include "image/trust/box.h"
#include "image/trust/verify.h"
#include "image/verification.h"

#define READ_SIZE    65536
#define EXIT_VERDICT 0
#define EXIT_ERROR   1
#define EXIT_USAGE   2

static int read_all(struct buffer *line, struct error *err)
{
        for (;;) {
                char *space = buffer_reserve(line, READ_SIZE);
                ssize_t count = read(STDIN_FILENO, space, READ_SIZE);
                if (count < 0 && errno == EINTR)
                        continue;
                if (count < 0)
                        return error_errno(err, errno, "standard input");
                if (count == 0)
                        return 0;
                line->length += (size_t)count;
                if (line->length > VERIFICATION_LINE_MAX)
                        return error_set(err, ERROR_INVALID_ARGUMENT, "more than %u bytes to read",
                                         VERIFICATION_LINE_MAX);
        }
}

static int run(struct error *err)
{
        AUTO_ARENA struct arena *arena = arena_new();
        AUTO_BUFFER struct buffer line = BUFFER_INIT;
        struct verification verification;
        struct error why;
        int r;

        if ((r = box_enter(err)) < 0 || (r = read_all(&line, err)) < 0)
                return r;
        r = verification_decode(line.data ? line.data : "", line.length, arena, &verification, err);
        if (r < 0)
                return r;
        bool accepted = verify_image(&verification, BOX_SCRATCH, &why) == 0;
        AUTO_FREE char *reply = verification_encode_reply(accepted ? NULL : why.message);
        fputs(reply, stdout);
        return fflush(stdout) == 0 ? 0 : error_errno(err, errno, "standard output");
}

int main(int argc, char **argv)
{
        struct error err = {0};

        if (argc != 1 || isatty(STDIN_FILENO)) {
                fprintf(stderr, "crisp-trust is started by crisp, once for each image whose "
                                "signatures count; it takes no arguments.\n");
                return EXIT_USAGE;
        }
        if (run(&err) == 0)
                return EXIT_VERDICT;
        fprintf(stderr, "%s\n", err.message);
        return EXIT_ERROR;
}
