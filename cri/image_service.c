#include "cri/services.h"

#include "api/cri/runtime_v1.pb-c.h"

const struct rpc_service image_service = {
        .descriptor = &runtime__v1__image_service__descriptor,
};
