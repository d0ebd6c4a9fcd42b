#include "cri/stream/tls.h"

#include <assert.h>
#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/buffer.h"
#include "base/cleanup.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/task.h"

#define LIBRARY       "libssl.so.3"
#define FILES         3
#define OPENSSL_TEXT  256 /* bytes of what the library says of an error */
#define TLS13_PREFIX  "TLS_AES_"
#define TLS13_PREFIX2 "TLS_CHACHA20_"

/* What tells that a file was replaced. */
struct stamp {
        struct timespec modified;
        ino_t inode;
        off_t size;
};

struct tls {
        char *cert, *key, *client_ca, *ciphers, *ciphersuites;
        int min_version;
        SSL_CTX *context;
        struct stamp stamps[FILES];
        bool looking;
};

static struct {
        struct tls_library shared;
        __typeof__(&OPENSSL_init_crypto) init;
        __typeof__(&TLS_server_method) server_method;
        __typeof__(&SSL_CTX_new) ctx_new;
        __typeof__(&SSL_CTX_free) ctx_free;
        __typeof__(&SSL_CTX_ctrl) ctx_ctrl;
        __typeof__(&SSL_CTX_set_options) set_options;
        __typeof__(&SSL_CTX_use_certificate_chain_file) use_chain;
        __typeof__(&SSL_CTX_use_PrivateKey_file) use_key;
        __typeof__(&SSL_CTX_check_private_key) check_key;
        __typeof__(&SSL_CTX_load_verify_locations) load_verify;
        __typeof__(&SSL_CTX_set_verify) set_verify;
        __typeof__(&SSL_load_client_CA_file) load_client_ca;
        __typeof__(&SSL_CTX_set_client_CA_list) set_client_ca;
        __typeof__(&SSL_CTX_set_cipher_list) set_ciphers;
        __typeof__(&SSL_CTX_set_ciphersuites) set_ciphersuites;
        __typeof__(&SSL_new) new;
        __typeof__(&SSL_set_fd) set_fd;
        __typeof__(&OPENSSL_cipher_name) cipher_name;
        __typeof__(&ERR_get_error) get_error;
        __typeof__(&ERR_error_string_n) error_string;
} library;

static int load_library(struct error *err)
{
        const struct {
                const char *name;
                void *place;
        } functions[] = {
                {"SSL_accept", &library.shared.accept},
                {"SSL_read", &library.shared.read},
                {"SSL_write", &library.shared.write},
                {"SSL_shutdown", &library.shared.shutdown},
                {"SSL_get_error", &library.shared.get_error},
                {"SSL_free", &library.shared.free},
                {"ERR_clear_error", &library.shared.clear_error},
                {"OPENSSL_init_crypto", &library.init},
                {"TLS_server_method", &library.server_method},
                {"SSL_CTX_new", &library.ctx_new},
                {"SSL_CTX_free", &library.ctx_free},
                {"SSL_CTX_ctrl", &library.ctx_ctrl},
                {"SSL_CTX_set_options", &library.set_options},
                {"SSL_CTX_use_certificate_chain_file", &library.use_chain},
                {"SSL_CTX_use_PrivateKey_file", &library.use_key},
                {"SSL_CTX_check_private_key", &library.check_key},
                {"SSL_CTX_load_verify_locations", &library.load_verify},
                {"SSL_CTX_set_verify", &library.set_verify},
                {"SSL_load_client_CA_file", &library.load_client_ca},
                {"SSL_CTX_set_client_CA_list", &library.set_client_ca},
                {"SSL_CTX_set_cipher_list", &library.set_ciphers},
                {"SSL_CTX_set_ciphersuites", &library.set_ciphersuites},
                {"SSL_new", &library.new},
                {"SSL_set_fd", &library.set_fd},
                {"OPENSSL_cipher_name", &library.cipher_name},
                {"ERR_get_error", &library.get_error},
                {"ERR_error_string_n", &library.error_string},
        };
        void *handle = dlopen(LIBRARY, RTLD_NOW | RTLD_LOCAL);
        if (!handle)
                return error_set(err, ERROR_FAILED_PRECONDITION,
                                 "streaming.tls_cert: %s cannot be loaded (%s): install it",
                                 LIBRARY, dlerror());
        for (size_t i = 0; i < sizeof functions / sizeof *functions; i++) {
                void *found = dlsym(handle, functions[i].name);
                if (!found)
                        return error_set(err, ERROR_FAILED_PRECONDITION, "%s has no %s", LIBRARY,
                                         functions[i].name);
                memcpy(functions[i].place, &found, sizeof found);
        }
        /* First of all: else the library takes itself apart when the program ends, under threads
         * that are just ending too and free what is theirs once more. */
        if (library.init(OPENSSL_INIT_NO_ATEXIT, NULL) != 1)
                return error_set(err, ERROR_INTERNAL, "%s cannot be initialized", LIBRARY);
        return 0;
}

const struct tls_library *tls_library(const struct tls *tls)
{
        (void)tls;
        return &library.shared;
}

static int refuse(struct error *err, const char *key, const char *value)
{
        char text[OPENSSL_TEXT];
        library.error_string(library.get_error(), text, sizeof text);
        library.shared.clear_error();
        return error_set(err, ERROR_INVALID_ARGUMENT, "streaming.%s: %s: %s", key, value, text);
}

static int set_files(const struct tls *tls, SSL_CTX *context, struct error *err)
{
        if (library.use_chain(context, tls->cert) != 1)
                return refuse(err, "tls_cert", tls->cert);
        if (library.use_key(context, tls->key, SSL_FILETYPE_PEM) != 1 ||
            library.check_key(context) != 1)
                return refuse(err, "tls_key", tls->key);
        if (!*tls->client_ca)
                return 0;
        STACK_OF(X509_NAME) *names = library.load_client_ca(tls->client_ca);
        if (!names || library.load_verify(context, tls->client_ca, NULL) != 1)
                return refuse(err, "tls_client_ca", tls->client_ca);
        library.set_client_ca(context, names);
        library.set_verify(context, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
        return 0;
}

static int set_ciphers(const struct tls *tls, SSL_CTX *context, struct error *err)
{
        if (*tls->ciphers && library.set_ciphers(context, tls->ciphers) != 1)
                return refuse(err, "tls_ciphers", tls->ciphers);
        if (*tls->ciphersuites && library.set_ciphersuites(context, tls->ciphersuites) != 1)
                return refuse(err, "tls_ciphers", tls->ciphersuites);
        return 0;
}

static int make_context(const struct tls *tls, SSL_CTX **result, struct error *err)
{
        SSL_CTX *context = library.ctx_new(library.server_method());
        if (!context)
                return refuse(err, "tls_cert", tls->cert);
        library.ctx_ctrl(context, SSL_CTRL_SET_MIN_PROTO_VERSION, tls->min_version, NULL);
        library.ctx_ctrl(context, SSL_CTRL_MODE,
                         SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
                                 SSL_MODE_RELEASE_BUFFERS,
                         NULL);
        /* Each session is one connection: nothing to resume. */
        library.ctx_ctrl(context, SSL_CTRL_SET_SESS_CACHE_MODE, SSL_SESS_CACHE_OFF, NULL);
        library.set_options(context, SSL_OP_NO_TICKET | SSL_OP_NO_RENEGOTIATION |
                                             SSL_OP_CIPHER_SERVER_PREFERENCE);
        int status = set_ciphers(tls, context, err);
        if (status == 0)
                status = set_files(tls, context, err);
        if (status < 0)
                library.ctx_free(context);
        else
                *result = context;
        return status;
}

static void read_stamps(const struct tls *tls, struct stamp stamps[FILES])
{
        const char *const paths[FILES] = {tls->cert, tls->key, tls->client_ca};
        memset(stamps, 0, FILES * sizeof *stamps);
        for (size_t i = 0; i < FILES; i++) {
                struct stat status;
                if (!*paths[i] || stat(paths[i], &status) < 0)
                        continue;
                stamps[i].modified = status.st_mtim;
                stamps[i].inode = status.st_ino;
                stamps[i].size = status.st_size;
        }
}

static bool is_tls13(const char *name)
{
        return (strncmp(name, TLS13_PREFIX, strlen(TLS13_PREFIX)) == 0 ||
                strncmp(name, TLS13_PREFIX2, strlen(TLS13_PREFIX2)) == 0) &&
               !strstr(name, "_WITH_");
}

/* TLS 1.3 has its suites apart, and OpenSSL names of its own for the older ones. */
static int sort_ciphers(struct tls *tls, const char *const *names, struct error *err)
{
        AUTO_BUFFER struct buffer old = BUFFER_INIT;
        AUTO_BUFFER struct buffer new = BUFFER_INIT;
        for (; names && *names; names++) {
                struct buffer *list = is_tls13(*names) ? &new : &old;
                const char *name = list == &old && strncmp(*names, "TLS_", 4) == 0
                                           ? library.cipher_name(*names)
                                           : *names;
                if (!name || strcmp(name, "(NONE)") == 0 || strpbrk(name, ":!+-@") == name)
                        return error_set(err, ERROR_INVALID_ARGUMENT,
                                         "streaming.tls_ciphers: \"%s\" is not known", *names);
                buffer_printf(list, "%s%s", list->length ? ":" : "", name);
        }
        tls->ciphers = xstrndup(old.data ? old.data : "", old.length);
        tls->ciphersuites = xstrndup(new.data ? new.data : "", new.length);
        return 0;
}

static int fill(struct tls *tls, const struct stream_tls_options *options, struct error *err)
{
        tls->cert = xstrdup(options->cert);
        tls->key = xstrdup(options->key);
        tls->client_ca = xstrdup(options->client_ca);
        if (strcmp(options->min_version, "1.2") == 0)
                tls->min_version = TLS1_2_VERSION;
        else if (strcmp(options->min_version, "1.3") == 0)
                tls->min_version = TLS1_3_VERSION;
        else
                return error_set(err, ERROR_INVALID_ARGUMENT,
                                 "streaming.tls_min_version: \"%s\" is neither 1.2 nor 1.3",
                                 options->min_version);
        int status = load_library(err);
        if (status == 0)
                status = sort_ciphers(tls, options->ciphers, err);
        if (status < 0)
                return status;
        read_stamps(tls, tls->stamps);
        return make_context(tls, &tls->context, err);
}

int tls_open(const struct stream_tls_options *options, struct tls **result, struct error *err)
{
        if (!*options->cert != !*options->key)
                return error_set(err, ERROR_INVALID_ARGUMENT,
                                 "streaming.tls_cert and streaming.tls_key: one needs the other");
        struct tls *tls = xcalloc(1, sizeof *tls);
        int status = fill(tls, options, err);
        if (status < 0)
                tls_free(tls);
        else
                *result = tls;
        return status;
}

void tls_free(struct tls *tls)
{
        if (!tls || tls->looking) /* a worker has it still, for good */
                return;
        if (tls->context)
                library.ctx_free(tls->context);
        free(tls->cert);
        free(tls->key);
        free(tls->client_ca);
        free(tls->ciphers);
        free(tls->ciphersuites);
        free(tls);
}

/* A look at the files, on its way from the pump's thread to a worker and back. */
struct look {
        struct tls *tls;
        struct pump *pump;
        void (*done)(void *argument);
        void *argument;
        struct stamp before[FILES], now[FILES];
        SSL_CTX *context; /* made anew; or null */
        struct error failure;
};

/* On a worker: of tls it reads what never changes. */
static int look_at_files(void *look_)
{
        struct look *look = look_;
        read_stamps(look->tls, look->now);
        if (memcmp(look->now, look->before, sizeof look->now) == 0)
                return 0;
        return make_context(look->tls, &look->context, &look->failure);
}

static void take_look(void *look_)
{
        AUTO_FREE struct look *look = look_;
        struct tls *tls = look->tls;
        tls->looking = false;
        /* One that fails is said once. */
        memcpy(tls->stamps, look->now, sizeof tls->stamps);
        if (look->context) {
                library.ctx_free(tls->context);
                tls->context = look->context;
                log_info("streaming: the certificate has changed", "file", tls->cert, NULL);
        } else if (look->failure.code) {
                log_failure(&look->failure,
                            "streaming: the certificate has changed and cannot be used; the "
                            "one before stays in use",
                            NULL);
        }
        look->done(look->argument);
}

static void look_task(void *look_)
{
        struct look *look = look_;
        task_offload(look_at_files, look);
        pump_post(look->pump, take_look, look);
}

static void start_look(void *look)
{
        task_start("streaming certificate", look_task, look);
}

void tls_refresh(struct tls *tls, struct pump *pump, void (*done)(void *argument), void *argument)
{
        struct look *look = xcalloc(1, sizeof *look);
        *look = (struct look){.tls = tls, .pump = pump, .done = done, .argument = argument};
        memcpy(look->before, tls->stamps, sizeof look->before);
        assert(!tls->looking);
        tls->looking = true;
        loop_post(start_look, look);
}

SSL *tls_session(struct tls *tls, int fd)
{
        SSL *session = library.new(tls->context);
        if (session && library.set_fd(session, fd) != 1) {
                library.shared.free(session);
                return NULL;
        }
        return session;
}
