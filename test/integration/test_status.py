"""The status calls field by field, and what they tell when they are verbose."""
import json
import os
import stat
import tomllib

import pytest
from kit import hostile
from kit.cri import grpc
from kit.wait import wait_for
from streams import attach, forward, run
from support import CREATED, EXITED, KINDS, NODE, NOTREADY, POD, READY, RUNNING, error_of, small
from test_port_forward import echo, server

UNKNOWN_ID = "f" * 64


def host_pod(node, **more):
    """A pod that costs no network."""
    return node.pod(linux=node.namespaces(network=NODE), **more)


def info_of(response):
    assert list(response.info) == ["info"]
    return json.loads(response.info["info"])


def container_info(node, container):
    return info_of(node.client.ContainerStatus(container_id=container, verbose=True))


def pod_info(node, pod):
    return info_of(node.client.PodSandboxStatus(pod_sandbox_id=pod, verbose=True))


# ---- containers ----


def test_every_field_of_a_container(own_node):
    node = own_node()
    pod = host_pod(node)
    volume = f"{node.daemon.root}/logs/volume"
    os.makedirs(volume)
    config = dict(
        name="all", attempt=3, labels={"io.kubernetes.container.name": "all", "empty": ""}, annotations={"note": "a=b\n", "ж": "☃"},
        mounts=[{"container_path": "/v", "host_path": volume, "readonly": True}, {"container_path": "/w", "host_path": volume}],
        stop_signal=10,
        image_spec={"image": node.image, "annotations": {"a": "b"}},
        linux={
            "resources": {"cpu_shares": 300, "cpu_quota": 50000, "cpu_period": 100000, "memory_limit_in_bytes": 64 << 20},
            "security_context": {"run_as_user": {"value": 1001}, "run_as_group": {"value": 1002}, "supplemental_groups": [7, 8]},
        },
    )
    container = node.create(pod, ["/bin/sh", "-c", "trap 'exit 5' USR1; while :; do sleep 0.05; done"], **config)
    created = node.status(container)
    assert created.id == container
    assert created.image.annotations == {"a": "b"}
    assert (created.metadata.name, created.metadata.attempt) == ("all", 3)
    assert (created.state, created.started_at, created.finished_at, created.exit_code) == (CREATED, 0, 0, 0)
    assert created.created_at > 0
    assert (created.reason, created.message) == ("", "")
    image = node.image_status(node.image)
    assert created.image.image == node.image
    assert created.image_ref == created.image_id == image.id
    assert (created.labels, created.annotations) == (config["labels"], config["annotations"])
    assert [(m.container_path, m.host_path, m.readonly) for m in created.mounts] == [("/v", volume, True), ("/w", volume, False)]
    assert created.log_path == f"{pod[1]['log_directory']}/all/3.log"
    resources = created.resources.linux
    assert (resources.cpu_shares, resources.cpu_quota, resources.cpu_period) == (300, 50000, 100000)
    assert resources.memory_limit_in_bytes == 64 << 20
    assert not created.resources.HasField("windows")
    user = created.user.linux
    assert (user.uid, user.gid) == (1001, 1002) and set(user.supplemental_groups) == {1002, 7, 8}
    assert created.stop_signal == 10

    node.start(container)
    running = node.status(container)
    assert (running.state, running.finished_at) == (RUNNING, 0)
    assert running.started_at >= running.created_at == created.created_at
    node.pid_of(container)
    node.stop(container, timeout=60)
    ended = node.status(container)
    assert ended.state == EXITED
    assert ended.finished_at >= ended.started_at == running.started_at
    for status in (running, ended):
        for field in ("metadata", "image", "image_ref", "image_id", "labels", "annotations", "mounts", "log_path", "resources", "user", "stop_signal"):
            assert getattr(status, field) == getattr(created, field), field
    node.client.RemoveImage(image={"image": node.image})
    assert node.status(container) == ended
    node.daemon.restart()
    assert node.status(container) == ended


@pytest.mark.parametrize("script, code, reason", [
    ("exit 0", 0, "Completed"), ("exit 1", 1, "Error"), ("exit 255", 255, "Error"), ("kill -9 $$; exit 0", 0, "Completed"),
])
def test_how_it_ended(node, script, code, reason):
    # The first process of a PID namespace cannot be killed from inside: its own signal is nothing to it.
    status = node.wait_exit(node.sh(host_pod(node), script))
    assert (status.exit_code, status.reason, status.message) == (code, reason, "")


def test_a_signal_that_ends_it_is_in_the_code(node):
    pod = host_pod(node)
    for number in (9, 15, 6):
        container = node.sh(pod, "sleep 1000", name=f"c{number}")
        os.kill(node.pid_of(container), number)
        if number != 9:  # from outside too, only what has a handler or SIGKILL reaches it
            os.kill(node.pid_of(container), 9)
        assert node.wait_exit(container).exit_code == 137


def test_what_cannot_start_says_why(node):
    pod = host_pod(node)
    for words, said in ((["/no/such"], "/no/such"), (["/etc"], "/etc")):
        container = node.create(pod, words, name=words[0][1:].replace("/", "-"))
        text = error_of(lambda: node.start(container), *set(KINDS))
        assert said in text
        status = node.status(container)
        assert (status.state, status.exit_code, status.reason) == (EXITED, 128, "StartError")
        assert said in status.message and status.started_at == 0 < status.finished_at


def test_the_termination_message_survives(own_node):
    """The kubelet reads it through the mount that the status names, after the end, a restart and the pod's end."""
    node = own_node()
    pod = host_pod(node)
    path = f"{node.daemon.root}/logs/termination"
    with open(path, "w"):
        pass
    container = node.sh(pod, "echo out of cheese > /dev/termination-log; exit 2", mounts=[
        {"container_path": "/dev/termination-log", "host_path": path, "selinux_relabel": False}])
    node.wait_exit(container)

    def message():
        mount = next(m for m in node.status(container).mounts if m.container_path == "/dev/termination-log")
        with open(mount.host_path) as file:
            return file.read()

    assert message() == "out of cheese\n"
    node.daemon.restart()
    assert message() == "out of cheese\n"
    node.client.StopPodSandbox(pod_sandbox_id=pod[0])
    assert message() == "out of cheese\n"
    node.client.RemoveContainer(container_id=container)
    assert os.path.exists(path)


def test_verbose_container(node):
    pod = node.pod()
    container = node.sleeper(pod, name="one", annotations={"note": "yes"}, envs=[{"key": "A", "value": b"b"}])
    info = container_info(node, container)
    status = node.client.ContainerStatus(container_id=container, verbose=True).status
    assert status == node.status(container)
    assert info["sandboxID"] == pod[0]
    assert os.readlink(f"/proc/{info['pid']}/exe")
    assert info["privileged"] is False
    assert info["runtimeType"] == ("shim" if node.daemon.handler == "shim" else "oci")
    assert info["runtimeHandler"] == node.daemon.handler and os.access(info["runtimePath"], os.X_OK)
    assert stat.S_ISDIR(os.stat(info["rootfs"] + "/bin").st_mode)
    spec = info["runtimeSpec"]
    assert spec["process"]["args"][0] == "/bin/sh" and "A=b" in spec["process"]["env"]
    assert {n["type"] for n in spec["linux"]["namespaces"]} == set(info["namespaces"])
    for kind, name in (("network", "net"), ("pid", "pid"), ("mount", "mnt"), ("ipc", "ipc")):
        path = info["namespaces"][kind]
        assert os.stat(path).st_ino == os.stat(f"/proc/{info['pid']}/ns/{name}").st_ino
    with open(f"/proc/{info['pid']}/cgroup") as file:
        assert info["cgroupPath"] in file.read()
    with open(f"{info['bundle']}/config.json") as file:
        assert json.load(file) == spec
    node.stop(container)
    ended = container_info(node, container)
    assert ended["pid"] == 0 and ended["runtimeSpec"] == spec
    assert "pid" not in ended["namespaces"] and "network" in ended["namespaces"]
    created = container_info(node, node.create(pod, ["/bin/true"], name="two"))
    assert created["pid"] == 0 and created["runtimeSpec"]["process"]["args"] == ["/bin/true"]


def test_verbose_container_whose_specification_is_broken(node):
    container = node.sleeper(host_pod(node))
    path = container_info(node, container)["bundle"] + "/config.json"
    for text in (None, "{ no", "[]", "[" * 100_000, "x" * (5 << 20)):
        os.unlink(path)
        if text:
            with open(path, "w") as file:
                file.write(text)
        info = container_info(node, container)
        assert info["pid"] > 1
        assert info.get("runtimeSpec") in (None, [])
        if text is None:
            with open(path, "w"):
                pass


# ---- pods ----


def test_verbose_pod(node):
    pod = node.pod(hostname="there", labels={"a": "b"}, annotations={"note": "yes"},
                   linux={**node.namespaces(pid=POD), "sysctls": {"net.ipv4.ip_unprivileged_port_start": "80"}})
    response = node.client.PodSandboxStatus(pod_sandbox_id=pod[0], verbose=True)
    info = info_of(response)
    assert response.status == node.pod_status(pod[0])
    spec = info["runtimeSpec"]
    assert spec["hostname"] == "there"
    assert spec["annotations"]["note"] == "yes"
    assert spec["linux"]["sysctl"] == {"net.ipv4.ip_unprivileged_port_start": "80"}
    assert spec["linux"]["cgroupsPath"] == node.daemon.cgroup
    paths = {n["type"]: n["path"] for n in spec["linux"]["namespaces"]}
    assert set(paths) == {"network", "uts", "ipc", "pid"}
    inside = node.pid_of(node.sleeper(pod))
    for kind, name in (("network", "net"), ("uts", "uts"), ("ipc", "ipc"), ("pid", "pid")):
        assert os.stat(paths[kind]).st_ino == os.stat(f"/proc/{inside}/ns/{name}").st_ino, kind
    with open(f"/proc/{info['pid']}/comm") as file:
        assert file.read().strip() == "crisp-pause"
    assert info["network"]["ips"][0] == response.status.network.ip
    assert info["network"]["attached"]
    assert isinstance(info["image"], str)
    node.client.StopPodSandbox(pod_sandbox_id=pod[0])
    stopped = pod_info(node, pod[0])
    assert stopped["pid"] == 0 and stopped["runtimeSpec"]["linux"]["namespaces"] == []


def processes_in(path):
    """The names of the processes in a network namespace, by its pin."""
    number, found = os.stat(path).st_ino, []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            if os.stat(f"/proc/{pid}/ns/net").st_ino == number:
                with open(f"/proc/{pid}/comm") as file:
                    found.append(file.read().strip())
        except OSError:  # it has ended
            pass
    return found


def test_verbose_pod_without_a_process_and_with_the_hosts_network(node):
    plain = pod_info(node, node.pod()[0])
    assert plain["pid"] == 0
    network = next(n["path"] for n in plain["runtimeSpec"]["linux"]["namespaces"] if n["type"] == "network")
    assert not processes_in(network)
    assert {n["type"] for n in plain["runtimeSpec"]["linux"]["namespaces"]} == {"network", "uts", "ipc"}
    host = pod_info(node, host_pod(node)[0])
    assert [n["type"] for n in host["runtimeSpec"]["linux"]["namespaces"]] == ["ipc"]
    assert "network" not in host


def test_verbose_status_tells_the_step(recording, tmp_path):
    """What is being done, and since when, of a pod and of a container whose helpers hang; nothing else."""
    node, recorder = recording(config={"network": "timeout = 600\n", "runtime.handlers.slow": f'path = "{tmp_path}/slow"\n'})
    with open(tmp_path / "slow", "w") as file:
        file.write(f'#!/bin/sh\ncase "$*" in *\\ create\\ *) while [ ! -e {tmp_path}/go ]; do sleep 0.1; done;; esac\n'
                   f'exec {node.daemon.runtime} "$@"\n')
    os.chmod(tmp_path / "slow", 0o755)
    config = node.pod_config()
    pod = (node.run_pod(config, handler="slow"), config)
    container = node.create(pod, ["/bin/true"])
    for info in (pod_info(node, pod[0]), container_info(node, container)):
        assert "step" not in info
    starting = node.client.start("StartContainer", container_id=container, deadline=600)
    info = wait_for(lambda: (told := container_info(node, container)).get("step") and told, "a step of the container")
    assert "runtime" in info["step"] and info["stepSince"]
    (tmp_path / "go").touch()
    starting.result()
    recorder.hold("DEL")
    stopping = node.client.start("StopPodSandbox", pod_sandbox_id=pod[0], deadline=600)
    recorder.wait_held()
    info = pod_info(node, pod[0])
    assert info["step"] == "calling CNI plugins to free the network" and info["stepSince"]
    recorder.release()
    stopping.result()
    assert "step" not in pod_info(node, pod[0])


def test_the_pods_status_has_its_containers_verbose_or_not(node):
    pod = host_pod(node)
    for verbose in (False, True):
        response = node.client.PodSandboxStatus(pod_sandbox_id=pod[0], verbose=verbose)
        assert response.timestamp and not response.containers_statuses
    one, two = node.sleeper(pod, name="one"), node.create(pod, ["/bin/true"], name="two")
    for verbose in (False, True):
        response = node.client.PodSandboxStatus(pod_sandbox_id=pod[0], verbose=verbose)
        assert [s.id for s in response.containers_statuses] == [two, one]
        for status in response.containers_statuses:
            assert status == node.status(status.id)
        assert response.status.state == READY
        assert response.timestamp >= response.containers_statuses[0].created_at
    node.client.StopPodSandbox(pod_sandbox_id=pod[0])
    response = node.client.PodSandboxStatus(pod_sandbox_id=pod[0])
    assert response.status.state == NOTREADY
    assert {s.id: s.state for s in response.containers_statuses} == {one: EXITED, two: CREATED}


# ---- lists ----


def test_filters_of_containers_combine(node):
    pods = [host_pod(node), host_pod(node)]
    made = {}
    for p, pod in enumerate(pods):
        for name, labels in (("a", {"x": "1"}), ("b", {"x": "1", "y": "2"}), ("c", {"x": "2"})):
            made[p, name] = node.create(pod, ["/bin/sleep", "1000"], name=name, labels=labels)
        node.start(made[p, "b"])

    def listed(**filter):
        return {c.id for c in node.client.ListContainers(filter=filter).containers}

    everything = set(made.values())
    assert listed() == everything
    for id in everything:
        assert listed(id=id) == listed(id=id[:20]) == {id}
    assert listed(id=UNKNOWN_ID) == listed(pod_sandbox_id=UNKNOWN_ID) == set()
    assert listed(pod_sandbox_id=pods[0][0][:20]) == {made[0, n] for n in "abc"}
    assert listed(state={"state": RUNNING}) == {made[0, "b"], made[1, "b"]}
    assert listed(state={"state": CREATED}, pod_sandbox_id=pods[1][0]) == {made[1, "a"], made[1, "c"]}
    assert listed(label_selector={"x": "1"}) == {made[p, n] for p in (0, 1) for n in "ab"}
    assert listed(label_selector={"x": "1", "y": "2"}) == {made[0, "b"], made[1, "b"]}
    assert listed(label_selector={"x": "1", "y": "3"}) == listed(label_selector={"z": ""}) == set()
    assert listed(label_selector={"x": "1"}, pod_sandbox_id=pods[0][0], state={"state": CREATED}) == {made[0, "a"]}
    assert listed(id=made[0, "a"], pod_sandbox_id=pods[1][0]) == set()
    assert listed(id=made[0, "a"], state={"state": RUNNING}) == set()


def test_a_reply_of_more_than_four_mebibytes(node):
    """gRPC's own default would refuse it."""
    pods = {host_pod(node, annotations={"note": "x" * 250_000})[0] for _ in range(20)}
    response = node.client.ListPodSandbox()
    assert response.ByteSize() > 4 << 20
    assert {p.id for p in response.items} == pods


# ---- the node ----


def test_status_tells_the_whole_configuration(daemon):
    info = daemon.client.Status(verbose=True).info
    config = json.loads(info["config"])
    assert config["state_dir"] == daemon.state and config["api"]["listen"] == daemon.socket
    assert config["runtime"]["handlers"][daemon.handler]["kind"] == ("shim" if daemon.handler == "shim" else "oci")
    with open(f"{daemon.root}/crisp.toml", "rb") as file:
        written = tomllib.load(file)
    for section, values in written.items():
        for key, value in values.items() if isinstance(values, dict) else ():
            if not isinstance(value, dict):
                assert config[section][key] == value, f"{section}.{key}"


# ---- errors ----


def test_codes_of_ids_that_nobody_knows(node):
    client = node.client
    pod = host_pod(node)
    for call in (
        lambda: client.ContainerStatus(container_id=UNKNOWN_ID), lambda: client.ContainerStatus(container_id="0000", verbose=True),
        lambda: client.PodSandboxStatus(pod_sandbox_id=UNKNOWN_ID), lambda: client.PodSandboxStatus(pod_sandbox_id=pod[0] + "0", verbose=True),
        lambda: client.ContainerStatus(container_id=pod[0]),
    ):
        error_of(call, KINDS.NOT_FOUND)
    client.StopContainer(container_id=UNKNOWN_ID)
    client.RemoveContainer(container_id=UNKNOWN_ID)
    client.StopPodSandbox(pod_sandbox_id=UNKNOWN_ID)
    client.RemovePodSandbox(pod_sandbox_id=UNKNOWN_ID)


def test_prefixes_work_with_every_call(node):
    pod = node.pod()
    short = pod[0][:20]
    config = node.container_config(["/bin/cat"], stdin=True, log_path="log")
    container = node.client.CreateContainer(pod_sandbox_id=short, config=config, sandbox_config=pod[1]).container_id
    part = container[:20]
    node.client.StartContainer(container_id=part)
    assert node.client.ContainerStatus(container_id=part).status.id == container
    assert container_info(node, part)["sandboxID"] == pod[0]
    assert node.exec(part, "/bin/echo", "hi").stdout == b"hi\n"
    assert node.client.PodSandboxStatus(pod_sandbox_id=short, verbose=True).status.id == pod[0]
    assert node.client.ContainerStats(container_id=part).stats.attributes.id == container
    assert node.client.PodSandboxStats(pod_sandbox_id=short).stats.attributes.id == pod[0]
    node.client.UpdateContainerResources(container_id=part, linux={"cpu_shares": 300})
    assert node.status(container).resources.linux.cpu_shares == 300
    node.client.UpdatePodSandboxResources(pod_sandbox_id=short, resources={"cpu_shares": 400})
    assert pod_info(node, pod[0])["resources"] == {"cpu_shares": 400}
    log = node.log_file(container)
    os.rename(log, f"{log}.1")
    node.client.ReopenContainerLog(container_id=part)
    assert os.path.exists(log)
    assert run(node, part, ["/bin/echo", "hi"]).wait()[0] == b"hi\n"
    session = attach(node, part, stdin=True)
    session.send(b"to and fro\n")
    session.wait_for("to and fro\n")
    session.vanish()
    with server(node, pod[0], echo):
        forwarder = forward(node, short)
        connection = forwarder.connect(7000)
        connection.send(b"hello")
        assert connection.wait_for(5) == b"hello"
        forwarder.vanish()
    node.client.StopContainer(container_id=part, timeout=0)
    node.client.RemoveContainer(container_id=part)
    node.client.StopPodSandbox(pod_sandbox_id=short)
    node.client.RemovePodSandbox(pod_sandbox_id=short)
    error_of(lambda: node.client.PodSandboxStatus(pod_sandbox_id=pod[0]), KINDS.NOT_FOUND)


def test_a_prefix_works_for_images(node, image):
    name = image("prefixes", {"Labels": {"of": "this test alone"}})
    node.pull(name)
    short = node.image_status(name).id.removeprefix("sha256:")[:20]
    assert node.image_status(short).id == node.image_status(name).id
    node.client.RemoveImage(image={"image": short})
    assert not node.image_status(name) and node.image_status(node.image)


def test_secrets_of_urls_are_not_told(node, bad):
    """What a registry says of a signed URL reaches neither the client nor the log."""
    name = bad.put("signed/image", "1", small())
    said = json.dumps({"errors": [{"code": "DENIED", "message": "https://joe:pass-word@cdn.example/blob?X-Amz-Signature=tOpSeCrEt&e=1 has expired"}]})
    bad.rule = hostile.on(r"/v2/.*", hostile.status(403, body=said.encode()))
    text = error_of(lambda: node.pull(name), *set(KINDS))
    assert "cdn.example" in text
    for secret in ("tOpSeCrEt", "X-Amz-Signature", "pass-word"):
        assert secret not in text and secret not in node.daemon.log_text()


def test_a_call_that_never_was(node):
    with pytest.raises(grpc.RpcError) as e:
        node.client.raw("/runtime.v1.RuntimeService/NoSuchCall", b"", deadline=20)
    assert e.value.code() == KINDS.UNIMPLEMENTED


def test_no_call_comes_before_what_it_asks_for_is_known(own_node):
    """The socket is there only when the records have been read: the first answer is the whole one."""
    node = own_node()
    pod = host_pod(node)
    made = {node.create(pod, ["/bin/true"], name=f"c{i}") for i in range(50)}
    for _ in range(3):
        node.daemon.kill()
        node.daemon.start(wait=False)

        def first():
            try:
                return node.client.ListContainers(deadline=5)
            except grpc.RpcError:
                return None

        assert {c.id for c in wait_for(first, "an answer").containers} == made
