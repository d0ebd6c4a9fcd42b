/* Pulls under a policy, with programs in crisp-image's and crisp-trust's place that lie, fail and
 * die. */
#include "test/unit/image_fixture.h"

#include "base/sha256.h"
#include "image/pull.h"
#include "image/trust.h"

#define HEX16  "0123456789abcdef"
#define LAYER  "sha256:" HEX16 HEX16 HEX16 HEX16
#define NAME   "registry.example/app:1"
#define ACCEPT "cat >>$0.asked; echo '{\"accepted\":true}'"
#define POLICY                                                                                     \
        "{\"default\":[{\"type\":\"signedBy\",\"keyType\":\"GPGKeys\",\"keyData\":\"aGk=\"}]}"

static struct store *store;
static struct sources *sources;
static struct trust *trust;
static char manifest[128], config[128]; /* digests */

static void write_program(const char *name, const char *script)
{
        AUTO_FREE char *text = xprintf("#!/bin/sh\n%s\n", script);
        write_file(at("%s", name), text);
        assert_int_equal(chmod(at("%s", name), 0755), 0);
}

static void set_digest(char out[128], const char *text)
{
        char hex[SHA256_HEX + 1];
        sha256_hex(text, strlen(text), hex);
        snprintf(out, 128, "sha256:%s", hex);
}

/* Plays crisp-image: tells of signatures, waits for a word, brings the image. Each part can be
 * another one. */
struct play {
        const char *told;     /* the digest that signatures are told of; null: none are */
        const char *config;   /* what is staged as the image's configuration */
        const char *manifest; /* null: the one that was promised */
        const char *promised; /* the digest in the result; null: the right one */
};

#define CONFIG_TEXT "{\"os\":\"linux\",\"rootfs\":{\"diff_ids\":[\"" LAYER "\"]}}"

static void play(const struct play *play)
{
        set_digest(config, CONFIG_TEXT);
        AUTO_FREE char *text = xprintf("{\"config\":{\"digest\":\"%s\"}}", config);
        set_digest(manifest, text);
        const char *told = play->told && !play->told[0] ? manifest : play->told;
        AUTO_FREE char *tell =
                told ? xprintf("echo '{\"signatures\":{\"manifest_digest\":\"%s\",\"list\":[{"
                               "\"kind\":\"simple\",\"bytes\":\"aGk=\",\"source\":\"here\"}]}}'\n"
                               "read -r word || exit 3\n",
                               told)
                     : xstrdup("");
        AUTO_FREE char *script = xprintf(
                "read -r request\n"
                "staging=$(printf '%%s' \"$request\" | sed "
                "'s/.*\"staging\":\"\\([^\"]*\\)\".*/\\1/')\n"
                "%s"
                "touch %s/went-on\n"
                "mkdir -p $staging/layers/one\n"
                "echo hello >$staging/layers/one/file\n"
                "printf '%%s' '%s' >$staging/config.json\n"
                "printf '%%s' '%s' >$staging/manifest.json\n"
                "echo '{\"result\":{\"manifest_digest\":\"%s\",\"manifest_media_type\":\"x\","
                "\"repo_digest\":\"%s\",\"config_digest\":\"%s\",\"config_size\":5,"
                "\"total_size\":100,\"layers\":[{\"diff_id\":\"" LAYER "\",\"digest\":\"" LAYER
                "\",\"size\":10,\"directory\":\"one\",\"unpacked\":6,\"entries\":1}]}}'\n",
                tell, fixture_root, play->config ? play->config : CONFIG_TEXT,
                play->manifest ? play->manifest : text, play->promised ? play->promised : manifest,
                manifest, config);
        write_program("crisp-image", script);
}

static void open_all(void)
{
        store = open_store();
        sources = sources_new(&(struct sources_options){0});
        trust = trust_new(&(struct trust_options){.policy = at("policy.json"),
                                                  .policy_dir = at("policies"),
                                                  .registries_d = at("registries.d"),
                                                  .program = at("crisp-trust")});
        write_file(at("policy.json"), POLICY);
}

static void close_all(void)
{
        while (task_count() > 1)
                task_sleep_until(clock_after(NSEC_PER_MSEC));
        trust_free(trust);
        sources_free(sources);
        store_free(store);
}

static int pull(struct error *err)
{
        static char *environment[] = {(char *)(uintptr_t) "PATH=/usr/bin:/bin", NULL};
        static char *auth_files[1];
        AUTO_FREE char *id = NULL;
        struct pull_options options = {.store = store,
                                       .sources = sources,
                                       .trust = trust,
                                       .credentials = {.auth_files = auth_files},
                                       .program = at("crisp-image"),
                                       .environment = environment};
        struct puller *puller = puller_new(&options);
        struct pull_request request = {.reference = NAME};
        int r = pull_image(puller, &request, &id, err);
        puller_free(puller);
        return r;
}

static void refuses(const struct play *how, const char *said, bool word)
{
        struct error err;
        play(how);
        unlink(at("went-on"));
        if (pull(&err) == 0)
                fail_msg("not refused: %s", said);
        if (!strstr(err.message, said))
                fail_msg("said \"%s\" instead of \"%s\"", err.message, said);
        assert_string_equal(err.word, word ? TRUST_WORD : "");
        assert_null(store_find(store, NAME));
}

/* ---- what crisp-image may do ---- */

static void a_verified_image_comes_and_keeps_its_signatures(void)
{
        struct error err;
        open_all();
        write_program("crisp-trust", ACCEPT);
        play(&(struct play){.told = ""});
        if (pull(&err) < 0)
                fail_msg("%s", err.message);
        AUTO_FREE char *kept = store_signatures_path(store, manifest);
        AUTO_BUFFER struct buffer text = BUFFER_INIT;
        assert_int_equal(file_read(kept, 1 << 20, &text, NULL), 0);
        assert_non_null(strstr(text.data, "aGk="));
        /* The same question is not asked again, another one is. */
        unlink(at("crisp-trust.asked"));
        assert_int_equal(trust_check_image(trust, store, config, NAME, "space", &err), 0);
        assert_false(exists(at("crisp-trust.asked")));
        write_file(at("policy.json"), "{\"default\":[{\"type\":\"signedBy\",\"keyType\":"
                                      "\"GPGKeys\",\"keyData\":\"aG8=\"}]}");
        assert_int_equal(trust_check_image(trust, store, config, NAME, "space", &err), 0);
        assert_true(exists(at("crisp-trust.asked")));
        close_all();
}

static void crisp_image_must_tell_of_signatures(void)
{
        open_all();
        write_program("crisp-trust", ACCEPT);
        refuses(&(struct play){0}, "without having told of signatures", false);
        close_all();
}

static void crisp_image_must_not_tell_unasked(void)
{
        open_all();
        write_program("crisp-trust", ACCEPT);
        unlink(at("policy.json"));
        refuses(&(struct play){.told = ""}, "nobody asked for", false);
        close_all();
}

/* Its configuration is its manifest. */
static void a_verified_artifact(void)
{
        static const char text[] = "{\"artifactType\":\"x\"}";
        struct error err = {0};
        char digest[128];
        set_digest(digest, text);
        assert_int_equal(mkdir(at("artifact"), 0700), 0);
        write_file(at("artifact/manifest.json"), text);
        write_file(at("artifact/config.json"), text);
        if (trust_check_staged(at("artifact"), digest, digest, &err) < 0)
                fail_msg("%s", err.message);
        write_file(at("artifact/config.json"), "{}");
        assert_true(trust_check_staged(at("artifact"), digest, digest, &err) < 0);
}

static void another_image_than_was_verified(void)
{
        static const char other[] =
                "{\"os\":\"linux\",\"more\":1,\"rootfs\":{\"diff_ids\":[\"" LAYER "\"]}}";
        open_all();
        write_program("crisp-trust", ACCEPT);
        refuses(&(struct play){.told = LAYER}, "another image than was verified", false);
        refuses(&(struct play){.told = "", .promised = LAYER}, "another image", false);
        refuses(&(struct play){.told = "", .manifest = "{}"}, "another image", false);
        refuses(&(struct play){.told = "", .config = other}, "another image", false);
        AUTO_FREE char *same_config = xprintf("{\"more\":1,\"config\":\"%s\"}", config);
        refuses(&(struct play){.told = "", .manifest = same_config}, "another image", false);
        close_all();
}

struct asker {
        struct puller *puller;
        const char *space;
        int result;
        struct error err;
        bool done;
};

static void ask(void *argument)
{
        struct asker *asker = argument;
        AUTO_FREE char *id = NULL;
        struct pull_request request = {.reference = NAME, .namespace_ = asker->space};
        asker->result = pull_image(asker->puller, &request, &id, &asker->err);
        asker->done = true;
}

/* Who needs signatures does not get what came for somebody who needs none. */
static void another_policy_is_another_pull(void)
{
        static char *environment[] = {(char *)(uintptr_t) "PATH=/usr/bin:/bin", NULL};
        static char *auth_files[1];
        open_all();
        write_program("crisp-trust", ACCEPT);
        assert_int_equal(mkdir(at("policies"), 0700), 0);
        write_file(at("policies/loose.json"),
                   "{\"default\":[{\"type\":\"insecureAcceptAnything\"}]}");
        /* It waits for us, and tells of no signatures. */
        AUTO_FREE char *script = xprintf("read -r request\n"
                                         "echo x >>%s/started\n"
                                         "while ! test -e %s/go; do sleep 0.01; done\n"
                                         "echo '{\"error\":{\"code\":5,\"message\":\"none\"}}'\n"
                                         "exit 1",
                                         fixture_root, fixture_root);
        write_program("crisp-image", script);
        struct puller *puller = puller_new(&(struct pull_options){
                .store = store,
                .sources = sources,
                .trust = trust,
                .credentials = {.auth_files = auth_files},
                .program = at("crisp-image"),
                .environment = environment,
        });
        struct asker askers[] = {{puller, "loose"}, {puller, "other"}, {puller, "loose"}};
        for (size_t i = 0; i < 3; i++)
                task_start("ask", ask, &askers[i]);
        struct pull_counts counts = {0};
        while (counts.started + counts.joined < 3) {
                task_sleep_until(clock_after(NSEC_PER_MSEC));
                pull_counts(puller, &counts);
        }
        assert_int_equal(counts.started, 2);
        assert_int_equal(counts.joined, 1);
        write_file(at("go"), "");
        while (!askers[0].done || !askers[1].done || !askers[2].done)
                task_sleep_until(clock_after(NSEC_PER_MSEC));
        puller_free(puller);
        close_all();
}

/* ---- what crisp-trust may do ---- */

static void a_refusal_ends_the_pull_before_the_first_layer(void)
{
        open_all();
        write_program("crisp-trust", "cat >/dev/null; echo '{\"refused\":\"bad smell\"}'");
        refuses(&(struct play){.told = ""}, "bad smell", true);
        assert_false(exists(at("went-on")));
        close_all();
}

static void a_verifier_that_is_none(void)
{
        static const struct {
                const char *script, *said;
        } cases[] = {
                {"cat >/dev/null; kill -SEGV $$", "crisp-trust"},
                {"cat >/dev/null; echo no >&2; exit 1", "no"},
                {"cat >/dev/null", "rubbish"},
                {"cat >/dev/null; echo '{}'", "rubbish"},
                {"cat >/dev/null; echo '{\"accepted\":false}'", "rubbish"},
                {"cat >/dev/null; echo '{\"accepted\":true,\"refused\":\"x\"}'", "rubbish"},
                {"cat >/dev/null; echo '{\"accepted\":true}'; exit 1", "crisp-trust"},
        };
        open_all();
        for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
                write_program("crisp-trust", cases[i].script);
                refuses(&(struct play){.told = ""}, cases[i].said, true);
                assert_false(exists(at("went-on")));
        }
        unlink(at("crisp-trust"));
        refuses(&(struct play){.told = ""}, "crisp-trust", true);
        close_all();
}

/* ---- at a container's creation ---- */

static void check(const char *space, const char *said)
{
        struct error err;
        int r = trust_check_image(trust, store, config, NAME, space, &err);
        if (!said) {
                if (r < 0)
                        fail_msg("%s", err.message);
                return;
        }
        assert_true(r < 0);
        assert_string_equal(err.word, TRUST_WORD);
        if (!strstr(err.message, said))
                fail_msg("said \"%s\" instead of \"%s\"", err.message, said);
}

static void policies_of_namespaces(void)
{
        struct error err;
        open_all();
        write_program("crisp-trust", "cat >/dev/null; echo '{\"refused\":\"bad smell\"}'");
        unlink(at("policy.json"));
        play(&(struct play){0});
        if (pull(&err) < 0)
                fail_msg("%s", err.message);
        assert_int_equal(mkdir(at("policies"), 0700), 0);
        write_file(at("policies/strict.json"), "{\"default\":[{\"type\":\"reject\"}]}");
        write_file(at("policies/broken.json"), "{");
        check("", NULL);
        check("loose", NULL);
        check("strict", "strict.json");
        check("broken", "not valid JSON");
        check("../policies/strict", "cannot be the name");
        write_file(at("policy.json"), POLICY);
        check("loose", "pull it again");
        check("strict", "strict.json");
        close_all();
}

#define TASK_TEST(name)                                                                            \
        static void test_##name(void **state)                                                      \
        {                                                                                          \
                (void)state;                                                                       \
                in_task(name);                                                                     \
        }

TASK_TEST(a_verified_image_comes_and_keeps_its_signatures)
TASK_TEST(crisp_image_must_tell_of_signatures)
TASK_TEST(crisp_image_must_not_tell_unasked)
TASK_TEST(another_image_than_was_verified)
TASK_TEST(a_verified_artifact)
TASK_TEST(another_policy_is_another_pull)
TASK_TEST(a_refusal_ends_the_pull_before_the_first_layer)
TASK_TEST(a_verifier_that_is_none)
TASK_TEST(policies_of_namespaces)

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_a_verified_image_comes_and_keeps_its_signatures),
                cmocka_unit_test(test_crisp_image_must_tell_of_signatures),
                cmocka_unit_test(test_crisp_image_must_not_tell_unasked),
                cmocka_unit_test(test_another_image_than_was_verified),
                cmocka_unit_test(test_a_verified_artifact),
                cmocka_unit_test(test_another_policy_is_another_pull),
                cmocka_unit_test(test_a_refusal_ends_the_pull_before_the_first_layer),
                cmocka_unit_test(test_a_verifier_that_is_none),
                cmocka_unit_test(test_policies_of_namespaces),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
