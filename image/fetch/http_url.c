/* Where URLs lead. */
#include <curl/curl.h>
#include <string.h>
#include <strings.h>

#include "image/fetch/http_private.h"
#include "image/host.h"

struct origin {
        char *scheme, *host, *port; /* curl's memory */
};

static void free_origin(struct origin *origin)
{
        curl_free(origin->scheme);
        curl_free(origin->host);
        curl_free(origin->port);
}

static bool read_origin(const char *url, struct origin *origin)
{
        CURLU *parsed = curl_url();
        bool ok = parsed && curl_url_set(parsed, CURLUPART_URL, url, 0) == CURLUE_OK &&
                  curl_url_get(parsed, CURLUPART_SCHEME, &origin->scheme, 0) == CURLUE_OK &&
                  curl_url_get(parsed, CURLUPART_HOST, &origin->host, 0) == CURLUE_OK &&
                  curl_url_get(parsed, CURLUPART_PORT, &origin->port, CURLU_DEFAULT_PORT) ==
                          CURLUE_OK;
        curl_url_cleanup(parsed);
        return ok;
}

bool http_same_origin(const char *a, const char *b)
{
        CLEANUP(free_origin) struct origin first = {0};
        CLEANUP(free_origin) struct origin second = {0};

        return read_origin(a, &first) && read_origin(b, &second) &&
               strcasecmp(first.scheme, second.scheme) == 0 &&
               strcasecmp(first.host, second.host) == 0 && strcmp(first.port, second.port) == 0;
}

bool http_url_is_allowed(const char *url, bool plain)
{
        CLEANUP(free_origin) struct origin origin = {0};

        if (!read_origin(url, &origin))
                return false;
        if (strcasecmp(origin.scheme, "https") == 0)
                return true;
        return plain && strcasecmp(origin.scheme, "http") == 0;
}

bool http_url_is_loopback(const char *url)
{
        CLEANUP(free_origin) struct origin origin = {0};
        return read_origin(url, &origin) && host_is_loopback(origin.host);
}
