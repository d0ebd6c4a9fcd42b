#include "cri/tuning.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/process.h"
#include "cri/annotation.h"
#include "cri/resources.h"
#include "cri/workload.h"
#include "oci/cpu_isolation.h"
#include "oci/irq_affinity.h"
#include "oci/setting.h"

#define SHARES_OF_A_CPU    1024
#define IRQBALANCE_TIME    (10 * NSEC_PER_SEC)
#define IRQBALANCE_OUTPUT  4096
#define SYSTEMD_RUNS       "/run/systemd/system"
#define LATENCY_PREFIX     "max_latency:"
#define LATENCY_DIGITS_MAX 9

/* ---- what the annotations say ---- */

static const char *annotation(const struct container *container, const char *name)
{
        const char *value = annotation_of_container(container, name);
        return value ? value : "";
}

static int wrong_value(const char *name, const char *value, const char *forms, struct error *err)
{
        return error_set(err, ERROR_INVALID_ARGUMENT, "annotation %s: \"%.100s\" is not %s", name,
                         value, forms);
}

/* "true" is the older word. */
static int read_switch(const struct container *container, const char *name, bool *off,
                       struct error *err)
{
        const char *value = annotation(container, name);
        *off = strcmp(value, "disable") == 0 || strcmp(value, "true") == 0;
        if (*off || !*value || strcmp(value, "enable") == 0 || strcmp(value, "false") == 0)
                return 0;
        return wrong_value(name, value, "disable or enable", err);
}

static int read_interrupts(const struct container *container, struct tuning *tuning,
                           struct error *err)
{
        static const char name[] = "irq-load-balancing.crio.io";
        bool off = false;
        if (strcmp(annotation(container, name), "housekeeping") == 0) {
                tuning->interrupts = TUNING_HOUSEKEEPING;
                return 0;
        }
        int result = read_switch(container, name, &off, err);
        tuning->interrupts = off ? TUNING_INTERRUPTS_OFF : TUNING_INTERRUPTS_STAY;
        return result;
}

static int read_latency(const struct container *container, struct tuning *tuning, struct error *err)
{
        static const char name[] = "cpu-c-states.crio.io";
        const char *value = annotation(container, name);
        size_t prefix = strlen(LATENCY_PREFIX);
        if (!*value)
                return 0;
        if (strcmp(value, "enable") == 0) {
                tuning->latency = "0";
        } else if (strcmp(value, "disable") == 0) {
                tuning->latency = "n/a";
        } else {
                const char *digits =
                        strncmp(value, LATENCY_PREFIX, prefix) == 0 ? value + prefix : "";
                size_t length = strspn(digits, "0123456789");
                if (!length || digits[length] || length > LATENCY_DIGITS_MAX || *digits == '0')
                        return wrong_value(name, value,
                                           "enable, disable or " LATENCY_PREFIX "MICROSECONDS",
                                           err);
                tuning->latency = digits;
        }
        return 0;
}

static int read_governor(const struct container *container, struct tuning *tuning,
                         struct error *err)
{
        static const char name[] = "cpu-freq-governor.crio.io";
        const char *value = annotation(container, name);
        if (!*value)
                return 0;
        if (strlen(value) != strspn(value, "abcdefghijklmnopqrstuvwxyz_-") || strlen(value) > 32)
                return wrong_value(name, value, "the name of a governor", err);
        tuning->governor = value;
        return 0;
}

static int read_shared(const struct container *container, struct tuning *tuning, struct error *err)
{
        static const char name[] = "cpu-shared.crio.io";
        const char *cpus = node.config->runtime.shared_cpuset;
        if (strcmp(annotation(container, name), "enable") != 0)
                return 0;
        if (!*cpus)
                return error_set(err, ERROR_FAILED_PRECONDITION,
                                 "annotation %s: this node has no processors to share "
                                 "(runtime.shared_cpuset)",
                                 name);
        tuning->shared = true;
        return cpu_list_parse(cpus, &tuning->shared_cpus, err);
}

static char *cpu_path(size_t cpu, const char *file)
{
        return xprintf("%s/devices/system/cpu/cpu%zu/%s", node.sys, cpu, file);
}

/* The first of its processors with the other threads of that core, as far as they are its own. */
static struct cpu_list housekeeping(const struct cpu_list *cpus)
{
        size_t first = cpu_list_next(cpus, 0);
        AUTO_FREE char *path = cpu_path(first, "topology/thread_siblings_list");
        AUTO_FREE char *text = setting_read(path, NULL);
        struct cpu_list keep = {0};
        if (!text || cpu_list_parse(text, &keep, NULL) < 0)
                keep = (struct cpu_list){0};
        cpu_list_add(&keep, first);
        cpu_list_common(&keep, cpus);
        return keep;
}

/* A guaranteed pod's container with whole processors: the kubelet gives those to it alone. */
static bool has_whole_processors(const struct container *container)
{
        const char *parent = pod_cgroup_parent(container->pod);
        int64_t shares = container->resources->cpu_shares;
        return !strstr(parent, "burstable") && !strstr(parent, "besteffort") && shares > 0 &&
               shares % SHARES_OF_A_CPU == 0;
}

static int read_all(const struct container *container, struct tuning *tuning, struct error *err)
{
        int result = read_switch(container, "cpu-load-balancing.crio.io", &tuning->no_balance, err);
        if (result == 0)
                result = read_switch(container, "cpu-quota.crio.io", &tuning->no_quota, err);
        if (result == 0)
                result = read_interrupts(container, tuning, err);
        if (result == 0)
                result = read_latency(container, tuning, err);
        if (result == 0)
                result = read_governor(container, tuning, err);
        return result < 0 ? result : read_shared(container, tuning, err);
}

int tuning_read(const struct container *container, struct tuning *tuning, struct error *err)
{
        struct tuning found = {0};
        int result = read_all(container, &found, err);
        if (result == 0 && !has_whole_processors(container))
                found = (struct tuning){0};
        if (result == 0)
                result = cpu_list_parse(container->resources->cpuset_cpus, &found.cpus, err);
        if (result < 0)
                return result;
        bool needs_cpus = found.no_balance || found.interrupts || found.latency || found.governor ||
                          found.shared;
        if (needs_cpus && cpu_list_count(&found.cpus) == 0)
                return error_set(err, ERROR_FAILED_PRECONDITION,
                                 "config.linux.resources.cpuset_cpus: it is empty, and the pod's "
                                 "annotations tune the container's own processors: is the "
                                 "kubelet's CPU manager on?");
        if (found.shared && found.no_balance && node.cgroups.mode == CGROUP_MODE_V2)
                return error_set(err, ERROR_UNIMPLEMENTED,
                                 "annotation cpu-shared.crio.io: with cpu-load-balancing.crio.io "
                                 "it is not supported on cgroup v2 by this version of crisp");
        /* What it shares is not its own, also where the kubelet counts it in. */
        cpu_list_remove(&found.cpus, &found.shared_cpus);
        if (found.interrupts == TUNING_HOUSEKEEPING)
                found.keep = housekeeping(&found.cpus);
        *tuning = found;
        return 0;
}

/* ---- what the runtime is told ---- */

void tuning_change_spec(const struct tuning *tuning, struct arena *arena,
                        struct spec_resources *spec)
{
        if (tuning->shared) {
                struct cpu_list all = tuning->cpus;
                cpu_list_join(&all, &tuning->shared_cpus);
                AUTO_FREE char *text = cpu_list_text(&all);
                spec->cpuset_cpus = arena_strdup(arena, text);
                /* So that it can use them all. */
                if (spec->cpu_quota > 0 && spec->cpu_period)
                        spec->cpu_quota =
                                (int64_t)(cpu_list_count(&all) * (size_t)spec->cpu_period);
        }
        if (tuning->no_quota)
                spec->cpu_quota = -1;
}

/* For programs in Go of pods without a limit of time, which would start a thread for each processor
 * of the machine: twice what is asked for, which leaves room for what nobody else uses. */
static char *go_processors(const struct container *container, struct arena *arena)
{
        const char *parent = pod_cgroup_parent(container->pod);
        int64_t least = node.config->runtime.min_injected_gomaxprocs;
        int64_t shares = container->resources->cpu_shares;
        if (!least || container->resources->cpu_quota > 0 ||
            (!strstr(parent, "burstable") && !strstr(parent, "besteffort")) ||
            annotation_is_true(annotation_of_container(container, "skip-gomaxprocs.crio.io")) ||
            workload_of(node.config, container->pod))
                return NULL;
        int64_t count = (shares * 2 + SHARES_OF_A_CPU - 1) / SHARES_OF_A_CPU;
        return arena_printf(arena, "GOMAXPROCS=%lld", (long long)(count > least ? count : least));
}

static char *cpus_variable(struct arena *arena, const char *name, const struct cpu_list *cpus)
{
        AUTO_FREE char *text = cpu_list_text(cpus);
        return arena_printf(arena, "%s=%s", name, text);
}

void tuning_variables(const struct tuning *tuning, const struct container *container,
                      struct arena *arena, char *variables[TUNING_VARIABLES + 1])
{
        size_t count = 0;
        if (tuning->shared) {
                variables[count++] = cpus_variable(arena, "OPENSHIFT_ISOLATED_CPUS", &tuning->cpus);
                variables[count++] =
                        cpus_variable(arena, "OPENSHIFT_SHARED_CPUS", &tuning->shared_cpus);
        }
        if (cpu_list_count(&tuning->keep))
                variables[count++] =
                        cpus_variable(arena, "OPENSHIFT_HOUSEKEEPING_CPUS", &tuning->keep);
        char *go = go_processors(container, arena);
        if (go)
                variables[count++] = go;
        variables[count] = NULL;
}

bool tuning_exec_processor(const struct container *container, struct cpu_list *first)
{
        const struct config_handler *handler = annotation_handler(container->pod);
        struct tuning tuning;
        if (!handler || strcmp(handler->exec_cpu_affinity, "first") != 0 ||
            tuning_read(container, &tuning, NULL) < 0)
                return false;
        const struct cpu_list *from = tuning.shared ? &tuning.shared_cpus : &tuning.cpus;
        size_t cpu = cpu_list_next(from, 0);
        *first = (struct cpu_list){0};
        cpu_list_add(first, cpu);
        return cpu < CPU_LIST_MAX;
}

/* ---- what is done to the machine: one at a time ---- */

static struct task_lock machine;

struct job {
        const struct container *container;
        const char *owner;
        struct tuning tuning;
        char *folder;
        char *banned; /* for irqbalance, where that has changed; heap */
        struct error *err;
};

static char *kept_folder(void)
{
        return xprintf("%s/tuning", node.config->run_dir);
}

/* It has to be put back after a reboot, which irqbalance's configuration outlives. */
static char *irqbalance_kept(void)
{
        return xprintf("%s/irqbalance-banned", node.config->state_dir);
}

static struct irq_affinity interrupts_of(const char *kept)
{
        return (struct irq_affinity){.mask = IRQ_AFFINITY_MASK,
                                     .config = node.config->runtime.irqbalance_config_file,
                                     .kept = kept};
}

static int lift_parents_quota(void *argument)
{
        struct job *job = argument;
        const char *path = job->container->cgroup_path;
        AUTO_FREE char *parent = xstrndup(path, (size_t)(strrchr(path, '/') - path));
        return *parent ? cpu_isolation_lift_quota(&node.cgroups, parent, job->err) : 0;
}

/* A governor that one of the processors has not is refused before anything is changed. */
static int check_governor(const struct tuning *tuning, struct error *err)
{
        for (size_t cpu = cpu_list_next(&tuning->cpus, 0); cpu < CPU_LIST_MAX;
             cpu = cpu_list_next(&tuning->cpus, cpu + 1)) {
                AUTO_FREE char *path = cpu_path(cpu, "cpufreq/scaling_available_governors");
                AUTO_FREE char *list = setting_read(path, err);
                char *state = NULL, *word;
                if (!list)
                        return err->number;
                for (word = strtok_r(list, " ", &state); word; word = strtok_r(NULL, " ", &state))
                        if (strcmp(word, tuning->governor) == 0)
                                break;
                if (!word)
                        return error_set(err, ERROR_FAILED_PRECONDITION,
                                         "annotation cpu-freq-governor.crio.io: processor %zu has "
                                         "no governor \"%s\"",
                                         cpu, tuning->governor);
        }
        return 0;
}

static int change_each(const struct job *job, const char *file, const char *value)
{
        const struct cpu_list *cpus = &job->tuning.cpus;
        for (size_t cpu = cpu_list_next(cpus, 0); cpu < CPU_LIST_MAX;
             cpu = cpu_list_next(cpus, cpu + 1)) {
                AUTO_FREE char *path = cpu_path(cpu, file);
                int result = setting_change(job->folder, job->owner, path, value, job->err);
                if (result < 0)
                        return result;
        }
        return 0;
}

static int begin_on_worker(void *argument)
{
        struct job *job = argument;
        const struct tuning *tuning = &job->tuning;
        const struct container *container = job->container;
        int result = tuning->governor ? check_governor(tuning, job->err) : 0;
        if (result == 0 && tuning->no_balance)
                result = cpu_isolation_begin(&node.cgroups, container->cgroup_path, &tuning->cpus,
                                             job->folder, job->owner, job->err);
        if (result == 0 && tuning->interrupts) {
                struct cpu_list cpus = tuning->cpus;
                AUTO_FREE char *kept = irqbalance_kept();
                struct irq_affinity irq = interrupts_of(kept);
                cpu_list_remove(&cpus, &tuning->keep);
                result = irq_affinity_exclude(&irq, job->folder, job->owner, &cpus, &job->banned,
                                              job->err);
        }
        if (result == 0 && tuning->latency)
                result = change_each(job, "power/pm_qos_resume_latency_us", tuning->latency);
        if (result == 0 && tuning->governor)
                result = change_each(job, "cpufreq/scaling_governor", tuning->governor);
        return result;
}

static int end_on_worker(void *argument)
{
        struct job *job = argument;
        AUTO_FREE char *kept = irqbalance_kept();
        struct irq_affinity irq = interrupts_of(kept);
        struct error why;
        int result = setting_restore(job->folder, job->owner, job->err);
        /* Each is tried, whatever becomes of the others; the first failure is told. */
        int one = cpu_isolation_end(&node.cgroups, job->folder, job->owner, &why);
        if (one < 0 && result == 0) {
                *job->err = why;
                result = one;
        }
        one = irq_affinity_include(&irq, job->folder, job->owner, &job->banned, &why);
        if (one < 0 && result == 0) {
                *job->err = why;
                result = one;
        }
        return result;
}

/* ---- irqbalance ---- */

static int run_program(const char *path, const char *const *words, const char *variable)
{
        struct process_options options = PROCESS_OPTIONS_INIT;
        struct process_run run = {.output_max = IRQBALANCE_OUTPUT,
                                  .errors_max = IRQBALANCE_OUTPUT,
                                  .deadline = clock_after(IRQBALANCE_TIME)};
        char *environment[] = {(char *)"PATH=/usr/sbin:/usr/bin:/sbin:/bin", (char *)variable,
                               NULL};
        struct error err;
        options.path = path;
        options.argv = (char *const *)words;
        options.environment = environment;
        int result = process_run(&options, &run, &err);
        if (result == 0)
                result = process_check(&run, path, &err);
        process_run_fini(&run);
        if (result < 0)
                log_failure(&err, "irqbalance does not know of changed processors", NULL);
        return result;
}

/* A container does not fail for it: the kernel's own mask is changed already. */
static void tell_irqbalance(const char *banned)
{
        static const char systemctl[] = "/usr/bin/systemctl", irqbalance[] = "/usr/sbin/irqbalance";
        static const char unit[] = "/etc/systemd/system/multi-user.target.wants/irqbalance.service";
        if (access(SYSTEMD_RUNS, F_OK) == 0 && access(unit, F_OK) == 0 &&
            access(systemctl, X_OK) == 0) {
                static const char *const words[] = {"systemctl", "--no-block", "restart",
                                                    "irqbalance", NULL};
                if (run_program(systemctl, words, NULL) == 0)
                        return;
        }
        if (access(irqbalance, X_OK) < 0)
                return;
        static const char *const words[] = {"irqbalance", "--oneshot", NULL};
        AUTO_FREE char *variable = xprintf("IRQBALANCE_BANNED_CPUS=%s", banned);
        run_program(irqbalance, words, variable);
}

/* ---- the container's life ---- */

static int run_job(struct job *job, int (*work)(void *))
{
        job->folder = kept_folder();
        task_lock(&machine, CLOCK_NEVER);
        int result = task_offload(work, job);
        task_unlock(&machine);
        if (job->banned)
                tell_irqbalance(job->banned);
        free(job->banned);
        free(job->folder);
        return result;
}

int tuning_prepare(struct container *container, struct error *err)
{
        struct job job = {.container = container, .owner = container->id, .err = err};
        int result = tuning_read(container, &job.tuning, err);
        if (result < 0 || (!job.tuning.no_quota && !job.tuning.shared))
                return result;
        return run_job(&job, lift_parents_quota);
}

int tuning_begin(struct container *container, struct error *err)
{
        struct job job = {.container = container, .owner = container->id, .err = err};
        const struct tuning *tuning = &job.tuning;
        int result = tuning_read(container, &job.tuning, err);
        if (result < 0 ||
            (!tuning->no_balance && !tuning->interrupts && !tuning->latency && !tuning->governor))
                return result;
        container_step(container, "tuning its processors");
        result = run_job(&job, begin_on_worker);
        return result < 0 ? error_context(err, "tune its processors") : 0;
}

static bool is_kept(const char *owner)
{
        AUTO_FREE char *path = xprintf("%s/tuning/%s", node.config->run_dir, owner);
        return access(path, F_OK) == 0;
}

int tuning_end(struct container *container, struct error *err)
{
        struct job job = {.container = container, .owner = container->id, .err = err};
        if (!is_kept(container->id))
                return 0;
        container_step(container, "putting back what was tuned");
        int result = run_job(&job, end_on_worker);
        return result < 0 ? error_context(err, "put back what was tuned") : 0;
}

/* ---- after a start ---- */

static int list_owners(void *argument)
{
        AUTO_FREE char *folder = kept_folder();
        AUTO_FREE char *kept = irqbalance_kept();
        struct irq_affinity irq = interrupts_of(kept);
        struct error err;
        if (irq_affinity_mend(&irq, folder, &err) < 0)
                log_failure(&err, "irqbalance's configuration could not be put back", NULL);
        *(char ***)argument = setting_owners(folder);
        return 0;
}

static void recover_task(void *argument)
{
        (void)argument;
        char **owners = NULL;
        task_lock(&machine, CLOCK_NEVER);
        task_offload(list_owners, &owners);
        task_unlock(&machine);
        /* What is there still puts its own back when it is cleaned up. */
        for (char **owner = owners; owner && *owner; owner++) {
                struct error err;
                struct job job = {.owner = *owner, .err = &err};
                if (!table_get(node.containers, *owner) && run_job(&job, end_on_worker) < 0)
                        log_failure(&err, "what was tuned for a container could not be put back",
                                    "container", *owner, NULL);
        }
        strv_free(owners);
}

void tuning_recover(void)
{
        task_start("put back what was tuned", recover_task, NULL);
}
