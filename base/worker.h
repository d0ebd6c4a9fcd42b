/*
 * worker: threads for what blocks.
 *
 * The part below task_offload: threads start on demand up to a bound, have small stacks and end
 * when they have been idle.
 */
#ifndef CRISP_BASE_WORKER_H
#define CRISP_BASE_WORKER_H

struct worker_job {
        void (*run)(struct worker_job
                            *job); /* on a worker's thread; the job may be gone when it returns */
        struct worker_job *next;
};

void worker_pool_init(unsigned max_threads);
/* Any thread. Never blocks; where all threads are busy the job waits. */
void worker_submit(struct worker_job *job);
/* Ends idle threads and waits for them. Busy ones end by themselves. Jobs that wait are dropped. */
void worker_pool_fini(void);

#endif
