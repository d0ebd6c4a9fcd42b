#include "conmon/shim_exec.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <termios.h>
#include <unistd.h>

#include "conmon/clock.h"
#include "conmon/exec.h"
#include "conmon/shim.h"

#define PUMP_SIZE      (32 * 1024)       /* bytes on their way in one direction */
#define PROCESS_MAX    (3 * 1024 * 1024) /* bytes of a process; ttrpc takes 4 MiB */
#define LINGER_SILENCE (1 * NANOSECONDS) /* for what the shim still has of a command that ended */
#define LINGER_MAX     (10 * NANOSECONDS)
#define SMALL_REQUEST  1024 /* bytes of a request that names a command and little else */
#define KILLED         137

/* ttrpc.Request, and the messages of the task service. */
enum { REQUEST = 1, REQUEST_SERVICE = 1, REQUEST_METHOD = 2, REQUEST_PAYLOAD = 3 };
enum {
        TASK_ID = 1,
        TASK_EXEC_ID = 2,
        EXEC_TERMINAL = 3,
        EXEC_STDIN = 4,
        EXEC_SPEC = 7,
        CLOSE_STDIN = 3,
        KILL_SIGNAL = 3
};
enum { ANY_TYPE = 1, ANY_VALUE = 2 };

static const char PROCESS_TYPE[] = "types.containerd.io/opencontainers/runtime-spec/1/Process";

struct pump {
        int from, to; /* -1 when it has ended */
        size_t done, length;
        char bytes[PUMP_SIZE];
};

enum { IN, OUT, ERRORS, PUMPS };

static struct self {
        const struct shim_exec *exec;
        int shim;
        pid_t parent;
        uint32_t stream; /* of the last request */
        uint32_t wait;   /* of the one that waits for the end; 0 where none does */
        struct shim_reader reader;
        char paths[PUMPS][PATH_MAX]; /* of the pipes */
        struct pump pumps[PUMPS];
} self;

/* ---- saying what went wrong ---- */

static void add_escaped(struct text *line, const char *text, size_t length)
{
        for (size_t i = 0; i < length; i++) {
                if (text[i] == '"' || text[i] == '\\')
                        text_add_bytes(line, "\\", 1);
                text_add_bytes(line, (unsigned char)text[i] < ' ' ? " " : &text[i], 1);
        }
}

static int fail(const char *step, const char *why, size_t length)
{
        static char memory[2 * SHIM_ANSWER_MAX];
        struct text line = text_in(memory, sizeof(memory) - 8);
        int fd = open(self.exec->log, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

        text_add(&line, "{\"level\":\"error\",\"msg\":\"");
        add_escaped(&line, step, strlen(step));
        add_escaped(&line, why, length);
        line.size = sizeof(memory);
        text_add(&line, "\"}\n");
        if (fd >= 0 && write(fd, line.data, line.length) < 0)
                errno = 0;
        if (fd >= 0)
                close(fd);
        return EXEC_FAILED;
}

static int fail_number(const char *step, int number)
{
        const char *why = strerror(number < 0 ? -number : number);

        return fail(step, why, strlen(why));
}

/* ---- requests ---- */

static void put_big_endian(uint8_t *bytes, uint32_t value)
{
        for (int i = 3; i >= 0; i--, value >>= 8)
                bytes[i] = (uint8_t)value;
}

/* Sends a message whose first bytes are in payload and whose end, perhaps empty, elsewhere. */
static int send_request(const char *method, const struct text *payload, const char *more,
                        size_t more_length)
{
        char memory[SMALL_REQUEST];
        struct text head = text_in(memory, sizeof(memory));
        uint8_t header[SHIM_HEADER] = {0};
        int result;

        shim_add_string(&head, REQUEST_SERVICE, self.exec->service);
        shim_add_string(&head, REQUEST_METHOD, method);
        shim_add_length(&head, REQUEST_PAYLOAD, payload->length + more_length);
        if (head.cut || payload->cut)
                return -ENAMETOOLONG;
        self.stream = self.stream ? self.stream + 2 : 1;
        put_big_endian(header, (uint32_t)(head.length + payload->length + more_length));
        put_big_endian(header + 4, self.stream);
        header[8] = REQUEST;
        result = shim_send(self.shim, header, sizeof(header));
        if (!result)
                result = shim_send(self.shim, head.data, head.length);
        if (!result)
                result = shim_send(self.shim, payload->data, payload->length);
        if (!result && more_length)
                result = shim_send(self.shim, more, more_length);
        return result;
}

static void name_command(struct text *payload)
{
        shim_add_string(payload, TASK_ID, self.exec->id);
        shim_add_string(payload, TASK_EXEC_ID, self.exec->exec_id);
}

static int send_simple(const char *method)
{
        char memory[SMALL_REQUEST];
        struct text payload = text_in(memory, sizeof(memory));

        name_command(&payload);
        return send_request(method, &payload, NULL, 0);
}

static int wait_for_answer(uint32_t stream, struct shim_answer *answer)
{
        for (;;) {
                struct pollfd ready = {.fd = self.shim, .events = POLLIN};
                int result = shim_receive(self.shim, &self.reader, answer);

                if (result < 0)
                        return result;
                if (result > 0 && answer->stream == stream)
                        return 0;
                if (result == 0 && poll(&ready, 1, -1) < 0 && errno != EINTR)
                        return -errno;
        }
}

/* Waits for the answer to the last request; what the shim says of it is told. */
static int expect(const char *step, int sent, struct shim_answer *answer)
{
        int result = sent < 0 ? sent : wait_for_answer(self.stream, answer);

        if (result < 0)
                return fail_number(step, result);
        if (!answer->code)
                return 0;
        return fail("", answer->message ? answer->message : "", answer->message_length);
}

static int send_exec(void)
{
        static char memory[4 * PATH_MAX];
        struct text payload = text_in(memory, sizeof(memory));
        char any_memory[SMALL_REQUEST];
        struct text any = text_in(any_memory, sizeof(any_memory));
        int fd = open(self.exec->process, O_RDONLY | O_CLOEXEC);
        struct stat info;
        char *process;
        int result;

        if (fd < 0 || fstat(fd, &info) < 0)
                return -errno;
        if (info.st_size <= 0 || info.st_size > PROCESS_MAX)
                return -E2BIG;
        process = mmap(NULL, (size_t)info.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
        close(fd);
        if (process == MAP_FAILED)
                return -errno;
        shim_add_string(&any, ANY_TYPE, PROCESS_TYPE);
        shim_add_length(&any, ANY_VALUE, (size_t)info.st_size);
        name_command(&payload);
        shim_add_number(&payload, EXEC_TERMINAL, *self.exec->console != 0);
        for (uint32_t i = 0; i < PUMPS; i++)
                shim_add_string(&payload, EXEC_STDIN + i, self.paths[i]);
        shim_add_length(&payload, EXEC_SPEC, any.length + (size_t)info.st_size);
        text_add_bytes(&payload, any.data, any.length);
        result = send_request("Exec", &payload, process, (size_t)info.st_size);
        munmap(process, (size_t)info.st_size);
        return result;
}

/* ---- stdio ---- */

static int make_pipe(unsigned which)
{
        static const char *const endings[] = {".in", ".out", ".err"};
        struct text path = text_in(self.paths[which], sizeof(self.paths[which]));
        const char *slash = strrchr(self.exec->pid_file, '/');
        int fd;

        text_add_bytes(&path, self.exec->pid_file,
                       slash ? (size_t)(slash - self.exec->pid_file) + 1 : 0);
        text_add(&path, self.exec->exec_id);
        text_add(&path, endings[which]);
        if (path.cut)
                return -ENAMETOOLONG;
        if (mkfifo(path.data, 0600) < 0)
                return -errno;
        /* Also for reading: so that it can be opened before the shim has. */
        fd = open(path.data, (which == IN ? O_RDWR : O_RDONLY) | O_NONBLOCK | O_CLOEXEC);
        if (fd < 0)
                return -errno;
        *(which == IN ? &self.pumps[which].to : &self.pumps[which].from) = fd;
        return 0;
}

static int send_descriptor(const char *path, int fd)
{
        struct sockaddr_un address = {.sun_family = AF_UNIX};
        union {
                struct cmsghdr header;
                char space[CMSG_SPACE(sizeof(int))];
        } control = {0};
        char name[] = "terminal";
        struct iovec part = {.iov_base = name, .iov_len = sizeof(name)};
        struct msghdr message = {.msg_iov = &part,
                                 .msg_iovlen = 1,
                                 .msg_control = &control,
                                 .msg_controllen = sizeof(control)};
        int connection = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        int result = 0;

        if (connection < 0)
                return -errno;
        if (strlen(path) >= sizeof(address.sun_path))
                return -ENAMETOOLONG;
        strcpy(address.sun_path, path);
        control.header.cmsg_level = SOL_SOCKET;
        control.header.cmsg_type = SCM_RIGHTS;
        control.header.cmsg_len = CMSG_LEN(sizeof(fd));
        memcpy(CMSG_DATA(&control.header), &fd, sizeof(fd));
        if (connect(connection, (struct sockaddr *)&address, sizeof(address)) < 0 ||
            sendmsg(connection, &message, MSG_NOSIGNAL) < 0)
                result = -errno;
        close(connection);
        return result;
}

/*
 * The daemon wants one descriptor that is read and written: a terminal of ours that changes nothing
 * on the way. The command's own is the shim's.
 */
static int make_terminal(void)
{
        int master = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
        struct termios raw;
        int slave, result;

        if (master < 0 || unlockpt(master) < 0)
                return -errno;
        slave = open(ptsname(master), O_RDWR | O_NOCTTY | O_NONBLOCK | O_CLOEXEC);
        if (slave < 0 || tcgetattr(slave, &raw) < 0)
                return -errno;
        cfmakeraw(&raw);
        if (tcsetattr(slave, TCSANOW, &raw) < 0)
                return -errno;
        result = send_descriptor(self.exec->console, master);
        close(master);
        self.pumps[IN].from = self.pumps[OUT].to = slave;
        return result;
}

static int make_stdio(void)
{
        bool terminal = *self.exec->console;
        int result = 0;

        for (unsigned i = 0; i < PUMPS; i++)
                self.pumps[i].from = self.pumps[i].to = -1;
        for (unsigned i = 0; i < PUMPS && !result; i++) {
                if (i != ERRORS || !terminal)
                        result = make_pipe(i);
        }
        if (result < 0 || terminal)
                return result < 0 ? result : make_terminal();
        self.pumps[IN].from = STDIN_FILENO;
        self.pumps[OUT].to = STDOUT_FILENO;
        self.pumps[ERRORS].to = STDERR_FILENO;
        for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++)
                fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
        return 0;
}

static void remove_pipes(void)
{
        for (unsigned i = 0; i < PUMPS; i++) {
                if (*self.paths[i])
                        unlink(self.paths[i]);
        }
}

/* Its other end learns of it. */
static void end_pump(unsigned which)
{
        struct pump *pump = &self.pumps[which];

        if (pump->from < 0)
                return;
        if (which == IN) {
                char memory[SMALL_REQUEST];
                struct text payload = text_in(memory, sizeof(memory));

                close(pump->to);
                name_command(&payload);
                shim_add_number(&payload, CLOSE_STDIN, 1);
                send_request("CloseIO", &payload, NULL, 0);
        } else {
                close(pump->from);
        }
        pump->from = pump->to = -1;
        pump->length = pump->done = 0;
}

/*
 * Nobody reads its output any more. Runc's shim holds a reading end of its pipes itself, so that
 * the command does not learn it by writing. Where our parent is gone nobody could kill it later.
 */
static void tell_unread(void)
{
        int quiet = *self.exec->console ? SIGHUP : SIGPIPE;
        char memory[SMALL_REQUEST];
        struct text payload = text_in(memory, sizeof(memory));

        name_command(&payload);
        shim_add_number(&payload, KILL_SIGNAL,
                        (uint64_t)(getppid() == self.parent ? quiet : SIGKILL));
        send_request("Kill", &payload, NULL, 0);
}

static bool again(ssize_t result)
{
        return result < 0 && (errno == EAGAIN || errno == EINTR);
}

/* Moves what can be moved. */
static void move(unsigned which)
{
        struct pump *pump = &self.pumps[which];
        ssize_t moved;

        if (pump->from < 0)
                return;
        if (!pump->length) {
                moved = read(pump->from, pump->bytes, sizeof(pump->bytes));
                if (again(moved))
                        return;
                if (moved <= 0) {
                        end_pump(which);
                        return;
                }
                pump->length = (size_t)moved;
                pump->done = 0;
        }
        moved = write(pump->to, pump->bytes + pump->done, pump->length);
        if (again(moved))
                return;
        if (moved < 0) {
                end_pump(which);
                if (which != IN)
                        tell_unread();
                return;
        }
        pump->done += (size_t)moved;
        pump->length -= (size_t)moved;
}

/* ---- its life ---- */

static void fill(struct pollfd ready[PUMPS + 1])
{
        for (unsigned i = 0; i < PUMPS; i++) {
                const struct pump *pump = &self.pumps[i];

                ready[i] = (struct pollfd){.fd = pump->length ? pump->to : pump->from,
                                           .events = pump->length ? POLLOUT : POLLIN};
        }
        ready[PUMPS] = (struct pollfd){.fd = self.shim, .events = POLLIN};
}

/* Waits for its end, and carries its stdio meanwhile. Returns its exit code. */
static int carry(void)
{
        struct pollfd ready[PUMPS + 1];

        for (;;) {
                struct shim_answer answer;
                int result;

                fill(ready);
                if (poll(ready, PUMPS + 1, -1) < 0 && errno != EINTR)
                        return KILLED;
                for (unsigned i = 0; i < PUMPS; i++) {
                        if (ready[i].revents)
                                move(i);
                }
                result = shim_receive(self.shim, &self.reader, &answer);
                /* A dead shim's commands are dead too, or soon will be. */
                if (result < 0)
                        return KILLED;
                if (result > 0 && answer.stream == self.wait)
                        return answer.code ? KILLED
                                           : (int)(shim_wait_answer(&answer).exit_code & 0xff);
        }
}

/*
 * What it wrote and the shim has not yet passed on. Its input ends afterwards: runc's shim closes a
 * terminal whose input has ended, with what is still to be read from it.
 */
static void carry_rest(void)
{
        int64_t now = clock_now(CLOCK_MONOTONIC), last = now + LINGER_MAX,
                deadline = now + LINGER_SILENCE;

        while ((self.pumps[OUT].from >= 0 || self.pumps[ERRORS].from >= 0) && now < deadline &&
               now < last) {
                struct pollfd ready[PUMPS + 1];

                fill(ready);
                if (poll(&ready[OUT], PUMPS - OUT, (int)((deadline - now) / 1000000) + 1) > 0) {
                        for (unsigned i = OUT; i < PUMPS; i++) {
                                if (ready[i].revents)
                                        move(i);
                        }
                        deadline = clock_now(CLOCK_MONOTONIC) + LINGER_SILENCE;
                }
                now = clock_now(CLOCK_MONOTONIC);
        }
        end_pump(IN);
}

static int write_pid(uint32_t pid)
{
        char memory[32];
        struct text text = text_in(memory, sizeof(memory));
        int fd = open(self.exec->pid_file, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
        int result = 0;

        if (fd < 0)
                return -errno;
        text_add_number(&text, pid);
        if (write(fd, text.data, text.length) < 0)
                result = -errno;
        close(fd);
        return result;
}

static int start(void)
{
        struct shim_answer answer;
        int result = make_stdio();

        if (result < 0)
                return fail_number("make its pipes: ", result);
        self.shim = shim_connect(self.exec->address);
        if (self.shim < 0)
                return fail_number("connect to the shim: ", self.shim);
        result = expect("ask the shim: ", send_exec(), &answer);
        if (result)
                return result;
        result = expect("start it: ", send_simple("Start"), &answer);
        if (result) {
                send_simple("Delete");
                return result;
        }
        result = write_pid((uint32_t)shim_number(answer.payload, answer.length, TASK_ID));
        if (result < 0)
                return fail_number("write its pid: ", result);
        result = send_simple("Wait");
        self.wait = self.stream;
        return result < 0 ? fail_number("wait for it: ", result) : 0;
}

int shim_exec_run(const struct shim_exec *exec)
{
        int reports = exec_keep_report();
        struct shim_answer answer;
        int code;

        self.exec = exec;
        self.parent = getppid();
        signal(SIGPIPE, SIG_IGN);
        code = start();
        if (!code) {
                if (reports)
                        exec_report_start();
                code = carry();
                carry_rest();
                if (send_simple("Delete") == 0)
                        wait_for_answer(self.stream, &answer);
        }
        remove_pipes();
        return code;
}
