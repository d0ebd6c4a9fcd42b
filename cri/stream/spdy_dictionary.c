#include "cri/stream/spdy_dictionary.h"

#include <assert.h>
#include <pthread.h>
#include <string.h>

/*
 * The words that header compression begins with (section 2.6.10.1 of the SPDY/3 draft), each with
 * its length before it, and then a text.
 */
static const char *const words[] = {
        "options",
        "head",
        "post",
        "put",
        "delete",
        "trace",
        "accept",
        "accept-charset",
        "accept-encoding",
        "accept-language",
        "accept-ranges",
        "age",
        "allow",
        "authorization",
        "cache-control",
        "connection",
        "content-base",
        "content-encoding",
        "content-language",
        "content-length",
        "content-location",
        "content-md5",
        "content-range",
        "content-type",
        "date",
        "etag",
        "expect",
        "expires",
        "from",
        "host",
        "if-match",
        "if-modified-since",
        "if-none-match",
        "if-range",
        "if-unmodified-since",
        "last-modified",
        "location",
        "max-forwards",
        "pragma",
        "proxy-authenticate",
        "proxy-authorization",
        "range",
        "referer",
        "retry-after",
        "server",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "user-agent",
        "vary",
        "via",
        "warning",
        "www-authenticate",
        "method",
        "get",
        "status",
        "200 OK",
        "version",
        "HTTP/1.1",
        "url",
        "public",
        "set-cookie",
        "keep-alive",
        "origin",
};

static const char text[] = "1001012012022052063003023033043053063074024054064074084094104114124134"
                           "14415416417502504505203 Non-Authoritative Information204 No Content301"
                           " Moved Permanently400 Bad Request401 Unauthorized403 Forbidden404 Not "
                           "Found500 Internal Server Error501 Not Implemented503 Service Unavailab"
                           "leJan Feb Mar Apr May Jun Jul Aug Sept Oct Nov Dec 00:00:00 Mon, Tue, "
                           "Wed, Thu, Fri, Sat, Sun, GMTchunked,text/html,image/png,image/jpg,imag"
                           "e/gif,application/xml,application/xhtml+xml,text/plain,text/javascript"
                           ",publicprivatemax-age=gzip,deflate,sdchcharset=utf-8charset=iso-8859-1"
                           ",utf-,*,enq=0.";

static unsigned char dictionary[SPDY_DICTIONARY_SIZE];
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void make(void)
{
        unsigned char *end = dictionary;
        for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
                size_t length = strlen(words[i]);
                memcpy(end, (unsigned char[]){0, 0, 0, (unsigned char)length}, 4);
                memcpy(end + 4, words[i], length);
                end += 4 + length;
        }
        assert(end + sizeof text - 1 == dictionary + sizeof dictionary);
        memcpy(end, text, sizeof text - 1);
}

const unsigned char *spdy_dictionary(void)
{
        pthread_once(&once, make);
        return dictionary;
}
