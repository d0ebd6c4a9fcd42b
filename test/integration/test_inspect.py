"""crisp inspect, verify, pause and unpause: what the kernel has of a container, held against its specification."""
import json
import os
import subprocess

import pytest
from kit.wait import wait_for
from test_tuning import a_disk, with_classes

pytestmark = pytest.mark.handler


def crisp(node, *words):
    done = subprocess.run([node.daemon.crisp, *words, "--socket", node.daemon.socket], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                          timeout=120)
    return done.returncode, done.stdout, done.stderr


def inspect(node, container):
    code, out, err = crisp(node, "inspect", container)
    assert code == 0, err
    return json.loads(out)


def verify(node, container):
    """The exit status, and verdicts with texts by what was looked at."""
    code, out, err = crisp(node, "verify", container, "--json")
    assert not err, err
    return code, {f["what"]: (f["verdict"], f["text"]) for f in json.loads(out)["findings"]}


LIMITS = {"resources": {"memory_limit_in_bytes": 64 << 20, "cpu_shares": 512, "cpu_quota": 50000, "cpu_period": 100000, "oom_score_adj": 900}}


def test_what_a_container_is(node):
    pod = node.pod()
    container = node.sleeper(pod, linux=LIMITS)
    pid = node.pid_of(container)
    got = inspect(node, container)
    assert got["id"] == container and got["pod"] == pod[0] and got["state"] == "running" and not got["paused"]
    assert got["handler"]["name"] == node.daemon.handler and got["ociVersion"] == got["spec"]["ociVersion"]
    kernel = got["kernel"]
    assert kernel["pid"] == pid
    for name in ("net", "ipc", "uts", "mnt", "pid"):
        assert kernel["namespaces"][name] == {"inode": os.stat(f"/proc/{pid}/ns/{name}").st_ino, "host": False}
    assert kernel["namespaces"]["user"]["host"]
    files = {name: text for each in kernel["cgroups"] for name, text in each.get("limits", {}).items()}
    assert str(64 << 20) in (files.get("memory.limit_in_bytes"), files.get("memory.max"))
    assert kernel["root"]["type"] == "overlay" and kernel["root"]["layers"]
    assert "CAP_CHOWN" in kernel["capabilities"]["bounding"] and "CAP_SYS_ADMIN" not in kernel["capabilities"]["bounding"]
    assert kernel["seccomp"] in ("disabled", "filter") and kernel["oomScoreAdj"] == got["spec"]["process"]["oomScoreAdj"]
    assert len(got["layers"]) >= 1


def test_what_has_ended_can_be_inspected_and_not_verified(node):
    container = node.sh(node.pod(), "exit 3")
    node.wait_exit(container)
    got = inspect(node, container)
    assert got["state"] == "exited" and "kernel" not in got and got["spec"]["process"]["args"]
    code, _, err = crisp(node, "verify", container)
    assert code == 1 and "does not run" in err


@pytest.mark.parametrize("linux", [
    {},
    LIMITS,
    {"security_context": {"run_as_user": {"value": 1000}, "no_new_privs": True, "readonly_rootfs": True}},
    {"security_context": {"capabilities": {"drop_capabilities": ["ALL"], "add_capabilities": ["NET_BIND_SERVICE"]},
                          "seccomp": {"profile_type": 0}}},
], ids=["plain", "limits", "user", "capabilities"])
def test_a_container_is_as_its_specification_says(node, linux):
    container = node.sleeper(node.pod(), linux=linux)
    node.pid_of(container)
    code, found = verify(node, container)
    assert code == 0, {what: text for what, (verdict, text) in found.items() if verdict == "FINDING_FAIL"}
    assert found["namespace net"][0] == "FINDING_PASS"
    assert found["root's layers"][0] == "FINDING_PASS"
    if linux is LIMITS:
        assert found["memory limit"][0] == "FINDING_PASS" and found["CPU shares"][0] == "FINDING_PASS"


@pytest.mark.parametrize("user_namespace", [False, True], ids=["", "user-namespace"])
def test_sysctls_and_devices_are_as_the_pod_and_the_container_have_them(node, handler, user_namespace):
    linux = {"sysctls": {"net.ipv4.tcp_keepalive_time": "1234", "net.ipv4.ip_local_port_range": "20000 30000", "kernel.shm_rmid_forced": "1"}}
    if user_namespace:
        if not node.client.Status().features.user_namespaces_host_network:
            pytest.skip("there are no user namespaces for pods here")
        maps = [{"host_id": 100000, "container_id": 0, "length": 65536}]
        linux.update(node.namespaces(userns_options={"mode": 0, "uids": maps, "gids": maps}))
    container = node.sleeper(node.pod(linux=linux))
    node.pid_of(container)
    code, found = verify(node, container)
    # crun leaves this one's options out in a user namespace (docs/handlers.md), which is then told.
    known = {"mount /dev/mqueue"} if handler == "crun" and user_namespace else set()
    assert {what for what, (verdict, _) in found.items() if verdict == "FINDING_FAIL"} <= known, found
    assert code == (1 if any(verdict == "FINDING_FAIL" for verdict, _ in found.values()) else 0)
    assert found["sysctl net.ipv4.tcp_keepalive_time"] == ("FINDING_PASS", "1234")
    assert found["sysctl net.ipv4.ip_local_port_range"][0] == found["sysctl kernel.shm_rmid_forced"][0] == "FINDING_PASS"
    assert found["devices"][0] == "FINDING_PASS"
    pid = node.pid_of(container)
    subprocess.run(["/usr/bin/nsenter", "-t", str(pid), "-n", "/usr/sbin/sysctl", "-qw", "net.ipv4.tcp_keepalive_time=77"], check=True)
    code, found = verify(node, container)
    assert code == 1 and found["sysctl net.ipv4.tcp_keepalive_time"] == ("FINDING_FAIL", "77, and should be 1234")


@pytest.mark.skipif(not os.path.exists("/sys/fs/cgroup/devices"), reason="cgroup v2 does not tell which devices a program allows")
def test_devices_that_should_be_otherwise_are_told(node):
    """Devices are allowed and denied one by one: here one more and one less."""
    devices = [{"host_path": "/dev/fuse", "container_path": "/dev/fuse", "permissions": "rw"}] if os.path.exists("/dev/fuse") else []
    container = node.sleeper(node.pod(), devices=devices)
    node.pid_of(container)
    assert verify(node, container)[1]["devices"][0] == "FINDING_PASS"
    group = next(each["path"] for each in inspect(node, container)["kernel"]["cgroups"] if each["hierarchy"] == "devices")
    with open(f"/sys/fs/cgroup/devices{group}/devices.allow", "w") as file:
        file.write("c 4:7 rw")
    if devices:
        number = os.stat("/dev/fuse").st_rdev
        with open(f"/sys/fs/cgroup/devices{group}/devices.deny", "w") as file:
            file.write(f"c {os.major(number)}:{os.minor(number)} w")
    code, out, _ = crisp(node, "verify", container, "--json")
    told = [finding["text"] for finding in json.loads(out)["findings"] if finding["what"] == "devices"]
    assert code == 1 and "allowed, and should not be: c 4:7 rw" in told
    if devices:
        assert f"not allowed, and should be: c {os.major(number)}:{os.minor(number)} w" in told


@pytest.mark.skipif(not a_disk(), reason="there is no disk to limit")
def test_limits_of_block_io(own_daemon, busybox):
    disk = a_disk()
    node = with_classes(own_daemon, busybox, f"Classes:\n  slow:\n  - Devices: [{disk}]\n    ThrottleReadBps: 50M\n    ThrottleWriteIOPS: 5k\n")
    container = node.sleeper(node.pod(annotations={"blockio.resources.beta.kubernetes.io/pod": "slow"}))
    number = os.stat(disk).st_rdev
    device = f"{os.major(number)}:{os.minor(number)}"
    node.pid_of(container)
    code, found = verify(node, container)
    assert code == 0 and found[f"bytes read a second of {device}"][0] == found[f"writes a second of {device}"][0] == "FINDING_PASS"
    path = limit_file(node, container, "blkio.throttle.read_bps_device", "io.max")
    with open(path, "w") as file:
        file.write(f"{device} rbps=7000" if path.endswith("io.max") else f"{device} 7000")
    code, found = verify(node, container)
    verdict, text = found[f"bytes read a second of {device}"]
    assert code == 1 and verdict == "FINDING_FAIL" and "7000, and should be 50000000" in text


def test_a_privileged_container_is_as_its_specification_says(node):
    container = node.sleeper(node.privileged_pod(), linux={"security_context": {"privileged": True}})
    node.pid_of(container)
    code, found = verify(node, container)
    assert code == 0, {what: text for what, (verdict, text) in found.items() if verdict == "FINDING_FAIL"}


def test_limits_that_were_changed_are_the_specification_now(node):
    container = node.sleeper(node.pod(), linux=LIMITS)
    node.pid_of(container)
    node.client.UpdateContainerResources(container_id=container, linux={"memory_limit_in_bytes": 96 << 20, "cpu_shares": 700})
    code, found = verify(node, container)
    assert code == 0 and str(96 << 20) in found["memory limit"][1]


def limit_file(node, container, *names):
    for each in inspect(node, container)["kernel"]["cgroups"]:
        for name in names:
            if name in each.get("limits", {}):
                place = "" if each["hierarchy"] == "unified" else each["hierarchy"].replace("name=", "") + "/"
                return f"/sys/fs/cgroup/{place}{each['path'].lstrip('/')}/{name}"
    raise AssertionError(names)


def test_the_exact_difference_is_told(node):
    container = node.sleeper(node.pod(), linux=LIMITS)
    pid = node.pid_of(container)
    with open(limit_file(node, container, "memory.limit_in_bytes", "memory.max"), "w") as file:
        file.write(str(48 << 20))
    with open(f"/proc/{pid}/oom_score_adj", "w") as file:
        file.write("950")
    code, found = verify(node, container)
    assert code == 1
    assert found["memory limit"][0] == "FINDING_FAIL" and str(48 << 20) in found["memory limit"][1] and str(64 << 20) in found["memory limit"][1]
    assert found["OOM score adjustment"] == ("FINDING_FAIL", "950, and should be 900")
    code, out, _ = crisp(node, "verify", container, "-q")
    assert code == 1 and "FAIL" in out and "memory limit" in out and "\npass" not in out


def test_pause_and_unpause(node):
    container = node.sh(node.pod(), "i=0; while :; do i=$((i+1)); echo $i >/count; done")
    node.pid_of(container)
    root = f"{node.daemon.run}/containers/{container}/rootfs"

    def count():
        try:
            with open(f"{root}/count") as file:
                return int(file.read() or 0)
        except (OSError, ValueError):
            return 0
    wait_for(count, "it to count")
    assert crisp(node, "pause", container) == (0, "", "")
    assert inspect(node, container)["paused"]
    assert node.status(container).state == 1
    node.daemon.restart()
    assert inspect(node, container)["paused"]
    assert crisp(node, "unpause", container) == (0, "", "")
    assert not inspect(node, container)["paused"]
    before = count()
    wait_for(lambda: count() != before, "it to count on")
    assert crisp(node, "pause", container)[0] == 0
    node.stop(container)
    assert node.wait_exit(container).exit_code == 137
    code, _, err = crisp(node, "pause", container)
    assert code == 1 and "does not run" in err


def test_containers_are_found_by_name(node):
    first, second = node.pod(), node.pod()
    container = node.sleeper(first, name="alone")
    assert inspect(node, "alone")["id"] == container
    node.sleeper(second, name="alone")
    code, _, err = crisp(node, "inspect", "alone")
    assert code == 1 and "2 containers" in err
    code, _, err = crisp(node, "inspect", "nobody")
    assert code == 1 and "nobody" in err
    assert crisp(node, "inspect")[0] == 2
