/*
 * runtime_private: what oci/runtime*.c and oci/exec.c share. For nobody else.
 */
#ifndef CRISP_OCI_RUNTIME_PRIVATE_H
#define CRISP_OCI_RUNTIME_PRIVATE_H

#include "oci/runtime.h"

/* PATH --root R [--systemd-cgroup] --log-format json, and --log LOG unless it is null; to be
 * continued with strv_push. */
char **runtime_base_argv(const struct runtime_handler *handler, const char *log);

/* Fills err: "runc exec: <message>", with the code that fits what the runtime says. */
int runtime_fail(const struct runtime_handler *handler, const char *verb, const char *message,
                 struct error *err);

#endif
