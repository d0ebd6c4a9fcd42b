#include "image/trust/gpg.h"

#include <gpgme.h>
#include <string.h>
#include <sys/stat.h>

#include "base/file.h"
#include "base/memory.h"

/*
 * Whose keys these are was decided by who wrote the policy. Nothing is looked up elsewhere, and no
 * agent is started: it would outlive us.
 */
static const char CONFIG[] = "trust-model always\n"
                             "no-autostart\n"
                             "disable-dirmngr\n"
                             "no-auto-key-retrieve\n"
                             "no-auto-key-locate\n"
                             "no-random-seed-file\n"
                             "max-output 65536\n";

struct gpg {
        gpgme_ctx_t context;
};

static int failed(struct error *err, gpgme_error_t number, const char *step)
{
        return error_set(err, ERROR_FAILED_PRECONDITION, "%s: %s", step, gpgme_strerror(number));
}

static int make_home(const char *folder, struct error *err)
{
        AUTO_FREE char *config = xprintf("%s/gpg.conf", folder);
        if (mkdir(folder, 0700) < 0)
                return error_errno(err, errno, "make %s", folder);
        return file_replace_volatile(config, CONFIG, sizeof(CONFIG) - 1, 0600, err);
}

static int import(struct gpg *gpg, const struct policy_key *key, struct error *err)
{
        gpgme_data_t data;
        gpgme_error_t number = gpgme_data_new_from_mem(&data, key->bytes, key->length, 0);
        if (number)
                return failed(err, number, "OpenPGP key");
        number = gpgme_op_import(gpg->context, data);
        gpgme_data_release(data);
        if (number)
                return failed(err, number, "OpenPGP key (is gpg installed?)");
        gpgme_import_result_t result = gpgme_op_import_result(gpg->context);
        if (!result || result->imported + result->unchanged + result->new_signatures == 0)
                return error_set(err, ERROR_FAILED_PRECONDITION,
                                 "the policy's key is no OpenPGP public key");
        return 0;
}

int gpg_open(const struct policy_keys *keys, const char *folder, struct gpg **gpg,
             struct error *err)
{
        AUTO_GPG struct gpg *new = xcalloc(1, sizeof(*new));
        int r = make_home(folder, err);
        if (r < 0)
                return r;
        gpgme_check_version(NULL);
        gpgme_error_t number = gpgme_new(&new->context);
        if (!number)
                number = gpgme_set_protocol(new->context, GPGME_PROTOCOL_OpenPGP);
        if (!number)
                number = gpgme_ctx_set_engine_info(new->context, GPGME_PROTOCOL_OpenPGP, NULL,
                                                   folder);
        if (number)
                return failed(err, number, "gpgme");
        gpgme_set_offline(new->context, 1);
        for (size_t i = 0; i < keys->count; i++)
                if ((r = import(new, &keys->list[i], err)) < 0)
                        return r;
        *gpg = take_ptr(new);
        return 0;
}

void gpg_close(struct gpg *gpg)
{
        if (!gpg)
                return;
        if (gpg->context)
                gpgme_release(gpg->context);
        free(gpg);
}

/* ---- verifying ---- */

/* What unpacks to more than is read is refused. */
static ssize_t take_text(void *argument, const void *bytes, size_t length)
{
        struct buffer *text = argument;
        if (length > GPG_TEXT_MAX - text->length) {
                gpgme_err_set_errno(EFBIG);
                return -1;
        }
        buffer_add(text, bytes, length);
        return (ssize_t)length;
}

static int judge(const struct gpg *gpg, struct error *err)
{
        gpgme_verify_result_t result = gpgme_op_verify_result(gpg->context);
        gpgme_signature_t signature = result ? result->signatures : NULL;

        if (!signature)
                return error_set(err, ERROR_FAILED_PRECONDITION, "it is not signed");
        if (signature->next)
                return error_set(err, ERROR_FAILED_PRECONDITION, "it has several signatures");
        gpgme_err_code_t code = gpgme_err_code(signature->status);
        const char *key = signature->fpr ? signature->fpr : "unknown";
        if (code == GPG_ERR_NO_PUBKEY)
                return error_set(err, ERROR_FAILED_PRECONDITION,
                                 "it was made by key %.64s, which is not one of the policy's", key);
        if (code == GPG_ERR_KEY_EXPIRED || code == GPG_ERR_CERT_REVOKED ||
            code == GPG_ERR_SIG_EXPIRED)
                return error_set(err, ERROR_FAILED_PRECONDITION, "%s (key %.64s)",
                                 code == GPG_ERR_KEY_EXPIRED    ? "its key has expired"
                                 : code == GPG_ERR_CERT_REVOKED ? "its key was revoked"
                                                                : "it has expired",
                                 key);
        if (code != GPG_ERR_NO_ERROR)
                return error_set(err, ERROR_FAILED_PRECONDITION, "%s (key %.64s)",
                                 gpgme_strerror(signature->status), key);
        if (signature->wrong_key_usage ||
            (signature->summary & (GPGME_SIGSUM_RED | GPGME_SIGSUM_KEY_REVOKED |
                                   GPGME_SIGSUM_KEY_EXPIRED | GPGME_SIGSUM_SIG_EXPIRED)))
                return error_set(err, ERROR_FAILED_PRECONDITION,
                                 "its key may not be used for this (key %.64s)", key);
        return 0;
}

int gpg_verify(struct gpg *gpg, const char *message, size_t length, struct buffer *text,
               struct error *err)
{
        static struct gpgme_data_cbs callbacks = {.write = take_text};
        gpgme_data_t in = NULL, out = NULL;
        size_t before = text->length;

        gpgme_error_t number = gpgme_data_new_from_mem(&in, message, length, 0);
        if (!number)
                number = gpgme_data_new_from_cbs(&out, &callbacks, text);
        if (!number)
                number = gpgme_op_verify(gpg->context, in, NULL, out);
        gpgme_data_release(in);
        gpgme_data_release(out);
        if (number)
                return error_set(err, ERROR_FAILED_PRECONDITION, "it is no OpenPGP message: %s",
                                 gpgme_strerror(number));
        int r = judge(gpg, err);
        if (r == 0 && text->length == before)
                r = error_set(err, ERROR_FAILED_PRECONDITION, "it has no text");
        return r;
}
