#include "network/hostport.h"

#include <errno.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/buffer.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/process.h"
#include "base/task.h"
#include "network/conntrack.h"

#define TIMEOUT     (20 * NSEC_PER_SEC) /* iptables waits for its lock */
#define LISTING_MAX (16 * 1024 * 1024)  /* bytes: some 60,000 ports */
#define ERRORS_MAX  4096

/* Two runs of iptables-restore, or a listing and what comes of it, must not mix. */
static struct task_lock lock;

/* ---- programs ---- */

static char *find_program(const char *name)
{
        static const char *const folders[] = {"/usr/sbin", "/sbin", "/usr/bin", "/bin",
                                              "/usr/local/sbin"};
        for (size_t i = 0; i < sizeof folders / sizeof *folders; i++) {
                AUTO_FREE char *path = xprintf("%s/%s", folders[i], name);
                if (access(path, X_OK) == 0)
                        return take_ptr(path);
        }
        return NULL;
}

/* The first line of what a program complained of: nft's further ones quote its input. */
static int tell_failure(const char *name, const struct process_run *process, struct error *err)
{
        const char *errors = process->errors.data ? process->errors.data : "";
        if (WIFEXITED(process->status) && WEXITSTATUS(process->status) == 0)
                return 0;
        return error_set(err, ERROR_INTERNAL, "%s fails: %.*s", name, (int)strcspn(errors, "\n"),
                         errors);
}

/* Runs it; *output (may be null) is what it wrote. Its failure is INTERNAL with its words. */
static int run(const char *name, char *const *arguments, const char *input, struct buffer *output,
               struct error *err)
{
        AUTO_FREE char *path = find_program(name);
        if (!path)
                return error_set(err, ERROR_NOT_FOUND, "%s is not installed", name);
        char *environment[] = {(char *)"PATH=/usr/sbin:/usr/bin:/sbin:/bin", NULL};
        struct process_options options = PROCESS_OPTIONS_INIT;
        options.path = path;
        options.argv = (char **)arguments;
        options.environment = environment;
        struct process_run process = {
                .input = input,
                .input_length = input ? strlen(input) : 0,
                .output_max = LISTING_MAX,
                .errors_max = ERRORS_MAX,
                .deadline = clock_after(TIMEOUT),
        };
        int result = process_run(&options, &process, err);
        if (result == 0)
                result = tell_failure(name, &process, err);
        if (result == 0 && process.output_cut)
                result = error_set(err, ERROR_RESOURCE_EXHAUSTED, "%s lists more than %d bytes",
                                   name, LISTING_MAX);
        if (result == 0 && output) {
                *output = process.output;
                process.output = (struct buffer)BUFFER_INIT;
        }
        process_run_fini(&process);
        return result;
}

/* nft where it is there and the kernel knows it; found out once. */
static enum hostport_tool which_tool(void)
{
        static bool known;
        static enum hostport_tool tool;
        if (!known) {
                char *arguments[] = {(char *)"nft", (char *)"list", (char *)"tables", NULL};
                tool = run("nft", arguments, NULL, NULL, NULL) == 0 ? HOSTPORT_NFT
                                                                    : HOSTPORT_IPTABLES;
                known = true;
        }
        return tool;
}

static int apply(enum hostport_tool tool, bool v6, const char *text, struct error *err)
{
        char *nft[] = {(char *)"nft", (char *)"-f", (char *)"-", NULL};
        char *restore[] = {(char *)(v6 ? "ip6tables-restore" : "iptables-restore"),
                           (char *)"--noflush", (char *)"-w", (char *)"10", NULL};
        char **arguments = tool == HOSTPORT_NFT ? nft : restore;
        return run(arguments[0], arguments, text, NULL, err);
}

/* *output is empty where there is no table. */
static int list(enum hostport_tool tool, bool v6, struct buffer *output, struct error *err)
{
        char *tables[] = {(char *)"nft", (char *)"list", (char *)"tables",
                          (char *)(v6 ? "ip6" : "ip"), NULL};
        char *nft[] = {(char *)"nft",
                       (char *)"-j",
                       (char *)"list",
                       (char *)"table",
                       (char *)(v6 ? "ip6" : "ip"),
                       (char *)HOSTPORT_TABLE,
                       NULL};
        char *save[] = {(char *)(v6 ? "ip6tables-save" : "iptables-save"), (char *)"-t",
                        (char *)"nat", NULL};
        if (tool == HOSTPORT_IPTABLES) {
                AUTO_FREE char *program = find_program(save[0]);
                return program ? run(save[0], save, NULL, output, err) : 0;
        }
        AUTO_BUFFER struct buffer names = BUFFER_INIT;
        int result = run("nft", tables, NULL, &names, err);
        if (result < 0 || !names.data || !strstr(names.data, HOSTPORT_TABLE))
                return result;
        return run("nft", nft, NULL, output, err);
}

/* ---- adding ---- */

/* Flows that the kernel remembers go on as they were: those of UDP never end by themselves. */
static void forget_flows(const struct hostport_pod *pod)
{
        for (size_t i = 0; i < pod->count; i++) {
                struct error err = {0};
                const struct network_port *port = &pod->ports[i];
                if (!port->host_port || strcmp(port->protocol, "udp") != 0)
                        continue;
                if (conntrack_forget_udp((uint16_t)port->host_port, &err) < 0)
                        log_failure(&err, "flows to a host port go on as they were", "pod", pod->id,
                                    NULL);
        }
}

static int add_locked(const struct hostport_pod *pod, char *const *ips, struct error *err)
{
        enum hostport_tool tool = which_tool();
        bool done[2] = {false, false};
        for (; ips && *ips; ips++) {
                bool v6 = strchr(*ips, ':') != NULL;
                AUTO_BUFFER struct buffer text = BUFFER_INIT;
                if (done[v6])
                        continue;
                done[v6] = true;
                hostport_write_add(tool, pod, *ips, &text);
                int result = text.length ? apply(tool, v6, text.data, err) : 0;
                if (result < 0 && err && strstr(err->message, "File exists"))
                        return error_set(err, ERROR_ALREADY_EXISTS,
                                         "one of its host ports leads to another pod already");
                if (result < 0)
                        return result;
        }
        return 0;
}

int hostport_add(const struct hostport_pod *pod, char *const *ips, struct error *err)
{
        task_lock(&lock, CLOCK_NEVER);
        int result = add_locked(pod, ips, err);
        task_unlock(&lock);
        if (result < 0)
                return error_context(err, "map its host ports");
        forget_flows(pod);
        return 0;
}

/* ---- removing ---- */

static int remove_locked(const char *owner, bool (*gone)(void *argument, const char *id),
                         void *argument, struct error *err)
{
        enum hostport_tool tool = which_tool();
        for (int v6 = 0; v6 < 2; v6++) {
                AUTO_BUFFER struct buffer listing = BUFFER_INIT;
                AUTO_BUFFER struct buffer text = BUFFER_INIT;
                int result = list(tool, v6, &listing, err);
                if (result == 0 && listing.length)
                        result = hostport_write_removal(tool, owner, v6, listing.data,
                                                        listing.length, gone, argument, &text, err);
                if (result == 0 && text.length)
                        result = apply(tool, v6, text.data, err);
                if (result < 0)
                        return error_context(err, "remove host ports");
        }
        return 0;
}

static bool is_this(void *argument, const char *id)
{
        const struct hostport_pod *pod = argument;
        return strcmp(pod->id, id) == 0;
}

int hostport_remove(const struct hostport_pod *pod, struct error *err)
{
        task_lock(&lock, CLOCK_NEVER);
        int result = remove_locked(pod->owner, is_this, (void *)pod, err);
        task_unlock(&lock);
        if (result == 0)
                forget_flows(pod);
        return result;
}

struct sweep {
        bool (*keep)(void *argument, const char *id);
        void *argument;
};

static bool is_not_kept(void *argument, const char *id)
{
        const struct sweep *sweep = argument;
        return !sweep->keep(sweep->argument, id);
}

int hostport_sweep(const char *owner, bool (*keep)(void *argument, const char *id), void *argument,
                   struct error *err)
{
        struct sweep sweep = {.keep = keep, .argument = argument};
        task_lock(&lock, CLOCK_NEVER);
        int result = remove_locked(owner, is_not_kept, &sweep, err);
        task_unlock(&lock);
        return result;
}
