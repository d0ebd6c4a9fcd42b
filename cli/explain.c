/* crisp explain: the step that each object is in, and since when. */
#include "cli/cli.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/crisp/v1/crisp.pb-c.h"
#include "base/memory.h"
#include "cli/columns.h"
#include "cli/text.h"

/* "STEP for 3 s"; empty where nothing is being done. */
static char *step_text(const char *step, int64_t since)
{
        char span[TEXT_VALUE_MAX];

        return *step ? xprintf("%s for %s", step, text_span(span, clock_real() - since))
                     : xstrdup("");
}

/* How long ago; "" for never. */
static const char *since_text(char out[TEXT_VALUE_MAX], int64_t since)
{
        if (since == 0)
                return "";
        return text_span(out, clock_real() - since);
}

/* A table with its title, unless it is empty. */
static void add_table(const char *title, size_t count, const struct columns *columns,
                      struct buffer *out)
{
        if (count == 0)
                return;
        buffer_printf(out, "%s%s\n", out->length ? "\n" : "", title);
        columns_write(columns, cli_width(), out);
}

/* ---- pulls ---- */

static void add_layers(const Crisp__V1__Pull *pull, struct columns *columns)
{
        char bytes[TEXT_VALUE_MAX], total[TEXT_VALUE_MAX];
        uint64_t come = 0, all = 0;
        size_t done = 0;

        for (size_t i = 0; i < pull->n_layers; i++) {
                come += pull->layers[i]->bytes;
                all += pull->layers[i]->total;
                done += pull->layers[i]->state == CRISP__V1__PULL_LAYER_STATE__PULL_LAYER_DONE;
        }
        AUTO_FREE char *layers = xprintf("%zu of %zu", done, pull->n_layers);
        AUTO_FREE char *size = xprintf("%s of %s", text_size(bytes, come), text_size(total, all));
        columns_add(columns, pull->n_layers ? layers : NULL);
        columns_add(columns, pull->n_layers ? size : NULL);
}

static void write_pulls(const Crisp__V1__ExplainResponse *all, struct buffer *out)
{
        static const char *const headings[] = {"IMAGE", "AGE",  "WAITING", "LAYERS",
                                               "BYTES", "STEP", NULL};
        AUTO_COLUMNS struct columns *columns = columns_new(headings);
        char text[TEXT_VALUE_MAX];

        for (size_t i = 0; i < all->n_pulls; i++) {
                const Crisp__V1__Pull *pull = all->pulls[i];
                AUTO_FREE char *step = step_text(pull->step, pull->step_since);
                columns_add(columns, pull->reference);
                columns_add(columns, since_text(text, pull->started_at));
                snprintf(text, sizeof text, "%" PRIu32, pull->waiting);
                columns_add(columns, text);
                add_layers(pull, columns);
                columns_add(columns, step);
        }
        add_table("Pulls", all->n_pulls, columns, out);
}

/* With one pull alone there is room for its layers. */
static void write_layers(const Crisp__V1__Pull *pull, struct buffer *out)
{
        static const char *const states[] = {"waiting", "downloading", "unpacking", "done"};
        static const char *const headings[] = {"LAYER", "BYTES", "TOTAL", "STATE", NULL};
        AUTO_COLUMNS struct columns *columns = columns_new(headings);
        char text[TEXT_VALUE_MAX];

        for (size_t i = 0; i < pull->n_layers; i++) {
                const Crisp__V1__PullLayer *layer = pull->layers[i];
                size_t state = (size_t)layer->state;
                columns_add(columns, text_short(text, layer->digest));
                columns_add(columns, text_size(text, layer->bytes));
                columns_add(columns, text_size(text, layer->total));
                columns_add(columns, state < sizeof states / sizeof *states ? states[state] : "");
        }
        add_table("Layers", pull->n_layers, columns, out);
}

/* ---- pods and containers ---- */

static void write_pods(const Crisp__V1__ExplainResponse *all, struct buffer *out)
{
        static const char *const headings[] = {"POD",     "ID",   "STATE", "AGE",
                                               "ADDRESS", "STEP", NULL};
        AUTO_COLUMNS struct columns *columns = columns_new(headings);
        char text[TEXT_VALUE_MAX];

        for (size_t i = 0; i < all->n_pods; i++) {
                const Crisp__V1__ExplainedPod *pod = all->pods[i];
                AUTO_FREE char *name = xprintf("%s/%s", pod->namespace_, pod->name);
                AUTO_FREE char *step = step_text(pod->step, pod->step_since);
                columns_add(columns, name);
                columns_add(columns, text_short(text, pod->id));
                columns_add(columns, pod->state);
                columns_add(columns, since_text(text, pod->created_at));
                columns_add(columns, pod->n_ips ? pod->ips[0] : NULL);
                columns_add(columns, step);
        }
        add_table("Pods", all->n_pods, columns, out);
}

/* "exited 137 (OOMKilled)" */
static char *container_state(const Crisp__V1__ExplainedContainer *container)
{
        if (strcmp(container->state, "exited") != 0)
                return xstrdup(container->state);
        return xprintf("exited %" PRId32 "%s%s%s", container->exit_code,
                       *container->reason ? " (" : "", container->reason,
                       *container->reason ? ")" : "");
}

static void write_containers(const Crisp__V1__ExplainResponse *all, struct buffer *out)
{
        static const char *const headings[] = {"CONTAINER", "ID",    "POD",  "STATE",
                                               "FOR",       "IMAGE", "STEP", NULL};
        AUTO_COLUMNS struct columns *columns = columns_new(headings);
        char text[TEXT_VALUE_MAX];

        for (size_t i = 0; i < all->n_containers; i++) {
                const Crisp__V1__ExplainedContainer *container = all->containers[i];
                AUTO_FREE char *pod =
                        xprintf("%s/%s", container->pod_namespace, container->pod_name);
                AUTO_FREE char *state = container_state(container);
                AUTO_FREE char *step = step_text(container->step, container->step_since);
                columns_add(columns, container->name);
                columns_add(columns, text_short(text, container->id));
                columns_add(columns, pod);
                columns_add(columns, state);
                columns_add(columns, since_text(text, container->state_since));
                columns_add(columns, container->image);
                columns_add(columns, step);
        }
        add_table("Containers", all->n_containers, columns, out);
}

/* ---- images ---- */

static void write_images(const Crisp__V1__ExplainResponse *all, struct buffer *out)
{
        static const char *const headings[] = {"IMAGE", "ID", "AGE", "IN USE BY", NULL};
        AUTO_COLUMNS struct columns *columns = columns_new(headings);
        char text[TEXT_VALUE_MAX];

        for (size_t i = 0; i < all->n_images; i++) {
                const Crisp__V1__ExplainedImage *image = all->images[i];
                const Crisp__V1__ImageSummary *summary = image->summary;
                AUTO_BUFFER struct buffer users = BUFFER_INIT;
                const char *name = summary->n_tags      ? summary->tags[0]
                                   : summary->n_digests ? summary->digests[0]
                                                        : NULL;
                for (size_t k = 0; k < image->n_users; k++) {
                        buffer_add_text(&users, k ? ", " : "");
                        buffer_add_text(&users, text_short(text, image->users[k]));
                }
                columns_add(columns, name);
                columns_add(columns, text_short(text, summary->id));
                columns_add(columns, since_text(text, summary->pulled_at));
                columns_add(columns, users.data);
        }
        add_table("Images", all->n_images, columns, out);
}

/* ---- errors ---- */

/* In full below the tables: they are whole sentences, which say what to do. */
static void write_error(const char *kind, const char *name, const char *error, struct buffer *out)
{
        if (!*error)
                return;
        buffer_printf(out, "\n%s ", kind);
        text_clean(out, name);
        buffer_add_text(out, ": ");
        text_clean(out, error);
        buffer_add_text(out, "\n");
}

/* After an unclean stop. */
static void write_checkup(const Crisp__V1__ImageCheckup *checkup, struct buffer *out)
{
        char age[TEXT_VALUE_MAX];

        buffer_printf(out,
                      "%sThe machine went down while images were kept: of %" PRIu32
                      " that were pulled last %" PRIu32 " are looked at (since %s)",
                      out->length ? "\n" : "", checkup->images, checkup->looked_at,
                      since_text(age, checkup->started_at));
        if (checkup->mended)
                buffer_printf(out, ", %" PRIu32 " fetched again", checkup->mended);
        if (checkup->removed)
                buffer_printf(out, ", %" PRIu32 " broken and removed", checkup->removed);
        if (checkup->unknown)
                buffer_printf(out, ", %" PRIu32 " left to the next start", checkup->unknown);
        if (*checkup->image) {
                buffer_add_text(out, "; now ");
                text_clean(out, checkup->step);
                buffer_add_text(out, " ");
                text_clean(out, checkup->image);
        }
        buffer_add_text(out, "\n");
}

static void write_all(const Crisp__V1__ExplainResponse *all, struct buffer *out)
{
        write_pulls(all, out);
        if (all->n_pulls == 1)
                write_layers(all->pulls[0], out);
        write_pods(all, out);
        write_containers(all, out);
        write_images(all, out);
        if (all->checkup)
                write_checkup(all->checkup, out);
        for (size_t i = 0; i < all->n_pods; i++)
                write_error("pod", all->pods[i]->name, all->pods[i]->error, out);
        for (size_t i = 0; i < all->n_containers; i++)
                write_error("container", all->containers[i]->name, all->containers[i]->error, out);
}

/* ---- the command ---- */

/* Adds a message's objects to a list that the caller frees. */
static void append(void *list, size_t *count, void *const *more, size_t more_count)
{
        void **objects = *(void ***)list;

        if (more_count == 0)
                return;
        objects = xrealloc(objects, (*count + more_count) * sizeof *objects);
        memcpy(objects + *count, more, more_count * sizeof *objects);
        *count += more_count;
        *(void ***)list = objects;
}

static void join(const struct messages *messages, Crisp__V1__ExplainResponse *all)
{
        for (size_t i = 0; i < messages->count; i++) {
                const Crisp__V1__ExplainResponse *part =
                        (const Crisp__V1__ExplainResponse *)messages->list[i];
                append(&all->pulls, &all->n_pulls, (void *const *)part->pulls, part->n_pulls);
                append(&all->pods, &all->n_pods, (void *const *)part->pods, part->n_pods);
                append(&all->containers, &all->n_containers, (void *const *)part->containers,
                       part->n_containers);
                append(&all->images, &all->n_images, (void *const *)part->images, part->n_images);
                if (part->checkup)
                        all->checkup = part->checkup;
        }
}

int cli_explain(char *const *arguments)
{
        struct options_common common = {0};
        const struct option options[] = {OPTIONS_SOCKET(common), OPTIONS_JSON(common), {0}};
        AUTO_FREE const char **words = cli_words(arguments);
        AUTO_CLIENT struct client *client = NULL;
        AUTO_MESSAGES struct messages messages = {0};
        AUTO_BUFFER struct buffer out = BUFFER_INIT;
        Crisp__V1__ExplainRequest request = CRISP__V1__EXPLAIN_REQUEST__INIT;
        Crisp__V1__ExplainResponse all = CRISP__V1__EXPLAIN_RESPONSE__INIT;
        struct error err = {0};
        int code = options_read(arguments, options, words);

        if (code != 0)
                return code;
        if (words[0] && words[1])
                return options_wrong("unexpected argument ", words[1]);
        if (words[0])
                request.object = (char *)(uintptr_t)words[0];
        if (cli_connect(&common, &client, &err) < 0 ||
            client_gather(client, &crisp__v1__crisp__descriptor, "Explain", &request.base,
                          clock_after(CLIENT_DEADLINE), &messages, &err) < 0)
                return cli_failed(&err);
        join(&messages, &all);
        if (common.json)
                cli_json(&all.base, &out);
        else
                write_all(&all, &out);
        free(all.pulls);
        free(all.pods);
        free(all.containers);
        free(all.images);
        return cli_print(&out);
}
