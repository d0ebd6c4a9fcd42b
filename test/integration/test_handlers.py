"""Runtime handlers side by side: what each is known to do, and what becomes of those that cannot be used."""
import json
import os
import subprocess

import pytest
from kit import fake_shim, legacy_cgroups
from kit.paths import program
from kit.wait import wait_for
from support import KINDS, Node, error_of

SCRIPT = "#!/bin/sh\nexec {runtime} \"$@\"\n"
OLD = """#!/bin/sh
case "$*" in
--version) echo 'old version 0.9'; echo 'spec: 1.0.0';;
features) exit 1;;
*--help*) echo '   create  makes'; echo '   update, up  changes';;
*) exec {runtime} "$@";;
esac
"""


def handlers(**paths):
    return {f"runtime.handlers.{name}": f'kind = "oci"\npath = "{path}"\n' for name, path in paths.items()}


def put(path, text):
    with open(f"{path}.new", "w") as file:
        file.write(text)
    os.chmod(f"{path}.new", 0o755)
    os.rename(f"{path}.new", path)


def condition(node, name="RuntimeHandlersReady"):
    return next(c for c in node.client.Status().status.conditions if c.type == name)


def is_usable(node, name):
    """Others may be found on the machine, and not work."""
    return f"runtime handler {name}:" not in condition(node).message


def known(node, name):
    return json.loads(node.client.Status(verbose=True).info["info"])["handlers"][name]


@pytest.fixture
def script(tmp_path):
    def make(name, text):
        put(tmp_path / name, text.format(runtime=program("runc")))
        return str(tmp_path / name)
    return make


def test_what_a_handler_can(node):
    handler = wait_for(lambda: known(node, node.daemon.handler) if known(node, node.daemon.handler)["version"] else None, "the probe")
    shim = node.daemon.handler == "shim"  # its protocol has no list of processes that the daemon would want
    assert handler["version"].startswith("containerd-shim-runc-v2" if shim else node.daemon.handler) and not handler["problem"]
    assert {"pause", "resume", "update", *([] if shim else ["ps"])} <= set(handler["commands"])
    assert is_usable(node, node.daemon.handler)
    container = node.sleeper(node.pod())
    info = json.loads(node.client.ContainerStatus(container_id=container, verbose=True).info["info"])
    assert info["runtimeSpec"]["ociVersion"] == handler["ociVersion"]


def test_an_old_runtime_gets_a_specification_that_it_speaks(own_node, script):
    node = own_node(config=handlers(old=script("old", OLD)))
    container = node.create((node.run_pod(handler="old"), node.pod_config()), ["true"])
    info = json.loads(node.client.ContainerStatus(container_id=container, verbose=True).info["info"])
    assert info["runtimeSpec"]["ociVersion"] == "1.0.0"
    assert known(node, "old")["commands"] == ["update"]
    features = {h.name: h.features.recursive_read_only_mounts for h in node.client.Status().runtime_handlers}
    assert not features["old"]


def test_a_command_that_the_runtime_has_not_is_told(own_node, script):
    node = own_node(config=handlers(old=script("old", OLD)))
    config = node.pod_config()
    container = node.sleeper((node.run_pod(config, handler="old"), config))
    done = subprocess.run([node.daemon.crisp, "pause", container, "--socket", node.daemon.socket], stderr=subprocess.PIPE, text=True)
    assert done.returncode == 1 and "old version 0.9 has no command pause" in done.stderr


@pytest.mark.parametrize("text", [None, "#!/bin/sh\necho 'no library libx' >&2; exit 127\n", "#!/no/such/interpreter\n"],
                         ids=["missing", "broken", "no-interpreter"])
def test_a_handler_that_cannot_be_used_fails_its_own_pods_alone(own_node, tmp_path, text):
    path = str(tmp_path / "broken")
    if text:
        put(path, text)
    node = own_node(config=handlers(broken=path))
    wait_for(lambda: not is_usable(node, "broken"), "the condition")
    assert not condition(node).status and "broken" in condition(node).message and path in condition(node).message
    assert condition(node, "RuntimeReady").status
    message = error_of(lambda: node.run_pod(handler="broken"), KINDS.FAILED_PRECONDITION)
    assert path in message and (not text or "no library" in message or "No such file" in message)
    assert node.output(node.pod(), "echo fine") == "fine\n"
    put(path, SCRIPT.format(runtime=program("runc")))
    node.run_pod(handler="broken")
    wait_for(lambda: is_usable(node, "broken"), "the handler to be in order")


def test_the_node_is_not_ready_while_its_default_handler_cannot_be_used(own_daemon, busybox, script):
    path = script("chosen", SCRIPT)
    daemon = own_daemon(config=handlers(chosen=path), start=False)
    with open(f"{daemon.root}/crisp.toml") as file:
        text = file.read().replace(f'default_handler = "{daemon.handler}"', 'default_handler = "chosen"')
    with open(f"{daemon.root}/crisp.toml", "w") as file:
        file.write(text)
    node = Node(daemon.start(), busybox)
    told = condition(node, "RuntimeReady")
    assert told.status and not told.reason and not told.message
    os.unlink(path)
    wait_for(lambda: not condition(node, "RuntimeReady").status, "the condition")
    told = condition(node, "RuntimeReady")
    assert told.reason == "DefaultHandlerNotUsable" and path in told.message
    assert condition(node, "NetworkReady").status
    assert path in error_of(node.run_pod, KINDS.FAILED_PRECONDITION)
    put(path, SCRIPT.format(runtime=program("runc")))
    wait_for(lambda: condition(node, "RuntimeReady").status, "the node to be ready")
    assert node.output(node.pod(), "echo fine") == "fine\n"


def test_a_handler_that_was_mended_is_seen_without_a_pod(own_node, tmp_path):
    path = str(tmp_path / "late")
    node = own_node(config=handlers(late=path))
    wait_for(lambda: not is_usable(node, "late"), "the condition")
    put(path, SCRIPT.format(runtime=program("runc")))
    wait_for(lambda: known(node, "late")["version"], "it to be probed")
    assert is_usable(node, "late")


def test_the_first_status_waits_for_what_handlers_say(own_daemon, script):
    slow = script("slow", "#!/bin/sh\ncase $1 in --version) sleep 3;; esac\nexec {runtime} \"$@\"\n")
    daemon = own_daemon(config=handlers(slow=slow))
    status = daemon.client.Status(verbose=True)
    assert {"", "slow", daemon.handler} <= {h.name for h in status.runtime_handlers if h.features.recursive_read_only_mounts}
    assert json.loads(status.info["info"])["handlers"]["slow"]["version"]


def test_a_handler_that_hangs_is_told_and_holds_up_nothing_else(own_daemon, script):
    hangs = script("hangs", "#!/bin/sh\nsleep 1000\n")
    daemon = own_daemon(config=handlers(hangs=hangs))
    assert not daemon.client.ListPodSandbox().items
    status = daemon.client.Status()
    told = next(c for c in status.status.conditions if c.type == "RuntimeHandlersReady")
    assert not told.status and hangs in told.message
    assert next(h for h in status.runtime_handlers if h.name == "").features.recursive_read_only_mounts


def test_the_limit_of_a_slow_runtime_is_its_own(own_node, script):
    slow = script("slow", "#!/bin/sh\ncase \"$*\" in *\\ create\\ *) sleep 1000;; esac\nexec {runtime} \"$@\"\n")
    config = handlers(slow=slow)
    config["runtime.handlers.slow"] += "create_timeout = 1\n"
    node = own_node(config=config)
    pod_config = node.pod_config()
    container = node.create((node.run_pod(pod_config, handler="slow"), pod_config), ["true"])
    assert error_of(lambda: node.start(container), KINDS.DEADLINE_EXCEEDED)
    assert node.output(node.pod(), "echo fine") == "fine\n"


def test_a_runtime_that_does_not_delete_leaves_nothing(own_node, script):
    """The kernel says that nothing of the container is there; what the runtime keeps of it goes too."""
    keeps = script("keeps", "#!/bin/sh\ncase \"$*\" in *\\ delete\\ *) echo 'no way' >&2; exit 1;; esac\nexec {runtime} \"$@\"\n")
    node = own_node(config=handlers(keeps=keeps))
    config = node.pod_config()
    container = node.sh((node.run_pod(config, handler="keeps"), config), "exit 3")
    assert node.wait_exit(container).exit_code == 3
    assert os.path.exists(f"{node.daemon.run}/runtimes/keeps")
    node.client.RemoveContainer(container_id=container)
    assert not os.listdir(f"{node.daemon.run}/runtimes/keeps")


def test_roots_without_pivot_root(own_node, script, tmp_path):
    noting = script("noting", f"#!/bin/sh\necho \"$*\" >>{tmp_path}/calls\nexec {{runtime}} \"$@\"\n")
    config = handlers(noting=noting)
    config["runtime"] = "no_pivot = true\n"
    node = own_node(config=config)
    pod_config = node.pod_config()
    assert node.output((node.run_pod(pod_config, handler="noting"), pod_config), "echo in; ls /proc/self/exe") == "in\n/proc/self/exe\n"
    with open(tmp_path / "calls") as file:
        calls = file.read()
    assert [line for line in calls.splitlines() if " create " in line and "--no-pivot" in line]


@pytest.fixture
def for_crun():
    """What the daemon is to be started by, so that crun can run in it: a mount namespace without what it does not understand."""
    if not os.path.exists("/usr/bin/crun"):
        pytest.skip("crun is not installed")
    return legacy_cgroups.wrapper(program("crun"))


def all_handlers(tmp_path):
    """Two OCI runtimes, runc's shim, one that makes machines, and one whose program is missing."""
    fake_shim.install(tmp_path / "containerd-shim-fake-v2", tmp_path)
    return {
        "runtime.handlers.runc": f'path = "{program("runc")}"\n', "runtime.handlers.crun": f'path = "{program("crun")}"\n',
        "runtime.handlers.shimmed": f'kind = "shim"\npath = "{program("containerd-shim-runc-v2")}"\n',
        "runtime.handlers.vm": f'kind = "shim"\npath = "{tmp_path}/containerd-shim-fake-v2"\n',
        "runtime.handlers.gone": f'path = "{tmp_path}/gone"\n'}


def test_a_pod_of_each_handler_side_by_side(own_node, for_crun, tmp_path):
    config = all_handlers(tmp_path)
    node = own_node(wrapper=for_crun)
    node.daemon.write_config({section: lines for section, lines in config.items() if not section.endswith(f".{node.daemon.handler}")})
    node.daemon.restart()
    names, running = ("runc", "crun", "shimmed", "vm"), {}
    for name in names:
        pod_config = node.pod_config()
        pod = node.run_pod(pod_config, handler=name), pod_config
        running[name] = pod[0], node.run(pod, ["wait"]) if name == "vm" else node.sleeper(pod)
        info = json.loads(node.client.ContainerStatus(container_id=running[name][1], verbose=True).info["info"])
        assert info["runtimeHandler"] == name and node.pod_status(pod[0]).runtime_handler == name
    assert str(tmp_path / "gone") in error_of(lambda: node.run_pod(handler="gone"), KINDS.FAILED_PRECONDITION)

    def all_answer():
        for name, (_, container) in running.items():
            said = node.exec(container, "echo", "here")
            assert said.exit_code == 0 and said.stdout.endswith(b"here\n"), name
        assert len(node.client.ListContainers(filter={"state": {"state": 1}}).containers) == len(names)

    all_answer()
    node.daemon.restart()
    all_answer()
    for name, (pod, container) in running.items():
        node.stop(container, timeout=0)
        assert node.status(container).exit_code == 137, name
        node.remove_pod(pod)
        assert len(node.client.ListPodSandbox().items) == len(names) - 1 - list(names).index(name)


def test_what_is_said_of_each_handler(own_node, for_crun, tmp_path):
    """Status has an entry for each, and one for the default; what is of the node alone is the same whatever handlers there are."""
    config = all_handlers(tmp_path)
    node = own_node(wrapper=for_crun)
    node.daemon.write_config({section: lines for section, lines in config.items() if not section.endswith(f".{node.daemon.handler}")})
    node.daemon.restart()
    status = node.client.Status(verbose=True)
    told, known = {h.name: h.features for h in status.runtime_handlers}, json.loads(status.info["info"])["handlers"]
    assert {"", "runc", "crun", "shimmed", "vm", "gone"} <= set(told) and set(told) - {""} == set(known)
    assert told[""] == told[node.daemon.handler]
    # runc's shim can what runc can; of what makes machines nothing is known, and of what is missing neither.
    assert told["shimmed"] == told["runc"] and told["runc"].recursive_read_only_mounts and told["crun"].recursive_read_only_mounts
    for name in ("vm", "gone"):
        assert not told[name].recursive_read_only_mounts and not told[name].user_namespaces
    kinds = {name: (known[name]["kind"], known[name]["sandbox"]) for name in ("runc", "crun", "shimmed", "vm", "gone")}
    assert kinds == {"runc": ("oci", "none"), "crun": ("oci", "none"), "shimmed": ("shim", "none"), "vm": ("shim", "container"),
                     "gone": ("oci", "none")}
    assert "gone" in condition(node).message and condition(node, "RuntimeReady").status
    assert not known["vm"]["problem"] and "fake" in known["vm"]["version"]
    before = node.client.RuntimeConfig()
    assert before.linux.cgroup_driver == (1 if node.daemon.cgroup_driver == "cgroupfs" else 0)
    node.client.UpdateRuntimeConfig(runtime_config={"network_config": {"pod_cidr": "10.9.0.0/24"}})
    assert node.client.RuntimeConfig() == before


@pytest.mark.skipif(not os.path.exists("/usr/bin/crun") or not legacy_cgroups.needed("/usr/bin/crun"),
                    reason="crun is not installed, or can run here")
def test_crun_on_a_hybrid_host_is_told(own_node):
    node = own_node()
    message = error_of(lambda: node.run_pod(handler="crun"), KINDS.FAILED_PRECONDITION)
    assert "hybrid" in message and "crun 1.9" in message
