#include "cri/metrics_server.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "base/buffer.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/httpd.h"
#include "base/memory.h"
#include "base/task.h"
#include "cri/metrics.h"

#define BACKLOG         16
#define CONNECTIONS_MAX 16
#define IDLE_SECONDS    10
#define ANSWER_TIME     (10 * NSEC_PER_SEC) /* until the text is there */
#define PEM_MAX         (1024 * 1024)       /* bytes of a certificate with its chain, or of a key */
#define SOCKET_UMASK    0117
#define CONTENT_TYPE    "text/plain; version=0.0.4; charset=utf-8"

struct metrics_server {
        const struct httpd *httpd;
        struct MHD_Daemon *daemon;
        char *socket_path; /* null for TCP */
        struct buffer cert, key;

        pthread_mutex_t lock; /* protects stopping and what the requests hold */
        pthread_cond_t changed;
        bool stopping;
};

/* A text that is being made: the library's thread waits for it, unless it takes too long. */
struct scrape {
        struct metrics_server *server;
        unsigned refs; /* the library's thread's and the task's; under the server's lock */
        bool done;
        struct buffer text;
};

/* ---- the text ---- */

/* With the lock held. */
static void scrape_unref(struct scrape *scrape)
{
        if (--scrape->refs)
                return;
        buffer_fini(&scrape->text);
        free(scrape);
}

static void scrape_task(void *argument)
{
        struct scrape *scrape = argument;
        struct metrics_server *server = scrape->server;
        struct buffer text = BUFFER_INIT;
        metrics_write(&text);
        pthread_mutex_lock(&server->lock);
        scrape->text = text;
        scrape->done = true;
        pthread_cond_broadcast(&server->changed);
        scrape_unref(scrape);
        pthread_mutex_unlock(&server->lock);
}

static void start_scrape(void *argument)
{
        task_start("tell metrics", scrape_task, argument);
}

/* The text on the heap; null where it does not come in time. On the library's thread. */
static char *fetch_text(struct metrics_server *server, size_t *length)
{
        struct scrape *scrape = xcalloc(1, sizeof *scrape);
        int64_t deadline = clock_real() + ANSWER_TIME;
        struct timespec until = {.tv_sec = deadline / NSEC_PER_SEC,
                                 .tv_nsec = deadline % NSEC_PER_SEC};
        char *text = NULL;
        scrape->server = server;
        scrape->refs = 2;
        loop_post(start_scrape, scrape);
        pthread_mutex_lock(&server->lock);
        while (!scrape->done && !server->stopping)
                if (pthread_cond_timedwait(&server->changed, &server->lock, &until) == ETIMEDOUT)
                        break;
        if (scrape->done) {
                *length = scrape->text.length;
                text = buffer_take(&scrape->text);
        }
        scrape_unref(scrape);
        pthread_mutex_unlock(&server->lock);
        return text;
}

/* ---- requests ---- */

static enum MHD_Result reply(struct metrics_server *server, struct MHD_Connection *connection,
                             unsigned status, char *text, size_t length, const char *type)
{
        const struct httpd *httpd = server->httpd;
        struct MHD_Response *response =
                httpd->create_response_from_buffer(length, text, MHD_RESPMEM_MUST_FREE);
        if (!response) {
                free(text);
                return MHD_NO;
        }
        httpd->add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE, type);
        if (status == MHD_HTTP_METHOD_NOT_ALLOWED)
                httpd->add_response_header(response, MHD_HTTP_HEADER_ALLOW, "GET, HEAD");
        enum MHD_Result result = httpd->queue_response(connection, status, response);
        httpd->destroy_response(response);
        return result;
}

static enum MHD_Result reply_words(struct metrics_server *server, struct MHD_Connection *connection,
                                   unsigned status, const char *words)
{
        return reply(server, connection, status, xstrdup(words), strlen(words),
                     "text/plain; charset=utf-8");
}

static enum MHD_Result handle(void *argument, struct MHD_Connection *connection, const char *url,
                              const char *method, const char *version, const char *upload,
                              size_t *upload_size, void **state)
{
        struct metrics_server *server = argument;
        static int seen;
        size_t length = 0;
        (void)version;
        (void)upload;
        /* First without, then with the request's body, of which nothing is kept. */
        if (!*state) {
                *state = &seen;
                return MHD_YES;
        }
        if (*upload_size) {
                *upload_size = 0;
                return MHD_YES;
        }
        if (strcmp(method, MHD_HTTP_METHOD_GET) != 0 && strcmp(method, MHD_HTTP_METHOD_HEAD) != 0)
                return reply_words(server, connection, MHD_HTTP_METHOD_NOT_ALLOWED,
                                   "only GET is answered here\n");
        if (strcmp(url, "/metrics") != 0)
                return reply_words(server, connection, MHD_HTTP_NOT_FOUND,
                                   "there is /metrics here, and nothing else\n");
        char *text = fetch_text(server, &length);
        if (!text)
                return reply_words(server, connection, MHD_HTTP_SERVICE_UNAVAILABLE,
                                   "the metrics do not come in time\n");
        return reply(server, connection, MHD_HTTP_OK, text, length, CONTENT_TYPE);
}

/* ---- listening ---- */

static int listen_on(int fd, const struct sockaddr *address, socklen_t length, const char *name,
                     struct error *err)
{
        if (bind(fd, address, length) < 0 || listen(fd, BACKLOG) < 0)
                return error_errno(err, errno, "metrics.listen: listen on %s", name);
        return 0;
}

static int listen_unix(const char *path, struct error *err)
{
        struct sockaddr_un address = {.sun_family = AF_UNIX};
        struct stat status;
        AUTO_FD int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (fd < 0)
                return error_errno(err, errno, "metrics.listen: socket");
        memcpy(address.sun_path, path, strlen(path) + 1);
        /* The daemon's lock is ours, so this can only be an earlier daemon's. What is no socket
         * stays. */
        if (lstat(path, &status) == 0 && S_ISSOCK(status.st_mode))
                unlink(path);
        mode_t before = umask(SOCKET_UMASK);
        int result = listen_on(fd, (const struct sockaddr *)&address, sizeof address, path, err);
        umask(before);
        return result < 0 ? result : take_fd(&fd);
}

static int listen_tcp(const char *endpoint, struct error *err)
{
        struct sockaddr_in6 six = {.sin6_family = AF_INET6};
        struct sockaddr_in four = {.sin_family = AF_INET};
        bool is_six = endpoint[0] == '[';
        const char *colon = strrchr(endpoint, ':');
        AUTO_FREE char *address =
                xstrndup(endpoint + is_six, (size_t)(colon - endpoint) - (is_six ? 2 : 0));
        uint16_t port = htons((uint16_t)strtoul(colon + 1, NULL, 10));
        int yes = 1;
        AUTO_FD int fd = socket(is_six ? AF_INET6 : AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (fd < 0)
                return error_errno(err, errno, "metrics.listen: socket");
        six.sin6_port = four.sin_port = port;
        if (inet_pton(is_six ? AF_INET6 : AF_INET, address,
                      is_six ? (void *)&six.sin6_addr : (void *)&four.sin_addr) != 1)
                return error_set(err, ERROR_INVALID_ARGUMENT,
                                 "metrics.listen: \"%s\" is no address", address);
        if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes) < 0)
                return error_errno(err, errno, "metrics.listen: SO_REUSEADDR");
        int result =
                is_six ? listen_on(fd, (const struct sockaddr *)&six, sizeof six, endpoint, err)
                       : listen_on(fd, (const struct sockaddr *)&four, sizeof four, endpoint, err);
        return result < 0 ? result : take_fd(&fd);
}

static int read_certificate(struct metrics_server *server,
                            const struct metrics_server_options *options, struct error *err)
{
        if (!options->tls_cert[0] != !options->tls_key[0])
                return error_set(err, ERROR_INVALID_ARGUMENT,
                                 "metrics.tls_cert and metrics.tls_key: one needs the other");
        if (!options->tls_cert[0])
                return 0;
        if (server->httpd->is_feature_supported(MHD_FEATURE_TLS) != MHD_YES)
                return error_set(err, ERROR_FAILED_PRECONDITION,
                                 "metrics.tls_cert: this machine's libmicrohttpd cannot do TLS");
        int result = file_read(options->tls_cert, PEM_MAX, &server->cert, err);
        if (result == 0)
                result = file_read(options->tls_key, PEM_MAX, &server->key, err);
        return result < 0 ? error_context(err, "metrics.tls_cert") : 0;
}

/* On success the descriptor is the library's. */
static int start_daemon(struct metrics_server *server, int fd, struct error *err)
{
        bool tls = server->cert.length;
        struct MHD_OptionItem certificate[] = {
                {MHD_OPTION_HTTPS_MEM_CERT, 0, server->cert.data},
                {MHD_OPTION_HTTPS_MEM_KEY, 0, server->key.data},
                {MHD_OPTION_END, 0, NULL},
        };
        unsigned flags = MHD_USE_INTERNAL_POLLING_THREAD | MHD_USE_POLL | (tls ? MHD_USE_TLS : 0);
        server->daemon = server->httpd->start_daemon(
                flags, 0, NULL, NULL, handle, server, MHD_OPTION_LISTEN_SOCKET, fd,
                MHD_OPTION_CONNECTION_LIMIT, (unsigned)CONNECTIONS_MAX,
                MHD_OPTION_CONNECTION_TIMEOUT, (unsigned)IDLE_SECONDS,
                tls ? MHD_OPTION_ARRAY : MHD_OPTION_END, certificate, MHD_OPTION_END);
        if (!server->daemon)
                return error_set(
                        err, ERROR_FAILED_PRECONDITION,
                        tls ? "metrics.tls_cert: metrics cannot be served: is the key that "
                              "of the certificate, and are both PEM?"
                            : "metrics.listen: metrics cannot be served");
        return 0;
}

int metrics_server_start(const struct metrics_server_options *options,
                         struct metrics_server **server_out, struct error *err)
{
        struct metrics_server *server = xcalloc(1, sizeof *server);
        pthread_mutex_init(&server->lock, NULL);
        pthread_cond_init(&server->changed, NULL);
        int fd = -1;
        int result = httpd_load(&server->httpd, err);
        if (result == 0)
                result = read_certificate(server, options, err);
        if (result == 0 && options->listen[0] == '/') {
                fd = result = listen_unix(options->listen, err);
                if (fd >= 0)
                        server->socket_path = xstrdup(options->listen);
        } else if (result == 0) {
                fd = result = listen_tcp(options->listen, err);
        }
        if (result >= 0) {
                result = start_daemon(server, fd, err);
                if (result < 0)
                        close(fd);
        }
        if (result < 0) {
                metrics_server_free(server);
                return result;
        }
        *server_out = server;
        return 0;
}

void metrics_server_free(struct metrics_server *server)
{
        if (!server)
                return;
        /* Whoever waits for a text waits in vain: the loop has ended. */
        pthread_mutex_lock(&server->lock);
        server->stopping = true;
        pthread_cond_broadcast(&server->changed);
        pthread_mutex_unlock(&server->lock);
        if (server->daemon)
                server->httpd->stop_daemon(server->daemon);
        if (server->socket_path)
                unlink(server->socket_path);
        free(server->socket_path);
        buffer_fini(&server->cert);
        if (server->key.data)
                explicit_bzero(server->key.data, server->key.length);
        buffer_fini(&server->key);
        /* The library stays loaded: what it made for its threads may still run at the end. */
        pthread_cond_destroy(&server->changed);
        pthread_mutex_destroy(&server->lock);
        free(server);
}
