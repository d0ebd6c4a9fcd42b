#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "api/cri/runtime_v1.pb-c.h"
#include "cri/utf8.h"

#define BAD  "\xff"
#define FFFD "\xef\xbf\xbd"

static void test_valid(void **state)
{
        static const char *const good[] = {
                "",
                "a",
                "plain ascii, longer than a word",
                "gr\xc3\xbc\xc3\x9f dich",
                "\xe2\x82\xac",
                "\xf0\x9f\x90\x8b",
                "\xed\x9f\xbf",
                "\xee\x80\x80",
                "\xf4\x8f\xbf\xbf",
                "12345678\xc2\x80",
                "1234567\xc2\x80"
                "12345678",
        };
        (void)state;
        for (size_t i = 0; i < sizeof good / sizeof *good; i++)
                assert_int_equal(utf8_valid(good[i], strlen(good[i])), strlen(good[i]));
}

static void test_invalid(void **state)
{
        static const struct {
                const char *text;
                size_t valid;
        } bad[] = {
                {"\x80", 0},             /* a continuation alone */
                {"ab\xff", 2},           /* no first byte of anything */
                {"\xc0\xaf", 0},         /* overlong / */
                {"\xe0\x80\xaf", 0},     /* overlong */
                {"\xf0\x80\x80\xaf", 0}, /* overlong */
                {"\xed\xa0\x80", 0},     /* a surrogate */
                {"\xf4\x90\x80\x80", 0}, /* past the last character */
                {"\xf5\x80\x80\x80", 0},
                {"a\xe2\x82", 1}, /* cut */
                {"\xe2\x28\xa1", 0},
                {"12345678\xfe", 8},
        };
        (void)state;
        for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
                assert_int_equal(utf8_valid(bad[i].text, strlen(bad[i].text)), bad[i].valid);
}

static void test_clean_text(void **state)
{
        AUTO_ARENA struct arena *arena = arena_new();
        const char *good = "gr\xc3\xbcn";

        (void)state;
        assert_null(utf8_clean(arena, NULL));
        assert_ptr_equal(utf8_clean(arena, good), good);
        assert_int_equal(arena_used(arena), 0);
        assert_string_equal(utf8_clean(arena, "a" BAD "b"), "a" FFFD "b");
        assert_string_equal(utf8_clean(arena, BAD), FFFD);
        assert_string_equal(utf8_clean(arena, BAD BAD "x" BAD), FFFD FFFD "x" FFFD);
        assert_string_equal(utf8_clean(arena, "12345678\xe2\x82"), "12345678" FFFD FFFD);
        assert_string_equal(utf8_clean(arena, "\xc3\xbc\xc3"), "\xc3\xbc" FFFD);
}

static void test_message_untouched(void **state)
{
        AUTO_ARENA struct arena *arena = arena_new();
        Runtime__V1__ContainerMetadata metadata = RUNTIME__V1__CONTAINER_METADATA__INIT;
        Runtime__V1__Container container = RUNTIME__V1__CONTAINER__INIT;

        (void)state;
        metadata.name = (char *)"web";
        container.metadata = &metadata;
        container.id = NULL; /* never set */
        assert_ptr_equal(utf8_clean_message(arena, &container.base), &container.base);
        assert_int_equal(arena_used(arena), 0);
}

static void test_message_copied_where_it_changes(void **state)
{
        AUTO_ARENA struct arena *arena = arena_new();
        Runtime__V1__ContainerMetadata metadata[2] = {RUNTIME__V1__CONTAINER_METADATA__INIT,
                                                      RUNTIME__V1__CONTAINER_METADATA__INIT};
        Runtime__V1__Container containers[2] = {RUNTIME__V1__CONTAINER__INIT,
                                                RUNTIME__V1__CONTAINER__INIT};
        Runtime__V1__Container__LabelsEntry label = RUNTIME__V1__CONTAINER__LABELS_ENTRY__INIT;
        Runtime__V1__Container__LabelsEntry *labels[] = {&label};
        Runtime__V1__Container *list[] = {&containers[0], &containers[1]};
        Runtime__V1__ListContainersResponse response = RUNTIME__V1__LIST_CONTAINERS_RESPONSE__INIT;

        (void)state;
        metadata[0].name = (char *)"good";
        metadata[1].name = (char *)"bad" BAD;
        containers[0].metadata = &metadata[0];
        containers[1].metadata = &metadata[1];
        label.key = (char *)"k" BAD;
        label.value = (char *)"v";
        containers[1].n_labels = 1;
        containers[1].labels = labels;
        response.n_containers = 2;
        response.containers = list;

        const Runtime__V1__ListContainersResponse *clean =
                (const void *)utf8_clean_message(arena, &response.base);
        assert_ptr_not_equal(clean, &response);
        assert_ptr_equal(clean->containers[0], &containers[0]);
        assert_string_equal(clean->containers[1]->metadata->name, "bad" FFFD);
        assert_string_equal(clean->containers[1]->labels[0]->key, "k" FFFD);
        assert_ptr_equal(clean->containers[1]->labels[0]->value, label.value);
        /* What was given is as it was: it may belong to the store. */
        assert_string_equal(metadata[1].name, "bad" BAD);
        assert_ptr_equal(list[1], &containers[1]);
        assert_ptr_equal(labels[0], &label);
        assert_ptr_equal(containers[1].metadata, &metadata[1]);
}

static void test_strings_and_bytes(void **state)
{
        AUTO_ARENA struct arena *arena = arena_new();
        Runtime__V1__Image image = RUNTIME__V1__IMAGE__INIT;
        char *tags[] = {(char *)"a", (char *)BAD, (char *)"c"};
        Runtime__V1__ExecSyncResponse output = RUNTIME__V1__EXEC_SYNC_RESPONSE__INIT;
        uint8_t raw[] = {0xff, 0x00, 0xfe};

        (void)state;
        image.n_repo_tags = 3;
        image.repo_tags = tags;
        const Runtime__V1__Image *clean = (const void *)utf8_clean_message(arena, &image.base);
        assert_ptr_equal(clean->repo_tags[0], tags[0]);
        assert_string_equal(clean->repo_tags[1], FFFD);
        assert_ptr_equal(clean->repo_tags[2], tags[2]);
        assert_string_equal(tags[1], BAD);

        output.stdout = (ProtobufCBinaryData){sizeof raw, raw};
        assert_ptr_equal(utf8_clean_message(arena, &output.base), &output.base);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_valid),
                cmocka_unit_test(test_invalid),
                cmocka_unit_test(test_clean_text),
                cmocka_unit_test(test_message_untouched),
                cmocka_unit_test(test_message_copied_where_it_changes),
                cmocka_unit_test(test_strings_and_bytes),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
