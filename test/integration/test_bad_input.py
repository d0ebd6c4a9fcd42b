"""Whatever comes in wrong gets a clear status and message, and leaves nothing behind."""
import os
import subprocess

import pytest
from kit.image import Image, Layer
from support import CONTAINER, FAILS, KINDS, NODE, TARGET, Node, error_of

UNKNOWN = ["0" * 64, "nosuch", "f" * 12, "../../etc", "a" * 100000]

# ---- unknown ids ----

@pytest.mark.parametrize("unknown", UNKNOWN, ids=lambda u: u[:12])
def test_unknown_ids(node, unknown):
    client = node.client
    for call in (
        lambda: client.PodSandboxStatus(pod_sandbox_id=unknown),
        lambda: client.ContainerStatus(container_id=unknown),
        lambda: client.StartContainer(container_id=unknown),
        lambda: client.ExecSync(container_id=unknown, cmd=["true"]),
        lambda: client.ReopenContainerLog(container_id=unknown),
    ):
        assert unknown[:12] in error_of(call, KINDS.NOT_FOUND)
    client.StopPodSandbox(pod_sandbox_id=unknown)
    client.RemovePodSandbox(pod_sandbox_id=unknown)
    client.StopContainer(container_id=unknown, timeout=1)
    client.RemoveContainer(container_id=unknown)


def test_empty_ids(node):
    client = node.client
    for call in (client.PodSandboxStatus, client.StopPodSandbox, client.RemovePodSandbox):
        assert "pod_sandbox_id" in error_of(call, KINDS.INVALID_ARGUMENT)
    for call in (client.ContainerStatus, client.StartContainer, client.StopContainer, client.RemoveContainer, client.ReopenContainerLog):
        assert "container_id" in error_of(call, KINDS.INVALID_ARGUMENT)
    assert "container_id" in error_of(lambda: client.ExecSync(cmd=["true"]), KINDS.INVALID_ARGUMENT)


def test_requests_without_what_they_need(node):
    client = node.client
    assert "config" in error_of(client.RunPodSandbox, KINDS.INVALID_ARGUMENT)
    assert "image" in error_of(client.PullImage, KINDS.INVALID_ARGUMENT)
    assert "image" in error_of(client.RemoveImage, KINDS.INVALID_ARGUMENT)
    assert "image" in error_of(client.ImageStatus, KINDS.INVALID_ARGUMENT)
    error_of(client.CreateContainer, KINDS.INVALID_ARGUMENT)
    pod = node.pod()
    container = node.sleeper(pod)
    assert "cmd" in error_of(lambda: client.ExecSync(container_id=container), KINDS.INVALID_ARGUMENT)
    assert "timeout" in error_of(lambda: client.ExecSync(container_id=container, cmd=["true"], timeout=-1), KINDS.INVALID_ARGUMENT)


# ---- pods ----

@pytest.mark.parametrize("change, field", [
    ({"metadata": None}, "metadata"),
    ({"metadata": {"uid": "u", "namespace": "n"}}, "name"),
    ({"metadata": {"name": "a", "uid": "u"}}, "namespace"),
    ({"hostname": "x" * 65}, "hostname"),
    ({"hostname": "a/b"}, "hostname"),
    ({"hostname": "a\nb"}, "hostname"),
    ({"log_directory": "relative/path"}, "log_directory"),
    ({"dns_config": {"servers": ["192.0.2.1\noptions debug"]}}, "dns_config"),
    ({"dns_config": {"searches": ["a\nnameserver 192.0.2.1"]}}, "dns_config"),
    ({"dns_config": {"options": ["a\nb"]}}, "dns_config"),
])
def test_pods_that_cannot_be(node, change, field):
    config = {**node.pod_config(), **change}
    config = {k: v for k, v in config.items() if v is not None}
    assert field in error_of(lambda: node.run_pod(config), KINDS.INVALID_ARGUMENT)
    assert not node.client.ListPodSandbox().items


@pytest.mark.parametrize("linux, field", [
    ({"cgroup_parent": "/a/../../b"}, "cgroup"),
    ({"security_context": {"namespace_options": {"network": 9}}}, "network"),
    ({"security_context": {"namespace_options": {"pid": TARGET, "target_id": "x"}}}, "pid"),
    ({"security_context": {"namespace_options": {"network": CONTAINER}}}, "network"),
    ({"security_context": {"namespace_options": {"ipc": CONTAINER}}}, "ipc"),
])
def test_pods_whose_linux_part_cannot_be(node, linux, field):
    error = error_of(lambda: node.run_pod(linux=linux), KINDS.INVALID_ARGUMENT, KINDS.UNIMPLEMENTED)
    assert field in error
    assert not node.client.ListPodSandbox().items


@pytest.mark.parametrize("name", ["nosuchhandler", "../../bin/sh", "a b"])
def test_a_handler_that_is_not_there(node, name):
    assert name in error_of(lambda: node.run_pod(handler=name), KINDS.INVALID_ARGUMENT, KINDS.NOT_FOUND)


def test_a_runtime_that_is_missing(own_daemon, busybox):
    daemon = own_daemon(start=False, config={"runtime.handlers.gone": 'kind = "oci"\npath = "/no/such/runtime"\n'})
    daemon.start(wait=False)
    try:
        daemon.wait_ready()
    except RuntimeError as e:
        assert "/no/such/runtime" in str(e)
        daemon.write_config(extra={})
        daemon.start()
        return
    node = Node(daemon, busybox)
    def both():
        pod = node.pod()
        config = node.pod_config()
        pod = (node.run_pod(config, handler="gone"), config)
        node.start(node.create(pod, ["true"]))
    assert "/no/such/runtime" in error_of(both, *FAILS)


def test_a_runtime_that_fails(own_daemon, busybox):
    daemon = own_daemon(start=False)
    path = f"{daemon.root}/bad-runtime"
    with open(path, "w") as file:
        file.write("#!/bin/sh\ncase $* in *--version*|*features*) echo 'runc version 1.1.5';exit 0;; esac\necho 'it broke here' >&2\nexit 9\n")
    os.chmod(path, 0o755)
    daemon.write_config(extra={"runtime.handlers.bad": f'kind = "oci"\npath = "{path}"\n'})
    node = Node(daemon.start(), busybox)
    config = node.pod_config()
    pod = (node.run_pod(config, handler="bad"), config)
    container = node.create(pod, ["true"])
    assert "it broke here" in error_of(lambda: node.start(container), *FAILS)
    status = node.status(container)
    assert (status.state, status.exit_code, status.reason) == (2, 128, "StartError")


# ---- containers ----

@pytest.mark.parametrize("change, field", [
    ({"metadata": None}, "metadata"),
    ({"metadata": {"name": ""}}, "name"),
    ({"image": None}, "image"),
    ({"image": {"image": ""}}, "image"),
    ({"working_dir": "relative"}, "working_dir"),
    ({"log_path": "../../outside.log"}, "log_path"),
    ({"envs": [{"key": "", "value": b"x"}]}, "env"),
    ({"envs": [{"key": "A=B", "value": b"x"}]}, "env"),
    ({"envs": [{"key": "A", "value": b"x\0y"}]}, "env"),
    ({"mounts": [{"container_path": "", "host_path": "/tmp"}]}, "container_path"),
    ({"mounts": [{"container_path": "/x", "host_path": "relative"}]}, "host_path"),
    ({"mounts": [{"container_path": "/x", "host_path": ""}]}, "host_path"),
    ({"mounts": [{"container_path": "/x", "host_path": "/tmp", "propagation": 9}]}, "propagation"),
    ({"stop_signal": 99}, "stop_signal"),
])
def test_containers_that_cannot_be(node, change, field):
    pod = node.pod()
    config = {**node.container_config(["true"]), **change}
    config = {k: v for k, v in config.items() if v is not None}
    message = error_of(
        lambda: node.client.CreateContainer(pod_sandbox_id=pod[0], config=config, sandbox_config=pod[1]), KINDS.INVALID_ARGUMENT
    )
    assert field in message
    assert not node.client.ListContainers().containers


@pytest.mark.parametrize("security, container", [
    ({"run_as_username": "joe"}, {"resources": {"cpu_count": 1}}),
    ({"namespace_options": {"network": NODE}}, {"security_context": {"host_process": True}}),
    ({"credential_spec": "x"}, {"resources": {"affinity_cpus": [{"cpu_mask": 1}]}}),
])
def test_what_is_for_windows_is_refused(node, security, container):
    assert "config.windows" in error_of(lambda: node.run_pod(windows={"security_context": security}), KINDS.UNIMPLEMENTED)
    assert not node.client.ListPodSandbox().items
    pod = node.pod()
    assert "config.windows" in error_of(lambda: node.create(pod, ["true"], windows=container), KINDS.UNIMPLEMENTED)
    assert not node.client.ListContainers().containers


UNSUPPORTED = [
    ({"mounts": [{"container_path": "/x", "image": {"image": "x"}}]}, "image"),
    ({"mounts": [{"container_path": "/x", "host_path": "/tmp", "uidMappings": [{"host_id": 1, "length": 1}]}]}, "mappings"),
    ({"linux": {"security_context": {"selinux_options": {"type": "a b"}}}}, "selinux"),
    ({"linux": {"security_context": {"apparmor": {"profile_type": 2, "localhost_ref": "nosuch"}}}}, "apparmor"),
    ({"linux": {"security_context": {"seccomp": {"profile_type": 2, "localhost_ref": "/nosuch"}}}}, "seccomp"),
    ({"linux": {"security_context": {"namespace_options": {"pid": TARGET, "target_id": "nosuch"}}}}, "target"),
    ({"linux": {"security_context": {"capabilities": {"add_capabilities": ["NO_SUCH"]}}}}, "NO_SUCH"),
]


@pytest.mark.parametrize("change, field", UNSUPPORTED, ids=[field for _, field in UNSUPPORTED])
def test_what_would_change_security_is_refused_where_it_cannot_be_done(node, change, field):
    pod = node.pod()
    def both():
        node.start(node.create(pod, ["true"], **change))
    assert field.lower() in error_of(both, *set(KINDS) - {KINDS.OK, KINDS.DEADLINE_EXCEEDED}).lower()
    assert not [c for c in node.client.ListContainers().containers if c.state == 1]


def test_an_image_that_was_not_pulled(node):
    name = "registry.example/not/here:1"
    assert name in error_of(lambda: node.create(node.pod(), ["true"], image=name), KINDS.NOT_FOUND)


def test_a_pod_that_is_not_there(node):
    error_of(lambda: node.create(("0" * 64, node.pod_config()), ["true"]), KINDS.NOT_FOUND)


def test_a_mount_that_cannot_be_made(node):
    path = f"{node.daemon.root}/logs/file"
    with open(path, "w"):
        pass
    def both():
        node.start(node.create(node.pod(), ["true"], mounts=[{"container_path": "/x", "host_path": f"{path}/below"}]))
    assert path in error_of(both, *FAILS)


def test_resources_that_cannot_be(node):
    pod = node.pod()
    for i, resources in enumerate([
        {"memory_limit_in_bytes": -5}, {"cpu_period": 5, "cpu_quota": 5}, {"cpuset_cpus": "nonsense"}, {"cpuset_cpus": "4000"},
        {"memory_limit_in_bytes": 10},
    ]):
        def both():
            node.start(node.create(pod, ["true"], name=f"c{i}", linux={"resources": resources}))
        error_of(both, *FAILS)


def test_very_many_arguments(node):
    pod = node.pod()
    container = node.create(pod, ["echo"] + ["x" * 100] * 5000)
    node.start(container)
    node.wait_exit(container)
    assert len(node.text(pod, container)) == 101 * 5000
    # One argument of a megabyte is more than the kernel takes.
    assert "command" in error_of(lambda: node.create(pod, ["echo", "x" * (1 << 20)], name="toolong"), KINDS.INVALID_ARGUMENT)


# ---- a full disk ----

@pytest.fixture
def small_disk(own_daemon):
    """A daemon whose state is on a file system of a few megabytes."""
    daemon = own_daemon(start=False)
    os.makedirs(daemon.state)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", daemon.state], check=True)
    yield daemon
    if daemon.alive():
        daemon.remove_everything()
        daemon.terminate()
    subprocess.run(["umount", "-l", daemon.state], check=True)
    daemon.start()


def fill(folder):
    with open(f"{folder}/filler", "wb", buffering=0) as file:
        try:
            while True:
                file.write(b"\0" * 65536)
        except OSError:
            return


def test_a_full_disk(small_disk, busybox):
    daemon = small_disk
    node = Node(daemon.start(), busybox)
    pod = node.pod()
    container = node.sh(pod, "while [ ! -e /dev/shm/go ]; do sleep 0.1; done; exit 6")
    fill(daemon.state)
    message = error_of(lambda: node.run_pod(), *FAILS)
    assert "space" in message.lower()
    error_of(lambda: node.create(pod, ["true"], name="second"), *FAILS)
    assert node.client.Status().status.conditions
    if daemon.handler == "shim":  # which wants to write a log beside the container's for each command
        error_of(lambda: node.exec(container, "true"), *FAILS)
        with open(f"/proc/{node.pid_of(container)}/root/dev/shm/go", "w"):
            pass
    else:
        node.exec_sh(container, "touch /dev/shm/go")
    assert node.wait_exit(container).exit_code == 6
    node.client.StopPodSandbox(pod_sandbox_id=pod[0])
    os.unlink(f"{daemon.state}/filler")
    assert [p.id for p in node.client.ListPodSandbox().items] == [pod[0]]
    node.run_pod()
    daemon.restart()
    assert node.status(container).exit_code == 6


def test_a_pull_onto_a_full_disk(small_disk, registry, busybox):
    daemon = small_disk
    node = Node(daemon.start(), busybox)
    name = registry.push("test/big", "1", Image([Layer("gzip").file("big", os.urandom(40 << 20))]))
    message = error_of(lambda: node.pull(name), *FAILS)
    assert "space" in message.lower()
    assert node.image_status(name) is None
    assert node.image_status(busybox)
    left = os.statvfs(daemon.state)
    assert left.f_bavail * left.f_frsize > 12 << 20, "the partial layer still takes the disk"
    node.run_pod()
