/*
 * httpd: libmicrohttpd, loaded when something is first served by it.
 *
 * With the TLS library that it brings along it costs 1.2 MB of memory, which a daemon that serves
 * no HTTP does not pay. Any thread.
 */
#ifndef CRISP_BASE_HTTPD_H
#define CRISP_BASE_HTTPD_H

#include <microhttpd.h>

#include "base/error.h"

/* The functions of microhttpd.h that are used, without their MHD_. */
struct httpd {
        __typeof__(&MHD_start_daemon) start_daemon;
        __typeof__(&MHD_stop_daemon) stop_daemon;
        __typeof__(&MHD_is_feature_supported) is_feature_supported;
        __typeof__(&MHD_create_response_from_buffer) create_response_from_buffer;
        __typeof__(&MHD_create_response_for_upgrade) create_response_for_upgrade;
        __typeof__(&MHD_add_response_header) add_response_header;
        __typeof__(&MHD_queue_response) queue_response;
        __typeof__(&MHD_destroy_response) destroy_response;
        __typeof__(&MHD_get_connection_info) get_connection_info;
        __typeof__(&MHD_get_connection_values) get_connection_values;
        __typeof__(&MHD_upgrade_action) upgrade_action;
        __typeof__(&MHD_add_connection) add_connection;
};

/* Loads it, or finds it loaded; it stays. FAILED_PRECONDITION where it is not installed. Blocks on
 * the disk. */
int httpd_load(const struct httpd **httpd, struct error *err);

#endif
