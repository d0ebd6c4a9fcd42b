#include "cri/signals.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "oci/signal.h"

#define PREFIX "SIGNAL_"

/* "SIGNAL_SIGRTMINPLUS3" is what others call SIGRTMIN+3. */
static int number_of(const char *cri_name, int *number, struct error *err)
{
        char name[40];
        snprintf(name, sizeof name, "%s", cri_name + strlen(PREFIX));
        char *plus = strstr(name, "PLUS");
        char *minus = strstr(name, "MINUS");
        if (plus)
                snprintf(plus, (size_t)(name + sizeof name - plus), "+%s",
                         strstr(cri_name, "PLUS") + 4);
        else if (minus)
                snprintf(minus, (size_t)(name + sizeof name - minus), "-%s",
                         strstr(cri_name, "MINUS") + 5);
        return signal_parse(name, number, err);
}

int signals_effective(const Runtime__V1__ContainerConfig *config, const char *image_signal,
                      int *number, struct error *err)
{
        if (config->stop_signal != RUNTIME__V1__SIGNAL__SIGNAL_RUNTIME_DEFAULT) {
                const ProtobufCEnumValue *value = protobuf_c_enum_descriptor_get_value(
                        &runtime__v1__signal__descriptor, (int)config->stop_signal);
                if (!value)
                        return error_set(err, ERROR_INVALID_ARGUMENT,
                                         "config.stop_signal: %d is not a signal of the CRI",
                                         (int)config->stop_signal);
                return number_of(value->name, number, err);
        }
        if (!image_signal || !*image_signal) {
                *number = SIGTERM;
                return 0;
        }
        int result = signal_parse(image_signal, number, err);
        return result < 0 ? error_context(err, "the image's stop signal") : 0;
}

Runtime__V1__Signal signals_to_cri(int number)
{
        const ProtobufCEnumDescriptor *descriptor = &runtime__v1__signal__descriptor;
        for (unsigned i = 0; i < descriptor->n_values; i++) {
                int each;
                if (descriptor->values[i].value != RUNTIME__V1__SIGNAL__SIGNAL_RUNTIME_DEFAULT &&
                    number_of(descriptor->values[i].name, &each, NULL) == 0 && each == number)
                        return (Runtime__V1__Signal)descriptor->values[i].value;
        }
        return RUNTIME__V1__SIGNAL__SIGNAL_RUNTIME_DEFAULT;
}
