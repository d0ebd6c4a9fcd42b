/* crisp-pause: holds a pod's shared PID namespace. See conmon/holder.h; crisp serve starts it. */
#include <string.h>
#include <unistd.h>

#include "conmon/holder.h"

static int usage(void)
{
        static const char text[] =
                "crisp-pause [--user PATH] [--net PATH] [--ipc PATH] [--uts PATH]\n"
                "crisp serve starts this program; it is of no use by itself.\n";

        return write(STDERR_FILENO, text, sizeof(text) - 1) < 0 ? 3 : 2;
}

int main(int argc, char **argv)
{
        struct holder_options options = {0};

        if (argc == 2 && strcmp(argv[1], "--version") == 0)
                return write(STDOUT_FILENO, CRISP_VERSION "\n", sizeof(CRISP_VERSION)) < 0;
        if (argc == 2 && strcmp(argv[1], HOLDER_HOLD) == 0)
                holder_hold();
        if (argc == 2 && strcmp(argv[1], HOLDER_WAIT) == 0) {
                holder_wait();
                return 0;
        }
        for (int i = 1; i < argc; i += 2) {
                const char **path = strcmp(argv[i], "--net") == 0    ? &options.net
                                    : strcmp(argv[i], "--user") == 0 ? &options.user
                                    : strcmp(argv[i], "--ipc") == 0  ? &options.ipc
                                    : strcmp(argv[i], "--uts") == 0  ? &options.uts
                                                                     : NULL;

                if (!path || i + 1 >= argc)
                        return usage();
                *path = argv[i + 1];
        }
        return holder_run(&options);
}
