/* crisp images list, rm, inspect: what the daemon knows of its images. */
#include "cli/cli.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/cri/runtime_v1.pb-c.h"
#include "api/crisp/v1/crisp.pb-c.h"
#include "base/json.h"
#include "base/memory.h"
#include "cli/columns.h"
#include "cli/text.h"

#define COMMANDS "list, pull, rm, inspect, load, save, check, verify and repair"

/* Removing frees the disk before it answers. */
#define REMOVE_DEADLINE (3600 * NSEC_PER_SEC)

int cli_images(char *const *arguments)
{
        static const struct {
                const char *name;
                int (*run)(char *const *arguments);
        } commands[] = {
                {"list", images_list},       {"pull", images_pull},     {"rm", images_remove},
                {"inspect", images_inspect}, {"load", images_load},     {"save", images_save},
                {"check", images_check},     {"verify", images_verify}, {"repair", images_repair},
        };

        if (!*arguments)
                return options_wrong("images: a command is missing: " COMMANDS, "");
        for (size_t i = 0; i < sizeof commands / sizeof *commands; i++)
                if (strcmp(commands[i].name, *arguments) == 0)
                        return commands[i].run(arguments + 1);
        return options_wrong("images: its commands are " COMMANDS ", not ", *arguments);
}

/* ---- list ---- */

struct row {
        const Crisp__V1__ImageSummary *image;
        const char *name;  /* REPOSITORY:TAG, or REPOSITORY@DIGEST of one without tags */
        size_t repository; /* bytes of it */
};

static struct row row_of(const Crisp__V1__ImageSummary *image, const char *name, char separator)
{
        const char *end = strrchr(name, separator);

        return (struct row){image, name, end ? (size_t)(end - name) : strlen(name)};
}

static int compare_rows(const void *left, const void *right)
{
        const struct row *a = left, *b = right;
        int order = strcmp(a->name, b->name);

        return order != 0 ? order : strcmp(a->image->id, b->image->id);
}

static void add_rows(const Crisp__V1__ImageSummary *image, struct row *rows, size_t *count)
{
        for (size_t i = 0; i < image->n_tags; i++)
                rows[(*count)++] = row_of(image, image->tags[i], ':');
        if (image->n_tags == 0)
                rows[(*count)++] = row_of(image, image->n_digests ? image->digests[0] : "", '@');
}

static void add_row(struct columns *columns, const struct row *row)
{
        const Crisp__V1__ImageSummary *image = row->image;
        char text[TEXT_VALUE_MAX];
        AUTO_FREE char *repository = xstrndup(row->name, row->repository);

        columns_add(columns, repository);
        columns_add(columns, image->n_tags ? row->name + row->repository + 1 : NULL);
        columns_add(columns, text_short(text, image->id));
        columns_add(columns, text_size(text, image->size));
        columns_add(columns, text_span(text, clock_real() - image->pulled_at));
        snprintf(text, sizeof text, "%" PRIu32, image->users);
        columns_add(columns, image->users ? text : NULL);
        columns_add(columns, image->pinned ? "yes" : NULL);
}

static void write_ids(const Crisp__V1__ImageListResponse *all, struct buffer *out)
{
        for (size_t i = 0; i < all->n_images; i++) {
                text_clean(out, all->images[i]->id);
                buffer_add_text(out, "\n");
        }
}

static void write_table(const Crisp__V1__ImageListResponse *all, struct buffer *out)
{
        static const char *const headings[] = {"NAME", "TAG",    "ID",     "SIZE",
                                               "AGE",  "IN USE", "PINNED", NULL};
        AUTO_COLUMNS struct columns *columns = columns_new(headings);
        size_t count = 0;

        for (size_t i = 0; i < all->n_images; i++)
                count += all->images[i]->n_tags + 1;
        AUTO_FREE struct row *rows = xcalloc(count + 1, sizeof *rows);
        count = 0;
        for (size_t i = 0; i < all->n_images; i++)
                add_rows(all->images[i], rows, &count);
        qsort(rows, count, sizeof *rows, compare_rows);
        for (size_t i = 0; i < count; i++)
                add_row(columns, &rows[i]);
        columns_write(columns, cli_width(), out);
}

/* The images of all messages in one, whose list the caller frees. */
static Crisp__V1__ImageListResponse join(const struct messages *messages)
{
        Crisp__V1__ImageListResponse all = CRISP__V1__IMAGE_LIST_RESPONSE__INIT;

        for (size_t i = 0; i < messages->count; i++) {
                const Crisp__V1__ImageListResponse *part =
                        (const Crisp__V1__ImageListResponse *)messages->list[i];
                all.images =
                        xrealloc(all.images, (all.n_images + part->n_images) * sizeof *all.images);
                for (size_t k = 0; k < part->n_images; k++)
                        all.images[all.n_images++] = part->images[k];
        }
        return all;
}

static int gather_images(struct client *client, const char *name, struct messages *messages,
                         struct error *err)
{
        Crisp__V1__ImageListRequest request = CRISP__V1__IMAGE_LIST_REQUEST__INIT;

        request.image = (char *)(uintptr_t)name;
        return client_gather(client, &crisp__v1__crisp__descriptor, "ImageList", &request.base,
                             clock_after(CLIENT_DEADLINE), messages, err);
}

int images_list(char *const *arguments)
{
        struct options_common common = {0};
        bool quiet = false;
        const struct option options[] = {OPTIONS_SOCKET(common),
                                         OPTIONS_JSON(common),
                                         {.name = "--quiet", .letter = "-q", .flag = &quiet},
                                         {0}};
        AUTO_FREE const char **words = cli_words(arguments);
        AUTO_CLIENT struct client *client = NULL;
        AUTO_MESSAGES struct messages messages = {0};
        AUTO_BUFFER struct buffer out = BUFFER_INIT;
        struct error err = {0};
        int code = options_read(arguments, options, words);

        if (code != 0)
                return code;
        if (words[0] && words[1])
                return options_wrong("unexpected argument ", words[1]);
        if (common.json && quiet)
                return options_wrong("images list: --json or --quiet, not both", "");
        if (cli_connect(&common, &client, &err) < 0 ||
            gather_images(client, words[0] ? words[0] : "", &messages, &err) < 0)
                return cli_failed(&err);
        Crisp__V1__ImageListResponse all = join(&messages);
        if (common.json)
                cli_json(&all.base, &out);
        else if (quiet)
                write_ids(&all, &out);
        else
                write_table(&all, &out);
        free(all.images);
        return cli_print(&out);
}

/* ---- rm ---- */

static void tell_removed(const Crisp__V1__ImageSummary *image, struct buffer *out)
{
        for (size_t i = 0; i < image->n_tags; i++) {
                text_clean(out, image->tags[i]);
                buffer_add_text(out, "\n");
        }
        text_clean(out, image->id);
        if (image->users)
                buffer_printf(out,
                              ": its layers go with the last of %" PRIu32
                              " containers that use them",
                              image->users);
        buffer_add_text(out, "\n");
}

/* CRI finds nothing wrong with an image that is not there; a person has mistyped it. */
static int remove_one(struct client *client, const char *name, struct buffer *out,
                      struct error *err)
{
        AUTO_MESSAGES struct messages messages = {0};
        AUTO_MESSAGE ProtobufCMessage *response = NULL;
        Runtime__V1__ImageSpec spec = RUNTIME__V1__IMAGE_SPEC__INIT;
        Runtime__V1__RemoveImageRequest request = RUNTIME__V1__REMOVE_IMAGE_REQUEST__INIT;
        int result = gather_images(client, name, &messages, err);

        if (result < 0)
                return result;
        const Crisp__V1__ImageListResponse *found =
                messages.count ? (const Crisp__V1__ImageListResponse *)messages.list[0] : NULL;
        if (!found || found->n_images == 0)
                return error_set(err, ERROR_NOT_FOUND, "no image %s is here", name);
        spec.image = found->images[0]->id;
        request.image = &spec;
        result = client_ask(client, &runtime__v1__image_service__descriptor, "RemoveImage",
                            &request.base, clock_after(REMOVE_DEADLINE), &response, err);
        if (result == 0)
                tell_removed(found->images[0], out);
        return result;
}

int images_remove(char *const *arguments)
{
        struct options_common common = {0};
        const struct option options[] = {OPTIONS_SOCKET(common), {0}};
        AUTO_FREE const char **words = cli_words(arguments);
        AUTO_CLIENT struct client *client = NULL;
        AUTO_BUFFER struct buffer out = BUFFER_INIT;
        struct error err = {0};
        int code = options_read(arguments, options, words);

        if (code != 0)
                return code;
        for (const char **word = words; *word; word++)
                if (!**word)
                        return options_wrong("images rm: an image's name is empty", "");
        if (!words[0])
                return options_wrong("images rm needs the name of an image", "");
        if (cli_connect(&common, &client, &err) < 0)
                return cli_failed(&err);
        for (const char **word = words; *word; word++)
                if (remove_one(client, *word, &out, &err) < 0)
                        code = cli_failed(&err);
        int printed = cli_print(&out);
        return code ? code : printed;
}

/* ---- inspect ---- */

int images_inspect(char *const *arguments)
{
        struct options_common common = {0};
        const struct option options[] = {OPTIONS_SOCKET(common), {0}};
        AUTO_FREE const char **words = cli_words(arguments);
        AUTO_CLIENT struct client *client = NULL;
        AUTO_MESSAGE Crisp__V1__ImageInspectResponse *response = NULL;
        AUTO_BUFFER struct buffer out = BUFFER_INIT;
        Crisp__V1__ImageInspectRequest request = CRISP__V1__IMAGE_INSPECT_REQUEST__INIT;
        struct error err = {0};
        int code = options_read(arguments, options, words);

        if (code != 0)
                return code;
        if (!words[0] || words[1])
                return options_wrong("images inspect needs the name of one image", "");
        request.image = (char *)(uintptr_t)words[0];
        if (cli_connect(&common, &client, &err) < 0 ||
            client_ask(client, &crisp__v1__crisp__descriptor, "ImageInspect", &request.base,
                       clock_after(CLIENT_DEADLINE), (ProtobufCMessage **)&response, &err) < 0)
                return cli_failed(&err);
        cli_indent(response->json, &out);
        return cli_print(&out);
}
