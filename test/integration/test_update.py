"""UpdateContainerResources: on containers that run, that do not yet, and that have ended."""
import os
import stat
import subprocess
import threading

import grpc
import pytest
from kit.wait import wait_for
from support import CREATED, KINDS, RUNNING, Node, error_of
from test_resources import MIB, cgroup, cgroup_v2, cpu_quota, cpu_shares, hugepage_sizes, memory_limit, swap_limit, weight, with_swap
from test_restart import reboot

pytestmark = pytest.mark.handler

FIRST = {"cpu_period": 100000, "cpu_quota": 50000, "cpu_shares": 512, "memory_limit_in_bytes": 64 * MIB, "oom_score_adj": 300}


def update(node, container, **linux):
    node.client.UpdateContainerResources(container_id=container, linux=linux)


def said(node, container):
    return node.status(container).resources.linux


def in_effect(node, container):
    return memory_limit(node, container), cpu_quota(node, container), cpu_shares(node, container)


@pytest.mark.node
def test_every_field_of_a_running_container(node):
    container = node.sleeper(node.pod(), linux={"resources": FIRST})
    update(node, container, cpu_period=50000, cpu_quota=25000, cpu_shares=1024, memory_limit_in_bytes=96 * MIB,
           cpuset_cpus="0", cpuset_mems="0", oom_score_adj=400,
           hugepage_limits=[{"page_size": size, "limit": 0} for size in hugepage_sizes()])
    assert in_effect(node, container) == (str(96 * MIB), ("25000", "50000"), weight(1024))
    assert cgroup(node, container, "cpuset", "cpuset.cpus") == "0"
    with open(f"/proc/{node.pid_of(container)}/oom_score_adj") as file:
        assert file.read().strip() == "400"
    status = said(node, container)
    assert (status.cpu_period, status.cpu_quota, status.cpu_shares, status.memory_limit_in_bytes) == (50000, 25000, 1024, 96 * MIB)
    assert (status.cpuset_cpus, status.cpuset_mems, status.oom_score_adj) == ("0", "0", 400)
    assert [limit.page_size for limit in status.hugepage_limits] == hugepage_sizes()


@pytest.mark.parametrize("change, expected", [
    ({"cpu_shares": 2048}, (str(64 * MIB), ("50000", "100000"), weight(2048))),
    ({"cpu_quota": 70000}, (str(64 * MIB), ("70000", "100000"), weight(512))),
    ({"memory_limit_in_bytes": 80 * MIB}, (str(80 * MIB), ("50000", "100000"), weight(512))),
    ({"cpuset_cpus": "0"}, (str(64 * MIB), ("50000", "100000"), weight(512))),
    ({}, (str(64 * MIB), ("50000", "100000"), weight(512))),
])
def test_what_is_not_said_stays(node, change, expected):
    container = node.sleeper(node.pod(), linux={"resources": FIRST})
    update(node, container, **change)
    assert in_effect(node, container) == expected
    with open(f"/proc/{node.pid_of(container)}/oom_score_adj") as file:
        assert file.read().strip() == "300"
    assert said(node, container).oom_score_adj == 300


def test_a_quota_is_lifted(node):
    container = node.sleeper(node.pod(), linux={"resources": FIRST})
    update(node, container, cpu_quota=-1)
    assert cpu_quota(node, container)[0] in ("-1", "max")
    assert said(node, container).cpu_quota == -1


@pytest.mark.skipif(not with_swap(), reason="this kernel does not limit swap")
@pytest.mark.parametrize("first, change, total", [
    ((64, 0), {"memory_limit_in_bytes": 96 * MIB}, 96),
    ((64, 0), {"memory_limit_in_bytes": 48 * MIB}, 48),
    ((64, 80), {"memory_limit_in_bytes": 96 * MIB}, 112),
    ((64, 80), {"memory_limit_in_bytes": 48 * MIB}, 64),
    ((64, 0), {"memory_limit_in_bytes": 96 * MIB, "memory_swap_limit_in_bytes": 128 * MIB}, 128),
    ((64, 0), {"memory_swap_limit_in_bytes": 72 * MIB}, 72),
])
def test_swap(node, first, change, total):
    memory, swap = first
    resources = {"memory_limit_in_bytes": memory * MIB, "memory_swap_limit_in_bytes": swap * MIB}
    container = node.sleeper(node.pod(), linux={"resources": resources})
    update(node, container, **change)
    assert swap_limit(node, container) == str(total * MIB)
    assert said(node, container).memory_swap_limit_in_bytes == total * MIB


@pytest.mark.node
def test_less_memory_than_is_used_is_refused_before_the_runtime_is_asked(node):
    container = node.sh(node.pod(), "x=$(head -c 40000000 /dev/zero | tr '\\0' x); echo ${#x}; trap 'exit 0' TERM; while :; do sleep 1000 & wait; done",
                        linux={"resources": FIRST | {"memory_limit_in_bytes": 512 * MIB}})
    node.wait_log(container, "40000000")
    message = error_of(lambda: update(node, container, memory_limit_in_bytes=20 * MIB, cpu_shares=99), KINDS.FAILED_PRECONDITION)
    assert "linux.memory_limit_in_bytes" in message and "uses" in message
    assert in_effect(node, container) == (str(512 * MIB), ("50000", "100000"), weight(512))
    assert said(node, container).memory_limit_in_bytes == 512 * MIB and said(node, container).cpu_shares == 512


@pytest.mark.parametrize("change, field", [
    ({"cpu_period": -1}, "linux.cpu_period"),
    ({"cpuset_cpus": "x"}, "linux.cpuset_cpus"),
    ({"hugepage_limits": [{"page_size": "5MB", "limit": 1}]}, "linux.hugepage_limits"),
    ({"memory_swap_limit_in_bytes": 8 * MIB}, "linux.memory_swap_limit_in_bytes"),
    ({"unified": {"/": "1"}}, "linux.unified"),
])
def test_what_cannot_be_is_refused_by_its_name(node, change, field):
    container = node.sleeper(node.pod(), linux={"resources": FIRST})
    assert field in error_of(lambda: update(node, container, **change), KINDS.INVALID_ARGUMENT)
    assert in_effect(node, container) == (str(64 * MIB), ("50000", "100000"), weight(512))


def test_a_failed_update_leaves_what_was(node):
    """The runtime refuses processors that the machine has not, after it may have set other things."""
    container = node.sleeper(node.pod(), linux={"resources": FIRST})
    error_of(lambda: update(node, container, cpu_shares=4096, memory_limit_in_bytes=100 * MIB, cpuset_cpus="4000"),
             *set(KINDS) - {KINDS.OK, KINDS.INVALID_ARGUMENT})
    assert in_effect(node, container) == (str(64 * MIB), ("50000", "100000"), weight(512))
    status = said(node, container)
    assert (status.cpu_shares, status.memory_limit_in_bytes, status.cpuset_cpus) == (512, 64 * MIB, "")
    assert node.status(container).state == RUNNING


def test_a_created_container_starts_with_the_new_limits(node):
    container = node.create(node.pod(), ["/bin/sleep", "1000"], linux={"resources": FIRST})
    update(node, container, cpu_shares=777, memory_limit_in_bytes=96 * MIB, oom_score_adj=444)
    assert node.status(container).state == CREATED
    assert (said(node, container).cpu_shares, said(node, container).memory_limit_in_bytes) == (777, 96 * MIB)
    node.start(container)
    assert in_effect(node, container) == (str(96 * MIB), ("50000", "100000"), weight(777))
    with open(f"/proc/{node.pid_of(container)}/oom_score_adj") as file:
        assert file.read().strip() == "444"


@pytest.mark.node
def test_what_is_in_effect_outlives_the_daemon(own_node):
    node = own_node()
    pod = node.pod()
    runs = node.sleeper(pod, linux={"resources": FIRST})
    waits = node.create(pod, ["/bin/sleep", "1000"], name="waits", linux={"resources": FIRST})
    for container in (runs, waits):
        update(node, container, cpu_shares=600, memory_limit_in_bytes=90 * MIB)
    node.daemon.kill()
    node.daemon.start()
    for container in (runs, waits):
        assert (said(node, container).cpu_shares, said(node, container).memory_limit_in_bytes) == (600, 90 * MIB)
    node.start(waits)
    assert in_effect(node, waits) == (str(90 * MIB), ("50000", "100000"), weight(600))
    update(node, runs, cpu_quota=80000)
    assert in_effect(node, runs) == (str(90 * MIB), ("80000", "100000"), weight(600))


def slow_runtime(daemon):
    """A runtime whose update waits for a file."""
    path = f"{daemon.root}/slow-runtime"
    with open(path, "w") as file:
        file.write(f"""#!/bin/sh
case " $* " in
*" update "*)
        : > {daemon.root}/updating
        while [ ! -e {daemon.root}/go ]; do sleep 0.05; done;;
esac
exec {daemon.runtime} "$@"
""")
    os.chmod(path, os.stat(path).st_mode | stat.S_IXUSR)
    return path


def test_an_update_that_a_crash_cuts_off_is_ended_by_the_next_daemon(own_daemon, busybox):
    daemon = own_daemon(start=False)
    daemon.write_config({"runtime.handlers.slow": f'kind = "oci"\npath = "{slow_runtime(daemon)}"\n'})
    daemon.start()
    node = Node(daemon, busybox)
    config = node.pod_config()
    container = node.sleeper((node.run_pod(config, handler="slow"), config), linux={"resources": FIRST})
    failed = []

    def change():
        try:
            update(node, container, cpu_shares=700)
        except grpc.RpcError as e:  # the daemon is killed meanwhile
            failed.append(e)

    thread = threading.Thread(target=change)
    thread.start()
    wait_for(lambda: os.path.exists(f"{daemon.root}/updating"), "the runtime's update")
    daemon.kill()
    thread.join()
    assert failed
    open(f"{daemon.root}/go", "w").close()
    daemon.start()
    wait_for(lambda: said(node, container).cpu_shares == 700, "the update to be ended")
    assert cpu_shares(node, container) == weight(700)


class Unwritable:
    """The folder of a container's record, which nobody can write into for a while. A bundle in it is the runtime's, and stays as it was."""

    def __init__(self, node, container):
        self.folder = f"{node.daemon.state}/containers/{container}"

    def recorded(self):
        with open(f"{self.folder}/record.json") as file:
            return file.read()

    def __enter__(self):
        subprocess.run(["mount", "--bind", self.folder, self.folder], check=True)
        subprocess.run(["mount", "-o", "remount,bind,ro", self.folder], check=True)
        bundle = f"{self.folder}/bundle"
        if os.path.isdir(bundle):
            subprocess.run(["mount", "--bind", bundle, bundle], check=True)
            subprocess.run(["mount", "-o", "remount,bind,rw", bundle], check=True)
        self.before = self.recorded()
        return self

    def __exit__(self, *_):
        subprocess.run(["umount", "-R", self.folder], check=True)


def test_an_update_is_known_from_its_acknowledgement_on(own_node):
    """Its record on disk is written afterwards: here the daemon is killed in between."""
    node = own_node()
    container = node.sleeper(node.pod(), linux={"resources": FIRST})
    record = Unwritable(node, container)
    wait_for(lambda: '"running"' in record.recorded(), "the record of its start")
    with record:
        update(node, container, cpu_shares=700, memory_limit_in_bytes=90 * MIB)
        node.daemon.kill()
        assert record.recorded() == record.before, "the window was missed"
    node.daemon.start()
    assert (said(node, container).cpu_shares, said(node, container).memory_limit_in_bytes) == (700, 90 * MIB)
    assert in_effect(node, container) == (str(90 * MIB), ("50000", "100000"), weight(700))
    # The next daemon makes up for it, so that it is known after a reboot, too.
    wait_for(lambda: record.recorded() != record.before, "the record on disk")
    reboot(node.daemon)
    node.daemon.start()
    node.wait_exit(container)
    assert (said(node, container).cpu_shares, said(node, container).memory_limit_in_bytes) == (700, 90 * MIB)


def test_an_update_that_cannot_be_recorded_is_not_acknowledged(own_node):
    """Of a container that was not started the record is all that an update changes."""
    node = own_node()
    container = node.create(node.pod(), ["/bin/sleep", "1000"], linux={"resources": FIRST})
    with Unwritable(node, container):
        error_of(lambda: update(node, container, cpu_shares=700), *set(KINDS) - {KINDS.OK})
        assert said(node, container).cpu_shares == 512
    node.daemon.kill()
    node.daemon.start()
    assert said(node, container).cpu_shares == 512
    update(node, container, cpu_shares=700)
    node.daemon.kill()
    node.daemon.start()
    node.start(container)
    assert in_effect(node, container) == (str(64 * MIB), ("50000", "100000"), weight(700))


def test_one_that_has_ended_is_refused(node):
    container = node.sh(node.pod(), "exit 0", linux={"resources": FIRST})
    node.wait_exit(container)
    message = error_of(lambda: update(node, container, cpu_shares=5), KINDS.FAILED_PRECONDITION)
    assert "has ended" in message
    assert said(node, container).cpu_shares == 512


def test_one_that_is_not_known(node):
    error_of(lambda: update(node, "f" * 64, cpu_shares=5), KINDS.NOT_FOUND)


def test_no_limits_at_all_change_nothing(node):
    container = node.sleeper(node.pod(), linux={"resources": FIRST})
    node.client.UpdateContainerResources(container_id=container)
    node.client.UpdateContainerResources(container_id=container, linux={}, annotations={"a": "b"})
    assert in_effect(node, container) == (str(64 * MIB), ("50000", "100000"), weight(512))
    message = error_of(lambda: node.client.UpdateContainerResources(container_id=container, windows={"cpu_shares": 1}), KINDS.UNIMPLEMENTED)
    assert "windows" in message


@pytest.mark.skipif(not cgroup_v2(), reason="of v2")
@pytest.mark.node
def test_unified(node):
    container = node.sleeper(node.pod(), linux={"resources": FIRST})
    update(node, container, unified={"memory.high": str(40 * MIB)})
    assert cgroup(node, container, "memory", "memory.high") == str(40 * MIB)
    assert dict(said(node, container).unified) == {"memory.high": str(40 * MIB)}


# ---- huge pages, where the kernel limits them ----

def hugetlb():
    return os.path.exists("/sys/fs/cgroup/hugetlb") or (cgroup_v2() and "hugetlb" in read_controllers())


def read_controllers():
    with open("/sys/fs/cgroup/cgroup.controllers") as file:
        return file.read().split()


def hugepage_limit(node, container, size):
    return cgroup(node, container, "hugetlb", f"hugetlb.{size}.{'max' if cgroup_v2() else 'limit_in_bytes'}")


@pytest.mark.skipif(not hugetlb() or not hugepage_sizes(), reason="this kernel does not limit huge pages")
@pytest.mark.node
def test_huge_pages(node):
    size = hugepage_sizes()[0]
    container = node.sleeper(node.pod(), linux={"resources": {"hugepage_limits": [{"page_size": size, "limit": 1 << 30}]}})
    assert hugepage_limit(node, container, size) == str(1 << 30)
    update(node, container, hugepage_limits=[{"page_size": size, "limit": 2 << 30}])
    assert hugepage_limit(node, container, size) == str(2 << 30)
    assert [(limit.page_size, limit.limit) for limit in said(node, container).hugepage_limits] == [(size, 2 << 30)]


@pytest.mark.skipif(not cgroup_v2() or not hugetlb() or not hugepage_sizes(), reason="of v2 with a limit of huge pages")
@pytest.mark.node
def test_files_of_cgroup_v2(node):
    file = f"hugetlb.{hugepage_sizes()[0]}.max"
    container = node.sleeper(node.pod(), linux={"resources": {"unified": {file: str(1 << 30)}}})
    assert cgroup(node, container, "hugetlb", file) == str(1 << 30)
    update(node, container, unified={file: str(3 << 30)})
    assert cgroup(node, container, "hugetlb", file) == str(3 << 30)
    assert dict(said(node, container).unified) == {file: str(3 << 30)}
