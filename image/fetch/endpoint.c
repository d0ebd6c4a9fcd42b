#include "image/fetch/endpoint.h"

#include <curl/curl.h>
#include <openssl/bio.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/buffer.h"
#include "base/file.h"
#include "base/memory.h"
#include "image/reference.h"

#define HTTPS "https://"
#define HTTP  "http://"

/* ---- its URL ---- */

static int bad_url(const struct fetch_endpoint *from, const char *why, struct error *err)
{
        return error_set(err, ERROR_INVALID_ARGUMENT, "endpoint \"%.200s\": %s", from->url, why);
}

static int set_url(struct endpoint *endpoint, const struct fetch_endpoint *from,
                   const char *repository, struct error *err)
{
        bool plain = strncasecmp(from->url, HTTP, strlen(HTTP)) == 0;
        if (!plain && strncasecmp(from->url, HTTPS, strlen(HTTPS)) != 0)
                return bad_url(from, "expected https:// or http://", err);
        if (strlen(from->url) > ENDPOINT_URL_MAX || strpbrk(from->url, "?#"))
                return bad_url(from, "expected a host and at most a path after it", err);

        const char *host = from->url + (plain ? strlen(HTTP) : strlen(HTTPS));
        size_t host_length = strcspn(host, "/");
        const char *path = host + host_length;
        if (host_length == 0 || host_length > REFERENCE_NAME_MAX || memchr(host, '@', host_length))
                return bad_url(from, "expected a host and nothing before it", err);
        while (*path == '/')
                path++;
        size_t path_length = strlen(path);
        while (path_length > 0 && path[path_length - 1] == '/')
                path_length--;

        endpoint->name = xstrndup(host, host_length);
        endpoint->identity.origin = xprintf("%s%s", plain ? HTTP : HTTPS, endpoint->name);
        endpoint->url =
                xprintf("%s%s/%.*s%s%s", endpoint->identity.origin, from->exact_path ? "" : "/v2",
                        (int)path_length, path, path_length > 0 ? "/" : "", repository);
        endpoint->query = xstrdup("");
        if (from->ns) {
                char *escaped = curl_easy_escape(NULL, from->ns, 0);
                free(endpoint->query);
                endpoint->query = xprintf("?ns=%s", escaped);
                curl_free(escaped);
        }
        return 0;
}

/* ---- certificates ---- */

static void keep_pem(struct http_pem *pem, const struct buffer *bytes)
{
        *pem = (struct http_pem){xcalloc(1, bytes->length), bytes->length};
        memcpy(pem->data, bytes->data, bytes->length);
}

static void wipe_pem(struct http_pem *pem)
{
        if (pem->data)
                explicit_bzero(pem->data, pem->length);
        free(pem->data);
}

static void wipe_buffer(struct buffer *bytes)
{
        if (bytes->data)
                explicit_bzero(bytes->data, bytes->capacity);
        buffer_fini(bytes);
}

static int read_pem(const char *path, struct buffer *bytes, struct error *err)
{
        if (path[0] != '/')
                return error_set(err, ERROR_INVALID_ARGUMENT, "%s: expected an absolute path",
                                 path);
        if (file_read(path, ENDPOINT_FILE_MAX, bytes, err) == 0)
                return 0;
        /* Whatever is wrong with it: what the operator wrote cannot be done. */
        struct error why = *err;
        return error_set(err, ERROR_FAILED_PRECONDITION, "%s", why.message);
}

static bool has_certificate(const struct buffer *bytes)
{
        BIO *bio = BIO_new_mem_buf(bytes->data, (int)bytes->length);
        X509 *certificate = bio ? PEM_read_bio_X509_AUX(bio, NULL, NULL, NULL) : NULL;
        bool has = certificate != NULL;
        X509_free(certificate);
        BIO_free(bio);
        return has;
}

/* libcrypto would ask on a terminal, and in the box it dies of having none. */
static int no_passphrase(char *out, int size, int writing, void *argument)
{
        return -1;
}

static int check_key(const struct buffer *bytes, const char *path, struct error *err)
{
        BIO *bio = bytes->length > 0 ? BIO_new_mem_buf(bytes->data, (int)bytes->length) : NULL;
        EVP_PKEY *key = bio ? PEM_read_bio_PrivateKey(bio, NULL, no_passphrase, NULL) : NULL;
        bool found = key != NULL;

        EVP_PKEY_free(key);
        BIO_free(bio);
        if (found)
                return 0;
        bool encrypted = bytes->length > 0 && memmem(bytes->data, bytes->length, "ENCRYPTED", 9);
        return error_set(err, ERROR_FAILED_PRECONDITION, "client certificate: %s: %s", path,
                         encrypted ? "the key in it has a passphrase, and nobody is here to be "
                                     "asked for it: write it without one (openssl pkey)"
                                   : "there is no key in it (expected PEM)");
}

/* What the machine trusts: given authorities, libcurl would take them in its place. */
static void read_own_authorities(struct buffer *all)
{
        const char *path = http_authorities_file();
        AUTO_BUFFER struct buffer bytes = BUFFER_INIT;
        /* A machine without any is one that trusts nobody but those who are named. */
        if (path && file_read(path, ENDPOINT_FILE_MAX, &bytes, NULL) == 0)
                buffer_add(all, bytes.data ? bytes.data : "", bytes.length);
}

static int read_authorities(struct endpoint *endpoint, const struct fetch_endpoint *from,
                            struct error *err)
{
        AUTO_BUFFER struct buffer all = BUFFER_INIT;

        if (from->authority_count == 0)
                return 0;
        for (size_t i = 0; i < from->authority_count; i++) {
                AUTO_BUFFER struct buffer bytes = BUFFER_INIT;
                int r = read_pem(from->authorities[i], &bytes, err);
                if (r < 0)
                        return error_context(err, "authorities");
                /* libcurl would skip it in silence. */
                if (bytes.length == 0 || !has_certificate(&bytes))
                        return error_set(err, ERROR_FAILED_PRECONDITION,
                                         "authorities: %s: there is no certificate in it (expected "
                                         "PEM)",
                                         from->authorities[i]);
                buffer_add(&all, bytes.data, bytes.length);
                buffer_add_text(&all, "\n");
        }
        read_own_authorities(&all);
        keep_pem(&endpoint->trust.authorities, &all);
        return 0;
}

static int read_identity(struct endpoint *endpoint, const struct fetch_endpoint *from,
                         struct error *err)
{
        CLEANUP(wipe_buffer) struct buffer certificate = BUFFER_INIT;
        CLEANUP(wipe_buffer) struct buffer key = BUFFER_INIT;

        if (!from->certificate)
                return 0;
        const char *key_path = from->key ? from->key : from->certificate;
        if (read_pem(from->certificate, &certificate, err) < 0 || read_pem(key_path, &key, err) < 0)
                return error_context(err, "client certificate");
        if (certificate.length == 0 || !has_certificate(&certificate))
                return error_set(err, ERROR_FAILED_PRECONDITION,
                                 "client certificate: %s: there is no certificate in it (expected "
                                 "PEM)",
                                 from->certificate);
        int r = check_key(&key, key_path, err);
        if (r < 0)
                return r;
        keep_pem(&endpoint->identity.certificate, &certificate);
        keep_pem(&endpoint->identity.key, &key);
        return 0;
}

/* ---- headers ---- */

/* RFC 9110, 5.6.2: what a header's name is made of. */
static bool is_token(const char *text, size_t length)
{
        static const char signs[] = "!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyz"
                                    "ABCDEFGHIJKLMNOPQRSTUVWXYZ";
        return length > 0 && strspn(text, signs) >= length;
}

/* One that has no value is written with a semicolon for libcurl, which leaves out "Name:". */
static int add_header(struct endpoint *endpoint, const char *header, struct error *err)
{
        const char *colon = strchr(header, ':');
        size_t name = colon ? (size_t)(colon - header) : 0;
        bool valid = is_token(header, name);

        for (const char *c = header; *c && valid; c++)
                valid = (unsigned char)*c >= ' ' && *c != 0x7f;
        if (!valid)
                return error_set(err, ERROR_INVALID_ARGUMENT,
                                 "header \"%.*s\": not one that can be sent",
                                 (int)(name < 100 ? name : 100), header);
        const char *value = colon + 1 + strspn(colon + 1, " \t");
        if (*value) {
                strv_push(&endpoint->identity.headers, header);
                return 0;
        }
        AUTO_FREE char *empty = xprintf("%.*s;", (int)name, header);
        strv_push(&endpoint->identity.headers, empty);
        return 0;
}

/* ---- the whole ---- */

static int set_endpoint(struct endpoint *endpoint, const struct fetch_endpoint *from,
                        const struct reference *reference, struct error *err)
{
        const char *repository = from->repository ? from->repository : reference->repository;
        int r = set_url(endpoint, from, repository, err);
        if (r < 0)
                return r;

        endpoint->digests_only = from->digests_only;
        endpoint->trust.insecure = from->insecure;
        endpoint->trust.connect_timeout = from->connect_timeout;
        if ((r = read_authorities(endpoint, from, err)) < 0 ||
            (r = read_identity(endpoint, from, err)) < 0)
                return error_context(err, "%s", endpoint->name);
        for (size_t i = 0; i < from->header_count; i++) {
                if ((r = add_header(endpoint, from->headers[i], err)) < 0)
                        return error_context(err, "%s", endpoint->name);
        }
        bool plain = strncmp(endpoint->url, HTTP, strlen(HTTP)) == 0;
        return auth_new(&from->credentials, repository, plain, &endpoint->trust,
                        &endpoint->identity, &endpoint->auth, err);
}

/* What is spoken to with and without TLS stands in errors twice: they say which was which. */
static void tell_apart(struct endpoint_list *endpoints)
{
        for (size_t i = 1; i < endpoints->count; i++) {
                struct endpoint *endpoint = &endpoints->list[i];
                bool plain = strncmp(endpoint->url, HTTP, strlen(HTTP)) == 0;
                if (!plain || strcmp(endpoint[-1].name, endpoint->name) != 0)
                        continue;
                free(endpoint->name);
                endpoint->name = xstrdup(endpoint->identity.origin);
        }
}

int endpoint_list_new(const struct fetch_request *request, struct endpoint_list **endpoints,
                      struct error *err)
{
        AUTO_ENDPOINTS struct endpoint_list *new = xcalloc(1, sizeof(*new));
        struct reference reference;

        int r = reference_parse(request->reference, &reference, err);
        if (r < 0)
                return r;
        if (request->endpoint_count == 0)
                return error_set(err, ERROR_INVALID_ARGUMENT, "request: endpoints: none");
        new->list = xcalloc(request->endpoint_count, sizeof(new->list[0]));
        new->count = request->endpoint_count;
        for (size_t i = 0; i < new->count; i++) {
                r = set_endpoint(&new->list[i], &request->endpoints[i], &reference, err);
                if (r < 0)
                        return r;
        }
        tell_apart(new);
        *endpoints = take_ptr(new);
        return 0;
}

static void endpoint_fini(struct endpoint *endpoint)
{
        char **headers = endpoint->identity.headers;

        for (char **header = headers; header && *header; header++)
                request_wipe_text(*header);
        strv_free(headers);
        wipe_pem(&endpoint->identity.key);
        wipe_pem(&endpoint->identity.certificate); /* the key may be in the same file */
        free(endpoint->trust.authorities.data);
        free((char *)(uintptr_t)endpoint->identity.origin);
        free(endpoint->url);
        free(endpoint->query);
        free(endpoint->name);
        auth_free(endpoint->auth);
}

void endpoint_list_free(struct endpoint_list *endpoints)
{
        if (!endpoints)
                return;
        for (size_t i = 0; i < endpoints->count; i++)
                endpoint_fini(&endpoints->list[i]);
        free(endpoints->list);
        free(endpoints);
}
