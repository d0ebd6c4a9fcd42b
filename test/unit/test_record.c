/* Records: whole or not at all, read back the same, set aside where they cannot be read. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "api/cri/runtime_v1.pb-c.h"
#include "base/file.h"
#include "base/id.h"
#include "base/json.h"
#include "base/memory.h"
#include "base/task.h"
#include "cri/record.h"

static char directory[] = "/tmp/crisp-test-record-XXXXXX";
static char id[ID_LENGTH + 1];

static int setup(void **state)
{
        (void)state;
        strcpy(directory + strlen(directory) - 6, "XXXXXX");
        id_generate(id);
        return mkdtemp(directory) ? 0 : -1;
}

static int teardown(void **state)
{
        (void)state;
        return file_remove_tree(directory, NULL);
}

static void (*body)(void);

static void run_body(void *argument)
{
        (void)argument;
        body();
        loop_stop();
}

static void in_task(void (*function)(void))
{
        body = function;
        assert_int_equal(loop_init(2, NULL), 0);
        task_start("test", run_body, NULL);
        loop_run();
        loop_fini();
}

static Runtime__V1__PodSandboxConfig__LabelsEntry entries[2];
static Runtime__V1__PodSandboxConfig__LabelsEntry *labels[2];
static Runtime__V1__PodSandboxMetadata metadata;
static Runtime__V1__PodSandboxConfig config;
static Runtime__V1__RunPodSandboxRequest request;

static const ProtobufCMessage *make_request(const char *name, bool swapped)
{
        for (int i = 0; i < 2; i++) {
                runtime__v1__pod_sandbox_config__labels_entry__init(&entries[i]);
                entries[i].key = (char *)(i ? "b" : "a");
                entries[i].value = (char *)(i ? "2" : "1");
                labels[i] = &entries[swapped ? 1 - i : i];
        }
        runtime__v1__pod_sandbox_metadata__init(&metadata);
        metadata.name = (char *)name;
        runtime__v1__pod_sandbox_config__init(&config);
        config.metadata = &metadata;
        config.n_labels = 2;
        config.labels = labels;
        runtime__v1__run_pod_sandbox_request__init(&request);
        request.config = &config;
        return &request.base;
}

static int load(struct arena *arena, ProtobufCMessage **message, json_t **record, struct error *err)
{
        return record_load(directory, id, &runtime__v1__run_pod_sandbox_request__descriptor, arena,
                           message, record, err);
}

static void round_trip(void)
{
        struct error err;
        AUTO_ARENA struct arena *arena = arena_new();
        AUTO_JSON json_t *record = json_pack("{s:s}", "phase", "creating");
        AUTO_JSON json_t *back = NULL;
        AUTO_JSON json_t *second = NULL;
        ProtobufCMessage *message;
        assert_int_equal(record_create(directory, id, make_request("p", false), record, &err), 0);
        assert_int_equal(load(arena, &message, &back, &err), 0);
        assert_true(record_same_message(message, make_request("p", false)));
        assert_string_equal(json_string_value(json_object_get(back, "phase")), "creating");
        json_object_set_new(record, "phase", json_string("ready"));
        assert_int_equal(record_replace(directory, id, record, true, &err), 0);
        assert_int_equal(load(arena, &message, &second, &err), 0);
        assert_string_equal(json_string_value(json_object_get(second, "phase")), "ready");
        /* The same id again is refused and harms nothing. */
        assert_true(record_create(directory, id, make_request("q", false), record, &err) < 0);
        assert_int_equal(record_remove(directory, id, &err), 0);
        assert_int_equal(record_remove(directory, id, &err), 0);
        char **ids, **leftovers;
        assert_int_equal(record_list(directory, &ids, &leftovers, &err), 0);
        assert_null(ids);
        assert_null(leftovers);
}

static void test_round_trip(void **state)
{
        (void)state;
        in_task(round_trip);
}

static void test_same_message(void **state)
{
        (void)state;
        AUTO_ARENA struct arena *arena = arena_new();
        ProtobufCMessage *copy = record_copy_message(arena, make_request("p", false));
        assert_true(record_same_message(copy, make_request("p", false)));
        assert_true(record_same_message(copy, make_request("p", true))); /* a map has no order */
        assert_false(record_same_message(copy, make_request("q", false)));
        make_request("p", false);
        entries[1].value = (char *)"3";
        assert_false(record_same_message(copy, &request.base));
        make_request("p", false);
        config.n_labels = 1;
        assert_false(record_same_message(copy, &request.base));
        make_request("p", false);
        config.metadata = NULL;
        assert_false(record_same_message(copy, &request.base));
        make_request("p", false);
        request.runtime_handler = (char *)"runc";
        assert_false(record_same_message(copy, &request.base));
}

static void write_file(const char *name, const char *text)
{
        AUTO_FREE char *folder = xprintf("%s/%s", directory, id);
        AUTO_FREE char *path = xprintf("%s/%s", folder, name);
        assert_int_equal(file_make_directories(folder, 0700, NULL), 0);
        assert_int_equal(file_replace_volatile(path, text, strlen(text), 0600, NULL), 0);
}

static void expect_unreadable(enum error_code code)
{
        struct error err;
        AUTO_ARENA struct arena *arena = arena_new();
        AUTO_JSON json_t *record = NULL;
        ProtobufCMessage *message;
        assert_true(load(arena, &message, &record, &err) < 0);
        assert_int_equal(err.code, code);
}

static void test_damage_is_told(void **state)
{
        (void)state;
        expect_unreadable(ERROR_NOT_FOUND);
        write_file("record.json", "{\"version\":1}");
        expect_unreadable(ERROR_NOT_FOUND); /* config.pb */
        write_file("config.pb", "\xff\xff\xff\xff");
        expect_unreadable(ERROR_DATA_LOSS);
        write_file("config.pb", "");
        write_file("record.json", "{\"version\":");
        expect_unreadable(ERROR_DATA_LOSS);
        write_file("record.json", "{\"version\":2}"); /* a newer crisp's */
        expect_unreadable(ERROR_DATA_LOSS);
        write_file("record.json", "{}");
        expect_unreadable(ERROR_DATA_LOSS);
        write_file("record.json", ""); /* an intent, and then the power went */
        expect_unreadable(ERROR_NOT_FOUND);
}

static void test_set_aside_and_leftovers(void **state)
{
        (void)state;
        struct error err;
        error_set(&err, ERROR_DATA_LOSS, "it is damaged");
        write_file("record.json", "x");
        AUTO_FREE char *half = xprintf("%s/.new-%s", directory, id);
        assert_int_equal(file_make_directories(half, 0700, &err), 0);
        error_set(&err, ERROR_DATA_LOSS, "it is damaged");
        record_set_aside(directory, id, &err);
        char **ids, **leftovers;
        assert_int_equal(record_list(directory, &ids, &leftovers, &err), 0);
        assert_null(ids);
        assert_int_equal(strv_length(leftovers), 1);
        strv_free(leftovers);
        AUTO_FREE char *reason = xprintf("%s/aside-%s/reason", directory, id);
        AUTO_BUFFER struct buffer text = BUFFER_INIT;
        assert_int_equal(file_read(reason, 100, &text, &err), 0);
        assert_string_equal(text.data, "it is damaged");
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(test_round_trip, setup, teardown),
                cmocka_unit_test_setup_teardown(test_same_message, setup, teardown),
                cmocka_unit_test_setup_teardown(test_damage_is_told, setup, teardown),
                cmocka_unit_test_setup_teardown(test_set_aside_and_leftovers, setup, teardown),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
