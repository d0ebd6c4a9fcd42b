/*
 * auth: how one endpoint is convinced.
 *
 * Keeps the Authorization header that worked last, and gets a new one when the endpoint challenges:
 * Basic from the credentials, or Bearer from the token server that it names. Credentials go to the
 * token server by https, or by http where the endpoint itself speaks that, and never to where the
 * token server redirects. Others (Docker, containerd, containers/image) send them to any URL. Any
 * thread; nothing is locked while a token server is asked.
 */
#ifndef CRISP_IMAGE_FETCH_AUTH_H
#define CRISP_IMAGE_FETCH_AUTH_H

#include <stdbool.h>
#include <stdint.h>

#include "base/cleanup.h"
#include "base/error.h"
#include "image/fetch/http.h"
#include "image/request.h"

struct auth;

/*
 * credentials are those for this endpoint, all null where there are none; they are copied.
 * repository is the one to pull from; plain: the endpoint speaks http, so its token server may too.
 * trust and identity are the endpoint's; they are borrowed. Where trust accepts any certificate it
 * does so for the token server only where that is on the endpoint's own host. INVALID_ARGUMENT for
 * credentials that cannot be sent.
 */
int auth_new(const struct fetch_credentials *credentials, const char *repository, bool plain,
             const struct http_trust *trust, const struct http_identity *identity,
             struct auth **auth, struct error *err);
void auth_free(struct auth *auth); /* wipes; null is allowed */

/* Whether there is something to show to an endpoint that asks. */
bool auth_has_credentials(const struct auth *auth);

/*
 * The header to send at the time now (monotonic ns), on the heap (auth_free_header), or null: there
 * is none yet, or the token's time is over. *version names it for auth_answer.
 */
char *auth_header(struct auth *auth, int64_t now, unsigned *version);
void auth_free_header(char **header); /* wipes; for CLEANUP */

/*
 * Gets a new header after a 401 to the one of version. 0 when a further try makes sense;
 * UNAUTHENTICATED with the reason where there is nothing that could help; UNAVAILABLE where the
 * token server cannot be reached.
 */
int auth_answer(struct auth *auth, struct http_client *client, const char *challenges,
                unsigned version, struct error *err);

/* What may not get into errors: a null-terminated vector, valid as long as auth. The current bearer
 * token is not in it. */
const char *const *auth_secrets(const struct auth *auth);

static inline void cleanup_auth(struct auth **auth)
{
        auth_free(*auth);
}
#define AUTO_AUTH CLEANUP(cleanup_auth)

#endif
