"""crisp inspect, verify, pause and unpause: what the kernel has of a container, held against its specification."""
import json
import os
import subprocess

import pytest
from kit.wait import wait_for


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
