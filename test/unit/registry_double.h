/*
 * registry_double: a registry on loopback for tests, that misbehaves on demand.
 *
 * Serves one image under /v2/a/image. A thread for each connection; each answer closes it.
 */
#ifndef CRISP_TEST_REGISTRY_DOUBLE_H
#define CRISP_TEST_REGISTRY_DOUBLE_H

#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/buffer.h"
#include "base/memory.h"

#define DOUBLE_DOCUMENTS_MAX   16
#define DOUBLE_CONNECTIONS_MAX 128
#define DOUBLE_REQUEST_MAX     16384

enum double_auth { AUTH_NONE, AUTH_BASIC, AUTH_BEARER };

struct document {
        char *path; /* below /v2/a/image/ */
        char *type;
        struct buffer body;
};

struct registry_double {
        int listener;
        int port;
        pthread_t acceptor;
        pthread_t threads[DOUBLE_CONNECTIONS_MAX];
        int connections[DOUBLE_CONNECTIONS_MAX];
        size_t count;

        struct document documents[DOUBLE_DOCUMENTS_MAX];
        size_t document_count;

        /* What it does. Set before the pull. */
        enum double_auth auth;
        const char *expected_login; /* base64 of the only user's name and password; null: nobody
                                       needs one */
        const char *expected_refresh;
        const char *token_realm; /* null: itself */
        const char *token_reply; /* null: an honest one */
        int fail_count;          /* answers that are fail_status first */
        int fail_status;
        const char *fail_headers;
        const char *fail_path; /* part of the path that fails; null: all */
        int cut_count;         /* transfers of blobs that break off */
        size_t cut_after;      /* after that many bytes */
        bool ignore_range;
        bool wrong_range;
        const char *stall_path; /* part of the path where nothing more comes */
        char *redirect_blobs;   /* to this URL and the path */

        /* What happened. */
        pthread_mutex_t mutex;
        struct buffer log; /* "GET /path auth=... range=...\n" */
        bool stopping;
};

struct double_connection {
        struct registry_double *registry;
        int fd;
};

static inline void double_send(int fd, const void *bytes, size_t length)
{
        const char *at = bytes;
        while (length > 0) {
                ssize_t sent = send(fd, at, length, MSG_NOSIGNAL);
                if (sent <= 0)
                        return;
                at += sent;
                length -= (size_t)sent;
        }
}

static inline void double_answer(int fd, const char *status, const char *headers, const char *body)
{
        AUTO_FREE char *text = xprintf("HTTP/1.1 %s\r\nConnection: close\r\n%sContent-Length: "
                                       "%zu\r\n\r\n%s",
                                       status, headers ? headers : "", strlen(body), body);
        double_send(fd, text, strlen(text));
}

/* A header's value, or null; heap. */
static inline char *double_header(const char *request, const char *name)
{
        AUTO_FREE char *wanted = xprintf("\r\n%s: ", name);
        const char *found = strcasestr(request, wanted);
        if (!found)
                return NULL;
        found += strlen(wanted);
        return xstrndup(found, strcspn(found, "\r"));
}

static inline bool double_authorize(struct registry_double *registry, int fd, const char *header)
{
        AUTO_FREE char *wanted = NULL;

        if (registry->auth == AUTH_NONE)
                return true;
        if (registry->auth == AUTH_BASIC)
                wanted = xprintf("Basic %s", registry->expected_login);
        else
                wanted = xstrdup("Bearer good-token");
        if (header && strcmp(header, wanted) == 0)
                return true;

        AUTO_FREE char *itself = xprintf("http://127.0.0.1:%d/token", registry->port);
        AUTO_FREE char *challenge =
                registry->auth == AUTH_BASIC
                        ? xstrdup("WWW-Authenticate: Basic realm=\"double\"\r\n")
                        : xprintf("WWW-Authenticate: Bearer realm=\"%s\",service=\"double\","
                                  "scope=\"repository:a/image:pull\"\r\n",
                                  registry->token_realm ? registry->token_realm : itself);
        double_answer(fd, "401 Unauthorized", challenge,
                      "{\"errors\":[{\"code\":\"UNAUTHORIZED\",\"message\":\"who are you\"}]}");
        return false;
}

static inline void double_token(struct registry_double *registry, int fd, const char *request,
                                const char *authorization)
{
        AUTO_FREE char *login =
                registry->expected_login ? xprintf("Basic %s", registry->expected_login) : NULL;
        AUTO_FREE char *refresh = registry->expected_refresh
                                          ? xprintf("refresh_token=%s&", registry->expected_refresh)
                                          : NULL;
        bool known = (!login && !refresh) ||
                     (login && authorization && strcmp(login, authorization) == 0) ||
                     (refresh && strstr(request, refresh) && strncmp(request, "POST", 4) == 0);
        if (!known)
                double_answer(fd, "401 Unauthorized", NULL,
                              "{\"details\":\"incorrect username or password\"}");
        else
                double_answer(fd, "200 OK", NULL,
                              registry->token_reply ? registry->token_reply
                              : refresh             ? "{\"access_token\":\"good-token\"}"
                                                    : "{\"token\":\"good-token\"}");
}

static inline bool double_take(struct registry_double *registry, int *count)
{
        pthread_mutex_lock(&registry->mutex);
        bool taken = *count > 0;
        if (taken)
                (*count)--;
        pthread_mutex_unlock(&registry->mutex);
        return taken;
}

static inline void double_document(struct registry_double *registry, int fd,
                                   const struct document *document, const char *range)
{
        size_t from = 0, length = document->body.length;
        bool blob = strncmp(document->path, "blobs/", 6) == 0;
        bool partial = range && !registry->ignore_range &&
                       sscanf(range, "bytes=%zu-", &from) == 1 && from < length;
        if (!partial)
                from = 0;
        AUTO_FREE char *content_range =
                partial ? xprintf("Content-Range: bytes %zu-%zu/%zu\r\n",
                                  from + registry->wrong_range, length - 1, length)
                        : xstrdup("");
        AUTO_FREE char *head = xprintf("HTTP/1.1 %s\r\nConnection: close\r\nContent-Type: %s\r\n"
                                       "%sContent-Length: %zu\r\n\r\n",
                                       partial ? "206 Partial Content" : "200 OK", document->type,
                                       content_range, length - from);
        double_send(fd, head, strlen(head));
        size_t count = length - from;
        if (blob && count > registry->cut_after && double_take(registry, &registry->cut_count))
                count = registry->cut_after;
        double_send(fd, document->body.data + from, count);
}

static inline void double_serve(struct registry_double *registry, int fd, const char *request)
{
        char method[16] = "", path[1024] = "";
        AUTO_FREE char *authorization = double_header(request, "Authorization");
        AUTO_FREE char *range = double_header(request, "Range");

        sscanf(request, "%15s %1023s", method, path);
        pthread_mutex_lock(&registry->mutex);
        buffer_printf(&registry->log, "%s %s auth=%s range=%s\n", method, path,
                      authorization ? authorization : "-", range ? range : "-");
        pthread_mutex_unlock(&registry->mutex);

        if (registry->stall_path && strstr(path, registry->stall_path)) {
                struct pollfd closed = {.fd = fd, .events = POLLRDHUP};
                poll(&closed, 1, 20000);
                return;
        }
        if ((!registry->fail_path || strstr(path, registry->fail_path)) &&
            double_take(registry, &registry->fail_count)) {
                AUTO_FREE char *status = xprintf("%d Failing", registry->fail_status);
                double_answer(fd, status, registry->fail_headers, "{}");
                return;
        }
        if (strncmp(path, "/token", 6) == 0) {
                double_token(registry, fd, request, authorization);
                return;
        }
        if (!double_authorize(registry, fd, authorization))
                return;
        if (registry->redirect_blobs && strstr(path, "/blobs/")) {
                AUTO_FREE char *location =
                        xprintf("Location: %s%s\r\n", registry->redirect_blobs, path);
                double_answer(fd, "307 Temporary Redirect", location, "");
                return;
        }
        static const char prefix[] = "/v2/a/image/";
        for (size_t i = 0; i < registry->document_count; i++) {
                const struct document *document = &registry->documents[i];
                if (strncmp(path, prefix, strlen(prefix)) == 0 &&
                    strcmp(path + strlen(prefix), document->path) == 0) {
                        double_document(registry, fd, document, range);
                        return;
                }
        }
        double_answer(fd, "404 Not Found", NULL,
                      "{\"errors\":[{\"code\":\"NAME_UNKNOWN\",\"message\":\"not here\"}]}");
}

/* Reads a request with its body. */
static inline void *double_connection_run(void *argument)
{
        struct double_connection *connection = argument;
        char request[DOUBLE_REQUEST_MAX + 1];
        size_t length = 0;

        for (;;) {
                ssize_t got =
                        recv(connection->fd, request + length, DOUBLE_REQUEST_MAX - length, 0);
                if (got <= 0)
                        break;
                length += (size_t)got;
                request[length] = '\0';
                const char *end = strstr(request, "\r\n\r\n");
                if (!end)
                        continue;
                AUTO_FREE char *body = double_header(request, "Content-Length");
                if (request + length - (end + 4) < (body ? atol(body) : 0))
                        continue;
                double_serve(connection->registry, connection->fd, request);
                break;
        }
        shutdown(connection->fd, SHUT_RDWR);
        free(connection);
        return NULL;
}

static inline void *double_accept(void *argument)
{
        struct registry_double *registry = argument;

        while (registry->count < DOUBLE_CONNECTIONS_MAX) {
                int fd = accept4(registry->listener, NULL, NULL, SOCK_CLOEXEC);
                if (fd < 0)
                        break;
                struct double_connection *connection = xcalloc(1, sizeof(*connection));
                *connection = (struct double_connection){registry, fd};
                registry->connections[registry->count] = fd;
                if (pthread_create(&registry->threads[registry->count], NULL, double_connection_run,
                                   connection) != 0)
                        abort();
                registry->count++;
        }
        return NULL;
}

static inline struct registry_double *double_new(void)
{
        struct registry_double *registry = xcalloc(1, sizeof(*registry));
        struct sockaddr_in address = {.sin_family = AF_INET,
                                      .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
        socklen_t length = sizeof(address);

        pthread_mutex_init(&registry->mutex, NULL);
        registry->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (bind(registry->listener, (struct sockaddr *)&address, sizeof(address)) < 0 ||
            listen(registry->listener, 64) < 0 ||
            getsockname(registry->listener, (struct sockaddr *)&address, &length) < 0)
                abort();
        registry->port = ntohs(address.sin_port);
        if (pthread_create(&registry->acceptor, NULL, double_accept, registry) != 0)
                abort();
        return registry;
}

static inline void double_free(struct registry_double *registry)
{
        if (!registry)
                return;
        shutdown(registry->listener, SHUT_RDWR);
        pthread_join(registry->acceptor, NULL);
        for (size_t i = 0; i < registry->count; i++) {
                shutdown(registry->connections[i], SHUT_RDWR);
                pthread_join(registry->threads[i], NULL);
                close(registry->connections[i]);
        }
        close(registry->listener);
        for (size_t i = 0; i < registry->document_count; i++) {
                free(registry->documents[i].path);
                free(registry->documents[i].type);
                buffer_fini(&registry->documents[i].body);
        }
        buffer_fini(&registry->log);
        free(registry->redirect_blobs);
        pthread_mutex_destroy(&registry->mutex);
        free(registry);
}

/* path and type are copied. */
static inline void double_add(struct registry_double *registry, const char *path, const char *type,
                              const void *bytes, size_t length)
{
        struct document *document = &registry->documents[registry->document_count++];
        if (registry->document_count > DOUBLE_DOCUMENTS_MAX)
                abort();
        document->path = xstrdup(path);
        document->type = xstrdup(type);
        buffer_add(&document->body, bytes, length);
}

/* How many requests so far had this text in their log line. */
static inline unsigned double_requests(struct registry_double *registry, const char *text)
{
        unsigned count = 0;

        pthread_mutex_lock(&registry->mutex);
        for (const char *line = registry->log.data; line && *line;) {
                size_t length = strcspn(line, "\n");
                const char *found = strstr(line, text);
                count += found && found < line + length;
                line += length + (line[length] == '\n');
        }
        pthread_mutex_unlock(&registry->mutex);
        return count;
}

#endif
