#include "image/fetch/auth.h"

#include <curl/curl.h>
#include <openssl/evp.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/buffer.h"
#include "base/clock.h"
#include "base/json.h"
#include "base/memory.h"
#include "image/fetch/challenge.h"
#include "image/fetch/limits.h"
#include "image/fetch/refusal.h"

#define SECRETS_MAX        5
#define CREDENTIAL_MAX     (64u << 10) /* bytes of a password or token */
#define TOKEN_USERNAME     "<token>"   /* Docker's sign that the password is an identity token */
#define CLIENT_ID          "crisp"
#define TOKEN_SERVER_SHOWN 200
/* Seconds. What servers do not say is one minute, as the specification has it; none grants less. */
#define TOKEN_LIFE_DEFAULT 60
#define TOKEN_LIFE_MAX     (24 * 3600)

struct auth {
        char *username;
        char *password;
        char *identity_token;
        char *repository;
        bool plain;
        const struct http_trust *trust;
        const struct http_identity *identity;
        const char *secrets[SECRETS_MAX + 1];
        char *encoded;          /* base64 of username:password */
        char *encoded_identity; /* of :identity_token, where it has to stand for a password */

        pthread_mutex_t mutex; /* for the three below */
        char *header;
        int64_t expires; /* monotonic ns, or CLOCK_NEVER */
        unsigned version;
};

static void wipe_free(char *text)
{
        request_wipe_text(text);
        free(text);
}

static void cleanup_secret(char **text)
{
        wipe_free(*text);
}
#define AUTO_SECRET CLEANUP(cleanup_secret)

void auth_free_header(char **header)
{
        wipe_free(*header);
}

static void cleanup_secret_buffer(struct buffer *buffer)
{
        if (buffer->data)
                explicit_bzero(buffer->data, buffer->capacity);
        buffer_fini(buffer);
}

/* Whether text can stand in a header: printable, without blanks. */
static bool is_header_text(const char *text)
{
        for (; *text; text++) {
                if (*text <= ' ' || *text >= 0x7f)
                        return false;
        }
        return true;
}

static char *encode_base64(const char *text)
{
        size_t length = strlen(text);
        char *out = xcalloc(1, (length + 2) / 3 * 4 + 1);
        EVP_EncodeBlock((unsigned char *)out, (const unsigned char *)text, (int)length);
        return out;
}

/* Text of base64, or null. Old clients filled up with zero bytes: those at the end do not count,
 * and others are no text. */
static char *decode_base64(const char *text)
{
        size_t length = strlen(text);
        if (length == 0 || length % 4 != 0)
                return NULL;
        char *out = xcalloc(1, length / 4 * 3 + 1);
        int decoded =
                EVP_DecodeBlock((unsigned char *)out, (const unsigned char *)text, (int)length);
        size_t padding = text[length - 1] != '=' ? 0 : text[length - 2] != '=' ? 1 : 2;
        size_t end = decoded < 0 ? 0 : (size_t)decoded - padding;
        while (end > 0 && out[end - 1] == '\0')
                end--;
        if (decoded < 0 || strlen(out) != end) {
                wipe_free(out);
                return NULL;
        }
        return out;
}

static int read_pair(struct auth *auth, const struct fetch_credentials *credentials,
                     struct error *err)
{
        if (credentials->username || !credentials->auth) {
                auth->username = xstrdup(credentials->username);
                auth->password = xstrdup(credentials->password ? credentials->password : "");
                return 0;
        }
        AUTO_SECRET char *pair = decode_base64(credentials->auth);
        char *colon = pair ? strchr(pair, ':') : NULL;
        if (!colon)
                return error_set(err, ERROR_INVALID_ARGUMENT,
                                 "credentials: auth is not base64 of username:password");
        auth->username = xstrndup(pair, (size_t)(colon - pair));
        auth->password = xstrdup(colon + 1);
        return 0;
}

static bool is_too_long(const char *text)
{
        return text && strlen(text) > CREDENTIAL_MAX;
}

static int read_credentials(struct auth *auth, const struct fetch_credentials *credentials,
                            struct error *err)
{
        if (is_too_long(credentials->username) || is_too_long(credentials->password) ||
            is_too_long(credentials->auth) || is_too_long(credentials->identity_token) ||
            is_too_long(credentials->registry_token))
                return error_set(err, ERROR_INVALID_ARGUMENT,
                                 "credentials: more than %u bytes in one", CREDENTIAL_MAX);
        int r = read_pair(auth, credentials, err);
        if (r < 0)
                return r;
        if (auth->username && strchr(auth->username, ':'))
                return error_set(err, ERROR_INVALID_ARGUMENT,
                                 "credentials: a colon in the user name");

        if (credentials->identity_token && credentials->identity_token[0])
                auth->identity_token = xstrdup(credentials->identity_token);
        else if (auth->username && strcmp(auth->username, TOKEN_USERNAME) == 0)
                auth->identity_token = xstrdup(auth->password);
        if (auth->identity_token) {
                AUTO_SECRET char *pair = xprintf(":%s", auth->identity_token);
                auth->encoded_identity = encode_base64(pair);
        }
        if (auth->username && auth->username[0]) {
                AUTO_SECRET char *pair = xprintf("%s:%s", auth->username, auth->password);
                auth->encoded = encode_base64(pair);
        }
        if (credentials->registry_token && credentials->registry_token[0]) {
                if (!is_header_text(credentials->registry_token))
                        return error_set(err, ERROR_INVALID_ARGUMENT,
                                         "credentials: registry_token has bytes that no token has");
                auth->header = xprintf("Bearer %s", credentials->registry_token);
        }
        return 0;
}

int auth_new(const struct fetch_credentials *credentials, const char *repository, bool plain,
             const struct http_trust *trust, const struct http_identity *identity,
             struct auth **auth, struct error *err)
{
        AUTO_AUTH struct auth *new = xcalloc(1, sizeof(*new));

        pthread_mutex_init(&new->mutex, NULL);
        new->repository = xstrdup(repository);
        new->plain = plain;
        new->expires = CLOCK_NEVER;
        new->trust = trust;
        new->identity = identity;
        int r = read_credentials(new, credentials, err);
        if (r < 0)
                return r;

        size_t count = 0;
        if (new->password)
                new->secrets[count++] = new->password;
        if (new->identity_token)
                new->secrets[count++] = new->identity_token;
        if (new->encoded)
                new->secrets[count++] = new->encoded;
        if (new->encoded_identity)
                new->secrets[count++] = new->encoded_identity;
        *auth = take_ptr(new);
        return 0;
}

void auth_free(struct auth *auth)
{
        if (!auth)
                return;
        free(auth->username);
        wipe_free(auth->password);
        wipe_free(auth->identity_token);
        wipe_free(auth->encoded);
        wipe_free(auth->encoded_identity);
        wipe_free(auth->header);
        free(auth->repository);
        pthread_mutex_destroy(&auth->mutex);
        free(auth);
}

bool auth_has_credentials(const struct auth *auth)
{
        return auth->encoded || auth->identity_token;
}

const char *const *auth_secrets(const struct auth *auth)
{
        return auth->secrets;
}

char *auth_header(struct auth *auth, int64_t now, unsigned *version)
{
        pthread_mutex_lock(&auth->mutex);
        if (auth->header && now >= auth->expires) {
                wipe_free(auth->header);
                auth->header = NULL;
        }
        char *copy = xstrdup(auth->header);
        *version = auth->version;
        pthread_mutex_unlock(&auth->mutex);
        return copy;
}

/* Takes header. */
static void set_header(struct auth *auth, char *header, int64_t expires)
{
        pthread_mutex_lock(&auth->mutex);
        wipe_free(auth->header);
        auth->header = header;
        auth->expires = expires;
        auth->version++;
        pthread_mutex_unlock(&auth->mutex);
}

/* ---- the token server ---- */

static int keep_reply(struct http_call *call, const char *bytes, size_t length, struct error *err)
{
        struct buffer *reply = call->argument;
        if (length > FETCH_TOKEN_REPLY_MAX - reply->length)
                return error_set(err, ERROR_UNAVAILABLE, "an answer of more than %u bytes",
                                 FETCH_TOKEN_REPLY_MAX);
        buffer_add(reply, bytes, length);
        return 0;
}

static void add_parameter(struct buffer *buffer, const char *name, const char *value)
{
        char *escaped = curl_easy_escape(NULL, value, 0);
        if (!escaped)
                abort();
        buffer_printf(buffer, "%s%s=%s", buffer->length > 0 ? "&" : "", name, escaped);
        curl_free(escaped);
}

/* Monotonic ns at which a token that was asked for at time asked is no longer to be used. */
static int64_t read_expiry(const json_t *answer, int64_t asked)
{
        const json_t *member = json_object_get(answer, "expires_in");
        int64_t seconds = json_is_integer(member) ? json_integer_value(member) : 0;

        /* issued_at would need clocks that agree. */
        if (seconds < TOKEN_LIFE_DEFAULT)
                seconds = TOKEN_LIFE_DEFAULT;
        if (seconds > TOKEN_LIFE_MAX)
                seconds = TOKEN_LIFE_MAX;
        return asked + seconds * NSEC_PER_SEC;
}

static int read_token(const struct buffer *reply, int64_t asked, char **token, int64_t *expires,
                      struct error *err)
{
        AUTO_JSON json_t *value = NULL;
        const char *text = NULL;

        /* The parser's own words quote what it stumbles over: that may be the token. */
        if (json_parse(reply->data ? reply->data : "", reply->length, "answer", &value, NULL) < 0)
                return error_set(err, ERROR_UNAUTHENTICATED, "its answer is not valid JSON");
        int r;
        if ((r = json_get_string(value, "token", "answer", &text, err)) < 0 ||
            (!(text && text[0]) &&
             (r = json_get_string(value, "access_token", "answer", &text, err)) < 0))
                return r;
        if (!text || !text[0] || strlen(text) > FETCH_TOKEN_MAX || !is_header_text(text))
                return error_set(err, ERROR_UNAUTHENTICATED, "its answer has no token in it");
        *token = xstrdup(text);
        *expires = read_expiry(value, asked);
        return 0;
}

/* The server's name for errors: never a path or query, where secrets can be. */
static void server_name(const char *url, char *out, size_t size)
{
        const char *host = strstr(url, "://");
        host = host ? host + 3 : url;
        snprintf(out, size, "%.*s", (int)strcspn(host, "/?#"), host);
}

/* Each scope is a parameter of its own, or all are one where they are joined. */
static void add_scopes(struct buffer *query, const char *scopes, bool joined)
{
        if (joined) {
                add_parameter(query, "scope", scopes);
                return;
        }
        for (const char *at = scopes; *(at += strspn(at, " ")); at += strcspn(at, " ")) {
                AUTO_FREE char *scope = xstrndup(at, strcspn(at, " "));
                add_parameter(query, "scope", scope);
        }
}

/* Whether two URLs name the same host, whatever the ports. */
static bool same_host(const char *a, const char *b)
{
        const char *one = strstr(a, "://"), *other = strstr(b, "://");

        if (!one || !other)
                return false;
        one += 3;
        other += 3;
        size_t length = strcspn(one, *one == '[' ? "]/" : ":/?#");
        return length == strcspn(other, *other == '[' ? "]/" : ":/?#") &&
               strncasecmp(one, other, length) == 0;
}

/* Who accepts any certificate of a registry does not accept any of the whole world. */
static struct http_trust trust_for(const struct auth *auth, const char *realm)
{
        struct http_trust trust = auth->trust ? *auth->trust : (struct http_trust){0};

        if (!auth->identity || !same_host(auth->identity->origin, realm))
                trust.insecure = false;
        return trust;
}

struct question {
        struct auth *auth;
        struct http_client *client;
        const struct challenge *challenge;
        const char *scopes;
        struct buffer reply;
};

/* 0 with the reply of a 2xx; *status is that of another answer. */
static int ask(struct question *question, const char *url, const char *basic, const char *form,
               long *status, struct error *err)
{
        struct auth *auth = question->auth;
        struct http_trust trust = trust_for(auth, url);
        AUTO_HTTP_CALL struct http_call call = {
                .url = url,
                .authorization = basic,
                .form = form,
                .accept = "application/json",
                .trust = &trust,
                .identity = auth->identity,
                .sink = keep_reply,
                .argument = &question->reply,
        };
        int r = http_perform(question->client, &call, err);
        *status = r < 0 ? 0 : call.status;
        if (r < 0 || (call.status >= 200 && call.status <= 299))
                return r;

        char text[REFUSAL_TEXT_MAX];
        refusal_text(&call, auth->secrets, text);
        enum error_code code = refusal_code(call.status);
        bool passing = code == ERROR_UNAVAILABLE;
        return error_set(err, passing ? code : ERROR_UNAUTHENTICATED, "%s%s", text,
                         passing || auth_has_credentials(auth)
                                 ? ""
                                 : " (no user name and password were given)");
}

/* OAuth2: only an identity token needs it. */
static int ask_by_post(struct question *question, long *status, struct error *err)
{
        CLEANUP(cleanup_secret_buffer) struct buffer form = BUFFER_INIT;

        add_parameter(&form, "grant_type", "refresh_token");
        add_parameter(&form, "refresh_token", question->auth->identity_token);
        add_parameter(&form, "client_id", CLIENT_ID);
        if (question->challenge->service[0])
                add_parameter(&form, "service", question->challenge->service);
        add_scopes(&form, question->scopes, true);
        return ask(question, question->challenge->realm, NULL, form.data, status, err);
}

/* As every token server has it: with a password, an identity token in its place, or nobody's. */
static int ask_by_get(struct question *question, struct error *err)
{
        const struct auth *auth = question->auth;
        const char *realm = question->challenge->realm;
        AUTO_BUFFER struct buffer query = BUFFER_INIT;
        const char *encoded = auth->encoded_identity ? auth->encoded_identity : auth->encoded;
        AUTO_SECRET char *basic = encoded ? xprintf("Basic %s", encoded) : NULL;
        long status;

        if (question->challenge->service[0])
                add_parameter(&query, "service", question->challenge->service);
        add_scopes(&query, question->scopes, false);
        AUTO_FREE char *url = xprintf("%s%c%s", realm, strchr(realm, '?') ? '&' : '?', query.data);
        return ask(question, url, basic, NULL, &status, err);
}

static int ask_token_server(struct auth *auth, struct http_client *client,
                            const struct challenge *challenge, char **token, int64_t *expires,
                            struct error *err)
{
        AUTO_FREE char *own = xprintf("repository:%s:pull", auth->repository);
        struct question question = {
                .auth = auth,
                .client = client,
                .challenge = challenge,
                .scopes = challenge->scope[0] ? challenge->scope : own,
        };
        int64_t asked = clock_monotonic();
        long status = 0;
        int r = auth->identity_token ? ask_by_post(&question, &status, err)
                                     : ask_by_get(&question, err);
        /* Not every server has OAuth2; so it says that it has not. */
        if (r < 0 && (status == 404 || status == 405))
                r = ask_by_get(&question, err);
        if (r == 0)
                r = read_token(&question.reply, asked, token, expires, err);
        cleanup_secret_buffer(&question.reply);
        return r;
}

static int answer_bearer(struct auth *auth, struct http_client *client,
                         const struct challenge *challenge, struct error *err)
{
        AUTO_SECRET char *token = NULL;
        char server[TOKEN_SERVER_SHOWN];
        int64_t expires = CLOCK_NEVER;

        if (!http_url_is_allowed(challenge->realm, auth->plain))
                return error_set(err, ERROR_UNAUTHENTICATED,
                                 "it names a token server that is not reached by https");
        int r = ask_token_server(auth, client, challenge, &token, &expires, err);
        if (r < 0) {
                server_name(challenge->realm, server, sizeof(server));
                return error_context(err, "token server %s", server);
        }
        set_header(auth, xprintf("Bearer %s", token), expires);
        return 0;
}

int auth_answer(struct auth *auth, struct http_client *client, const char *challenges,
                unsigned version, struct error *err)
{
        struct challenge challenge;

        pthread_mutex_lock(&auth->mutex);
        bool renewed = auth->version != version;
        pthread_mutex_unlock(&auth->mutex);
        if (renewed)
                return 0; /* another thread was faster */

        if (!challenge_parse(challenges, &challenge))
                return error_set(err, ERROR_UNAUTHENTICATED,
                                 "it demands credentials of a kind that registries do not have");
        if (challenge.scheme == CHALLENGE_BEARER)
                return answer_bearer(auth, client, &challenge, err);
        if (!auth->encoded)
                return error_set(err, ERROR_UNAUTHENTICATED,
                                 "it demands a user name and a password, and none were given");
        set_header(auth, xprintf("Basic %s", auth->encoded), CLOCK_NEVER);
        return 0;
}
