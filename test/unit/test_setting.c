/* The machine's values: kept, changed, put back, also by who comes after a crash. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/memory.h"
#include "oci/irq_affinity.h"
#include "oci/setting.h"

static char folder[] = "/tmp/crisp-test-setting-XXXXXX";
static char *kept, *latency, *mask, *config, *banned_before;

static void put(const char *path, const char *text)
{
        assert_int_equal(file_replace_volatile(path, text, strlen(text), 0644, NULL), 0);
}

static void expect(const char *path, const char *wanted)
{
        AUTO_FREE char *text = setting_read(path, NULL);
        assert_non_null(text);
        assert_string_equal(text, wanted);
}

static int set_up(void **state)
{
        (void)state;
        if (!mkdtemp(folder))
                return 1;
        kept = xprintf("%s/kept", folder);
        latency = xprintf("%s/cpu3/power/pm_qos_resume_latency_us", folder);
        mask = xprintf("%s/default_smp_affinity", folder);
        config = xprintf("%s/irqbalance", folder);
        banned_before = xprintf("%s/irqbalance-banned", folder);
        AUTO_FREE char *power = xprintf("%s/cpu3/power", folder);
        return file_make_directories(power, 0755, NULL);
}

static int tear_down(void **state)
{
        (void)state;
        free(kept);
        free(latency);
        free(mask);
        free(config);
        free(banned_before);
        return file_remove_tree(folder, NULL);
}

static void changed_and_put_back(void **state)
{
        (void)state;
        put(latency, "0\n");
        assert_int_equal(setting_change(kept, "a", latency, "n/a", NULL), 0);
        expect(latency, "n/a");
        /* Once more, as a start that is tried again does: what was before stays what was before. */
        assert_int_equal(setting_change(kept, "a", latency, "10", NULL), 0);
        expect(latency, "10");
        assert_int_equal(setting_restore(kept, "a", NULL), 0);
        expect(latency, "0");
        assert_null(setting_owners(kept));
        /* Nothing is kept: nothing is touched. */
        put(latency, "7\n");
        assert_int_equal(setting_restore(kept, "a", NULL), 0);
        expect(latency, "7");
}

static void the_next_owner_takes_over(void **state)
{
        (void)state;
        put(latency, "5\n");
        assert_int_equal(setting_change(kept, "a", latency, "n/a", NULL), 0);
        assert_int_equal(setting_change(kept, "b", latency, "20", NULL), 0);
        /* The first one's end leaves the second one's value alone. */
        assert_int_equal(setting_restore(kept, "a", NULL), 0);
        expect(latency, "20");
        assert_int_equal(setting_restore(kept, "b", NULL), 0);
        expect(latency, "5");
}

static void what_is_not_there(void **state)
{
        struct error err;
        (void)state;
        AUTO_FREE char *missing = xprintf("%s/nowhere", folder);
        assert_true(setting_change(kept, "a", missing, "1", &err) < 0);
        assert_int_equal(setting_restore(kept, "a", NULL), 0);
        /* A processor that went meanwhile. */
        put(latency, "5\n");
        assert_int_equal(setting_change(kept, "a", latency, "1", NULL), 0);
        unlink(latency);
        assert_int_equal(setting_restore(kept, "a", NULL), 0);
        assert_null(setting_owners(kept));
}

static struct irq_affinity irq(void)
{
        return (struct irq_affinity){.mask = mask, .config = config, .kept = banned_before};
}

static int exclude(const char *owner, const char *list, struct error *err)
{
        struct irq_affinity paths = irq();
        struct cpu_list cpus;
        AUTO_FREE char *banned = NULL;
        assert_int_equal(cpu_list_parse(list, &cpus, NULL), 0);
        return irq_affinity_exclude(&paths, kept, owner, &cpus, &banned, err);
}

static void include(const char *owner)
{
        struct irq_affinity paths = irq();
        AUTO_FREE char *banned = NULL;
        assert_int_equal(irq_affinity_include(&paths, kept, owner, &banned, NULL), 0);
}

static void interrupts(void **state)
{
        static const char before[] = "# a comment\nIRQBALANCE_BANNED_CPUS=\"80\"\nONESHOT=\n";
        (void)state;
        put(mask, "7f\n");
        put(config, before);
        assert_int_equal(exclude("a", "1-2", NULL), 0);
        expect(mask, "79");
        AUTO_FREE char *now = setting_read(config, NULL);
        assert_string_equal(now, "# a comment\nIRQBALANCE_BANNED_CPUS=\"86\"\nONESHOT=");
        assert_int_equal(exclude("b", "2,4,7", NULL), 0);
        expect(mask, "69");
        /* Processor 2 is b's still, and 7 was never ours. */
        include("a");
        expect(mask, "6b");
        include("b");
        expect(mask, "7f");
        expect(config, "# a comment\nIRQBALANCE_BANNED_CPUS=\"80\"\nONESHOT=");
        assert_true(access(banned_before, F_OK) < 0);
        include("b");
        expect(mask, "7f");
}

static void a_processor_for_interrupts_is_left(void **state)
{
        struct error err;
        (void)state;
        put(mask, "3\n");
        unlink(config);
        assert_true(exclude("a", "0-1", &err) < 0);
        assert_int_equal(err.code, ERROR_FAILED_PRECONDITION);
        expect(mask, "3");
        include("a");
}

static void after_a_reboot(void **state)
{
        struct irq_affinity paths = irq();
        (void)state;
        put(mask, "f\n");
        put(config, "A=1\n");
        assert_int_equal(exclude("a", "1", NULL), 0);
        AUTO_FREE char *banned = setting_read(config, NULL);
        assert_string_equal(banned, "A=1\nIRQBALANCE_BANNED_CPUS=\"2\"");
        /* While it is in use nothing is put back. */
        assert_int_equal(irq_affinity_mend(&paths, kept, NULL), 0);
        expect(config, banned);
        assert_int_equal(file_remove_tree(kept, NULL), 0);
        assert_int_equal(irq_affinity_mend(&paths, kept, NULL), 0);
        expect(config, "A=1");
        assert_int_equal(irq_affinity_mend(&paths, kept, NULL), 0);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(changed_and_put_back),
                cmocka_unit_test(the_next_owner_takes_over),
                cmocka_unit_test(what_is_not_there),
                cmocka_unit_test(interrupts),
                cmocka_unit_test(a_processor_for_interrupts_is_left),
                cmocka_unit_test(after_a_reboot),
        };
        return cmocka_run_group_tests(tests, set_up, tear_down);
}
