/*
 * config: what the one who runs the daemon may set.
 *
 * /etc/crisp/crisp.toml, then /etc/crisp/crisp.toml.d/NAME.toml in name order; with a file named on
 * the command line, FILE and FILE.d/NAME.toml instead. A later file overrides single keys of an
 * earlier one. An unknown key, a wrong type or a value out of range is an error that names file and
 * line. docs/crisp.toml.5 says the same to the user; keep both in step.
 *
 * A loaded configuration is never changed, so any thread may read it.
 */
#ifndef CRISP_CRI_CONFIG_H
#define CRISP_CRI_CONFIG_H

#include <stdio.h>

#include "base/cleanup.h"
#include "base/error.h"
#include "base/log.h"

#define CONFIG_HANDLERS_MAX     64
#define CONFIG_HANDLER_NAME_MAX 63  /* bytes: a RuntimeClass handler is a DNS label */
#define CONFIG_SOCKET_PATH_MAX  107 /* bytes: sun_path of unix(7) without its zero */

enum config_cgroup_driver { CONFIG_CGROUP_SYSTEMD, CONFIG_CGROUP_CGROUPFS };

enum config_handler_kind {
	CONFIG_HANDLER_OCI, /* a program with the command line of runc */
	CONFIG_HANDLER_SHIM /* a containerd shim v2; config_load refuses it in this version */
};

/* [runtime.handlers.NAME]: what a RuntimeClass's handler NAME runs. */
struct config_handler {
	char *name;
	enum config_handler_kind kind;
	char *path; /* absolute path of the program */
	char *root; /* where the runtime keeps its state (--root); default RUN_DIR/runtimes/NAME */
};

/* Strings are never null and paths are absolute, unless a comment says otherwise. */
struct config {
	char *state_dir; /* survives a reboot: pods, containers, images. /var/lib/crisp */
	char *run_dir;   /* gone after a reboot: sockets, pinned namespaces, lock. /run/crisp */

	struct {
		char *listen; /* path of the CRI socket. RUN_DIR/crisp.sock */
	} api;

	struct {
		char *config_dir;   /* CNI configurations. /etc/cni/net.d */
		char **plugin_dirs; /* strv, at least one; searched in order. /opt/cni/bin,
				       /usr/lib/cni, /usr/libexec/cni */
		unsigned timeout; /* seconds for one invocation of a network's chain of plugins. 60
				   */
	} network;

	struct {
		char *registries_conf;        /* containers-registries.conf(5).
						 /etc/containers/registries.conf */
		unsigned max_parallel_pulls;  /* pulls under way at a time; further ones wait. 4 */
		unsigned max_parallel_layers; /* layers of one pull downloading at a time. 3 */
		unsigned pull_stall_timeout;  /* seconds without a byte after which a pull fails. 60
					       */
	} images;

	struct {
		char *default_handler; /* name of one of handlers: for pods that name none */
		enum config_cgroup_driver cgroup_driver; /* systemd where it runs, else cgroupfs */
		unsigned create_timeout; /* seconds for one create, start or delete by a handler.
					    120 */
		char *monitor_cgroup;    /* cgroup of the monitors, from the root of each hierarchy.
					    /crisp-monitors */
		struct config_handler *handlers; /* sorted by name, at least one */
		size_t handler_count;
	} runtime;

	struct {
		char *address; /* IPv4 or IPv6 address that exec, attach and port-forward listen on.
				  127.0.0.1 */
		unsigned port; /* 0: any that is free. 0 */
	} streaming;

	struct {
		char *listen; /* always empty in this version: off */
	} nri;

	struct {
		char *listen; /* always empty in this version: off */
	} metrics;

	struct {
		enum log_level level; /* what is below is not written. info */
	} log;

	struct {
		unsigned max_workers;       /* threads for what blocks (task_offload). 64 */
		unsigned max_message_bytes; /* of a gRPC message, each way. 16 MiB */
		unsigned max_tasks; /* requests under way at a time; further ones are refused. 10000
				     */
	} limits;
};

/*
 * Loads the configuration. path is the file named on the command line, which must exist, or null
 * for the default one, which need not. The caller gives *config back with config_free.
 * INVALID_ARGUMENT "FILE:LINE: ..." for what is wrong in a file; else why one cannot be read.
 * Blocks on the disk.
 */
int config_load(const char *path, struct config **config, struct error *err);

void config_free(struct config *config); /* null is allowed */

/*
 * Writes the whole configuration, with every default, as TOML that config_load reads into the same
 * values. The caller checks the stream for errors.
 */
void config_print(const struct config *config, FILE *out);

/* The handler of this name; the default one for the empty name; null when there is none. Borrowed
 * from config. */
const struct config_handler *config_handler_find(const struct config *config, const char *name);

/* "systemd" or "cgroupfs". */
const char *config_cgroup_driver_name(enum config_cgroup_driver driver);

static inline void cleanup_config(struct config **config)
{
	config_free(*config);
}
#define AUTO_CONFIG CLEANUP(cleanup_config)

#endif
