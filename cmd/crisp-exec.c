/* crisp-exec: waits for a command in a container. See conmon/exec.h; crisp serve starts it. */
#include <string.h>
#include <unistd.h>

#include "conmon/exec.h"

int main(int argc, char **argv)
{
        static const char usage[] = "crisp-exec PID-FILE RUNTIME ARGUMENT...\n"
                                    "crisp serve starts this program; it is of no use by itself.\n";

        if (argc == 2 && strcmp(argv[1], "--version") == 0)
                return write(STDOUT_FILENO, CRISP_VERSION "\n", sizeof CRISP_VERSION) < 0;
        if (argc < 3 || argv[2][0] != '/')
                return write(STDERR_FILENO, usage, sizeof usage - 1) < 0 ? 3 : 2;
        return exec_run(argv[1], argv + 2);
}
