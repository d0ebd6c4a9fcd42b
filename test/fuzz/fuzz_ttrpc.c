/* Any bytes as ttrpc, in pieces of the first byte's length: frames as they would come in one piece,
 * and messages read or refused. */
#include <assert.h>
#include <stdint.h>

#include "api/shim/events_v1.pb-c.h"
#include "api/ttrpc/frame.h"
#include "api/ttrpc/ttrpc.pb-c.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void read_messages(const struct ttrpc_frame *frame)
{
        Ttrpc__Request *request = ttrpc__request__unpack(NULL, frame->length, frame->payload);
        if (request) {
                Containerd__Services__Events__Ttrpc__V1__ForwardRequest *event =
                        containerd__services__events__ttrpc__v1__forward_request__unpack(
                                NULL, request->payload.len, request->payload.data);
                if (event)
                        containerd__services__events__ttrpc__v1__forward_request__free_unpacked(
                                event, NULL);
                ttrpc__request__free_unpacked(request, NULL);
        }
        Ttrpc__Response *response = ttrpc__response__unpack(NULL, frame->length, frame->payload);
        if (response)
                ttrpc__response__free_unpacked(response, NULL);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        struct ttrpc_reader reader = {0};
        struct ttrpc_frame frame;
        int result = 0;

        if (size < 1)
                return 0;
        const size_t step = data[0] ? data[0] : 256;
        for (size_t done = 1; done < size && result >= 0; done += step) {
                ttrpc_reader_add(&reader, data + done, size - done < step ? size - done : step);
                while ((result = ttrpc_reader_next(&reader, &frame)) > 0) {
                        assert(!frame.payload == (frame.length > TTRPC_PAYLOAD_MAX));
                        if (frame.payload)
                                read_messages(&frame);
                }
                assert(reader.taken <= reader.bytes.length && reader.discard <= TTRPC_DISCARD_MAX);
        }
        ttrpc_reader_fini(&reader);
        return 0;
}
