/* A node's CNI configuration from a template, once the kubelet has told its ranges. */
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/json.h"
#include "base/log.h"
#include "base/memory.h"
#include "network/conf_template.h"
#include "network/network_internal.h"

struct render {
        const char *template_path;
        const char *directory;
        char **ranges, **routes;
        struct error *err;
};

/* What would be no network is told here and not left to be wondered at. */
static int check(const struct buffer *text, struct error *err)
{
        struct cni_network *network = NULL;
        int result = cni_network_parse(text->data ? text->data : "", text->length, false,
                                       "what comes of it", &network, err);
        cni_network_unref(network);
        return result;
}

static int render_on_worker(void *argument)
{
        const struct render *render = argument;
        const struct conf_template_values values = {.ranges = render->ranges,
                                                    .routes = render->routes};
        AUTO_BUFFER struct buffer text = BUFFER_INIT;
        AUTO_BUFFER struct buffer out = BUFFER_INIT;
        AUTO_FREE char *path = xprintf("%s/" NETWORK_TEMPLATE_FILE, render->directory);
        int result = file_read(render->template_path, CONF_TEMPLATE_MAX, &text, render->err);
        if (result == 0)
                result = conf_template_render(text.data ? text.data : "", text.length, &values,
                                              &out, render->err);
        if (result == 0)
                result = check(&out, render->err);
        if (result < 0)
                return error_context(render->err, "template %s", render->template_path);
        result = file_make_directories(render->directory, 0755, render->err);
        return result < 0 ? result : file_replace(path, out.data, out.length, 0644, render->err);
}

int network_render(struct network *network, const char *template_path, struct error *err)
{
        struct render render = {
                .template_path = template_path, .directory = network->config_dir, .err = err};
        bool v4 = false, v6 = false;
        const json_t *range;
        size_t i;
        if (network->config.network || json_array_size(network->ip_ranges) == 0)
                return 0;
        json_array_foreach (network->ip_ranges, i, range) {
                const char *subnet =
                        json_string_value(json_object_get(json_array_get(range, 0), "subnet"));
                strv_push(&render.ranges, subnet);
                v6 = v6 || strchr(subnet, ':');
                v4 = v4 || !strchr(subnet, ':');
        }
        render.routes = xcalloc(1, sizeof *render.routes);
        if (v4)
                strv_push(&render.routes, "0.0.0.0/0");
        if (v6)
                strv_push(&render.routes, "::/0");
        int result = task_offload(render_on_worker, &render);
        if (result == 0)
                log_info("the network's configuration is written", "folder", network->config_dir,
                         "template", template_path, NULL);
        strv_free(render.ranges);
        strv_free(render.routes);
        return result;
}
