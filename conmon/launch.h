/*
 * launch: from the monitor's start to the running of the runtime's create command.
 */
#ifndef CRISP_CONMON_LAUNCH_H
#define CRISP_CONMON_LAUNCH_H

#include <sys/types.h>

#include "conmon/clients.h"
#include "conmon/console.h"
#include "conmon/options.h"
#include "conmon/output.h"

/* Sets signals (SIGCHLD is blocked and interrupts a ppoll that lets it in), umask, and what becomes
 * of our descriptors. */
void launch_prepare(void);

/*
 * Listens, opens the log, and starts the command with the far ends of the container's stdio; our
 * ends are in output then. With a terminal, console is where it will come from. Returns the
 * command's pid, or -1 after having reported why not.
 */
pid_t launch(const struct conmon_options *options, struct clients *clients, struct output *output,
             struct console *console);

/*
 * The same with a shim: makes the task's FIFOs, of which our ends are in output then, and sends the
 * request that creates it. Returns the connection to the shim, or -1 after having reported why not.
 */
int launch_with_shim(const struct conmon_options *options, struct clients *clients,
                     struct output *output);

#endif
