"""Processors that are a container's own, workloads, and classes: by CRI-O's annotations, where the node lets them in."""
import fcntl
import json
import os
import re
import signal
import stat

import pytest
from kit.wait import wait_for
from support import EXITED, FAILS, KINDS, POD, error_of
from test_resources import MIB, cgroup, cgroup_v2, cpu_quota, cpu_shares, weight

CPUS = os.sysconf("SC_NPROCESSORS_ONLN")
KERNEL = tuple(map(int, re.findall(r"\d+", os.uname().release)[:2]))
LATENCY = "/sys/devices/system/cpu/cpu1/power/pm_qos_resume_latency_us"
INTERRUPTS = "/proc/irq/default_smp_affinity"

several = pytest.mark.skipif(CPUS < 2, reason="needs a second processor")


def read(path):
    with open(path) as file:
        return file.read().strip()


def allowed(*names, more=""):
    return {"runtime": f"allowed_annotations = {json.dumps(list(names))}\n{more}"}


@pytest.fixture
def machine():
    """What belongs to the machine as a whole is one test's at a time, of all runs of these tests."""
    with open("/tmp/crisp-tests.machine", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def whole_cpu(cpus="1", **more):
    return {"resources": {"cpu_shares": 1024, "cpu_period": 100000, "cpu_quota": 100000, "cpuset_cpus": cpus, **more}}


# ---- sleep states ----

@several
@pytest.mark.skipif(not os.path.exists(LATENCY), reason="the kernel has no such file")
@pytest.mark.parametrize("value, expected", [("disable", "n/a"), ("max_latency:37", "37")])
def test_sleep_states_while_it_runs(own_node, machine, value, expected):
    node = own_node(config=allowed("cpu-c-states.crio.io"))
    before = read(LATENCY)
    container = node.sleeper(node.pod(annotations={"cpu-c-states.crio.io": value}), linux=whole_cpu())
    assert read(LATENCY) == expected != before
    node.stop(container, timeout=10)
    wait_for(lambda: read(LATENCY) == before, "the sleep states to be put back")


@several
@pytest.mark.skipif(not os.path.exists(LATENCY), reason="the kernel has no such file")
@pytest.mark.parametrize("ends_meanwhile", [True, False])
def test_what_was_tuned_is_put_back_by_the_next_daemon(own_node, machine, ends_meanwhile):
    node = own_node(config=allowed("cpu-c-states.crio.io", "irq-load-balancing.crio.io"))
    before = read(LATENCY), read(INTERRUPTS)
    annotations = {"cpu-c-states.crio.io": "disable", "irq-load-balancing.crio.io": "disable"}
    container = node.sleeper(node.pod(annotations=annotations), linux=whole_cpu())
    pid = node.pid_of(container)
    node.daemon.kill()
    if ends_meanwhile:
        os.kill(pid, signal.SIGKILL)
    assert read(LATENCY) == "n/a"
    node.daemon.start()
    if not ends_meanwhile:
        assert read(LATENCY) == "n/a"
        node.stop(container)
    kept = f"{node.daemon.run}/tuning/{container}"
    wait_for(lambda: (read(LATENCY), read(INTERRUPTS)) == before and not os.path.exists(kept), "all to be put back")


@several
@pytest.mark.skipif(not os.path.exists(LATENCY), reason="the kernel has no such file")
def test_a_container_whose_record_was_lost_is_put_back(own_node, machine):
    node = own_node(config=allowed("cpu-c-states.crio.io"))
    before = read(LATENCY)
    node.daemon.terminate()
    folder = f"{node.daemon.run}/tuning/{'a' * 64}"
    os.makedirs(folder)
    with open(f"{folder}/kept:{LATENCY.replace('/', '|')}", "w") as file:
        file.write(before)
    with open(LATENCY, "w") as file:
        file.write("77")
    node.daemon.start()
    wait_for(lambda: read(LATENCY) == before and not os.path.exists(folder), "it to be put back")


# ---- interrupts ----

@several
def test_interrupts_are_kept_off(own_node, machine):
    node = own_node(config=allowed("irq-load-balancing.crio.io"))
    before = read(INTERRUPTS)
    bits = int(before.replace(",", ""), 16)
    container = node.sleeper(node.pod(annotations={"irq-load-balancing.crio.io": "disable"}), linux=whole_cpu())
    assert int(read(INTERRUPTS).replace(",", ""), 16) == bits & ~2
    node.stop(container, timeout=10)
    wait_for(lambda: read(INTERRUPTS) == before, "the mask to be put back")


@several
def test_irqbalance_is_told(own_daemon, busybox, machine):
    from support import Node
    daemon = own_daemon(start=False)
    file = f"{daemon.root}/irqbalance"
    with open(file, "w") as opened:
        opened.write("# kept\nIRQBALANCE_BANNED_CPUS=\"0\"\n")
    daemon.write_config(allowed("irq-load-balancing.crio.io", more=f'irqbalance_config_file = "{file}"\n'))
    daemon.start()
    node = Node(daemon, busybox)
    container = node.sleeper(node.pod(annotations={"irq-load-balancing.crio.io": "disable"}), linux=whole_cpu())
    banned = re.search('# kept\nIRQBALANCE_BANNED_CPUS="(.*)"', read(file)).group(1)
    assert int(banned.replace(",", ""), 16) & 2
    node.stop(container, timeout=10)
    wait_for(lambda: read(file) == "# kept\nIRQBALANCE_BANNED_CPUS=\"0\"", "its file to be put back")


@several
def test_a_processor_for_housekeeping(own_node, machine):
    node = own_node(config=allowed("irq-load-balancing.crio.io"))
    siblings = read("/sys/devices/system/cpu/cpu0/topology/thread_siblings_list")
    pod = node.pod(annotations={"irq-load-balancing.crio.io/main": "housekeeping"})
    if "1" in re.split("[,-]", siblings):
        pytest.skip("both processors are one core")
    container = node.sleeper(pod, linux=whole_cpu("0-1", cpu_shares=2048))
    assert int(read(INTERRUPTS).replace(",", ""), 16) & 3 == 1
    assert "OPENSHIFT_HOUSEKEEPING_CPUS=0\n" in node.exec_sh(container, "env")


# ---- load balancing and quotas ----

@several
@pytest.mark.skipif(cgroup_v2(), reason="of v1")
def test_load_balancing_is_turned_off(own_node):
    node = own_node(config=allowed("cpu-load-balancing.crio.io"))
    pod = node.pod(annotations={"cpu-load-balancing.crio.io/main": "disable"})
    tuned = node.sleeper(pod, linux=whole_cpu())
    other = node.sleeper(pod, name="other", linux=whole_cpu("0"))
    assert cgroup(node, tuned, "cpuset", "cpuset.sched_load_balance") == "0"
    assert cgroup(node, other, "cpuset", "cpuset.sched_load_balance") == "1"


@several
@pytest.mark.skipif(not cgroup_v2(), reason="of v2")
def test_an_isolated_partition(own_node):
    node = own_node(config=allowed("cpu-load-balancing.crio.io"))
    pod = node.pod(annotations={"cpu-load-balancing.crio.io": "disable"})
    if KERNEL < (6, 7):
        message = error_of(lambda: node.sleeper(pod, linux=whole_cpu()), KINDS.FAILED_PRECONDITION)
        assert "from Linux 6.7 on" in message
        return
    container = node.sleeper(pod, linux=whole_cpu())
    assert cgroup(node, container, "cpuset", "cpuset.cpus.partition") == "isolated"
    parent = f"/sys/fs/cgroup{node.daemon.cgroup}/cpuset.cpus.exclusive"
    assert read(parent) == "1"
    node.stop(container, timeout=10)
    wait_for(lambda: read(parent) == "", "the processors to be given back")


@several
def test_the_quota_is_lifted(own_node):
    node = own_node(config=allowed("cpu-quota.crio.io"))
    container = node.sleeper(node.pod(annotations={"cpu-quota.crio.io": "disable"}), linux=whole_cpu())
    assert cpu_quota(node, container)[0] in ("-1", "max")
    assert node.status(container).resources.linux.cpu_quota == 100000  # the kubelet compares it with what it asked for
    node.client.UpdateContainerResources(container_id=container, linux={"cpu_quota": 100000, "cpu_shares": 2048})
    assert cpu_quota(node, container)[0] in ("-1", "max")
    assert cpu_shares(node, container) == weight(2048)


# ---- for whom they count ----

def parent_of(node, quality):
    """Where the kubelet puts pods of this quality of service: guaranteed ones have none."""
    return node.daemon.child_cgroup(quality) if quality else node.daemon.cgroup


@several
@pytest.mark.parametrize("annotations, linux, parent, config", [
    ({"cpu-quota.crio.io": "disable"}, whole_cpu(), "", {}),  # not let in
    ({"cpu-quota.crio.io": "disable"}, whole_cpu(cpu_shares=512), "", allowed("cpu-quota.crio.io")),  # not a whole processor
    ({"cpu-quota.crio.io": "disable"}, whole_cpu(), "burstable", allowed("cpu-quota.crio.io")),
    ({"cpu-quota.crio.io": "disable"}, whole_cpu(), "besteffort", allowed("cpu-quota.crio.io")),
    ({"cpu-quota.crio.io": "enable"}, whole_cpu(), "", allowed("cpu-quota.crio.io")),
    ({"cpu-quota.crio.io/other": "disable"}, whole_cpu(), "", allowed("cpu-quota.crio.io")),
])
def test_they_have_no_effect_elsewhere(own_node, annotations, linux, parent, config):
    node = own_node(config=config)
    pod = node.pod(annotations=annotations, linux={"cgroup_parent": parent_of(node, parent)})
    assert cpu_quota(node, node.sleeper(pod, linux=linux)) == ("100000", "100000")


@several
@pytest.mark.parametrize("name, value", [
    ("cpu-quota.crio.io", "maybe"), ("cpu-load-balancing.crio.io", "off"), ("irq-load-balancing.crio.io", "some"),
    ("cpu-c-states.crio.io", "max_latency:0"), ("cpu-c-states.crio.io", "max_latency:5x"), ("cpu-c-states.crio.io", "deep"),
    ("cpu-freq-governor.crio.io", "../fast"),
])
def test_values_that_are_none_are_refused(own_node, name, value):
    node = own_node(config=allowed(name))
    message = error_of(lambda: node.create(node.pod(annotations={name: value}), ["true"], linux=whole_cpu()), KINDS.INVALID_ARGUMENT)
    assert name in message and value in message


def test_a_governor_that_is_not_there_fails_the_start_and_nothing_else(own_node):
    node = own_node(config=allowed("cpu-freq-governor.crio.io"))
    container = node.create(node.pod(annotations={"cpu-freq-governor.crio.io": "nosuch"}), ["/bin/sleep", "100"], linux=whole_cpu("0"))
    error_of(lambda: node.start(container), *FAILS)
    assert node.status(container).state == EXITED
    wait_for(lambda: not os.path.exists(f"{node.daemon.run}/tuning/{container}"), "nothing to be kept for it")


def test_without_processors_of_its_own(own_node):
    node = own_node(config=allowed("cpu-c-states.crio.io"))
    message = error_of(
        lambda: node.create(node.pod(annotations={"cpu-c-states.crio.io": "disable"}), ["true"], linux=whole_cpu("")),
        KINDS.FAILED_PRECONDITION)
    assert "cpuset_cpus" in message


# ---- shared processors, where commands begin, Go ----

@several
def test_shared_processors(own_node):
    node = own_node(config=allowed("cpu-shared.crio.io", more='shared_cpuset = "0"\n'))
    pod = node.pod(annotations={"cpu-shared.crio.io/main": "enable"})
    container = node.sleeper(pod, linux=whole_cpu())
    assert cgroup(node, container, "cpuset", "cpuset.cpus") == "0-1"
    assert cpu_quota(node, container) == ("200000", "100000")
    env = node.exec_sh(container, "env")
    assert "OPENSHIFT_ISOLATED_CPUS=1\n" in env and "OPENSHIFT_SHARED_CPUS=0\n" in env
    other = node.sleeper(pod, name="other", linux=whole_cpu())
    assert cgroup(node, other, "cpuset", "cpuset.cpus") == "1"
    node.client.UpdateContainerResources(container_id=container, linux={"cpuset_cpus": "1", "cpu_shares": 2048})
    assert cgroup(node, container, "cpuset", "cpuset.cpus") == "0-1"


def test_no_processors_to_share(own_node):
    node = own_node(config=allowed("cpu-shared.crio.io"))
    message = error_of(lambda: node.create(node.pod(annotations={"cpu-shared.crio.io/main": "enable"}), ["true"], linux=whole_cpu("0")),
                       KINDS.FAILED_PRECONDITION)
    assert "runtime.shared_cpuset" in message


ALLOWED = "grep Cpus_allowed_list /proc/self/status"


@several
def test_commands_begin_on_the_first_processor(own_daemon, busybox):
    from support import Node
    daemon = own_daemon(start=False)
    daemon.write_config({f"runtime.handlers.{daemon.handler}": 'exec_cpu_affinity = "first"\n'})
    if daemon.handler == "shim":
        with pytest.raises(RuntimeError, match="exec_cpu_affinity is not for shims"):
            daemon.start()
        daemon.write_config({})
        daemon.start()
        return
    daemon.start()
    node = Node(daemon, busybox)
    container = node.sleeper(node.pod(), linux=whole_cpu("0-1", cpu_shares=2048))
    if KERNEL >= (6, 2):  # an older one forgets it where a process joins a cgroup, unless the runtime asks anew
        assert node.exec_sh(container, ALLOWED).split()[1] == "0"
    assert node.exec_sh(container, ALLOWED.replace("self", "1")).split()[1] == "0-1"
    with open(f"{node.daemon.state}/containers/{container}/bundle/config.json") as file:
        assert json.load(file)["process"]["execCPUAffinity"] == {"initial": "0"}


@several
def test_commands_begin_anywhere_by_default(node):
    container = node.sleeper(node.pod(), linux=whole_cpu("0-1"))
    assert node.exec_sh(container, ALLOWED).split()[1] == "0-1"


@pytest.mark.parametrize("parent, resources, annotations, envs, expected", [
    ("burstable", {"cpu_shares": 3072}, {}, [], "6"),
    ("burstable", {"cpu_shares": 100}, {}, [], "3"),
    ("besteffort", {}, {}, [], "3"),
    ("burstable", {"cpu_shares": 3072}, {}, [{"key": "GOMAXPROCS", "value": b"1"}], "1"),
    ("burstable", {"cpu_shares": 3072, "cpu_quota": 100000}, {}, [], None),  # Go looks at the limit itself
    ("", {"cpu_shares": 3072}, {}, [], None),
    ("burstable", {"cpu_shares": 3072}, {"skip-gomaxprocs.crio.io": "true"}, [], None),
])
def test_gomaxprocs(own_node, parent, resources, annotations, envs, expected):
    node = own_node(config=allowed("skip-gomaxprocs.crio.io", more="min_injected_gomaxprocs = 3\n"))
    pod = node.pod(annotations=annotations, linux={"cgroup_parent": parent_of(node, parent)})
    env = node.output(pod, "env", linux={"resources": resources}, envs=envs)
    found = re.search(r"^GOMAXPROCS=(.*)$", env, re.M)
    assert (found and found.group(1)) == expected


@several
def test_the_pods_holder_has_its_processors(own_node):
    node = own_node(config={"runtime": 'infra_cpuset = "1"\n'})
    pod = node.pod(linux=node.namespaces(pid=POD))
    holder = json.loads(node.client.PodSandboxStatus(pod_sandbox_id=pod[0], verbose=True).info["info"])["pid"]
    assert os.sched_getaffinity(holder) == {1}
    container = node.sleeper(pod)
    assert len(os.sched_getaffinity(node.pid_of(container))) == CPUS


# ---- workloads ----

WORKLOADS = {
    "runtime.workloads.management": 'activation_annotation = "target.workload/management"\n'
                                    'annotation_prefix = "resources.workload"\n'
                                    'allowed_annotations = ["skip-gomaxprocs.crio.io"]\n',
    "runtime.workloads.management.resources": 'cpushares = 20\ncpuset = "0"\ncpuquota = 30000\ncpuperiod = 100000\n',
}


@pytest.mark.parametrize("override, shares, quota", [
    (None, 20, "30000"),
    ({"cpushares": 77}, 77, "30000"),
    ({"cpulimit": 500}, 20, "50000"),
    ({"cpuquota": 60000, "cpushares": 0}, 20, "60000"),
])
def test_a_workloads_limits(own_node, override, shares, quota):
    node = own_node(config=WORKLOADS)
    annotations = {"target.workload/management": "whatever"}
    if override:
        annotations["resources.workload/main"] = json.dumps(override)
    container = node.sleeper(node.pod(annotations=annotations), linux={"resources": {"cpu_shares": 512, "memory_limit_in_bytes": 64 * MIB}})
    assert cpu_shares(node, container) == weight(shares)
    assert cpu_quota(node, container) == (quota, "100000")
    assert cgroup(node, container, "cpuset", "cpuset.cpus") == "0"
    said = node.status(container).resources.linux
    assert (said.cpu_shares, said.cpuset_cpus, said.memory_limit_in_bytes) == (shares, "0", 64 * MIB)


def test_other_pods_are_no_workload(own_node):
    node = own_node(config=WORKLOADS)
    container = node.sleeper(node.pod(annotations={"resources.workload/main": '{"cpushares": 77}'}), linux={"resources": {"cpu_shares": 512}})
    assert cpu_shares(node, container) == weight(512)


@pytest.mark.parametrize("value", ["[", "[]", '{"cpushares": "many"}', '{"cpuquota": -5}', '{"cpuset": "x"}'])
def test_limits_that_are_none(own_node, value):
    node = own_node(config=WORKLOADS)
    annotations = {"target.workload/management": "", "resources.workload/main": value}
    error_of(lambda: node.create(node.pod(annotations=annotations), ["true"]), KINDS.INVALID_ARGUMENT)


# ---- cgroup v2 files by annotation ----

@pytest.mark.node
def test_files_of_cgroup_v2_by_annotation(own_node):
    node = own_node(config=allowed("unified-cgroup.crio.io"))
    pod = node.pod(annotations={"io.kubernetes.cri-o.UnifiedCgroup/main": f"memory.high={32 * MIB};memory.low=MTA0ODU3Ng=="})
    if cgroup_v2():
        container = node.sleeper(pod)
        assert cgroup(node, container, "memory", "memory.high") == str(32 * MIB)
        assert cgroup(node, container, "memory", "memory.low") == "1048576"
    else:
        assert "unified" in error_of(lambda: node.create(pod, ["true"]), KINDS.FAILED_PRECONDITION)


# ---- classes ----

def a_disk():
    for name in sorted(os.listdir("/sys/block")):
        if os.path.exists(f"/dev/{name}") and stat.S_ISBLK(os.stat(f"/dev/{name}").st_mode) and not name.startswith(("loop", "ram", "dm-")):
            return f"/dev/{name}"
    return None


def with_classes(own_daemon, busybox, text, key="blockio_config_file"):
    from support import Node
    daemon = own_daemon(start=False)
    with open(f"{daemon.root}/classes.yaml", "w") as file:
        file.write(text)
    daemon.write_config({"runtime": f'{key} = "{daemon.root}/classes.yaml"\n'})
    daemon.start()
    return Node(daemon, busybox)


@pytest.mark.skipif(not a_disk(), reason="there is no disk to limit")
@pytest.mark.parametrize("annotation", ["blockio.resources.beta.kubernetes.io/pod", "blockio.resources.beta.kubernetes.io/container.main"])
def test_a_class_of_block_io(own_daemon, busybox, annotation):
    disk = a_disk()
    number = os.stat(disk).st_rdev
    device = f"{os.major(number)}:{os.minor(number)}"
    node = with_classes(own_daemon, busybox, f"Classes:\n  slow:\n  - Devices: [{disk}]\n    ThrottleReadBps: 50M\n    ThrottleWriteIOPS: 5k\n")
    container = node.sleeper(node.pod(annotations={annotation: "slow"}))
    if cgroup_v2():
        limits = cgroup(node, container, "io", "io.max")
        assert f"{device} rbps=50000000" in limits and "wiops=5000" in limits
    else:
        assert f"{device} 50000000" in cgroup(node, container, "blkio", "blkio.throttle.read_bps_device")
        assert f"{device} 5000" in cgroup(node, container, "blkio", "blkio.throttle.write_iops_device")


def test_classes_that_are_not_there(own_daemon, busybox, node):
    refused = lambda on, annotations, *codes: error_of(lambda: on.create(on.pod(annotations=annotations), ["true"]), *codes)  # noqa: E731
    message = refused(node, {"blockio.resources.beta.kubernetes.io/pod": "slow"}, KINDS.FAILED_PRECONDITION)
    assert "runtime.blockio_config_file" in message
    message = refused(node, {"rdt.resources.beta.kubernetes.io/pod": "gold"}, KINDS.FAILED_PRECONDITION)
    assert "runtime.rdt_config_file" in message
    own = with_classes(own_daemon, busybox, "Classes:\n  slow:\n  - Weight: 50\n")
    assert '"fast"' in refused(own, {"blockio.resources.beta.kubernetes.io/pod": "fast"}, KINDS.NOT_FOUND)


def test_a_class_of_cache_without_its_group(own_daemon, busybox):
    node = with_classes(own_daemon, busybox, "partitions:\n  p:\n    classes:\n      gold: {}\n", key="rdt_config_file")
    if os.path.exists("/sys/fs/resctrl/gold"):
        pytest.skip("it has one")
    message = error_of(lambda: node.create(node.pod(annotations={"rdt.resources.beta.kubernetes.io/container.main": "gold"}), ["true"]),
                       KINDS.FAILED_PRECONDITION)
    assert "/sys/fs/resctrl/gold" in message
