/* crisp-exec: waits for a command in a container. See conmon/exec.h; crisp serve starts it. */
#include <string.h>
#include <unistd.h>

#include "conmon/exec.h"
#include "conmon/shim_exec.h"

int main(int argc, char **argv)
{
        static const char usage[] =
                "crisp-exec PID-FILE RUNTIME ARGUMENT...\n"
                "crisp-exec --shim ADDRESS SERVICE ID EXEC-ID PROCESS PID-FILE LOG CONSOLE\n"
                "crisp serve starts this program; it is of no use by itself.\n";

        if (argc == 2 && strcmp(argv[1], "--version") == 0)
                return write(STDOUT_FILENO, CRISP_VERSION "\n", sizeof CRISP_VERSION) < 0;
        if (argc == 10 && strcmp(argv[1], "--shim") == 0) {
                const struct shim_exec exec = {argv[2], argv[3], argv[4], argv[5],
                                               argv[6], argv[7], argv[8], argv[9]};

                return shim_exec_run(&exec);
        }
        if (argc < 3 || argv[2][0] != '/')
                return write(STDERR_FILENO, usage, sizeof usage - 1) < 0 ? 3 : 2;
        return exec_run(argv[1], argv + 2);
}
