/* crisp-monitor: watches one container. See conmon/conmon.h; crisp serve starts it. */
#include <string.h>
#include <unistd.h>

#include "conmon/conmon.h"
#include "conmon/text.h"

static int usage(const char *problem, const char *argument)
{
        char memory[512];
        struct text text = text_in(memory, sizeof(memory));

        text_add(&text, "crisp-monitor: ");
        text_add(&text, problem);
        if (argument) {
                text_add(&text, " ");
                text_add(&text, argument);
        }
        text_add(&text, "\ncrisp serve starts this program; it is of no use by itself.\n");
        return write(STDERR_FILENO, memory, text.length) < 0 ? 3 : 2;
}

int main(int argc, char **argv)
{
        struct conmon_options options;
        const char *problem, *argument;

        if (argc == 2 && strcmp(argv[1], "--version") == 0)
                return write(STDOUT_FILENO, CRISP_VERSION "\n", sizeof(CRISP_VERSION)) < 0;
        if (conmon_options_parse(argc, argv, &options, &problem, &argument) < 0)
                return usage(problem, argument);
        return conmon_run(&options);
}
