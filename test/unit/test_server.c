/* How a server answers: what it is asked, and what it cannot be. */
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "test/unit/server_fixture.h"

/* ---- the handlers ---- */

static int handle_fail(struct rpc *rpc, const void *request, void *response, struct error *err)
{
        char text[1600];

        memset(text, 0xff, sizeof text - 1);
        text[sizeof text - 1] = '\0';
        return error_set(err, ERROR_FAILED_PRECONDITION, "it is so: %s", text);
}

static int handle_fail_word(struct rpc *rpc, const void *request, void *response, struct error *err)
{
        error_set(err, ERROR_UNAVAILABLE, "registry.example: 503");
        return error_word(err, "RegistryUnavailable");
}

static int handle_fail_number(struct rpc *rpc, const void *request, void *response,
                              struct error *err)
{
        return -ENOENT;
}

static int handle_big(struct rpc *rpc, const void *request, void *response, struct error *err)
{
        Runtime__V1__ExecSyncResponse *output = response;

        output->stdout.len = 2 * MESSAGE_MAX;
        output->stdout.data = arena_alloc(rpc->arena, output->stdout.len);
        return 0;
}

static const struct rpc_method methods[] = {
        {.name = "Version", .handler = handle_version},
        {.name = "RunPodSandbox", .handler = handle_fail},
        {.name = "StopPodSandbox", .handler = handle_fail},
        {.name = "RemovePodSandbox", .handler = handle_fail_word},
        {.name = "ContainerStatus", .handler = handle_fail_number},
        {.name = "ExecSync", .handler = handle_big},
};

static const struct rpc_service services[] = {
        {&runtime__v1__runtime_service__descriptor, methods, sizeof methods / sizeof *methods},
        {&runtime__v1__image_service__descriptor, NULL, 0},
};

/* ---- the tests ---- */

static void test_answer(void **state)
{
        struct client_call call;

        ask(&call, RUNTIME "Version", "\x0a\x02v1", 4);
        assert_int_equal(call.status, GRPC_STATUS_OK);
        Runtime__V1__VersionResponse *reply =
                unpack_reply(&call, &runtime__v1__version_response__descriptor);
        assert_string_equal(reply->version, "you said v1");
        assert_string_equal(reply->runtime_name, "crisp" FFFD "!");
        protobuf_c_message_free_unpacked(&reply->base, NULL);
        assert_true(atomic_load(&seen_deadline) == CLOCK_NEVER);
        end(&call);

        /* The empty message is one, too. */
        ask(&call, RUNTIME "Version", "", 0);
        assert_int_equal(call.status, GRPC_STATUS_OK);
        end(&call);
}

static void test_socket(void **state)
{
        struct stat status;

        assert_int_equal(stat(socket_path, &status), 0);
        assert_true(S_ISSOCK(status.st_mode));
        assert_int_equal(status.st_mode & 07777, 0660);
}

static void test_unknown_methods(void **state)
{
        static const char *const unknown[] = {
                RUNTIME "Status",
                RUNTIME "Nonsense",
                "/runtime.v1.ImageService/PullImage",
                "/runtime.v1alpha2.RuntimeService/Version",
        };
        for (size_t i = 0; i < sizeof unknown / sizeof *unknown; i++) {
                struct client_call call;
                ask(&call, unknown[i], "", 0);
                assert_int_equal(call.status, GRPC_STATUS_UNIMPLEMENTED);
                AUTO_FREE char *text = details(&call);
                assert_non_null(strstr(text, unknown[i]));
                end(&call);
        }
}

static void test_malformed(void **state)
{
        struct client_call call;

        ask(&call, RUNTIME "Version", "\x0a\x7fshort", 7);
        assert_int_equal(call.status, GRPC_STATUS_INVALID_ARGUMENT);
        AUTO_FREE char *text = details(&call);
        assert_non_null(strstr(text, "runtime.v1.VersionRequest"));
        end(&call);

        ask(&call, RUNTIME "Version", NULL, 0);
        assert_int_equal(call.status, GRPC_STATUS_INVALID_ARGUMENT);
        end(&call);
        assert_version_answers();
}

static void test_errors(void **state)
{
        struct client_call call;

        ask(&call, RUNTIME "StopPodSandbox", "", 0);
        assert_int_equal(call.status, GRPC_STATUS_FAILED_PRECONDITION);
        AUTO_FREE char *text = details(&call);
        assert_non_null(strstr(text, "it is so: " FFFD FFFD));
        assert_int_equal(strlen(text) % 3, strlen("it is so: ") % 3);
        assert_true(strlen(text) < 2048);
        end(&call);

        ask(&call, RUNTIME "RemovePodSandbox", "", 0);
        assert_int_equal(call.status, GRPC_STATUS_UNKNOWN);
        AUTO_FREE char *word = details(&call);
        assert_string_equal(word, "RegistryUnavailable: registry.example: 503");
        end(&call);

        ask(&call, RUNTIME "ContainerStatus", "", 0);
        assert_int_equal(call.status, GRPC_STATUS_NOT_FOUND);
        end(&call);
}

static void test_too_long(void **state)
{
        struct client_call call;
        AUTO_FREE char *big = xcalloc(1, MESSAGE_MAX + 16);

        ask(&call, RUNTIME "Version", big, MESSAGE_MAX + 16);
        assert_int_equal(call.status, GRPC_STATUS_RESOURCE_EXHAUSTED);
        end(&call);

        ask(&call, RUNTIME "ExecSync", "", 0);
        assert_int_equal(call.status, GRPC_STATUS_RESOURCE_EXHAUSTED);
        AUTO_FREE char *text = details(&call);
        assert_non_null(strstr(text, "ExecSync"));
        end(&call);
        assert_version_answers();
}

/* Field 1, an empty message, again and again: two bytes each, a structure each. */
static void test_blown_up(void **state)
{
        struct client_call call;
        size_t length = MESSAGE_MAX - 8;
        AUTO_FREE char *bytes = xcalloc(1, length);
        /* RunPodSandboxRequest.config = {mounts...}: config (1) is one field with labels (6) in it.
         */
        size_t at = 0;
        unsigned inner = (unsigned)(length - 5) & ~1u;
        bytes[at++] = 0x0a;
        for (unsigned left = inner; left; left >>= 7)
                bytes[at++] = (char)((left & 0x7f) | (left > 0x7f ? 0x80 : 0));
        for (unsigned i = 0; i < inner; i += 2)
                bytes[at + i] = 0x32;

        ask(&call, RUNTIME "RunPodSandbox", bytes, at + inner);
        assert_int_equal(call.status, GRPC_STATUS_RESOURCE_EXHAUSTED);
        AUTO_FREE char *text = details(&call);
        assert_non_null(strstr(text, "memory"));
        end(&call);
}

/* A client that goes away in the middle of anything, without a word. */
static void test_connection_lost(void **state)
{
        struct sockaddr_un address = {.sun_family = AF_UNIX};

        strcpy(address.sun_path, socket_path);
        for (int i = 0; i < 20; i++) {
                int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
                assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof address), 0);
                assert_int_equal(
                        write(fd, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\nnonsense", (size_t)i + 10),
                        i + 10);
                close(fd);
        }
        assert_version_answers();
}

static void test_bad_path(void **state)
{
        static const char *const paths[] = {
                "relative.sock",
                "unix://relative.sock",
                "/no/such/folder/x.sock",
                "/tmp/a-path-that-is-much-longer-than-a-unix-socket-may-have/"
                "a-path-that-is-much-longer-than-a-unix-socket-may-have/x.sock",
        };
        for (size_t i = 0; i < sizeof paths / sizeof *paths; i++) {
                struct server_options options = {
                        .listen = paths[i], .services = services, .service_count = 1};
                struct server *none = NULL;
                struct error err = {0};

                assert_true(server_start(&options, &none, &err) < 0);
                assert_null(none);
                assert_non_null(strstr(err.message, paths[i]));
        }
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                server_test(test_answer),          server_test(test_socket),
                server_test(test_unknown_methods), server_test(test_malformed),
                server_test(test_errors),          server_test(test_too_long),
                server_test(test_blown_up),        server_test(test_connection_lost),
                server_test(test_bad_path),
        };
        return cmocka_run_group_tests(tests, setup_all, teardown_all);
}
