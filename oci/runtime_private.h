/*
 * runtime_private: what oci/runtime*.c and oci/exec.c share. For nobody else.
 */
#ifndef CRISP_OCI_RUNTIME_PRIVATE_H
#define CRISP_OCI_RUNTIME_PRIVATE_H

#include "base/process.h"
#include "oci/runtime.h"

/* PATH --root R [--systemd-cgroup] --log-format json, and --log LOG unless it is null; to be
 * continued with strv_push. */
char **runtime_base_argv(const struct runtime_handler *handler, const char *log);

/* Fills err: "runc exec: <message>", with the code that fits what the runtime says. */
int runtime_fail(const struct runtime_handler *handler, const char *verb, const char *message,
                 struct error *err);

struct exec_words;

/* What a runtime that is no command line does in its own way; each as the function of runtime.h. */
struct runtime_operations {
        int (*probe)(struct runtime_handler *handler, int64_t deadline, struct error *err);
        int (*prepare_create)(const struct runtime_handler *handler, struct runtime_create *create,
                              int64_t deadline, struct error *err);
        int (*start)(const struct runtime_handler *handler, const char *id, int64_t deadline,
                     struct error *err);
        int (*kill)(const struct runtime_handler *handler, const char *id, int signal, bool all,
                    int64_t deadline, struct error *err);
        int (*delete)(const struct runtime_handler *handler, const char *id, bool force,
                      int64_t deadline, struct error *err);
        int (*pause)(const struct runtime_handler *handler, const char *id, int64_t deadline,
                     struct error *err);
        int (*resume)(const struct runtime_handler *handler, const char *id, int64_t deadline,
                      struct error *err);
        int (*update)(const struct runtime_handler *handler, const char *id, const char *resources,
                      int64_t deadline, struct error *err);
        int (*state)(const struct runtime_handler *handler, const char *id, int64_t deadline,
                     struct runtime_state *state, struct error *err);
        int (*resize)(const struct runtime_handler *handler, const char *id, uint16_t rows,
                      uint16_t columns, int64_t deadline, struct error *err);
        /* A whole command that runs another in the container and ends as that does (strv_free). */
        char **(*exec_argv)(const struct runtime_handler *handler, const char *id,
                            const struct exec_words *words);
        /* Kills such a command; nobody wants to know whether that went well. */
        void (*exec_kill)(const struct runtime_handler *handler, const char *id,
                          const char *exec_id, int64_t deadline);
        /* Sizes its terminal; nobody wants to know whether that went well. */
        void (*exec_resize)(const struct runtime_handler *handler, const char *id,
                            const char *exec_id, uint16_t rows, uint16_t columns, int64_t deadline);
};
extern const struct runtime_operations runtime_shim_operations;

/* Whether a runtime's words mean that what was to be killed has ended: they have no code for it. */
bool runtime_says_not_running(const char *message);
/* Runs the program with these words to its end; run is the caller's to release. For tasks. */
int runtime_ask(const struct runtime_handler *handler, char *const *argv, int64_t deadline,
                struct process_run *run, struct error *err);
bool runtime_ended_well(const struct process_run *run);

/* Fills in what the handler's program can do; its version is known. For tasks. */
void runtime_find_features(struct runtime_handler *handler, int64_t deadline);

#endif
