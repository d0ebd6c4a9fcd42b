#include "base/httpd.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stdbool.h>
#include <string.h>

#define LIBRARY "libmicrohttpd.so.12"

static struct httpd loaded;
static bool is_loaded;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static int find_functions(void *library, struct error *err)
{
        const struct {
                const char *name;
                void *place;
        } functions[] = {
                {"MHD_start_daemon", &loaded.start_daemon},
                {"MHD_stop_daemon", &loaded.stop_daemon},
                {"MHD_is_feature_supported", &loaded.is_feature_supported},
                {"MHD_create_response_from_buffer", &loaded.create_response_from_buffer},
                {"MHD_create_response_for_upgrade", &loaded.create_response_for_upgrade},
                {"MHD_add_response_header", &loaded.add_response_header},
                {"MHD_queue_response", &loaded.queue_response},
                {"MHD_destroy_response", &loaded.destroy_response},
                {"MHD_get_connection_info", &loaded.get_connection_info},
                {"MHD_get_connection_values", &loaded.get_connection_values},
                {"MHD_upgrade_action", &loaded.upgrade_action},
                {"MHD_add_connection", &loaded.add_connection},
        };
        for (size_t i = 0; i < sizeof functions / sizeof *functions; i++) {
                void *found = dlsym(library, functions[i].name);
                if (!found)
                        return error_set(err, ERROR_FAILED_PRECONDITION, "%s has no %s", LIBRARY,
                                         functions[i].name);
                memcpy(functions[i].place, &found, sizeof found);
        }
        return 0;
}

static int load(struct error *err)
{
        void *library = dlopen(LIBRARY, RTLD_NOW | RTLD_LOCAL);
        if (!library)
                return error_set(err, ERROR_FAILED_PRECONDITION,
                                 "%s cannot be loaded (%s): install it", LIBRARY, dlerror());
        return find_functions(library, err);
}

int httpd_load(const struct httpd **httpd, struct error *err)
{
        int result = 0;
        pthread_mutex_lock(&lock);
        if (!is_loaded)
                result = load(err);
        is_loaded = result == 0;
        pthread_mutex_unlock(&lock);
        if (result == 0)
                *httpd = &loaded;
        return result;
}
