/* The ImageService as the kubelet hears it: what is unknown is no error, names are echoed, sizes
 * are always there. */
#include "test/unit/image_fixture.h"

#include "api/cri/runtime_v1.pb-c.h"
#include "cri/node.h"
#include "cri/services.h"

static struct arena *arena;
static struct error err;

static int call(const char *method, const void *request, void *response)
{
        struct rpc rpc = {.arena = arena, .method = method, .id = "1", .deadline = CLOCK_NEVER};
        for (size_t i = 0; i < image_service.count; i++)
                if (strcmp(image_service.methods[i].name, method) == 0)
                        return image_service.methods[i].handler(&rpc, request, response, &err);
        fail_msg("no handler for %s", method);
        return 0;
}

static void open_service(void)
{
        arena = arena_new();
        node.images = open_store();
        node.containers = table_new();
        node.containers_dir = xstrdup(at("containers"));
        assert_int_equal(mkdir(node.containers_dir, 0700), 0);
        node.sources = sources_new(&(struct sources_options){0});
        struct pull_options options = {
                .store = node.images, .sources = node.sources, .program = at("crisp-image")};
        node.puller = puller_new(&options);
}

static void close_service(void)
{
        while (task_count() > 1)
                task_sleep_until(clock_after(NSEC_PER_MSEC));
        puller_free(take_ptr(node.puller));
        sources_free(take_ptr(node.sources));
        store_free(take_ptr(node.images));
        table_free(take_ptr(node.containers));
        free(take_ptr(node.containers_dir));
        arena_free(take_ptr(arena));
}

static void put(const char *name, unsigned id)
{
        static const unsigned diff_ids[] = {1, 2};
        assert_int_equal(store_image_as(node.images, name, id, diff_ids, 2, fill_with_name, NULL),
                         0);
}

static Runtime__V1__ImageSpec spec(const char *name)
{
        Runtime__V1__ImageSpec out = RUNTIME__V1__IMAGE_SPEC__INIT;
        out.image = (char *)(uintptr_t)name;
        return out;
}

static Runtime__V1__ImageStatusResponse *status_of(const char *name, bool verbose)
{
        Runtime__V1__ImageSpec image = spec(name);
        Runtime__V1__ImageStatusRequest request = RUNTIME__V1__IMAGE_STATUS_REQUEST__INIT;
        Runtime__V1__ImageStatusResponse *response = arena_alloc(arena, sizeof(*response));
        runtime__v1__image_status_response__init(response);
        request.image = &image;
        request.verbose = verbose;
        assert_int_equal(call("ImageStatus", &request, response), 0);
        return response;
}

static void tells_status(void)
{
        open_service();
        put("registry.example/app:1", 0xabcdef);
        AUTO_FREE char *id = image_of(0xabcdef);
        const Runtime__V1__Image *image = status_of("registry.example/app:1", false)->image;
        assert_non_null(image);
        assert_string_equal(image->id, id);
        assert_int_equal(image->n_repo_tags, 1);
        assert_string_equal(image->repo_tags[0], "registry.example/app:1");
        assert_int_equal(image->n_repo_digests, 1);
        assert_int_equal(image->size, 2100);
        assert_non_null(image->uid);
        assert_int_equal(image->uid->value, 1000);
        assert_string_equal(image->username, "");
        assert_null(image->spec); /* the answer is the same for each of its names */
        assert_false(image->pinned);
        assert_non_null(status_of(id, false)->image);
        assert_null(status_of("registry.example/app:2", false)->image);
        assert_null(status_of("Not A Name", false)->image);

        const Runtime__V1__ImageStatusResponse *verbose = status_of(id, true);
        assert_int_equal(verbose->n_info, 1);
        assert_string_equal(verbose->info[0]->key, "info");
        assert_non_null(strstr(verbose->info[0]->value, "{\"imageSpec\":{\"os\":\"linux\""));
        assert_int_equal(status_of(id, false)->n_info, 0);

        Runtime__V1__ImageStatusRequest request = RUNTIME__V1__IMAGE_STATUS_REQUEST__INIT;
        Runtime__V1__ImageStatusResponse response = RUNTIME__V1__IMAGE_STATUS_RESPONSE__INIT;
        assert_true(call("ImageStatus", &request, &response) < 0);
        assert_int_equal(err.code, ERROR_INVALID_ARGUMENT);
        assert_non_null(strstr(err.message, "image.image"));
        close_service();
}

static size_t list(const char *filter)
{
        Runtime__V1__ImageSpec image = spec(filter);
        Runtime__V1__ImageFilter by = RUNTIME__V1__IMAGE_FILTER__INIT;
        Runtime__V1__ListImagesRequest request = RUNTIME__V1__LIST_IMAGES_REQUEST__INIT;
        Runtime__V1__ListImagesResponse response = RUNTIME__V1__LIST_IMAGES_RESPONSE__INIT;
        by.image = &image;
        request.filter = filter ? &by : NULL;
        assert_int_equal(call("ListImages", &request, &response), 0);
        for (size_t i = 0; i < response.n_images; i++)
                assert_non_null(response.images[i]->id);
        return response.n_images;
}

static void lists(void)
{
        open_service();
        assert_int_equal(list(NULL), 0);
        put("app:1", 1);
        put("app:2", 2);
        put("other", 2);
        assert_int_equal(list(NULL), 2);
        assert_int_equal(list(""), 2);
        assert_int_equal(list("app:1"), 1);
        assert_int_equal(list("docker.io/library/other:latest"), 1);
        assert_int_equal(list("unknown"), 0);
        close_service();
}

static int remove_image(const char *name)
{
        Runtime__V1__ImageSpec image = spec(name);
        Runtime__V1__RemoveImageRequest request = RUNTIME__V1__REMOVE_IMAGE_REQUEST__INIT;
        Runtime__V1__RemoveImageResponse response = RUNTIME__V1__REMOVE_IMAGE_RESPONSE__INIT;
        request.image = &image;
        return call("RemoveImage", &request, &response);
}

static void removes(void)
{
        open_service();
        put("app:1", 1);
        put("app:2", 1);
        assert_int_equal(remove_image("unknown"), 0);
        assert_int_equal(remove_image("app:1"), 0);
        assert_int_equal(list(NULL), 0);
        assert_int_equal(remove_image("app:1"), 0);
        assert_true(remove_image("") < 0);
        assert_int_equal(err.code, ERROR_INVALID_ARGUMENT);
        close_service();
}

static void check_usage(const Runtime__V1__FilesystemUsage *usage, const char *directory)
{
        assert_string_equal(usage->fs_id->mountpoint, directory);
        assert_true(usage->timestamp > 0);
        assert_non_null(usage->used_bytes);
        assert_non_null(usage->inodes_used);
}

static void measures(void)
{
        Runtime__V1__ImageFsInfoRequest request = RUNTIME__V1__IMAGE_FS_INFO_REQUEST__INIT;
        Runtime__V1__ImageFsInfoResponse response = RUNTIME__V1__IMAGE_FS_INFO_RESPONSE__INIT;
        open_service();
        for (int i = 0; i < 2; i++) {
                assert_int_equal(call("ImageFsInfo", &request, &response), 0);
                assert_int_equal(response.n_image_filesystems, 1);
                assert_int_equal(response.n_container_filesystems, 1);
                check_usage(response.image_filesystems[0], at("images"));
                check_usage(response.container_filesystems[0], node.containers_dir);
                assert_int_equal(response.image_filesystems[0]->used_bytes->value, i * 2000);
                put("app", 1);
        }
        close_service();
}

static int pull(const char *name, Runtime__V1__AuthConfig *auth,
                Runtime__V1__PullImageResponse *response)
{
        Runtime__V1__ImageSpec image = spec(name);
        Runtime__V1__PullImageRequest request = RUNTIME__V1__PULL_IMAGE_REQUEST__INIT;
        request.image = &image;
        request.auth = auth;
        return call("PullImage", &request, response);
}

/* The registry refuses; the password goes to crisp-image and stays nowhere else. */
static void pulls(void)
{
        Runtime__V1__PullImageResponse response = RUNTIME__V1__PULL_IMAGE_RESPONSE__INIT;
        Runtime__V1__AuthConfig auth = RUNTIME__V1__AUTH_CONFIG__INIT;
        char user[] = "me", password[] = "open sesame";
        open_service();
        AUTO_FREE char *script = xprintf(
                "#!/bin/sh\nread -r request\nprintf '%%s' \"$request\" >%s/request\n"
                "echo "
                "'{\"error\":{\"code\":2,\"word\":\"RegistryUnavailable\",\"message\":\"503\"}}'\n"
                "exit 1\n",
                fixture_root);
        write_file(at("crisp-image"), script);
        assert_int_equal(chmod(at("crisp-image"), 0755), 0);
        auth.username = user;
        auth.password = password;
        log_set_level((enum log_level)(LOG_LEVEL_ERROR + 1));
        assert_true(pull("registry.example/app:1", &auth, &response) < 0);
        assert_int_equal(err.code, ERROR_UNKNOWN);
        char text[ERROR_MESSAGE_MAX];
        error_render(&err, text, sizeof(text));
        assert_string_equal(text, "RegistryUnavailable: pull registry.example/app:1: 503");
        AUTO_BUFFER struct buffer request = BUFFER_INIT;
        assert_int_equal(file_read(at("request"), 1 << 20, &request, NULL), 0);
        assert_non_null(strstr(request.data, "open sesame"));
        for (size_t i = 0; i < sizeof(password); i++)
                assert_int_equal(password[i], 0);

        assert_true(pull("Not A Name", NULL, &response) < 0);
        assert_int_equal(err.code, ERROR_INVALID_ARGUMENT);
        assert_true(pull("", NULL, &response) < 0);
        assert_int_equal(err.code, ERROR_INVALID_ARGUMENT);
        close_service();
}

static bool is_pinned_by(const char *pattern)
{
        char *patterns[] = {(char *)(uintptr_t) "other.example/x", (char *)(uintptr_t)pattern,
                            NULL};
        node.pinned_images = patterns;
        bool pinned = status_of("registry.example/base/app:1", false)->image->pinned;
        node.pinned_images = NULL;
        return pinned;
}

static void pins(void)
{
        open_service();
        put("registry.example/base/app:1", 7);
        put("busybox", 8);
        AUTO_FREE char *id = image_of(7);
        AUTO_FREE char *manifest = manifest_of(7);
        AUTO_FREE char *digested = xprintf("registry.example/base/app@%s", manifest);
        assert_true(is_pinned_by("registry.example/base/app:1"));
        assert_true(is_pinned_by("registry.example/base/*"));
        assert_true(is_pinned_by("*/app:1"));
        assert_true(is_pinned_by("*base*ap*"));
        assert_true(is_pinned_by("*"));
        assert_true(is_pinned_by(digested));
        assert_true(is_pinned_by(id));
        assert_false(is_pinned_by("registry.example/base/app"));
        assert_false(is_pinned_by("registry.example/base/"));
        assert_false(is_pinned_by("base*"));
        assert_false(is_pinned_by("*base"));
        assert_false(is_pinned_by("busybox"));
        close_service();
}

#define TASK_TEST(name)                                                                            \
        static void test_##name(void **state)                                                      \
        {                                                                                          \
                (void)state;                                                                       \
                in_task(name);                                                                     \
        }

TASK_TEST(tells_status)
TASK_TEST(lists)
TASK_TEST(removes)
TASK_TEST(measures)
TASK_TEST(pins)
TASK_TEST(pulls)

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_tells_status), cmocka_unit_test(test_lists),
                cmocka_unit_test(test_removes),      cmocka_unit_test(test_measures),
                cmocka_unit_test(test_pulls),        cmocka_unit_test(test_pins),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
