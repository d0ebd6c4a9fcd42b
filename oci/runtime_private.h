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

/* Runs the program with these words to its end; run is the caller's to release. For tasks. */
int runtime_ask(const struct runtime_handler *handler, char *const *argv, int64_t deadline,
                struct process_run *run, struct error *err);
bool runtime_ended_well(const struct process_run *run);

/* Fills in what the handler's program can do; its version is known. For tasks. */
void runtime_find_features(struct runtime_handler *handler, int64_t deadline);

#endif
