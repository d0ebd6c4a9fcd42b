"""Containers: what they run, as whom, with what, and how they end."""
import hashlib
import json
import os
import re
import time

import pytest
from kit.image import Layer
from kit.wait import wait_for
from support import CREATED, EXITED, KINDS, NODE, RUNNING, error_of

pytestmark = pytest.mark.handler

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def listed(node, **filter):
    return sorted(c.id for c in node.client.ListContainers(filter=filter).containers)


def test_host_users_do_not_reach_into_containers(node):
    """A set-user-ID program that a container's root made would be root's on the host."""
    pod = node.pod()
    container = node.run(pod, ["/bin/sh", "-c", "cp /bin/busybox /owned; chmod 4755 /owned; sleep 100"])
    mounts = [line.split()[1] for line in open("/proc/mounts", encoding="utf-8")
              if container in line.split()[1] or pod[0] in line.split()[1]]
    assert any(path.endswith("/rootfs") for path in mounts) and any(path.endswith("/shm") for path in mounts)
    run, state = f"{node.daemon.root}/run", f"{node.daemon.root}/state"
    for path in mounts:
        assert path.startswith((f"{run}/", f"{state}/"))
        # The test's own folder is closed to others: what counts is below it.
        parts = path[len(node.daemon.root) + 1:].split("/")
        way = ["/".join([node.daemon.root, *parts[:i]]) for i in range(2, len(parts))]
        assert any(os.stat(folder).st_mode & 0o007 == 0 for folder in way), path


# ---- life ----

def test_created_running_exited(node):
    pod = node.pod()
    before = time.time_ns()
    container = node.create(pod, ["/bin/sh", "-c", "sleep 0.3; exit 0"], labels={"a": "b"}, annotations={"c": "d"})
    assert re.fullmatch(r"[0-9a-f]{64}", container)
    status = node.status(container)
    assert (status.state, status.started_at, status.finished_at) == (CREATED, 0, 0)
    assert before <= status.created_at <= time.time_ns()
    node.start(container)
    assert node.status(container).started_at >= status.created_at
    status = node.wait_exit(container)
    assert (status.exit_code, status.reason) == (0, "Completed")
    assert status.created_at <= status.started_at < status.finished_at <= time.time_ns()
    assert status.metadata.name == "main"
    assert dict(status.labels) == {"a": "b"} and dict(status.annotations) == {"c": "d"}
    assert status.image.image and status.image_ref and status.image_id
    assert status.log_path == f"{pod[1]['log_directory']}/main/0.log"


def test_what_is_said_of_the_pod_once_more_is_not_looked_at(node):
    pod = node.pod(hostname="mine")
    other = node.pod_config(hostname="others", log_directory="/no/such/folder", linux=node.namespaces(network=NODE, pid=NODE))
    for i, said in enumerate((other, None)):
        container = node.client.CreateContainer(
            pod_sandbox_id=pod[0], config=node.container_config(["hostname"], attempt=i), sandbox_config=said).container_id
        node.start(container)
        node.wait_exit(container)
        assert node.text(pod, container) == "mine\n"
        assert node.log_file(container) == f"{pod[1]['log_directory']}/main/{i}.log"


@pytest.mark.parametrize("code, reason", [(0, "Completed"), (1, "Error"), (77, "Error"), (128, "Error"), (255, "Error")])
def test_exit_codes(node, code, reason):
    status = node.wait_exit(node.sh(node.pod(), f"exit {code}"))
    assert (status.exit_code, status.reason) == (code, reason)


def test_killed_by_a_signal_from_outside(node):
    container = node.sleeper(node.pod())
    os.kill(node.pid_of(container), 9)
    status = node.wait_exit(container)
    assert (status.exit_code, status.reason) == (137, "Error")


def test_oom_killed(node):
    resources = {"memory_limit_in_bytes": 16 << 20, "memory_swap_limit_in_bytes": 16 << 20}
    container = node.run(
        node.pod(), ["/bin/sh", "-c", "x=$(head -c 200000000 /dev/zero | tr '\\0' x); echo ${#x}"],
        linux={"resources": resources},
    )
    status = node.wait_exit(container)
    assert status.reason == "OOMKilled"
    assert status.exit_code != 0


def test_a_command_that_is_not_there_fails_at_the_start(node):
    container = node.create(node.pod(), ["/no/such/program"])
    assert node.status(container).state == CREATED
    message = error_of(lambda: node.start(container), *set(KINDS) - {KINDS.OK})
    assert "/no/such/program" in message
    status = node.status(container)
    assert (status.state, status.exit_code, status.reason) == (EXITED, 128, "StartError")
    assert status.finished_at
    assert "/no/such/program" in status.message


def test_a_command_that_may_not_run(node):
    container = node.create(node.pod(), ["/etc/passwd"])
    error_of(lambda: node.start(container), *set(KINDS) - {KINDS.OK})
    status = node.status(container)
    assert (status.state, status.exit_code, status.reason) == (EXITED, 128, "StartError")


def test_a_container_starts_once(node):
    pod = node.pod()
    container = node.sleeper(pod)
    error_of(lambda: node.start(container), KINDS.FAILED_PRECONDITION, KINDS.UNKNOWN)
    assert node.status(container).state == RUNNING
    node.stop(container)
    error_of(lambda: node.start(container), KINDS.FAILED_PRECONDITION, KINDS.UNKNOWN)
    assert node.status(container).state == EXITED


# ---- what it runs ----

@pytest.mark.parametrize("entrypoint, cmd, command, args, expected", [
    (None, ["echo", "cmd"], None, None, "cmd"),
    (["echo", "ep"], None, None, None, "ep"),
    (["echo", "ep"], ["cmd"], None, None, "ep cmd"),
    (["echo", "ep"], ["cmd"], None, ["args"], "ep args"),
    (["echo", "ep"], ["cmd"], ["echo", "command"], None, "command"),
    (["echo", "ep"], ["cmd"], ["echo", "command"], ["args"], "command args"),
    (None, ["echo", "cmd"], None, ["echo", "args"], "args"),
    (None, ["echo", "cmd"], ["echo", "command"], None, "command"),
])
def test_command_and_arguments(node, image, entrypoint, cmd, command, args, expected):
    config = {"Entrypoint": entrypoint, "Cmd": cmd}
    name = image("args", config, tag="t" + hashlib.sha1(json.dumps(config).encode()).hexdigest()[:8])
    node.pull(name)
    pod = node.pod()
    container = node.run(pod, command, args=args, image=name)
    assert node.wait_exit(container).exit_code == 0
    assert node.text(pod, container) == expected + "\n"


def test_no_command_at_all_is_refused(node, image):
    name = image("nocmd", {"Entrypoint": None, "Cmd": None})
    node.pull(name)
    error_of(lambda: node.create(node.pod(), image=name), KINDS.INVALID_ARGUMENT)
    assert not listed(node)


def read_bytes(path):
    with open(path, "rb") as file:
        return file.read()


def test_environment(node, image):
    name = image("env", {"Env": [f"PATH={PATH}", "FROM_IMAGE=1", "BOTH=image", "EQ=a=b"]})
    node.pull(name)
    envs = [
        {"key": "BOTH", "value": b"pod"}, {"key": "TWICE", "value": b"first"}, {"key": "TWICE", "value": b"second"},
        {"key": "EMPTY", "value": b""}, {"key": "LINES", "value": b"a\nb"},
    ]
    pod = node.pod(hostname="envhost")
    container = node.run(pod, ["/bin/sleep", "1000"], image=name, envs=envs)
    path = f"/proc/{node.pid_of(container)}/environ"
    # Before the exec it is the runtime's, and for a moment in the middle of it nothing.
    wait_for(lambda: b"HOSTNAME=envhost" in read_bytes(path), "the environment to stand")
    with open(path, "rb") as file:
        env = dict(line.split(b"=", 1) for line in file.read().split(b"\0") if line)
    assert env[b"FROM_IMAGE"] == b"1"
    assert env[b"BOTH"] == b"pod"
    assert env[b"EQ"] == b"a=b"
    assert env[b"TWICE"] == b"second"
    assert env[b"EMPTY"] == b""
    assert env[b"LINES"] == b"a\nb"
    assert env[b"PATH"] == PATH.encode()
    assert env[b"HOSTNAME"] == b"envhost"


def test_an_environment_that_no_runtime_can_be_told_is_refused(node):
    """A runtime reads JSON, which is text; dropping or changing the bytes in silence would be worse."""
    envs = [{"key": "BYTES", "value": b"\xff\xfe"}]
    assert "BYTES" in error_of(lambda: node.create(node.pod(), ["true"], envs=envs), KINDS.INVALID_ARGUMENT)


def test_working_directory(node, image):
    name = image("cwd", {"WorkingDir": "/usr"})
    node.pull(name)
    pod = node.pod()
    assert node.output(pod, "pwd", name="a") == "/\n"
    assert node.output(pod, "pwd", name="b", image=name) == "/usr\n"
    assert node.output(pod, "pwd", name="c", image=name, working_dir="/var") == "/var\n"
    assert node.output(pod, "pwd", name="d", working_dir="/made/for/it") == "/made/for/it\n"


@pytest.mark.parametrize("context, image_user, expected", [
    ({}, "", "0 0 0"),
    ({}, "1000", "1000 1001 1001 2000"),
    ({}, "tester", "1000 1001 1001 2000"),
    ({}, "1234:4321", "1234 4321 4321"),
    ({}, "tester:extra", "1000 2000 2000"),
    ({"run_as_user": {"value": 33}}, "tester", "33 33 33"),
    ({"run_as_user": {"value": 1000}, "run_as_group": {"value": 5}}, "", "1000 5 5 2000"),
    ({"run_as_user": {"value": 4711}}, "", "4711 0 0"),
    ({"run_as_username": "www-data"}, "", "33 33 33"),
    ({"run_as_user": {"value": 0}}, "tester", "0 0 0"),
    ({"run_as_user": {"value": 1000}, "supplemental_groups": [77, 88]}, "", "1000 1001 77 88 1001 2000"),
    ({"run_as_user": {"value": 1000}, "supplemental_groups": [77], "supplemental_groups_policy": 1}, "", "1000 1001 77 1001"),
])
def test_user(node, image, context, image_user, expected):
    name = image("user", {"User": image_user}, tag="u" + re.sub(r"\W", "-", image_user))
    node.pull(name)
    pod = node.pod()
    out = node.output(pod, "echo $(id -u) $(id -g) $(id -G)", image=name, linux={"security_context": context})
    uid, gid, *groups = out.split()
    want_uid, want_gid, *want_groups = expected.split()
    assert (uid, gid) == (want_uid, want_gid)
    assert set(groups) | {gid} == set(want_groups) | {want_gid}


def test_the_status_tells_the_user(node):
    container = node.sleeper(node.pod(), linux={"security_context": {"run_as_user": {"value": 1000}}})
    user = node.status(container).user.linux
    assert (user.uid, user.gid) == (1000, 1001)
    assert 2000 in user.supplemental_groups


@pytest.mark.parametrize("context", [
    {"run_as_username": "nosuchuser"}, {"run_as_group": {"value": 5}}, {"run_as_user": {"value": -5}},
    {"run_as_user": {"value": 1 << 33}},
])
def test_a_user_that_cannot_be_is_refused(node, context):
    def both():
        node.start(node.create(node.pod(), ["true"], linux={"security_context": context}))
    error_of(both, KINDS.INVALID_ARGUMENT, KINDS.NOT_FOUND, KINDS.UNKNOWN)


def test_the_root_is_an_overlay_of_its_own(node):
    pod = node.pod()
    a, b = node.sleeper(pod, name="a"), node.sleeper(pod, name="b")
    # Names that no machine has: nothing is lost where a command should ever run outside of its container.
    node.exec_sh(a, "echo mine > /home/tester/new; rm /home/tester/of-the-image")
    assert node.exec_sh(a, "ls /home/tester") == "new\n"
    assert node.exec_sh(b, "ls /home/tester") == "of-the-image\n"
    assert "overlay / " in node.exec_sh(a, "cat /proc/mounts")


def test_read_only_root(node):
    container = node.sleeper(node.pod(), linux={"security_context": {"readonly_rootfs": True}})
    assert node.exec(container, "touch", "/x").exit_code != 0
    node.exec_sh(container, "touch /dev/shm/x")


# ---- mounts ----

def test_mounts(node):
    base = f"{node.daemon.root}/volumes"
    os.makedirs(f"{base}/rw")
    os.makedirs(f"{base}/ro")
    with open(f"{base}/file", "w") as file:
        file.write("from the host\n")
    mounts = [
        {"container_path": "/rw", "host_path": f"{base}/rw"},
        {"container_path": "/ro", "host_path": f"{base}/ro", "readonly": True},
        {"container_path": "/etc/one", "host_path": f"{base}/file"},
        {"container_path": "/deep/er/than", "host_path": f"{base}/made/by/crisp"},
    ]
    container = node.sleeper(node.pod(), mounts=mounts)
    node.exec_sh(container, "echo x > /rw/x")
    assert os.path.exists(f"{base}/rw/x")
    assert node.exec(container, "touch", "/ro/x").exit_code != 0
    assert node.exec_sh(container, "cat /etc/one") == "from the host\n"
    assert os.path.isdir(f"{base}/made/by/crisp")
    assert os.stat(f"{base}/made/by/crisp").st_mode & 0o7777 == 0o755
    got = node.status(container).mounts
    assert [(m.container_path, m.host_path, m.readonly) for m in got] == [
        (m["container_path"], m["host_path"], m.get("readonly", False)) for m in mounts
    ]


def test_a_mount_point_that_is_a_symlink_stays_inside(node, image):
    name = image("linkmount", {}, [Layer().symlink("out", "/../../../../../../tmp/crisp-outside").symlink("etc/l", "/data")])
    node.pull(name)
    source = f"{node.daemon.root}/volumes"
    os.makedirs(source, exist_ok=True)
    container = node.sleeper(node.pod(), image=name, mounts=[{"container_path": "/out", "host_path": source}])
    node.exec_sh(container, "echo hi > /tmp/crisp-outside/x")
    assert os.path.exists(f"{source}/x")
    assert not os.path.exists("/tmp/crisp-outside")


def test_mounts_under_one_another_are_made_outer_first(node):
    base = f"{node.daemon.root}/volumes"
    os.makedirs(f"{base}/outer/in", exist_ok=True)
    os.makedirs(f"{base}/inner", exist_ok=True)
    with open(f"{base}/inner/file", "w") as file:
        file.write("inner\n")
    mounts = [{"container_path": "/a/in", "host_path": f"{base}/inner"}, {"container_path": "/a", "host_path": f"{base}/outer"}]
    assert node.output(node.pod(), "cat /a/in/file", mounts=mounts) == "inner\n"


def test_etc_hosts_of_the_kubelet(node):
    path = f"{node.daemon.root}/logs/hosts"
    with open(path, "w") as file:
        file.write("127.0.0.1 localhost\n192.0.2.1 mine\n")
    mounts = [{"container_path": "/etc/hosts", "host_path": path}]
    assert "192.0.2.1 mine" in node.output(node.pod(), "cat /etc/hosts", mounts=mounts)


# ---- stop and remove ----

def test_stop_with_grace(node):
    container = node.sh(node.pod(), "trap 'echo term; exit 9' TERM; echo up; while :; do sleep 1000 & wait $!; done")
    node.wait_log(container, "up")
    node.stop(container, timeout=60)
    status = node.status(container)
    assert (status.state, status.exit_code) == (EXITED, 9)
    assert ("stdout", "F", b"term") in node.log(container)


def test_stop_kills_after_the_grace(node):
    container = node.sh(node.pod(), "trap '' TERM; echo up; while :; do sleep 1000; done")
    node.wait_log(container, "up")
    node.stop(container, timeout=1)
    status = node.status(container)
    assert (status.state, status.exit_code) == (EXITED, 137)


def test_stop_without_grace_kills(node):
    container = node.sh(node.pod(), "trap 'exit 9' TERM; echo up; while :; do sleep 1000 & wait $!; done")
    node.wait_log(container, "up")
    node.stop(container, timeout=0)
    assert node.status(container).exit_code in (137, 9)
    assert node.status(container).state == EXITED


def test_stop_is_idempotent(node):
    container = node.sleeper(node.pod())
    for _ in range(3):
        node.stop(container, timeout=5)
    created = node.create(node.pod(), ["true"])
    node.stop(created)
    assert node.status(created).state in (CREATED, EXITED)


def test_a_later_stop_shortens_the_grace(node):
    container = node.sh(node.pod(), "trap '' TERM; echo up; while :; do sleep 1000; done")
    node.wait_log(container, "up")
    first = node.client.start("StopContainer", container_id=container, timeout=3600, deadline=3600)
    node.stop(container, timeout=1)
    first.result(timeout=60)
    assert node.status(container).exit_code == 137


def test_a_stop_whose_client_goes_away_does_not_kill(node):
    container = node.sh(node.pod(), "trap 'echo asked' TERM; echo up; while :; do sleep 0.1; done")
    node.wait_log(container, "up")
    call = node.client.start("StopContainer", container_id=container, timeout=2, deadline=60)
    node.wait_log(container, "asked")
    call.cancel()
    time.sleep(4)  # past the grace of the stop that nobody waits for
    assert node.status(container).state == RUNNING
    node.stop(container)


@pytest.mark.parametrize("source", ["config", "image", "default"])
def test_stop_signal(node, image, source):
    name = image("signal", {"StopSignal": "SIGUSR1"}) if source == "image" else node.image
    node.pull(name)
    more = {"stop_signal": "SIGNAL_SIGUSR1"} if source == "config" else {}
    script = "trap 'exit 11' USR1; trap 'exit 12' TERM; echo up; while :; do sleep 1000 & wait $!; done"
    container = node.sh(node.pod(), script, image=name, **more)
    node.wait_log(container, "up")
    status = node.status(container)
    assert status.stop_signal == {"config": 29, "image": 29, "default": 23}[source]
    node.stop(container, timeout=60)
    assert node.status(container).exit_code == (12 if source == "default" else 11)


def test_remove_of_a_running_container(node):
    pod = node.pod()
    container = node.sleeper(pod)
    process = node.pid_of(container)
    node.client.RemoveContainer(container_id=container)
    error_of(lambda: node.status(container), KINDS.NOT_FOUND)
    wait_for(lambda: not os.path.exists(f"/proc/{process}"), "the process to end")
    node.client.RemoveContainer(container_id=container)


def test_a_container_in_a_pod_with_processes_that_ignore_everything(node):
    container = node.sh(node.pod(), "for i in 1 2 3 4 5; do (trap '' TERM HUP INT; while :; do sleep 1000; done) & done; echo up; wait")
    node.wait_log(container, "up")
    node.stop(container, timeout=1)
    assert node.status(container).state == EXITED


# ---- lists ----

def test_list_filters(node):
    one, two = node.pod(), node.pod()
    a = node.sleeper(one, name="a", labels={"app": "web"})
    b = node.create(one, ["true"], name="b", labels={"app": "web", "x": "y"})
    c = node.sleeper(two, name="c", labels={"app": "db"})
    node.stop(c)
    assert listed(node) == sorted([a, b, c])
    assert listed(node, id=a) == [a]
    assert listed(node, id=a[:12]) == [a]
    assert listed(node, id="f" * 64) == []
    assert listed(node, state={"state": CREATED}) == [b]
    assert listed(node, state={"state": RUNNING}) == [a]
    assert listed(node, state={"state": EXITED}) == [c]
    assert listed(node, pod_sandbox_id=one[0]) == sorted([a, b])
    assert listed(node, pod_sandbox_id=one[0][:12]) == sorted([a, b])
    assert listed(node, label_selector={"app": "web"}) == sorted([a, b])
    assert listed(node, label_selector={"app": "web", "x": "y"}) == [b]
    assert listed(node, pod_sandbox_id=two[0], label_selector={"app": "web"}) == []


def test_a_list_says_what_the_status_says(node):
    pod = node.pod()
    container = node.sleeper(pod, labels={"a": "b"}, annotations={"c": "d"})
    [item] = node.client.ListContainers(filter={"id": container}).containers
    status = node.status(container)
    for field in ("id", "metadata", "image", "image_ref", "image_id", "state", "created_at", "labels", "annotations"):
        assert getattr(item, field) == getattr(status, field), field
    assert item.pod_sandbox_id == pod[0]


def test_ids_may_be_short(node):
    container = node.sleeper(node.pod())
    short = container[:12]
    assert node.status(short).id == container
    assert node.exec(short, "true").exit_code == 0
    node.stop(short)
    node.client.RemoveContainer(container_id=short)
    assert not listed(node)


def test_verbose_status(node):
    container = node.sleeper(node.pod())
    assert not node.client.ContainerStatus(container_id=container).info
    info = node.client.ContainerStatus(container_id=container, verbose=True).info
    assert json.loads(info["info"])["pid"] > 1


# ---- the same container again ----

def test_the_same_request_gives_the_same_container(node):
    pod = node.pod()
    assert node.create(pod, ["true"]) == node.create(pod, ["true"])
    assert len(listed(node)) == 1


def test_the_same_request_many_times_at_once_makes_one_container(node):
    pod = node.pod()
    os.makedirs(f"{pod[1]['log_directory']}/main")
    config = node.container_config(["true"])
    calls = [
        node.client.start("CreateContainer", pod_sandbox_id=pod[0], config=config, sandbox_config=pod[1]) for _ in range(12)
    ]
    ids = {call.result().container_id for call in calls}
    node.daemon.ids |= ids
    assert len(ids) == 1 and listed(node) == sorted(ids)


def test_the_same_name_with_another_configuration_is_refused(node):
    pod = node.pod()
    container = node.create(pod, ["true"])
    error_of(lambda: node.create(pod, ["false"]), KINDS.ALREADY_EXISTS, KINDS.FAILED_PRECONDITION)
    assert listed(node) == [container]
    assert node.create(pod, ["false"], attempt=1) != container


# ---- what the kernel is told ----

def test_no_new_privileges_and_capabilities(node):
    pod = node.pod()
    def status_of(name, context):
        container = node.sleeper(pod, name=name, linux={"security_context": context})
        with open(f"/proc/{node.pid_of(container)}/status") as file:
            return dict(line.rstrip("\n").split(":\t", 1) for line in file if ":\t" in line)
    assert status_of("a", {"no_new_privs": True})["NoNewPrivs"] == "1"
    plain = int(status_of("b", {})["CapEff"], 16)
    dropped = int(status_of("c", {"capabilities": {"drop_capabilities": ["ALL"]}})["CapEff"], 16)
    added = int(status_of("d", {"capabilities": {"drop_capabilities": ["ALL"], "add_capabilities": ["NET_ADMIN"]}})["CapEff"], 16)
    with open("/proc/self/status") as file:
        ours = int(re.search(r"CapEff:\s*(\w+)", file.read())[1], 16)
    assert 0 < plain < ours
    assert dropped == 0
    assert added == 1 << 12
