/*
 * crisp: the container runtime's daemon, and the commands that ask it. Arguments and exit codes,
 * nothing more.
 *
 * Exit codes: 0 when all went well, 1 when something failed, 2 for a command line that is not
 * understood.
 */
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/log.h"
#include "cli/cli.h"
#include "cri/check.h"
#include "cri/config.h"
#include "cri/daemon.h"

#define EXIT_USAGE 2

static const char usage_text[] =
        "Usage: crisp serve [--config FILE]    run the daemon\n"
        "       crisp config [--config FILE]   print the effective configuration as TOML\n"
        "       crisp check [--config FILE] [--json]\n"
        "                                      whether this machine can be a node, and what to do\n"
        "       crisp images COMMAND           what the daemon has, and brings here:\n"
        "           list [IMAGE] [--json] [-q]\n"
        "           pull IMAGE [--creds USER[:PASSWORD] [--password-stdin] | --authfile FILE] "
        "[-q]\n"
        "           rm IMAGE...\n"
        "           inspect IMAGE\n"
        "           load FILE|DIR|- [--name NAME]\n"
        "           save IMAGE... -o FILE|DIR [--format oci|oci-dir|docker] [--compression "
        "none|gzip|zstd]\n"
        "           check IMAGE|PATH\n"
        "           verify [IMAGE...] [-v]\n"
        "           repair [IMAGE...] [-v]\n"
        "       crisp explain [pulls | POD | CONTAINER | IMAGE] [--json]\n"
        "                                      the step that each is in, and since when\n"
        "       crisp inspect CONTAINER        what it is, by its specification and by the kernel\n"
        "       crisp verify CONTAINER [--json] [-q]\n"
        "                                      whether the kernel has what its specification says\n"
        "       crisp pause CONTAINER          freeze its processes\n"
        "       crisp unpause CONTAINER        let them go on\n"
        "       crisp metrics                  the daemon's counters, for Prometheus\n"
        "       crisp version                  print the version\n"
        "       crisp help                     print this\n"
        "\n"
        "Without --config, /etc/crisp/crisp.toml and /etc/crisp/crisp.toml.d/*.toml are read where "
        "they\n"
        "are there; with it, FILE and FILE.d/*.toml. images, explain and metrics ask the daemon "
        "that the\n"
        "configuration names, or that of --socket PATH. See crisp(8), crisp-images(8) and "
        "crisp.toml(5).\n";

static int usage_error(const char *what, const char *argument)
{
        fprintf(stderr, "crisp: %s%s\nTry \"crisp help\".\n", what, argument);
        return EXIT_USAGE;
}

static int fail(const struct error *err)
{
        char text[ERROR_WORD_MAX + ERROR_MESSAGE_MAX + 4];

        error_render(err, text, sizeof(text));
        fprintf(stderr, "crisp: %s\n", text);
        return EXIT_FAILURE;
}

/* What was printed counts only when it has arrived. */
static int finish_output(void)
{
        if (fflush(stdout) == 0 && !ferror(stdout))
                return EXIT_SUCCESS;
        perror("crisp: write to standard output");
        return EXIT_FAILURE;
}

/* Reads the options after a command into *file; 0, or the exit code after telling what is wrong. */
static int parse_options(char *const *arguments, const char **file)
{
        for (; *arguments; arguments++) {
                const char *value = NULL;

                if (strcmp(*arguments, "--config") == 0) {
                        if (!arguments[1])
                                return usage_error("--config needs a file", "");
                        value = *++arguments;
                } else if (strncmp(*arguments, "--config=", 9) == 0) {
                        value = *arguments + 9;
                } else {
                        return usage_error(**arguments == '-' ? "unknown option "
                                                              : "unexpected argument ",
                                           *arguments);
                }
                if (*file)
                        return usage_error("--config is given twice", "");
                if (!*value)
                        return usage_error("--config needs a file", "");
                *file = value;
        }
        return 0;
}

static int run_serve(const struct config *config)
{
        log_set_level(config->log.level);
        return daemon_serve(config) < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}

static int run_config(const struct config *config)
{
        config_print(config, stdout);
        return finish_output();
}

/* A command that needs the configuration. */
static int with_config(char *const *arguments, int (*run)(const struct config *config))
{
        AUTO_CONFIG struct config *config = NULL;
        const char *file = NULL;
        struct error err;
        int code = parse_options(arguments, &file);

        if (code != 0)
                return code;
        if (config_load(file, &config, &err) < 0)
                return fail(&err);
        return run(config);
}

/* What is wrong with the configuration is a finding like the others. */
static int run_check(char *const *arguments)
{
        AUTO_CONFIG struct config *config = NULL;
        struct options_common common = {0};
        const struct option options[] = {
                {.name = "--config", .needs = "a file", .value = &common.config},
                OPTIONS_JSON(common),
                {0}};
        AUTO_FREE const char **words = cli_words(arguments);
        struct error err;
        int code = options_read(arguments, options, words);

        if (code == 0 && words[0])
                code = usage_error("unexpected argument ", words[0]);
        if (code != 0)
                return code;
        log_set_level(LOG_LEVEL_ERROR);
        if (config_load(common.config, &config, &err) < 0)
                return fail(&err);
        bool failed = check_node(config, common.json, stdout) < 0;
        code = finish_output();
        return failed ? EXIT_FAILURE : code;
}

/* A command that takes no arguments. */
static int print_alone(char *const *arguments, const char *text)
{
        if (*arguments)
                return usage_error("unexpected argument ", *arguments);
        fputs(text, stdout);
        return finish_output();
}

/* Whether help is asked for, as one asks any other program for it. */
static bool asks_for_help(char *const *arguments)
{
        for (; *arguments && strcmp(*arguments, "--") != 0; arguments++)
                if (strcmp(*arguments, "--help") == 0 || strcmp(*arguments, "-h") == 0)
                        return true;
        return false;
}

int main(int argc, char **argv)
{
        const char *command = argc > 1 ? argv[1] : "";
        char *const *rest = argc > 1 ? argv + 2 : argv;

        if (*command && asks_for_help(argv + 1))
                return print_alone(argv + argc, usage_text);
        if (strcmp(command, "serve") == 0)
                return with_config(rest, run_serve);
        if (strcmp(command, "config") == 0)
                return with_config(rest, run_config);
        if (strcmp(command, "check") == 0)
                return run_check(rest);
        if (strcmp(command, "images") == 0)
                return cli_images(rest);
        if (strcmp(command, "explain") == 0)
                return cli_explain(rest);
        if (strcmp(command, "metrics") == 0)
                return cli_metrics(rest);
        if (strcmp(command, "inspect") == 0)
                return cli_inspect(rest);
        if (strcmp(command, "verify") == 0)
                return cli_verify(rest);
        if (strcmp(command, "pause") == 0)
                return cli_pause(rest);
        if (strcmp(command, "unpause") == 0)
                return cli_unpause(rest);
        if (strcmp(command, "version") == 0 || strcmp(command, "--version") == 0)
                return print_alone(rest, "crisp " CRISP_VERSION "\n");
        if (strcmp(command, "help") == 0)
                return print_alone(rest, usage_text);
        if (!*command)
                return usage_error("a command is missing: serve, config, check, images, explain, "
                                   "inspect, verify, pause, unpause, metrics, "
                                   "version or help",
                                   "");
        return usage_error("unknown command ", command);
}
