#include "cri/stats_source.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <unistd.h>
#include <sys/resource.h>

#include "base/log.h"
#include "base/memory.h"
#include "base/worker.h"
#include "cri/node.h"
#include "oci/shim.h"

#define SOCKETS_MAX      1024         /* netlink sockets that are kept */
#define SOCKETS_FRACTION 8            /* of the process's descriptors, at most */
#define FRESH            NSEC_PER_SEC /* what another request has just read is as good */
#define ROUNDS           2 /* a second one where another request read other parts meanwhile */

struct stats_source {
        unsigned refs;
        bool reading; /* a worker has it: what follows below is the worker's */
        bool stuck;   /* and has had it for too long */
        bool closed;
        struct event came; /* signalled when it is no longer being read */
        struct stats_reading last;
        bool known;
        struct stats_rate rate;

        char *guest;         /* the container to ask a shim for, or null */
        int64_t guest_pause; /* monotonic ns: before, it is not asked */

        char *cgroup, *netns;
        pid_t pid;
        struct cgroup_reader *reader;
        int socket; /* or -1 */
        bool socket_counted;
        unsigned wanted;
        struct stats_reading fresh;
};

static unsigned stuck_now;
static atomic_uint sockets_now;

/* ---- the rate ---- */

void stats_rate_add(struct stats_rate *rate, int64_t at, uint64_t usage)
{
        int64_t span = at - rate->at;
        if (rate->begun && span >= 0 && span < STATS_RATE_SHORTEST)
                return;
        bool comparable =
                rate->begun && span > 0 && span <= STATS_RATE_LONGEST && usage >= rate->usage;
        rate->known = comparable;
        if (comparable)
                rate->nano_cores = (uint64_t)((double)(usage - rate->usage) * (double)NSEC_PER_SEC /
                                              (double)span);
        rate->begun = true;
        rate->at = at;
        rate->usage = usage;
}

/* ---- the object ---- */

struct stats_source *stats_source_new(const char *cgroup, const char *netns, pid_t pid)
{
        struct stats_source *source = xcalloc(1, sizeof *source);
        source->refs = 1;
        source->cgroup = xstrdup(cgroup);
        source->netns = xstrdup(netns);
        source->pid = pid;
        source->socket = -1;
        return source;
}

void stats_source_set_guest(struct stats_source *source, const char *container_id)
{
        source->guest = xstrdup(container_id);
}

struct stats_source *stats_source_ref(struct stats_source *source)
{
        source->refs++;
        return source;
}

static void close_socket(struct stats_source *source)
{
        if (source->socket >= 0)
                close(source->socket);
        if (source->socket_counted)
                atomic_fetch_sub(&sockets_now, 1);
        source->socket = -1;
        source->socket_counted = false;
}

static void close_all(struct stats_source *source)
{
        close_socket(source);
        cgroup_reader_free(take_ptr(source->reader));
}

static void drop_reading(struct stats_reading *reading)
{
        free(reading->interfaces);
        free(reading->detail);
        *reading = (struct stats_reading){0};
}

void stats_source_unref(struct stats_source *source)
{
        if (!source || --source->refs)
                return;
        close_all(source);
        drop_reading(&source->last);
        drop_reading(&source->fresh);
        free(source->guest);
        free(source->cgroup);
        free(source->netns);
        free(source);
}

void stats_source_close(struct stats_source *source)
{
        if (!source)
                return;
        stats_source_ref(source);
        source->closed = true;
        int64_t deadline = clock_after(2 * STATS_SOURCE_TIME);
        while (source->reading && !source->stuck)
                if (task_wait(&source->came, deadline) == -ETIMEDOUT)
                        break;
        if (!source->reading)
                close_all(source);
        stats_source_unref(source);
}

void stats_source_rest(struct stats_source *source)
{
        if (!source->reading)
                close_all(source);
}

const struct stats_reading *stats_source_last(const struct stats_source *source)
{
        return source->known ? &source->last : NULL;
}

bool stats_source_rate(const struct stats_source *source, uint64_t *nano_cores)
{
        *nano_cores = source->rate.nano_cores;
        return source->rate.known;
}

void stats_source_drop_detail(struct stats_source *source)
{
        free(take_ptr(source->last.detail));
}

unsigned stats_source_stuck(void)
{
        return stuck_now;
}

/* ---- reading one: on a worker ---- */

static unsigned sockets_max(void)
{
        struct rlimit limit;
        if (getrlimit(RLIMIT_NOFILE, &limit) == 0 &&
            limit.rlim_cur / SOCKETS_FRACTION < SOCKETS_MAX)
                return (unsigned)(limit.rlim_cur / SOCKETS_FRACTION);
        return SOCKETS_MAX;
}

static void read_interfaces(struct stats_source *source)
{
        struct stats_reading *fresh = &source->fresh;
        struct error err;
        if (source->socket < 0) {
                /* A namespace that has gone meanwhile has nothing to tell. */
                source->socket = interface_stats_open(source->netns, &err);
                if (source->socket < 0) {
                        source->socket = -1;
                        return;
                }
                source->socket_counted = atomic_fetch_add(&sockets_now, 1) < sockets_max();
                if (!source->socket_counted)
                        atomic_fetch_sub(&sockets_now, 1);
        }
        fresh->interfaces_known = interface_stats_read(source->socket, &fresh->interfaces,
                                                       &fresh->interface_count, &err) == 0;
        if (!source->socket_counted || !fresh->interfaces_known)
                close_socket(source);
}

static void read_source(struct stats_source *source)
{
        unsigned parts = source->wanted;
        struct stats_reading *fresh = &source->fresh;
        struct error err;
        if (parts & (CGROUP_PART_DETAIL | STATS_PART_PROCESSES))
                fresh->detail = xcalloc(1, sizeof *fresh->detail);
        if (source->cgroup && !source->reader)
                source->reader = cgroup_reader_new(&node.cgroups, source->cgroup);
        fresh->stats.real = clock_real();
        fresh->stats.monotonic = clock_monotonic();
        if (source->reader)
                /* What could not be read is not in stats.parts: it has ended meanwhile. */
                cgroup_reader_read(source->reader, parts, &fresh->stats,
                                   fresh->detail ? &fresh->detail->cgroup : NULL, &err);
        if ((parts & STATS_PART_INTERFACES) && source->netns)
                read_interfaces(source);
        if ((parts & STATS_PART_PROCESSES) && source->cgroup)
                process_stats_read(&node.cgroups, source->cgroup, source->pid,
                                   &fresh->detail->processes);
}

/* Back on the loop's thread: what was read counts from now on. */
static void take_reading(struct stats_source *source, bool was_read)
{
        source->reading = false;
        if (was_read) {
                if (source->fresh.stats.parts & CGROUP_PART_CPU)
                        stats_rate_add(&source->rate, source->fresh.stats.monotonic,
                                       source->fresh.stats.cpu_usage);
                if (source->wanted != CGROUP_PART_CPU) {
                        drop_reading(&source->last);
                        source->last = source->fresh;
                        source->fresh = (struct stats_reading){0};
                        source->known = true;
                }
                drop_reading(&source->fresh);
        }
        if (source->closed)
                close_all(source);
        event_signal(&source->came);
        stats_source_unref(source);
}

/* ---- reading many ---- */

enum item_state { ITEM_WAITS, ITEM_READ, ITEM_DONE, ITEM_STUCK };

struct item {
        struct stats_source *source; /* counted */
        atomic_int state;
        atomic_llong since; /* monotonic ns */
};

struct batch {
        unsigned refs; /* the request's and each worker's; the loop's */
        struct item *items;
        size_t count;
        atomic_size_t next;
        struct run *current; /* the worker that is not stuck */
        bool ended;
        struct event progress;
};

/* One worker's way through a batch. */
struct run {
        struct worker_job job;
        struct batch *batch;
        size_t at; /* what it reads, or has read last */
        bool stuck;
};

static void batch_unref(struct batch *batch)
{
        if (--batch->refs)
                return;
        free(batch->items);
        free(batch);
}

/* On the loop's thread. */
static void run_ended(void *argument)
{
        struct run *run = argument;
        struct batch *batch = run->batch;
        if (run->stuck) {
                struct stats_source *source = batch->items[run->at].source;
                log_info("statistics can be read again", "cgroup",
                         source->cgroup ? source->cgroup : "", NULL);
                stuck_now--;
                source->stuck = false;
                take_reading(source, true);
        } else {
                batch->ended = true;
                event_signal(&batch->progress);
        }
        free(run);
        batch_unref(batch);
}

static void run_on_worker(struct worker_job *job)
{
        struct run *run = (struct run *)job;
        struct batch *batch = run->batch;
        size_t at;
        while ((at = atomic_fetch_add(&batch->next, 1)) < batch->count) {
                struct item *item = &batch->items[at];
                int expected = ITEM_READ;
                run->at = at;
                atomic_store(&item->since, clock_monotonic());
                atomic_store(&item->state, ITEM_READ);
                read_source(item->source);
                /* Where it took too long, another one has gone on in this one's place. */
                if (!atomic_compare_exchange_strong(&item->state, &expected, ITEM_DONE))
                        break;
        }
        loop_post(run_ended, run);
}

static void start_run(struct batch *batch)
{
        struct run *run = xcalloc(1, sizeof *run);
        run->job.run = run_on_worker;
        run->batch = batch;
        batch->refs++;
        batch->current = run;
        worker_submit(&run->job);
}

/* Leaves behind what has been read for too long. */
static void pass_stuck(struct batch *batch)
{
        int64_t now = clock_monotonic();
        for (size_t i = 0; i < batch->count; i++) {
                struct item *item = &batch->items[i];
                int expected = ITEM_READ;
                if (atomic_load(&item->state) != ITEM_READ ||
                    now - atomic_load(&item->since) < STATS_SOURCE_TIME ||
                    !atomic_compare_exchange_strong(&item->state, &expected, ITEM_STUCK))
                        continue;
                log_warning("statistics do not come: they are asked for again when their files "
                            "answer",
                            "cgroup", item->source->cgroup ? item->source->cgroup : "", NULL);
                item->source->stuck = true;
                event_signal(&item->source->came);
                batch->current->stuck = true;
                if (++stuck_now < STATS_SOURCE_STUCK_MAX &&
                    atomic_load(&batch->next) < batch->count)
                        start_run(batch);
                else
                        batch->ended = true;
                return;
        }
}

/* ---- guests: on the loop's thread, each in a task, for a shim may hang ---- */

struct guest {
        struct stats_source *source; /* held by the batch, which waits */
        size_t *left;
        struct event *progress;
};

static void ask_guest(void *argument)
{
        struct guest *guest = argument;
        struct stats_source *source = guest->source;
        struct stats_reading *fresh = &source->fresh;
        struct error err;
        if (shim_stats(source->guest, clock_after(STATS_SOURCE_TIME), &fresh->stats,
                       fresh->detail ? &fresh->detail->cgroup : NULL, &err) < 0) {
                /* What it never has, the host's cgroup stands for; else there is none this time. */
                if (err.code == ERROR_UNIMPLEMENTED) {
                        log_info("a shim tells no statistics: the host's are taken", "container",
                                 source->guest, "reason", err.message, NULL);
                        free(take_ptr(source->guest));
                } else {
                        log_failure(&err, "a shim does not tell statistics", "container",
                                    source->guest, NULL);
                        fresh->stats.parts = 0;
                }
                source->guest_pause = clock_after(STATS_GUEST_PAUSE);
        }
        --*guest->left;
        event_signal(guest->progress);
        free(guest);
}

static void ask_guests(struct batch *batch)
{
        size_t left = 0;
        for (size_t i = 0; i < batch->count; i++) {
                struct stats_source *source = batch->items[i].source;
                if (!source->guest || atomic_load(&batch->items[i].state) != ITEM_DONE)
                        continue;
                if (clock_monotonic() < source->guest_pause) {
                        source->fresh.stats.parts = 0;
                        continue;
                }
                struct guest *guest = xcalloc(1, sizeof *guest);
                *guest = (struct guest){source, &left, &batch->progress};
                left++;
                task_start("ask a shim for statistics", ask_guest, guest);
        }
        while (left)
                task_wait(&batch->progress, CLOCK_NEVER);
}

/* Waits for a batch and takes in what was read. */
static void finish_batch(struct batch *batch)
{
        while (!batch->ended)
                if (task_wait(&batch->progress, clock_after(STATS_SOURCE_TIME)) == -ETIMEDOUT)
                        pass_stuck(batch);
        ask_guests(batch);
        for (size_t i = 0; i < batch->count; i++) {
                struct stats_source *source = batch->items[i].source;
                int state = atomic_load(&batch->items[i].state);
                /* A stuck one is taken in by run_ended. */
                if (state != ITEM_STUCK)
                        take_reading(source, state == ITEM_DONE &&
                                                     (!source->guest || source->fresh.stats.parts));
        }
        batch_unref(batch);
}

static bool has_parts(const struct stats_source *source, const struct stats_wish *wish,
                      int64_t since)
{
        if ((wish->parts & (CGROUP_PART_DETAIL | STATS_PART_PROCESSES)) && !source->last.detail)
                return false;
        return source->known && source->last.stats.monotonic >= since &&
               (source->wanted & wish->parts) == wish->parts;
}

/* Those that nobody reads yet, in a batch that a worker has begun; *shared: others are being read.
 */
static struct batch *begin_batch(const struct stats_wish *wishes, size_t count, bool again,
                                 int64_t since, bool *shared)
{
        struct batch *batch = xcalloc(1, sizeof *batch);
        batch->refs = 1;
        batch->items = xcalloc(count + 1, sizeof *batch->items);
        for (size_t i = 0; i < count; i++) {
                struct stats_source *source = wishes[i].source;
                if (source->closed || source->stuck ||
                    (again && has_parts(source, &wishes[i], since)))
                        continue;
                if (source->reading) {
                        *shared = true;
                        continue;
                }
                source->reading = true;
                source->wanted = wishes[i].parts;
                batch->items[batch->count++].source = stats_source_ref(source);
        }
        if (batch->count && stuck_now < STATS_SOURCE_STUCK_MAX)
                start_run(batch);
        else
                batch->ended = true;
        return batch;
}

void stats_source_read(const struct stats_wish *wishes, size_t count)
{
        int64_t since = clock_monotonic() - FRESH;
        int64_t deadline = clock_after(2 * STATS_SOURCE_TIME);
        bool shared = true;
        for (size_t i = 0; i < count; i++)
                stats_source_ref(wishes[i].source);
        for (unsigned round = 0; shared && round < ROUNDS; round++) {
                shared = false;
                finish_batch(begin_batch(wishes, count, round, since, &shared));
                /* Who is read by another request has its answer soon. */
                for (size_t i = 0; i < count && shared; i++) {
                        struct stats_source *source = wishes[i].source;
                        while (source->reading && !source->stuck)
                                if (task_wait(&source->came, deadline) == -ETIMEDOUT)
                                        break;
                }
        }
        for (size_t i = 0; i < count; i++)
                stats_source_unref(wishes[i].source);
}
