/*
 * fetch: a pull from its request to its result.
 */
#ifndef CRISP_IMAGE_FETCH_FETCH_H
#define CRISP_IMAGE_FETCH_FETCH_H

#include "base/arena.h"
#include "base/error.h"
#include "image/fetch/layers.h"
#include "image/fetch/load.h"
#include "image/fetch/stop.h"
#include "image/request.h"

/*
 * Does what the request says, in the staging folder. loaded is what load_request made of it.
 * Blocks; its threads have ended when it returns. progress is called from several threads, at most
 * a few times a second for each layer. stop ends it early (CANCELLED) and is set by a failure. The
 * result lives in arena; everything it names is synced to disk. A registry that cannot be reached
 * is told with the word RegistryUnavailable. The process must have called curl_global_init and set
 * a UTF-8 locale.
 */
int fetch_run(const struct fetch_request *request, const struct loaded *loaded, struct stop *stop,
              const struct fetch_listener *listener, struct arena *arena,
              struct fetch_result *result, struct error *err);

#endif
