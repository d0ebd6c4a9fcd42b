#include "cri/check.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/memory.h"
#include "base/program.h"
#include "base/task.h"
#include "cri/check_private.h"
#include "network/cni.h"
#include "network/cni_config.h"
#include "oci/cgroup.h"
#include "oci/runtime.h"

#define PROBE_DEADLINE (10 * NSEC_PER_SEC)
#define WORKERS        4

/* ---- findings ---- */

static void add(struct check *check, const char *verdict, const char *what, const char *format,
                va_list arguments) __attribute__((format(printf, 4, 0)));

static void add(struct check *check, const char *verdict, const char *what, const char *format,
                va_list arguments)
{
        AUTO_FREE char *text = xvprintf(format, arguments);
        json_array_append_new(check->findings, json_pack("{s:s, s:s, s:s?}", "verdict", verdict,
                                                         "what", what, "text", text));
}

#define DEFINE(name, verdict)                                                                      \
        void name(struct check *check, const char *what, const char *format, ...)                  \
        {                                                                                          \
                va_list arguments;                                                                 \
                va_start(arguments, format);                                                       \
                add(check, verdict, what, format, arguments);                                      \
                va_end(arguments);                                                                 \
        }
DEFINE(check_pass, "pass")
DEFINE(check_warn, "warning")
DEFINE(check_fail, "FAIL")

static const char *member(const json_t *finding, const char *key)
{
        const char *text = json_string_value(json_object_get(finding, key));
        return text ? text : "";
}

/* ---- cgroups and handlers ---- */

static bool check_cgroups(struct check *check, struct cgroup_system *system)
{
        static const char *const needed[] = {"cpu", "memory", "pids", "cpuset"};
        static const char *const modes[] = {
                [CGROUP_MODE_V1] = "v1", [CGROUP_MODE_HYBRID] = "hybrid", [CGROUP_MODE_V2] = "v2"};
        bool systemd = check->config->runtime.cgroup_driver == CONFIG_CGROUP_SYSTEMD;
        struct error err;
        if (cgroup_probe(system, &err) < 0) {
                check_fail(check, "cgroups", "%s", err.message);
                return false;
        }
        if (systemd && access("/run/systemd/system", F_OK) < 0)
                check_fail(
                        check, "cgroup driver",
                        "runtime.cgroup_driver is systemd, and systemd does not run here: set it "
                        "to cgroupfs, here and for the kubelet");
        else
                check_pass(check, "cgroup driver", "%s; the kubelet must have the same",
                           config_cgroup_driver_name(check->config->runtime.cgroup_driver));
        check_pass(check, "cgroups", "%s", modes[system->mode]);
        for (size_t i = 0; i < sizeof needed / sizeof *needed; i++)
                if (!cgroup_has(system, needed[i]))
                        check_fail(check, "cgroups",
                                   "the controller %s is missing: containers cannot be limited by "
                                   "it; boot with cgroup_enable=%s",
                                   needed[i], needed[i]);
        return true;
}

static void check_handler(struct check *check, const struct config_handler *from,
                          const struct cgroup_system *system)
{
        AUTO_FREE char *what = xprintf("handler %s", from->name);
        struct runtime_handler handler;
        struct error err;
        runtime_handler_init(&handler, from->name, from->path, "",
                             from->kind == CONFIG_HANDLER_OCI ? RUNTIME_KIND_OCI
                                                              : RUNTIME_KIND_SHIM,
                             check->config->runtime.cgroup_driver == CONFIG_CGROUP_SYSTEMD);
        handler.hybrid = system->mode == CGROUP_MODE_HYBRID;
        bool is_default = strcmp(from->name, check->config->runtime.default_handler) == 0;
        if (runtime_ready(&handler, clock_after(PROBE_DEADLINE), &err) == 0)
                check_pass(
                        check, what, "%s%s%s, specification %s", is_default ? "the default; " : "",
                        handler.version ? handler.version : from->path,
                        handler.commands[RUNTIME_COMMAND_CHECKPOINT] ? "" : ", without checkpoints",
                        runtime_spec_version(&handler));
        else if (is_default)
                check_fail(check, what, "the default, and cannot be used: %s", err.message);
        else
                check_warn(check, what,
                           "%s. Only pods that ask for it fail; else take "
                           "[runtime.handlers.%s] away",
                           err.message, from->name);
        runtime_handler_fini(&handler);
}

static void check_programs(struct check *check)
{
        static const char *const names[] = {"crisp-monitor", "crisp-pause", "crisp-exec",
                                            "crisp-image", "crisp-trust"};
        size_t there = 0;
        for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
                AUTO_FREE char *path = program_path(names[i]);
                if (access(path, X_OK) == 0)
                        there++;
                else
                        check_fail(check, "programs", "%s is missing: install crisp again", path);
        }
        if (there == sizeof names / sizeof *names)
                check_pass(check, "programs", "all %zu of crisp's own are there", there);
}

/* ---- the network ---- */

static void check_one_network(struct check *check, const char *what,
                              const struct cni_network *network)
{
        struct error err;
        if (cni_check_plugins(check->config->network.plugin_dirs, network, &err) < 0)
                check_fail(check, what, "%s: install the plugin, or correct network.plugin_dirs",
                           err.message);
        else
                check_pass(check, what, "network %s of %s", network->name,
                           network->file ? network->file : "memory");
}

static void check_network(struct check *check, const char *directory)
{
        const struct config *config = check->config;
        struct cni_choice choice = {
                .name = config->network.default_network,
                .most = config->network.max_conf_num,
        };
        struct cni_config found = {0};
        struct error err;
        if (cni_config_load(directory, &choice, &found, &err) < 0) {
                check_fail(check, "CNI", "%s", err.message);
                return;
        }
        if (found.network)
                check_one_network(check, "CNI", found.network);
        else
                check_fail(
                        check, "CNI",
                        "%s has no network that can be used: install the cluster's network, or put "
                        "a configuration there",
                        directory);
        for (size_t i = 0; i < found.other_count; i++)
                check_one_network(check, "CNI", found.others[i]);
        for (size_t i = 0; i < found.problem_count; i++)
                check_warn(check, "CNI", "%s is not used: %s", found.problems[i].file,
                           found.problems[i].reason);
        cni_config_fini(&found);
}

/* ---- all of it ---- */

struct run {
        struct check check;
        bool json;
        FILE *out;
        int failed;
};

static void check_all(struct check *check)
{
        const struct config *config = check->config;
        struct cgroup_system system = {0};
        check_kernel(check);
        if (check_cgroups(check, &system))
                for (size_t i = 0; i < config->runtime.handler_count; i++)
                        check_handler(check, &config->runtime.handlers[i], &system);
        cgroup_system_fini(&system);
        check_programs(check);
        check_network(check, config->network.config_dir);
        for (size_t i = 0; i < config->runtime.handler_count; i++)
                if (*config->runtime.handlers[i].cni_conf_dir)
                        check_network(check, config->runtime.handlers[i].cni_conf_dir);
        check_files(check);
}

static void write_findings(struct run *run)
{
        size_t i, warned = 0;
        json_t *each;
        json_array_foreach (run->check.findings, i, each) {
                run->failed += strcmp(member(each, "verdict"), "FAIL") == 0;
                warned += strcmp(member(each, "verdict"), "warning") == 0;
                if (!run->json)
                        fprintf(run->out, "%-7s  %s: %s\n", member(each, "verdict"),
                                member(each, "what"), member(each, "text"));
        }
        if (run->json) {
                json_dumpf(run->check.findings, run->out, JSON_INDENT(2));
                fputc('\n', run->out);
        } else {
                fprintf(run->out, "%zu looked at: %zu passed, %zu with warnings, %d failed\n", i,
                        i - warned - (size_t)run->failed, warned, run->failed);
        }
}

static void run_task(void *argument)
{
        struct run *run = argument;
        check_all(&run->check);
        write_findings(run);
        loop_stop();
}

int check_node(const struct config *config, bool json, FILE *out)
{
        struct run run = {.check = {config, json_array()}, .json = json, .out = out};
        struct error err;
        if (loop_init(WORKERS, &err) < 0) {
                fprintf(stderr, "crisp: %s\n", err.message);
                json_decref(run.check.findings);
                return -1;
        }
        task_start("check", run_task, &run);
        loop_run();
        loop_fini();
        json_decref(run.check.findings);
        return run.failed ? -1 : 0;
}
