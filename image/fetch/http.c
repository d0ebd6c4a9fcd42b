#include "image/fetch/http.h"

#include <curl/curl.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/clock.h"
#include "base/memory.h"
#include "image/fetch/http_private.h"
#include "image/fetch/limits.h"

#ifndef CRISP_VERSION
#define CRISP_VERSION "0"
#endif

struct http_client {
        CURL *curl;
        struct stop *stop;
        int64_t connect_timeout; /* ms */
        int64_t stall_timeout;
        int64_t min_rate; /* bytes a second */
        char detail[CURL_ERROR_SIZE];
};

/* One transfer of a call: a call has several where it is redirected. */
struct transfer {
        struct http_client *client;
        struct http_call *call;
        struct error *err;
        int result; /* of what ended it from inside a callback, or 0 */
        size_t header_bytes;

        /* A window in which a minimum of bytes must come; time spent in the sink does not count. */
        int64_t window_start;
        int64_t window_bytes;
        bool stalled;
};

int http_client_new(struct stop *stop, int64_t connect_timeout, int64_t stall_timeout,
                    struct http_client **client, struct error *err)
{
        struct http_client *new = xcalloc(1, sizeof(*new));

        new->stop = stop;
        new->connect_timeout = connect_timeout;
        new->stall_timeout = stall_timeout;
        new->min_rate = FETCH_MIN_RATE;
        new->curl = curl_easy_init();
        if (!new->curl) {
                free(new);
                return error_set(err, ERROR_INTERNAL, "libcurl does not start");
        }
        *client = new;
        return 0;
}

void http_client_set_rate(struct http_client *client, int64_t bytes)
{
        client->min_rate = bytes;
}

void http_client_free(struct http_client *client)
{
        if (!client)
                return;
        curl_easy_cleanup(client->curl);
        free(client);
}

void http_call_fini(struct http_call *call)
{
        buffer_fini(&call->challenges);
        buffer_fini(&call->problem);
}

/* ---- headers and bodies ---- */

static size_t on_header(char *bytes, size_t one, size_t length, void *argument)
{
        struct transfer *transfer = argument;

        transfer->window_start = clock_monotonic();
        transfer->header_bytes += length;
        if (transfer->header_bytes > FETCH_HEADERS_MAX) {
                transfer->result = error_set(transfer->err, ERROR_UNAVAILABLE,
                                             "more than %u bytes of headers", FETCH_HEADERS_MAX);
                return 0;
        }
        /* A new status line (after a 100, or a proxy's) begins the answer anew. */
        if (length >= 5 && memcmp(bytes, "HTTP/", 5) == 0) {
                http_answer_begin(transfer->call);
                return length;
        }
        http_answer_add(transfer->call, bytes, length);
        return length;
}

static void keep_problem(struct http_call *call, const char *bytes, size_t length)
{
        size_t room = FETCH_PROBLEM_MAX - call->problem.length;
        buffer_add(&call->problem, bytes, length < room ? length : room);
}

static size_t on_body(char *bytes, size_t one, size_t length, void *argument)
{
        struct transfer *transfer = argument;
        struct http_call *call = transfer->call;

        transfer->window_bytes += (int64_t)length;
        curl_easy_getinfo(transfer->client->curl, CURLINFO_RESPONSE_CODE, &call->status);
        if (call->status < 200 || call->status > 299) {
                keep_problem(call, bytes, length);
                return length;
        }
        if (length == 0)
                return 0;

        int64_t before = clock_monotonic();
        transfer->result = call->sink(call, bytes, length, transfer->err);
        transfer->window_start += clock_monotonic() - before;
        return transfer->result < 0 ? 0 : length;
}

/* Called by libcurl at least once a second. */
static int on_progress(void *argument, curl_off_t a, curl_off_t b, curl_off_t c, curl_off_t d)
{
        struct transfer *transfer = argument;
        struct http_client *client = transfer->client;

        if (stop_is_set(client->stop)) {
                transfer->result = error_set(transfer->err, ERROR_CANCELLED, "cancelled");
                return 1;
        }
        int64_t now = clock_monotonic();
        int64_t window = client->stall_timeout * NSEC_PER_MSEC;
        if (now - transfer->window_start < window)
                return 0;
        if (transfer->window_bytes < client->min_rate * client->stall_timeout / 1000) {
                transfer->stalled = true;
                return 1;
        }
        transfer->window_start = now;
        transfer->window_bytes = 0;
        return 0;
}

/* ---- a transfer ---- */

static int curl_failure(struct transfer *transfer, CURLcode code)
{
        struct http_client *client = transfer->client;
        const char *detail = client->detail[0] ? client->detail : curl_easy_strerror(code);

        if (transfer->result < 0)
                return transfer->result;
        if (transfer->stalled)
                return error_set(transfer->err, ERROR_UNAVAILABLE,
                                 "stalled: less than %lld bytes a second for %lld seconds",
                                 (long long)client->min_rate,
                                 (long long)client->stall_timeout / 1000);
        switch (code) {
        case CURLE_PEER_FAILED_VERIFICATION:
        case CURLE_SSL_CACERT_BADFILE:
        case CURLE_SSL_ISSUER_ERROR:
                return error_set(transfer->err, ERROR_FAILED_PRECONDITION,
                                 "its certificate cannot be trusted: %s", detail);
        case CURLE_SSL_CONNECT_ERROR:
                /* What a server that speaks plain http answers to us is no TLS, now and later. */
                if (strstr(detail, "wrong version number"))
                        return error_set(transfer->err, ERROR_FAILED_PRECONDITION,
                                         "it does not speak https");
                return error_set(transfer->err, ERROR_UNAVAILABLE, "%s", detail);
        case CURLE_SSL_CERTPROBLEM:
                return error_set(transfer->err, ERROR_FAILED_PRECONDITION,
                                 "our certificate for it cannot be used: %s", detail);
        case CURLE_UNSUPPORTED_PROTOCOL:
        case CURLE_URL_MALFORMAT:
                return error_set(transfer->err, ERROR_INVALID_ARGUMENT, "not a URL to pull from");
        case CURLE_OUT_OF_MEMORY:
                return error_errno(transfer->err, ENOMEM, "libcurl");
        default:
                return error_set(transfer->err, ERROR_UNAVAILABLE, "%s", detail);
        }
}

/* An Authorization of the operator's counts until the registry has demanded another. */
static bool is_superseded(const struct http_call *call, const char *header)
{
        static const char authorization[] = "authorization:";
        return call->authorization &&
               strncasecmp(header, authorization, strlen(authorization)) == 0;
}

static struct curl_slist *make_headers(const struct http_call *call, bool authorized, bool known)
{
        struct curl_slist *list = NULL;
        char **own = known && call->identity ? call->identity->headers : NULL;

        for (; own && *own; own++) {
                if (!is_superseded(call, *own))
                        list = curl_slist_append(list, *own);
        }

        if (call->accept) {
                AUTO_FREE char *line = xprintf("Accept: %s", call->accept);
                list = curl_slist_append(list, line);
        }
        if (call->authorization && authorized) {
                AUTO_FREE char *line = xprintf("Authorization: %s", call->authorization);
                list = curl_slist_append(list, line);
                explicit_bzero(line, strlen(line));
        }
        return list;
}

static void free_headers(struct curl_slist **list)
{
        for (struct curl_slist *line = *list; line; line = line->next)
                explicit_bzero(line->data, strlen(line->data));
        curl_slist_free_all(*list);
}

static void set_pem(CURL *curl, CURLoption option, const struct http_pem *pem)
{
        struct curl_blob blob = {pem->data, pem->length, CURL_BLOB_NOCOPY};
        if (pem->length > 0)
                curl_easy_setopt(curl, option, &blob);
}

static const char *named_or(const char *variable, const char *fallback)
{
        const char *path = getenv(variable);
        return path && path[0] == '/' ? path : fallback;
}

const char *http_authorities_file(void)
{
        return named_or("SSL_CERT_FILE", curl_version_info(CURLVERSION_NOW)->cainfo);
}

const char *http_authorities_folder(void)
{
        return named_or("SSL_CERT_DIR", curl_version_info(CURLVERSION_NOW)->capath);
}

static void set_trust(CURL *curl, const struct http_trust *trust)
{
        if (trust->insecure) {
                curl_easy_setopt(curl, CURLOPT_SSL_VERIFYPEER, 0L);
                curl_easy_setopt(curl, CURLOPT_SSL_VERIFYHOST, 0L);
        }
        if (trust->connect_timeout > 0)
                curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT_MS, (long)trust->connect_timeout);
        curl_easy_setopt(curl, CURLOPT_CAINFO, http_authorities_file());
        curl_easy_setopt(curl, CURLOPT_CAPATH, http_authorities_folder());
        set_pem(curl, CURLOPT_CAINFO_BLOB, &trust->authorities);
}

static void set_identity(CURL *curl, const struct http_identity *identity)
{
        set_pem(curl, CURLOPT_SSLCERT_BLOB, &identity->certificate);
        set_pem(curl, CURLOPT_SSLKEY_BLOB, &identity->key);
}

static void set_range(CURL *curl, const struct http_call *call)
{
        char range[48];
        if (call->to > 0)
                snprintf(range, sizeof(range), "%lld-%lld", (long long)call->from,
                         (long long)call->to - 1);
        else
                snprintf(range, sizeof(range), "%lld-", (long long)call->from);
        if (call->from > 0 || call->to > 0)
                curl_easy_setopt(curl, CURLOPT_RANGE, range);
}

/* known: url is at the origin that identity is for. */
static void set_options(struct transfer *transfer, const char *url, struct curl_slist *headers,
                        bool known)
{
        struct http_client *client = transfer->client;
        const struct http_call *call = transfer->call;
        CURL *curl = client->curl;

        curl_easy_reset(curl); /* keeps connections, DNS and TLS sessions */
        curl_easy_setopt(curl, CURLOPT_URL, url);
        curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "http,https");
        curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
        curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, client->detail);
        curl_easy_setopt(curl, CURLOPT_USERAGENT, "crisp/" CRISP_VERSION);
        curl_easy_setopt(curl, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_2TLS);
        curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT_MS, (long)client->connect_timeout);
        curl_easy_setopt(curl, CURLOPT_BUFFERSIZE, 128L * 1024);
        curl_easy_setopt(curl, CURLOPT_HTTPHEADER, headers);
        curl_easy_setopt(curl, CURLOPT_HEADERFUNCTION, on_header);
        curl_easy_setopt(curl, CURLOPT_HEADERDATA, transfer);
        curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, on_body);
        curl_easy_setopt(curl, CURLOPT_WRITEDATA, transfer);
        curl_easy_setopt(curl, CURLOPT_NOPROGRESS, 0L);
        curl_easy_setopt(curl, CURLOPT_XFERINFOFUNCTION, on_progress);
        curl_easy_setopt(curl, CURLOPT_XFERINFODATA, transfer);
        if (call->trust)
                set_trust(curl, call->trust);
        if (known)
                set_identity(curl, call->identity);
        if (http_url_is_loopback(url))
                curl_easy_setopt(curl, CURLOPT_PROXY, "");
        if (call->form)
                curl_easy_setopt(curl, CURLOPT_POSTFIELDS, call->form);
        if (call->head)
                curl_easy_setopt(curl, CURLOPT_NOBODY, 1L);
        set_range(curl, call);
}

/* One request and its answer; *location gets the redirect's absolute URL (heap) where there is one.
 */
static int transfer_once(struct http_client *client, struct http_call *call, const char *url,
                         char **location, struct error *err)
{
        struct transfer transfer = {
                .client = client, .call = call, .err = err, .window_start = clock_monotonic()};
        bool known = call->identity && http_same_origin(call->identity->origin, url);
        const char *redirect = NULL;
        curl_off_t connected = 0;

        http_answer_begin(call);
        call->elsewhere = !http_same_origin(call->url, url);
        CLEANUP(free_headers)
        struct curl_slist *headers = make_headers(call, !call->elsewhere, known);
        call->status = 0;
        client->detail[0] = '\0';
        set_options(&transfer, url, headers, known);
        CURLcode code = curl_easy_perform(client->curl);
        /* The next transfer's options replace these, which point to this stack; until then nothing
         * may use them. */
        curl_easy_getinfo(client->curl, CURLINFO_RESPONSE_CODE, &call->status);
        curl_easy_getinfo(client->curl, CURLINFO_REDIRECT_URL, &redirect);
        curl_easy_getinfo(client->curl, CURLINFO_CONNECT_TIME_T, &connected);
        /* No time is told of a connection that was kept. */
        call->reached = (connected > 0 || call->status > 0) && !transfer.stalled;
        int r = code == CURLE_OK ? 0 : curl_failure(&transfer, code);
        if (r == 0 && redirect)
                *location = xstrdup(redirect);
        curl_easy_reset(client->curl);
        return r;
}

int http_perform(struct http_client *client, struct http_call *call, struct error *err)
{
        AUTO_FREE char *url = xstrdup(call->url);

        for (int redirects = 0;; redirects++) {
                AUTO_FREE char *location = NULL;
                int r = transfer_once(client, call, url, &location, err);
                if (r < 0)
                        return r;
                if (call->status < 300 || call->status > 399 || !location)
                        return 0;
                if (redirects == FETCH_REDIRECTS_MAX)
                        return error_set(err, ERROR_UNAVAILABLE, "more than %d redirects",
                                         FETCH_REDIRECTS_MAX);
                /* A form has secrets in it, and a token server has no business elsewhere. */
                if (call->form)
                        return error_set(err, ERROR_UNAVAILABLE, "redirects a form");
                if (!http_url_is_allowed(location, strncasecmp(url, "http:", 5) == 0))
                        return error_set(err, ERROR_UNAVAILABLE,
                                         "redirects to where it is not safe to go");
                free(url);
                url = take_ptr(location);
        }
}
