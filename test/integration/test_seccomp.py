"""Seccomp profiles: which one a container gets, and what it lets through."""
import json
import os
import re
import subprocess

import pytest
from kit.image import Image, Layer
from kit.paths import program
from kit.registry import Registry
from kit.wait import wait_for
from streams import run as stream
from support import KINDS, error_of
from test_image_volumes import Artifact

pytestmark = pytest.mark.handler

RUNTIME_DEFAULT, UNCONFINED, LOCALHOST = range(3)


@pytest.fixture(scope="session")
def caller(syscalls, registry, layer):
    """An image with /syscalls in it."""
    with open(syscalls, "rb") as file:
        extra = Layer().file("syscalls", file.read(), mode=0o755)
    return registry.push("test/syscalls", "1", Image([layer, extra]))


def secured(**context):
    return {"security_context": context}


def profile(kind, ref=""):
    return {"profile_type": kind, "localhost_ref": ref}


def seccomp_line(node, pod, **context):
    out = node.output(pod, "grep ^Seccomp: /proc/self/status", linux=secured(**context), name=f"n{len(node.daemon.ids)}")
    return int(out.split()[1])


def calls(node, pod, caller, *names, **context):
    """What came of each system call, by its name."""
    if node.image_status(caller) is None:
        node.pull(caller)
    container = node.run(pod, ["/syscalls", *names], image=caller, linux=secured(**context), name=f"c{len(node.daemon.ids)}")
    assert node.wait_exit(container).exit_code == 0
    return dict(line.split() for line in node.text(pod, container).splitlines())


DENY_MKDIR = {
    "defaultAction": "SCMP_ACT_ALLOW",
    "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errno": "EXDEV"}],
}


def write(path, contents):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w") as file:
        file.write(contents if isinstance(contents, str) else json.dumps(contents))
    return str(path)


@pytest.mark.parametrize("context, mode", [
    ({}, 0),
    ({"seccomp": profile(UNCONFINED)}, 0),
    ({"seccomp": profile(RUNTIME_DEFAULT)}, 2),
    ({"seccomp_profile_path": ""}, 0),
    ({"seccomp_profile_path": "unconfined"}, 0),
    ({"seccomp_profile_path": "runtime/default"}, 2),
    ({"seccomp_profile_path": "docker/default"}, 2),
    ({"seccomp_profile_path": "runtime/default", "seccomp": profile(UNCONFINED)}, 0),  # the message goes first
], ids=str)
def test_the_profile_shows_in_the_process_state(node, context, mode):
    assert seccomp_line(node, node.pod(), **context) == mode


def test_a_privileged_container_is_unconfined(node):
    pod = node.pod(linux=privileged(node))
    assert seccomp_line(node, pod, privileged=True, seccomp=profile(RUNTIME_DEFAULT)) == 0


def privileged(node):
    linux = node.namespaces()
    linux["security_context"]["privileged"] = True
    return linux


def test_privileged_containers_have_a_profile_where_it_is_configured(own_node, caller, tmp_path):
    path = write(f"{tmp_path}/p.json", DENY_MKDIR)
    node = own_node(config={"runtime": f'privileged_seccomp_profile = "{path}"\n'})
    pod = node.pod(linux=privileged(node))
    assert calls(node, pod, caller, "mkdir", privileged=True)["mkdir"] == "EXDEV"
    assert calls(node, pod, caller, "mkdir")["mkdir"] == "ok"


DEFAULT = {  # with each of the two default profiles
    "unshare-user": "EPERM", "unshare-mount": "EPERM", "clone-user": "EPERM", "clone-net": "EPERM", "clone": "ok",
    "clone3": "ENOSYS", "swapoff": "EPERM", "mkdir": "ok", "personality": "ok", "future": "ENOSYS", "socket-unix": "ok",
}


def test_the_distributions_default_keeps_containers_from_new_namespaces(node, caller):
    assert os.path.exists("/usr/share/containers/seccomp.json")
    assert calls(node, node.pod(), caller, *DEFAULT, seccomp=profile(RUNTIME_DEFAULT)) == DEFAULT


OWN = {**DEFAULT, "io_uring": "EPERM", "keyctl": "EPERM", "socket-vsock": "ENOSYS", "socket-alg": "ENOSYS",
       "personality-odd": "ENOSYS"}


@pytest.fixture
def builtin(own_node):
    return own_node(config={"runtime": 'seccomp_profile = ""\n'})


def test_our_own_default(builtin, caller):
    assert calls(builtin, builtin.pod(), caller, *OWN, seccomp=profile(RUNTIME_DEFAULT)) == OWN
    free = calls(builtin, builtin.pod(), caller, "socket-nfc", "personality-odd", "keyctl")
    own = calls(builtin, builtin.pod(), caller, "socket-nfc", seccomp=profile(RUNTIME_DEFAULT))
    assert own["socket-nfc"] == free["socket-nfc"] != "ENOSYS"
    assert free["personality-odd"] == "ok"


@pytest.mark.parametrize("which", ["node", "builtin"])
def test_what_capabilities_allow_the_default_allows(which, request, caller):
    node = request.getfixturevalue(which)
    got = calls(node, node.pod(), caller, "unshare-mount", "clone-user", "clone3", "swapoff",
                capabilities={"add_capabilities": ["SYS_ADMIN"]}, seccomp=profile(RUNTIME_DEFAULT))
    assert got["unshare-mount"] == got["clone-user"] == "ok"
    assert got["clone3"] == "EINVAL"  # it came to the kernel
    if which == "builtin":
        assert got["swapoff"] == "ENOENT"


def test_a_localhost_profile_by_its_path(node, caller, tmp_path):
    path = write(f"{tmp_path}/deny.json", DENY_MKDIR)
    pod = node.pod()
    for context in ({"seccomp": profile(LOCALHOST, path)}, {"seccomp": profile(LOCALHOST, f"localhost/{path}")},
                    {"seccomp_profile_path": f"localhost/{path}"}):
        assert calls(node, pod, caller, "mkdir", **context) == {"mkdir": "EXDEV"}


def test_a_localhost_profile_in_the_runtimes_own_form(node, caller, tmp_path):
    path = write(f"{tmp_path}/oci.json", {
        "defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86"],
        "syscalls": [{"names": ["mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 18}],
    })
    assert calls(node, node.pod(), caller, "mkdir", seccomp=profile(LOCALHOST, path)) == {"mkdir": "EXDEV"}


def test_conditions_of_a_profile(node, caller, tmp_path):
    """Rules for capabilities, architectures and kernels; conditions on arguments."""
    deny = {"action": "SCMP_ACT_ERRNO", "errnoRet": 18}
    path = write(f"{tmp_path}/conditions.json", {
        "defaultAction": "SCMP_ACT_ALLOW",
        "archMap": [{"architecture": "SCMP_ARCH_X86_64", "subArchitectures": ["SCMP_ARCH_X86"]}, {"architecture": "SCMP_ARCH_AARCH64"}],
        "syscalls": [
            {"name": "mkdirat", "includes": {"caps": ["CAP_SYS_TIME"]}, **deny},
            {"name": "swapoff", "excludes": {"caps": ["CAP_SYS_TIME"]}, **deny},
            {"name": "keyctl", "includes": {"arches": ["s390x"]}, **deny},
            {"name": "io_uring_setup", "includes": {"minKernel": "99.1"}, **deny},
            {"name": "unshare", "includes": {"minKernel": "4.8"}, "args": [{"index": 0, "value": 0x20000, "op": "SCMP_CMP_EQ"}], **deny},
        ],
    })
    names = ["mkdir", "swapoff", "keyctl", "io_uring", "unshare-mount", "unshare-user"]
    context = {"seccomp": profile(LOCALHOST, path)}
    free = calls(node, node.pod(), caller, *names)
    plain = calls(node, node.pod(), caller, *names, **context)
    assert plain == {**free, "swapoff": "EXDEV", "unshare-mount": "EXDEV"}
    timed = calls(node, node.pod(), caller, *names, capabilities={"add_capabilities": ["SYS_TIME"]}, **context)
    assert timed == {**free, "mkdir": "EXDEV", "unshare-mount": "EXDEV"}


def test_relative_profiles_are_below_the_kubelets_folder(own_node, caller, tmp_path):
    write(f"{tmp_path}/root/some/deny.json", DENY_MKDIR)
    write(f"{tmp_path}/outside.json", DENY_MKDIR)
    os.symlink("../../outside.json", f"{tmp_path}/root/some/link.json")
    node = own_node(config={"runtime": f'seccomp_root = "{tmp_path}/root"\n'})
    pod = node.pod()
    assert calls(node, pod, caller, "mkdir", seccomp_profile_path="localhost/some/deny.json") == {"mkdir": "EXDEV"}
    for name in ("../outside.json", "some/link.json"):
        error = error_of(lambda: node.create(pod, ["true"], linux=secured(seccomp=profile(LOCALHOST, name))), KINDS.INVALID_ARGUMENT)
        assert "seccomp" in error and "No such file" in error


def test_a_handler_has_a_profile_of_its_own(own_node, handler, caller, tmp_path):
    path = write(f"{tmp_path}/deny.json", DENY_MKDIR)
    runtime = program("runc" if handler == "shim" else handler or "runc")
    node = own_node(config={"runtime.handlers.strict": f'path = "{runtime}"\nseccomp_profile = "{path}"\n'})
    default = {"seccomp": profile(RUNTIME_DEFAULT)}
    config = node.pod_config()
    strict = (node.run_pod(config, handler="strict"), config)
    assert calls(node, strict, caller, "mkdir", **default) == {"mkdir": "EXDEV"}
    assert calls(node, strict, caller, "mkdir") == {"mkdir": "ok"}
    assert calls(node, node.pod(), caller, "mkdir", **default) == {"mkdir": "ok"}


def test_a_node_has_a_profile_of_its_own(own_node, caller, tmp_path):
    path = write(f"{tmp_path}/deny.json", DENY_MKDIR)
    node = own_node(config={"runtime": f'seccomp_profile = "{path}"\n'})
    default = {"seccomp": profile(RUNTIME_DEFAULT)}
    got = calls(node, node.pod(), caller, "mkdir", "unshare-user", **default)
    assert got == {"mkdir": "EXDEV", "unshare-user": "ok"}  # it is taken as it is
    os.unlink(path)
    error = error_of(lambda: node.create(node.pod(), ["true"], linux=secured(**default)), KINDS.FAILED_PRECONDITION)
    assert "seccomp" in error and path in error and "No such file" in error


def test_an_exec_is_under_the_containers_profile(node):
    pod = node.pod()
    container = node.sleeper(pod, linux=secured(seccomp=profile(RUNTIME_DEFAULT)))
    assert node.exec_sh(container, "grep ^Seccomp: /proc/self/status").split()[1] == "2"


BROKEN = {
    "nothing": ("", "JSON"),
    "no JSON": ("{", "JSON"),
    "an array": ("[]", "not an object"),
    "no default": ({"syscalls": []}, "defaultAction"),
    "an unknown default": ({"defaultAction": "ALLOW"}, "defaultAction"),
    "an unknown action": ({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["mkdir"], "action": "NO"}]}, "syscalls[0].action"),
    "an unknown operator": ({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [
        {"names": ["mkdir"], "action": "SCMP_ACT_ERRNO", "args": [{"index": 0, "value": 1, "op": "=="}]}]}, "op"),
    "a text for a list": ({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": "mkdir"}, "syscalls"),
    "an unknown error": ({"defaultAction": "SCMP_ACT_ERRNO", "defaultErrno": "EWHAT"}, "defaultErrno"),
    "too long": ('{"defaultAction": "SCMP_ACT_ALLOW"}' + " " * (1 << 20), "too large"),
}


@pytest.mark.parametrize("contents, words", BROKEN.values(), ids=BROKEN)
def test_a_broken_profile_is_refused_in_words(node, tmp_path, contents, words):
    path = write(f"{tmp_path}/broken.json", contents)
    pod = node.pod()
    error = error_of(lambda: node.create(pod, ["true"], linux=secured(seccomp=profile(LOCALHOST, path))), KINDS.INVALID_ARGUMENT)
    assert "config.linux.security_context.seccomp" in error and path in error and words.lower() in error.lower(), error


@pytest.mark.parametrize("what", ["missing", "folder", "pipe", "terminal"])
def test_what_is_no_profile_is_refused_at_once(node, tmp_path, what):
    path = "/dev/ptmx" if what == "terminal" else f"{tmp_path}/{what}"
    if what == "folder":
        os.mkdir(path)
    if what == "pipe":
        os.mkfifo(path)
    pod = node.pod()
    error = error_of(lambda: node.create(pod, ["true"], linux=secured(seccomp=profile(LOCALHOST, path))), KINDS.INVALID_ARGUMENT)
    assert "seccomp" in error and path in error


@pytest.mark.parametrize("context", [
    {"seccomp": profile(LOCALHOST)},
    {"seccomp": profile(RUNTIME_DEFAULT, "/some/file")},
    {"seccomp": profile(7)},
    {"seccomp_profile_path": "localhost/"},
    {"seccomp_profile_path": "whatever"},
], ids=str)
def test_a_request_that_cannot_be_meant(node, context):
    pod = node.pod()
    assert "seccomp" in error_of(lambda: node.create(pod, ["true"], linux=secured(**context)), KINDS.INVALID_ARGUMENT)
    config = node.pod_config()
    config["linux"]["security_context"].update(context)
    assert "seccomp" in error_of(lambda: node.run_pod(config), KINDS.INVALID_ARGUMENT)


@pytest.mark.parametrize("context", [
    {"seccomp": profile(RUNTIME_DEFAULT)}, {"seccomp": profile(UNCONFINED)}, {"seccomp_profile_path": "runtime/default"},
], ids=str)
def test_a_pods_own_profile_is_not_its_containers(node, context):
    """It is of the process that would hold the sandbox. The kubelet asks for the default there."""
    linux = node.namespaces()
    linux["security_context"].update(context)
    assert seccomp_line(node, node.pod(linux=linux)) == 0


def test_a_pod_with_a_profile_that_is_missing_is_refused(node, tmp_path):
    config = node.pod_config()
    config["linux"]["security_context"]["seccomp"] = profile(LOCALHOST, f"{tmp_path}/missing.json")
    error = error_of(lambda: node.run_pod(config), KINDS.INVALID_ARGUMENT)
    assert "config.linux.security_context.seccomp" in error and "missing.json" in error


# ---- the notifier ----

NOTIFIER = "seccomp-notifier-action.crio.io"
OLD_NOTIFIER = "io.kubernetes.cri-o.seccompNotifierAction"
DENY_SWAPOFF = {
    "defaultAction": "SCMP_ACT_ALLOW",
    "syscalls": [{"names": ["swapoff", "keyctl"], "action": "SCMP_ACT_ERRNO", "errno": "EXDEV"}],
}


@pytest.fixture
def tracer(own_node, handler, caller):
    """A node on which pods may have their system calls told."""
    node = own_node(config={f"runtime.handlers.{handler or 'runc'}": f'allowed_annotations = ["{NOTIFIER}"]\n'})
    node.pull(caller)
    return node


def traced(node, caller, tmp_path, script, annotations=None, profile_contents=DENY_SWAPOFF, **more):
    """Runs a script in a container of a pod with the annotations, and returns (pod, container)."""
    path = write(f"{tmp_path}/traced.json", profile_contents)
    pod = node.pod(annotations=annotations or {})
    return pod, node.sh(pod, script, image=caller, linux=secured(seccomp=profile(LOCALHOST, path)), **more)


def told(node):
    """How often each system call was kept back, as metrics say it."""
    lines = subprocess.run([node.daemon.crisp, "metrics", "--socket", node.daemon.socket], check=True, capture_output=True, text=True).stdout
    return {name: int(count) for name, count in re.findall(r'^crisp_seccomp_notified_calls_total\{syscall="(\w+)"\} (\d+)$', lines, re.M)}


@pytest.mark.parametrize("name", [NOTIFIER, OLD_NOTIFIER, f"{NOTIFIER}/main", f"{NOTIFIER}/POD"])
def test_calls_that_are_kept_back_are_told(tracer, caller, tmp_path, name):
    pod, container = traced(tracer, caller, tmp_path, "/syscalls swapoff mkdir swapoff keyctl", {name: ""})
    status = tracer.wait_exit(container)
    assert (status.exit_code, status.reason) == (0, "Completed")
    assert tracer.text(pod, container).split() == ["swapoff", "ENOSYS", "mkdir", "ok", "swapoff", "ENOSYS", "keyctl", "ENOSYS"]
    assert told(tracer) == {"swapoff": 2, "keyctl": 1}
    log = tracer.daemon.log_text()
    assert len(re.findall(f"system call.*{container}.*call=swapoff", log)) == 1


def test_the_action_stop_kills_the_container(tracer, caller, tmp_path):
    _, container = traced(tracer, caller, tmp_path, "/syscalls swapoff keyctl swapoff; sleep 1000", {NOTIFIER: "stop"})
    status = tracer.wait_exit(container)
    assert (status.exit_code, status.reason) == (137, "seccomp killed")
    assert status.message == "Used forbidden syscalls: keyctl (1x), swapoff (2x)"
    tracer.daemon.kill()
    tracer.daemon.start()
    again = tracer.status(container)
    assert (again.reason, again.message) == (status.reason, status.message)


def test_a_container_that_ends_by_itself_is_not_stopped(tracer, caller, tmp_path):
    _, container = traced(tracer, caller, tmp_path, "/syscalls swapoff; exit 3", {NOTIFIER: "stop"})
    status = tracer.wait_exit(container)
    assert (status.exit_code, status.reason, status.message) == (3, "Error", "")


def test_one_container_of_a_pod_alone(tracer, caller, tmp_path):
    pod, container = traced(tracer, caller, tmp_path, "/syscalls swapoff", {f"{NOTIFIER}/other": "stop"})
    tracer.wait_exit(container)
    assert tracer.text(pod, container).split() == ["swapoff", "EXDEV"]


def test_execs_are_told_too_and_after_a_restart(tracer, caller, tmp_path):
    pod, container = traced(tracer, caller, tmp_path, "trap 'exit 0' TERM; while :; do sleep 1000 & wait; done", {NOTIFIER: "log"})
    assert tracer.exec_sh(container, "/syscalls swapoff").split() == ["swapoff", "ENOSYS"]
    assert told(tracer) == {"swapoff": 1}
    tracer.daemon.kill()
    tracer.daemon.start()
    assert tracer.exec_sh(container, "/syscalls swapoff keyctl").split() == ["swapoff", "ENOSYS", "keyctl", "ENOSYS"]
    assert told(tracer) == {"swapoff": 1, "keyctl": 1}


@pytest.mark.parametrize("transport", ["spdy", "websocket"])
def test_execs_over_streams_are_told_too(tracer, caller, tmp_path, transport):
    pod, container = traced(tracer, caller, tmp_path, "trap 'exit 0' TERM; while :; do sleep 1000 & wait; done", {NOTIFIER: "log"})
    out, _, status = stream(tracer, container, "/syscalls swapoff keyctl", transport).wait()
    assert out.split() == [b"swapoff", b"ENOSYS", b"keyctl", b"ENOSYS"] and b"Success" in status
    out, _, _ = stream(tracer, container, "/syscalls swapoff", transport, stdin=True, tty=True).wait()
    assert out.split() == [b"swapoff", b"ENOSYS"]
    assert told(tracer) == {"swapoff": 2, "keyctl": 1}


def test_a_flood_of_calls_holds_up_nobody(tracer, caller, tmp_path):
    pod, container = traced(tracer, caller, tmp_path, "while :; do /syscalls swapoff keyctl >/dev/null; done", {NOTIFIER: "log"})
    other = tracer.sh(pod, "echo there", name="other")
    tracer.wait_exit(other)
    assert tracer.text(pod, other) == "there\n"
    wait_for(lambda: told(tracer).get("swapoff", 0) > 20, "many calls to be told")
    tracer.stop(container)


def test_without_the_nodes_leave_nothing_is_told(own_node, caller, tmp_path):
    node = own_node()
    node.pull(caller)
    pod, container = traced(node, caller, tmp_path, "/syscalls swapoff", {NOTIFIER: "stop", OLD_NOTIFIER: "stop"})
    node.wait_exit(container)
    assert node.text(pod, container).split() == ["swapoff", "EXDEV"]
    assert told(node) == {}


def test_the_defaults_calls_are_told(tracer, caller):
    pod = tracer.pod(annotations={NOTIFIER: ""})
    assert calls(tracer, pod, caller, "unshare-user", "clone-user", "swapoff", "mkdir", seccomp=profile(RUNTIME_DEFAULT)) == {
        "unshare-user": "ENOSYS", "clone-user": "ENOSYS", "swapoff": "ENOSYS", "mkdir": "ok",
    }
    assert told(tracer) == {"unshare": 1, "clone": 1, "swapoff": 1}
    # Unconfined, there is nothing to tell.
    assert calls(tracer, pod, caller, "mkdir") == {"mkdir": "ok"}


# ---- profiles of a registry ----

ARTIFACT = "seccomp-profile.crio.io"


@pytest.fixture
def artifacts(own_node, handler, caller):
    """A node on which pods may name artifacts as their profiles."""
    node = own_node(config={f"runtime.handlers.{handler or 'runc'}": f'allowed_annotations = ["{ARTIFACT}"]\n'})
    node.pull(caller)
    return node


def push(registry, name, *files):
    made = Artifact(*[(title, data if isinstance(data, bytes) else json.dumps(data).encode()) for title, data in files])
    return registry.push(f"test/{name}", "1", made), made.top.digest


@pytest.mark.parametrize("key", [f"{ARTIFACT}/main", f"{ARTIFACT}/POD", "seccomp-profile.kubernetes.cri-o.io/main"])
def test_a_profile_from_a_registry(artifacts, registry, caller, key):
    name, _ = push(registry, "profile", ("seccomp.json", DENY_MKDIR))
    pod = artifacts.pod(annotations={key: name})
    assert run_calls(artifacts, pod, caller, "mkdir") == {"mkdir": "EXDEV"}
    # A profile of the request goes before it.
    assert run_calls(artifacts, pod, caller, "mkdir", name="other", seccomp=profile(RUNTIME_DEFAULT)) == {"mkdir": "ok"}
    assert artifacts.image_status(name).id


def run_calls(node, pod, caller, *names, name="main", **context):
    container = node.run(pod, ["/syscalls", *names], image=caller, linux=secured(**context), name=name)
    assert node.wait_exit(container).exit_code == 0
    return dict(line.split() for line in node.text(pod, container).splitlines())


def test_a_profile_from_a_registry_for_one_container(artifacts, registry, caller):
    name, _ = push(registry, "profile", ("seccomp.json", DENY_MKDIR))
    other, _ = push(registry, "other", ("profile", DENY_SWAPOFF))
    pod = artifacts.pod(annotations={f"{ARTIFACT}/main": name, f"{ARTIFACT}/POD": other})
    assert run_calls(artifacts, pod, caller, "mkdir", "swapoff")["mkdir"] == "EXDEV"
    assert run_calls(artifacts, pod, caller, "mkdir", "swapoff", name="second") == {"mkdir": "ok", "swapoff": "EXDEV"}


def test_a_profile_by_its_digest_needs_no_registry_again(artifacts, caller, tmp_path):
    with Registry(f"{tmp_path}/registry") as own:
        name, digest = push(own, "profile", ("seccomp.json", DENY_MKDIR))
        by_digest = f"{name.rsplit(':', 1)[0]}@{digest}"
        artifacts.pull(by_digest)
    pod = artifacts.pod(annotations={f"{ARTIFACT}/POD": by_digest})
    assert run_calls(artifacts, pod, caller, "mkdir") == {"mkdir": "EXDEV"}
    error = error_of(lambda: artifacts.create(artifacts.pod(annotations={ARTIFACT: name}), ["true"]), KINDS.UNKNOWN)
    assert error.startswith("RegistryUnavailable") and name in error


@pytest.mark.parametrize("what", ["image", "two files", "broken", "missing"])
def test_what_is_no_profile_of_a_registry(artifacts, registry, caller, what):
    name = {
        "image": lambda: caller,
        "two files": lambda: push(registry, "two", ("a", DENY_MKDIR), ("b", DENY_MKDIR))[0],
        "broken": lambda: push(registry, "broken", ("a", b"{"))[0],
        "missing": lambda: caller.replace("syscalls", "nowhere"),
    }[what]()
    pod = artifacts.pod(annotations={f"{ARTIFACT}/POD": name})
    error = error_of(lambda: artifacts.create(pod, ["true"]), KINDS.FAILED_PRECONDITION, KINDS.INVALID_ARGUMENT, KINDS.NOT_FOUND, KINDS.UNKNOWN,
                     KINDS.PERMISSION_DENIED)
    assert "seccomp" in error and name in error
    assert not artifacts.client.ListContainers().containers


def test_without_the_nodes_leave_no_profile_is_fetched(own_node, registry, caller):
    node = own_node()
    node.pull(caller)
    name, _ = push(registry, "unasked", ("seccomp.json", DENY_MKDIR))
    pod = node.pod(annotations={f"{ARTIFACT}/POD": name})
    assert run_calls(node, pod, caller, "mkdir") == {"mkdir": "ok"}
    assert node.image_status(name) is None
