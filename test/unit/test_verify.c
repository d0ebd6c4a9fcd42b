/* A container's facts held against its specification. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "base/buffer.h"
#include "base/memory.h"
#include "oci/verify.h"

static const char spec_v2[] =
        "{'process':{'user':{'uid':0,'gid':0},'noNewPrivileges':true,'oomScoreAdj':5,"
        "'apparmorProfile':'mine','capabilities':{'bounding':['CAP_CHOWN'],'effective':['CAP_CHOWN'"
        "]},"
        "'rlimits':[{'type':'RLIMIT_NOFILE','soft':10,'hard':20}]},"
        "'root':{'readonly':true},"
        "'mounts':[{'destination':'/proc','type':'proc','options':['nosuid']},"
        "{'destination':'/v','type':'bind','source':'/x','options':['rbind','ro']}],"
        "'linux':{'namespaces':[{'type':'network','path':'/pin'},{'type':'mount'}],"
        "'seccomp':{},'maskedPaths':['/proc/keys'],'sysctl':{'net.range':'1 20'},"
        "'resources':{'memory':{'limit':8192,'swap':8192},'cpu':{'shares':1024,'quota':-1,"
        "'period':100000,'cpus':'0-2'},'pids':{'limit':7},'unified':{'memory.high':'4096'},"
        "'devices':[{'allow':false,'access':'rwm'},{'allow':true,'type':'c','major':10,'minor':229,"
        "'access':'rw'}],'blockIO':{'weight':100,'throttleWriteBpsDevice':[{'major':8,'minor':0,"
        "'rate':500}]}}}}";

static const char facts_v2[] =
        "{'pid':1,'namespaces':{'net':{'inode':7,'host':false},'mnt':{'inode':8,'host':false},"
        "'user':{'inode':9,'host':true}},'pinned':{'/pin':7},'cgroupPath':'/a/b',"
        "'cgroups':[{'hierarchy':'unified','path':'/a/b/init.scope','limits':{'memory.max':'8192',"
        "'memory.swap.max':'0','cpu.weight':'100','cpu.max':'max 100000','cpuset.cpus':'0,1,2',"
        "'pids.max':'7','memory.high':'4096','io.bfq.weight':'default 100\\n8:0 7',"
        "'io.max':'8:16 wbps=1\\n8:0 rbps=max wbps=500 wiops=max'}}],"
        "'sysctls':{'net.range':'1\\t20'},'devicePrograms':1,'uid':0,'gid':0,"
        "'capabilities':{'bounding':['CAP_CHOWN'],'effective':['CAP_CHOWN'],'permitted':[],"
        "'inheritable':[],'ambient':[]},'noNewPrivileges':true,'seccomp':'filter',"
        "'label':'mine "
        "(enforce)','oomScoreAdj':5,'rlimits':{'RLIMIT_NOFILE':{'soft':10,'hard':20}},"
        "'paths':{'/proc/keys':true},'root':{'readonly':true,'layers':'2:1'},"
        "'mounts':[{'destination':'/proc','type':'proc','options':['nosuid'],'readonly':false},"
        "{'destination':'/v','type':'ext4','options':[],'readonly':true},"
        "{'destination':'/proc/keys','type':'tmpfs','options':[],'readonly':false}]}";

static struct buffer told;
static size_t passes;

static void tell(void *argument, enum verify_verdict verdict, const char *what, const char *text)
{
        (void)argument;
        if (verdict == VERIFY_PASS)
                passes++;
        else
                buffer_printf(&told, "%s %s: %s\n", verdict == VERIFY_FAIL ? "FAIL" : "warning",
                              what, text);
}

static json_t *parse(const char *text)
{
        AUTO_FREE char *copy = xstrdup(text);
        for (char *at = copy; *at; at++)
                if (*at == '\'')
                        *at = '"';
        json_t *value = json_loads(copy, 0, NULL);
        assert_non_null(value);
        return value;
}

/* What is told when this member of the facts, by a path with dots, is another. */
static void check_with(const char *place, const char *value, const char *expected)
{
        AUTO_JSON json_t *spec = parse(spec_v2), *facts = parse(facts_v2);
        AUTO_FREE char *path = xstrdup(place);
        json_t *object = facts;
        char *state = NULL, *name = strtok_r(path, "/", &state);
        for (char *next; name && (next = strtok_r(NULL, "/", &state)); name = next)
                object = *name >= '0' && *name <= '9' ? json_array_get(object, (size_t)atoi(name))
                                                      : json_object_get(object, name);
        if (name) {
                AUTO_FREE char *quoted = xprintf("[%s]", value);
                AUTO_JSON json_t *wrapped = parse(quoted);
                assert_int_equal(json_object_set(object, name, json_array_get(wrapped, 0)), 0);
        }
        told.length = 0;
        passes = 0;
        buffer_add_text(&told, "");
        verify_container(spec, facts, "2:1", CGROUP_MODE_V2, tell, NULL);
        assert_string_equal(told.data, expected);
        assert_true(passes > 20);
}

static void test_the_same(void **state)
{
        (void)state;
        check_with("", "", "");
        check_with("cgroups/0/limits/cpu.weight", "'39'", ""); /* the older line */
}

static void test_differences(void **state)
{
        (void)state;
        check_with("namespaces/net/inode", "6", "FAIL namespace net: 6, and /pin is 7\n");
        check_with("namespaces/mnt/host", "true",
                   "FAIL namespace mnt: 8 is the machine's, and should be its own\n");
        check_with("namespaces/user/host", "false",
                   "FAIL namespace user: 9 is not the machine's, and should be\n");
        check_with("capabilities/bounding", "['CAP_CHOWN','CAP_KILL']",
                   "FAIL capabilities bounding: has CAP_KILL, which it should not\n");
        check_with("capabilities/effective", "[]",
                   "warning capabilities effective: CAP_CHOWN is gone: the process gave it up\n");
        check_with("uid", "5", "warning user: 5, and it was started as 0\n");
        check_with("seccomp", "'disabled'", "FAIL seccomp: disabled, and should be a filter\n");
        check_with("noNewPrivileges", "false", "FAIL no new privileges: not set, and should be\n");
        check_with("label", "'mine2 (enforce)'",
                   "FAIL AppArmor profile: mine2 (enforce), and should be mine\n");
        check_with("oomScoreAdj", "6", "FAIL OOM score adjustment: 6, and should be 5\n");
        check_with("rlimits/RLIMIT_NOFILE/hard", "19",
                   "warning RLIMIT_NOFILE: 10:19, and it was started with 10:20\n");
}

static void test_limits(void **state)
{
        (void)state;
        check_with("cgroups/0/path", "'/a/bc'",
                   "FAIL cgroup: unified: /a/bc, and should be /a/b (1 hierarchies)\n");
        check_with("cgroups/0/limits/memory.max", "'max'",
                   "FAIL memory limit: memory.max: max, and should be 8192\n");
        check_with("cgroups/0/limits/pids.max", "'8'",
                   "FAIL process limit: pids.max: 8, and should be 7\n");
        check_with("cgroups/0/limits/cpu.weight", "'101'",
                   "FAIL CPU shares: cpu.weight: 101, which 1024 shares are not\n");
        check_with("cgroups/0/limits/cpu.max", "'5000 100000'",
                   "FAIL CPU quota: cpu.max: 5000 100000, and should be -1 in 100000 us\n");
        check_with("cgroups/0/limits/cpuset.cpus", "'0-1'",
                   "FAIL processors: cpuset.cpus: 0-1, and should be 0-2\n");
        check_with("cgroups/0/limits/memory.high", "'max'",
                   "FAIL cgroup file: memory.high: max, and should be 4096\n");
}

static void test_settings(void **state)
{
        (void)state;
        check_with("sysctls/net.range", "'1 2'",
                   "FAIL sysctl net.range: 1 2, and should be 1 20\n");
        check_with("sysctls", "{}", "FAIL sysctl net.range: not there, and should be 1 20\n");
        check_with("cgroups/0/limits/io.max", "'8:0 rbps=500'",
                   "FAIL bytes written a second of 8:0: io.max: no limit, and should be 500\n");
        check_with("cgroups/0/limits/io.max", "'8:0 wbps=5000'",
                   "FAIL bytes written a second of 8:0: io.max: 5000, and should be 500\n");
        check_with("cgroups/0/limits/io.bfq.weight", "'99'",
                   "FAIL I/O weight: io.bfq.weight: 99, and should be 100\n");
        check_with("devicePrograms", "0",
                   "FAIL devices: no program decides, and not all should be allowed\n");
        check_with("devicePrograms", "null", "warning devices: the kernel does not tell\n");
}

#define USUAL "'c *:* m','b *:* m','c 1:3 rwm','c 136:* rwm','c 10:229 "

static void test_devices(void **state)
{
        (void)state;
        check_with("devices", "[" USUAL "rw']", "");
        check_with("devices", "['a *:* rwm']",
                   "FAIL devices: all are allowed, and should not be\n");
        check_with("devices", "[" USUAL "r']",
                   "FAIL devices: not allowed, and should be: c 10:229 w\n");
        check_with("devices", "[" USUAL "rw','b 8:* rw','c 10:229 m']",
                   "FAIL devices: allowed, and should not be: b 8:* rw\n");
        check_with("devices", "[" USUAL "rw','nonsense','c x:y']", "");
}

static void test_mounts(void **state)
{
        (void)state;
        check_with("root/readonly", "false", "FAIL root: writable, and should be read-only\n");
        check_with("root/layers", "'1:2'", "FAIL root's layers: 1:2, and the image's are 2:1\n");
        check_with("mounts/0/options", "[]",
                   "FAIL mount /proc: without nosuid, which it should have\n");
        check_with("mounts/0/type", "'tmpfs'", "FAIL mount /proc: tmpfs, and should be proc\n");
        check_with("mounts/1/readonly", "false",
                   "FAIL mount /v: without ro, which it should have\n");
        check_with("mounts/1/destination", "'/w'", "FAIL mount /v: not mounted\n");
        check_with("mounts/2/destination", "'/w'",
                   "FAIL masked paths: /proc/keys is not, and should be\n");
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_the_same), cmocka_unit_test(test_differences),
                cmocka_unit_test(test_limits),   cmocka_unit_test(test_mounts),
                cmocka_unit_test(test_settings), cmocka_unit_test(test_devices),
        };
        int failed = cmocka_run_group_tests(tests, NULL, NULL);
        buffer_fini(&told);
        return failed;
}
