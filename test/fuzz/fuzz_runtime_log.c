/* Any bytes as an OCI runtime's log and as an exit record: an explanation or none, a record or a
 * refusal. */
#include <assert.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "conmon/command.h"
#include "oci/monitor.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        char directory[] = "/tmp/crisp-fuzz-XXXXXX", path[64];
        char memory[512], explanation[64];
        struct text text = text_in(explanation, sizeof(explanation));
        struct monitor_exit record;
        int fd;

        assert(mkdtemp(directory));
        snprintf(path, sizeof(path), "%s/" MONITOR_EXIT_RECORD, directory);
        fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
        assert(fd >= 0 && write(fd, data, size) == (ssize_t)size);
        close(fd);
        command_explain(path, memory, sizeof(memory), &text);
        assert(text.length < sizeof(explanation) && explanation[text.length] == 0);
        if (exit_record_read(directory, &record, NULL) == 0)
                assert(record.exit_code >= 0 && record.exit_code <= 255 && record.pid >= 0);
        assert(unlink(path) == 0 && rmdir(directory) == 0);
        return 0;
}
