/* Any lines as the headers of a streaming request, whose first byte says of what kind: decided,
 * with words for a refusal. */
#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/memory.h"
#include "cri/stream/handshake.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        struct handshake_request request = {0};
        struct handshake_answer answer;
        if (!size)
                return 0;
        enum stream_kind kind = (enum stream_kind)(data[0] % 3);
        AUTO_FREE char *text = xstrndup((const char *)data + 1, size - 1);
        char *rest = text;
        for (char *line; (line = strsep(&rest, "\n"));) {
                char *value = strchr(line, ':');
                if (value)
                        *value++ = '\0';
                handshake_header(&request, line, value);
        }
        handshake_decide(&request, kind, &answer);
        assert(request.web_protocols.count <= HANDSHAKE_PROTOCOLS_MAX);
        assert(request.stream_protocols.count <= HANDSHAKE_PROTOCOLS_MAX);
        if (answer.status != 101) {
                assert((answer.status == 400 || answer.status == 403) && answer.text[0]);
                return 0;
        }
        assert(answer.version >= 1 && answer.version <= 5);
        if (answer.framing == SESSION_SPDY)
                assert(request.spdy && answer.protocol[0] && answer.version <= 4);
        else
                assert(request.websocket && request.web_key[0]);
        assert(answer.framing != SESSION_TUNNEL || kind == STREAM_PORT_FORWARD);
        return 0;
}
