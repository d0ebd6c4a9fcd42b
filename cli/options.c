#include "cli/options.h"

#include <stdio.h>
#include <string.h>

int options_wrong(const char *what, const char *argument)
{
        fprintf(stderr, "crisp: %s%s\nTry \"crisp help\".\n", what, argument);
        return OPTIONS_EXIT_USAGE;
}

/* The option that an argument names; *value is what follows its "=", or null. */
static const struct option *find(const struct option *options, const char *argument,
                                 const char **value)
{
        size_t length = strcspn(argument, "=");

        *value = argument[length] ? argument + length + 1 : NULL;
        for (; options->name; options++) {
                if (strncmp(options->name, argument, length) == 0 && !options->name[length])
                        return options;
                if (options->letter && strcmp(options->letter, argument) == 0)
                        return options;
        }
        return NULL;
}

static int wrong_value(const struct option *option, const char *problem)
{
        char text[128];

        snprintf(text, sizeof text, "%s %s%s", option->name, problem,
                 option->needs ? option->needs : "");
        return options_wrong(text, "");
}

/* Takes the option at *arguments, and its value, past which it moves. */
static int take(char *const **arguments, const struct option *options)
{
        const char *value;
        const struct option *option = find(options, **arguments, &value);

        if (!option)
                return options_wrong("unknown option ", **arguments);
        if (!option->needs) {
                if (value)
                        return wrong_value(option, "takes no value");
                *option->flag = true;
                return 0;
        }
        if (!value && (*arguments)[1])
                value = *++*arguments;
        if (!value || !*value)
                return wrong_value(option, "needs ");
        if (*option->value)
                return options_wrong("given twice: ", option->name);
        *option->value = value;
        return 0;
}

int options_read(char *const *arguments, const struct option *options, const char **words)
{
        bool over = false;

        for (; *arguments; arguments++) {
                /* "-" alone stands for the standard input. */
                bool is_option = !over && (*arguments)[0] == '-' && (*arguments)[1];
                if (is_option && strcmp(*arguments, "--") == 0) {
                        over = true;
                } else if (is_option) {
                        int code = take(&arguments, options);
                        if (code != 0)
                                return code;
                } else {
                        *words++ = *arguments;
                }
        }
        *words = NULL;
        return 0;
}
