/* What a shim is told of its runtime beside the task itself. */
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "oci/shim_private.h"
#include "api/shim/runc_options.pb-c.h"
#include "api/shim/runtimeoptions_v1.pb-c.h"

static void pack(const char *type, const ProtobufCMessage *message, Google__Protobuf__Any *any)
{
        size_t size = protobuf_c_message_get_packed_size(message);
        any->type_url = (char *)type;
        any->value.data = xcalloc(1, size ? size : 1);
        any->value.len = protobuf_c_message_pack(message, any->value.data);
}

bool shim_options(const struct runtime_handler *handler, Google__Protobuf__Any *any)
{
        if (runtime_is_shim_of_runc(handler)) {
                Containerd__Runc__V1__Options options = CONTAINERD__RUNC__V1__OPTIONS__INIT;
                options.binary_name = handler->shim_runtime ? handler->shim_runtime : (char *)"";
                options.root = handler->root;
                options.systemd_cgroup = handler->systemd_cgroup;
                pack("containerd.runc.v1.Options", &options.base, any);
                return true;
        }
        if (!handler->shim_config || !*handler->shim_config)
                return false;
        Runtimeoptions__V1__Options options = RUNTIMEOPTIONS__V1__OPTIONS__INIT;
        options.type_url = handler->shim_options_type ? handler->shim_options_type : (char *)"";
        options.config_path = handler->shim_config;
        pack("runtimeoptions.v1.Options", &options.base, any);
        return true;
}
