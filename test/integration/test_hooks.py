"""OCI hooks of the node's folders: for which containers they run, when, and what becomes of those that fail."""
import json
import os

import pytest
from kit.wait import wait_for
from support import EXITED, KINDS, RUNNING, error_of
from test_devices import spec_of

pytestmark = pytest.mark.handler

ON_HOST = ["prestart", "createRuntime", "createContainer", "poststart", "poststop"]


@pytest.fixture
def write(node):
    """Writes a hook's file; gone after the test. With a script, it is what /bin/sh runs."""
    made = []

    def make(name="test.json", script=None, stages=("createRuntime",), when=None, folder="hooks", text=None, timeout=30, **hook):
        folder = f"{node.daemon.root}/{folder}"
        os.makedirs(folder, exist_ok=True)
        if script is not None:
            hook = {"path": "/bin/sh", "args": ["sh", "-c", script], **hook}
        document = {"version": "1.0.0", "hook": {"timeout": timeout, **hook}, "stages": list(stages),
                    "when": {"always": True} if when is None else when}
        with open(f"{folder}/{name}", "w") as file:
            file.write(text if text is not None else json.dumps(document))
        made.append(file.name)

    yield make
    for path in made:
        if os.path.exists(path):
            os.unlink(path)


def hooks_of(node, container):
    return {stage: [hook["path"] for hook in hooks] for stage, hooks in spec_of(node, container).get("hooks", {}).items()}


@pytest.mark.parametrize("stage", ON_HOST)
def test_each_stage_on_the_host(node, write, tmp_path, stage):
    """With the container's state on its stdin, and the environment that the file says."""
    write(script=f"cat >{tmp_path}/state; echo $WHO >{tmp_path}/who", stages=[stage], env=["WHO=hook"])
    pod = node.pod()
    container = node.create(pod, ["true"])
    assert not (tmp_path / "state").exists()
    node.start(container)
    node.wait_exit(container)
    node.client.RemoveContainer(container_id=container)
    wait_for(lambda: (tmp_path / "who").exists(), "the hook to run")
    state = json.loads((tmp_path / "state").read_text())
    assert state["id"] == container and state["bundle"].startswith(node.daemon.state)
    assert (tmp_path / "who").read_text() == "hook\n"


def test_the_stage_in_the_container(node, write):
    """startContainer runs a program of the container's own tree: one that the host need not have."""
    write(path="/bin/busybox", args=["sh", "-c", "echo before >/tmp/hook"], stages=["startContainer"])
    assert node.output(node.pod(), "cat /tmp/hook") == "before\n"


def test_the_order_of_names_and_an_override(node, write, tmp_path):
    write("b.json", script=f"echo b >>{tmp_path}/order")
    write("A.json", script=f"echo a >>{tmp_path}/order")
    write("c.json", script=f"echo low >>{tmp_path}/order")
    write("c.json", script=f"echo high >>{tmp_path}/order", folder="hooks-over")
    node.run(node.pod(), ["true"])
    assert (tmp_path / "order").read_text().split() == ["a", "b", "high"]


def test_files_are_read_for_each_container(node, write):
    pod = node.pod()
    assert not hooks_of(node, node.create(pod, ["true"], name="a"))
    write(path="/bin/true")
    assert hooks_of(node, node.create(pod, ["true"], name="b")) == {"createRuntime": ["/bin/true"]}
    os.unlink(f"{node.daemon.root}/hooks/test.json")
    assert not hooks_of(node, node.create(pod, ["true"], name="c"))


@pytest.mark.parametrize("when, runs", [
    ({"commands": ["^/bin/(ba)?sh$"]}, True),
    ({"commands": ["^true$", r"/s\w$"]}, True),
    ({"commands": ["^true$"]}, False),
    ({"annotations": {r"^example\.com/team$": "^red|blue$"}}, True),
    ({"annotations": {r"^example\.com/kind$": "own"}}, True),
    ({"annotations": {r"^example\.com/team$": "green"}}, False),
    ({"annotations": {r"^example\.com/team$": "red"}, "commands": ["true"]}, False),
    ({"annotations": {r"^umask": ".*"}}, False),  # not allowed, so not there
    ({"hasBindMounts": True}, False),
    ({"always": False}, False),
    ({}, False),
])
def test_conditions(node, write, when, runs):
    write(path="/bin/true", when=when)
    pod = node.pod(annotations={"example.com/team": "red", "umask.crio.io": "0077"})
    container = node.create(pod, ["/bin/sh", "-c", "true"], annotations={"example.com/kind": "own"})
    assert bool(hooks_of(node, container)) == runs


def test_has_bind_mounts(node, write, tmp_path):
    write(path="/bin/true", when={"hasBindMounts": True})
    container = node.create(node.pod(), ["true"], mounts=[{"host_path": str(tmp_path), "container_path": "/x"}])
    assert hooks_of(node, container)


def test_the_old_form(node, write, tmp_path):
    write(text=json.dumps({"hook": "/bin/sh", "arguments": ["-c", f"echo old >{tmp_path}/old"], "stage": ["prestart"], "cmd": ["true"]}))
    node.run(node.pod(), ["true"])
    assert (tmp_path / "old").read_text() == "old\n"


@pytest.mark.parametrize("text, words", [
    ("{", "not valid JSON"),
    ('{"version": "7.0.0"}', "7.0.0"),
    ('{"version": "1.0.0", "hook": {"path": "/no/such/hook"}, "when": {"always": true}, "stages": ["prestart"]}', "/no/such/hook"),
    ('{"version": "1.0.0", "hook": {"path": "/bin/true"}, "when": {"commands": ["("]}, "stages": ["prestart"]}', "pattern"),
])
def test_a_broken_file_is_passed_over_and_said(node, write, text, words):
    write("a.json", text=text)
    write("b.json", path="/bin/true")
    container = node.create(node.pod(), ["true"])
    assert hooks_of(node, container) == {"createRuntime": ["/bin/true"]}
    with open(node.daemon.log) as file:
        assert [line for line in file if container in line and "OCI hooks are passed over" in line and words in line]


@pytest.mark.parametrize("stage", ["prestart", "createRuntime", "createContainer"])
def test_a_hook_that_fails_keeps_the_container_from_starting(node, write, stage):
    write(script="echo no way >&2; exit 3", stages=[stage])
    container = node.create(node.pod(), ["true"])
    error_of(lambda: node.start(container), *set(KINDS) - {KINDS.OK})
    status = node.status(container)
    assert (status.state, status.exit_code, status.reason) == (EXITED, 128, "StartError")
    assert "hook" in status.message
    node.client.RemoveContainer(container_id=container)


def test_a_hook_that_hangs_is_ended_at_its_timeout(node, write):
    write(script="exec sleep 1000", timeout=1)
    container = node.create(node.pod(), ["true"])
    error_of(lambda: node.start(container), *set(KINDS) - {KINDS.OK})
    assert node.status(container).state == EXITED
    node.client.RemoveContainer(container_id=container)


def test_a_hook_without_a_timeout_ends_at_the_runtimes(own_node):
    """No hook holds up a pod for good: creating has a deadline."""
    node = own_node(config={"runtime": "create_timeout = 3\n"})
    os.makedirs(f"{node.daemon.root}/hooks")
    with open(f"{node.daemon.root}/hooks/hang.json", "w") as file:
        json.dump({"version": "1.0.0", "hook": {"path": "/bin/sh", "args": ["sh", "-c", "exec sleep 1000"]},
                   "when": {"always": True}, "stages": ["createRuntime"]}, file)
    container = node.create(node.pod(), ["true"])
    error_of(lambda: node.start(container), *set(KINDS) - {KINDS.OK})
    assert node.status(container).state == EXITED
    os.unlink(f"{node.daemon.root}/hooks/hang.json")
    node.client.RemoveContainer(container_id=container)


def test_a_hook_that_fails_after_the_start_does_no_harm(node, write):
    write(script="exit 1", stages=["poststop"])
    pod = node.pod()
    container = node.sleeper(pod)
    assert node.status(container).state == RUNNING
    node.stop(container)
    node.client.RemoveContainer(container_id=container)


def test_a_hook_that_fails_while_it_starts_leaves_nothing(node, write):
    """runc ends the container, crun goes on, as the specification has it; the search for leftovers looks for what they keep of it."""
    write(script="exit 1", stages=["poststart"])
    container = node.create(node.pod(), ["sleep", "1000"])
    if node.daemon.handler == "crun":
        node.start(container)
        node.stop(container, timeout=0)
    else:
        error_of(lambda: node.start(container), *set(KINDS) - {KINDS.OK})
    assert node.status(container).state == EXITED
    node.client.RemoveContainer(container_id=container)


def test_the_trace_annotation_of_one_container(node, write):
    """It is under the container's name in the pod's annotations; hooks look for the bare name."""
    write(path="/bin/true", when={"annotations": {"^io.containers.trace-syscall$": ".*"}})
    pod = node.pod(annotations={"io.containers.trace-syscall/traced": "of:/tmp/x.json"})
    assert hooks_of(node, node.create(pod, ["true"], name="traced"))
    assert not hooks_of(node, node.create(pod, ["true"], name="other"))
