"""What a container's process gets from the node and by annotation: environment, limits, umask, time zone, working
folder, stop signal, annotations of its specification."""
import json
import os

import pytest
from kit.image import Layer
from support import KINDS, error_of
from test_devices import spec_of

pytestmark = pytest.mark.handler


def allow(handler, *names):
    return {f"runtime.handlers.{handler or 'runc'}": f"allowed_annotations = {json.dumps(names)}\n"}


# ---- environment ----

def test_environment_of_the_node_the_image_and_the_request(own_node, image):
    node = own_node(config={"runtime": 'default_env = ["A=node", "B=node", "C=node", "EMPTY=", "EQUALS=a=b"]\n'})
    name = image("env", {"Env": ["B=image", "C=image", "PATH=/bin:/from/image"]})
    node.pull(name)
    text = node.output(node.pod(), 'echo "$A $B $C [$EMPTY] $EQUALS $PATH"', image=name, envs=[{"key": "C", "value": b"request"}])
    assert text == "node image request [] a=b /bin:/from/image\n"


def test_a_path_of_the_node(own_node, image):
    """It takes the place of our own default, and the image's takes its."""
    node = own_node(config={"runtime": 'default_env = ["PATH=/bin:/node"]\n'})
    name = image("nopath", {"Env": []})
    node.pull(name)
    assert node.output(node.pod(), "echo $PATH", image=name) == "/bin:/node\n"


# ---- limits ----

def test_default_limits(own_node):
    node = own_node(config={"runtime": 'default_ulimits = ["nofile=1000:2000", "core=0", "stack=1048576:-1"]\n'})
    text = node.output(node.pod(), "ulimit -Sn; ulimit -Hn; ulimit -Hc; ulimit -Ss")
    assert text.split() == ["1000", "2000", "0", "1024"]


# ---- umask ----

@pytest.mark.parametrize("name", ["umask.crio.io", "io.kubernetes.cri-o.umask"])
def test_umask(own_node, handler, name):
    node = own_node(config=allow(handler, "umask.crio.io"))
    assert node.output(node.pod(annotations={name: "077"}), "umask") == "0077\n"
    pod = node.pod(annotations={name: "9"})
    assert "umask.crio.io" in error_of(lambda: node.create(pod, ["true"]), KINDS.INVALID_ARGUMENT)


def test_umask_where_it_is_not_allowed(node):
    assert node.output(node.pod(annotations={"umask.crio.io": "077"}), "umask") == "0022\n"


# ---- time ----

def zone_file(name):
    with open(f"/usr/share/zoneinfo/{name}", "rb") as file:
        return file.read()


def test_a_time_zone(own_node, tmp_path):
    node = own_node(config={"runtime": 'timezone = "Asia/Tokyo"\n'})
    pod = node.pod()
    assert node.output(pod, "date +%Z; echo x >/etc/localtime") .startswith("JST\n")
    (tmp_path / "own").write_text("own\n")
    mount = {"container_path": "/etc/localtime", "host_path": f"{tmp_path}/own"}
    assert node.output(pod, "cat /etc/localtime", mounts=[mount], name="b") == "own\n"


def test_the_time_zone_of_the_node(own_node):
    node = own_node(config={"runtime": 'timezone = "local"\n'})
    container = node.sleeper(node.pod())
    with open("/etc/localtime", "rb") as file:
        assert node.exec(container, "cat", "/etc/localtime").stdout == file.read()


def test_a_time_zone_that_the_node_does_not_have(own_node):
    node = own_node(config={"runtime": 'timezone = "Moon/Crater"\n'})
    pod = node.pod()
    message = error_of(lambda: node.create(pod, ["true"]), KINDS.NOT_FOUND)
    assert "runtime.timezone" in message and "Moon/Crater" in message


# ---- working folder ----

def test_the_working_folder_is_made_in_a_read_only_root(node):
    text = node.output(node.pod(), "pwd; stat -c '%a %u' .", working_dir="/made/for//it/",
                       linux={"security_context": {"readonly_rootfs": True}})
    assert text == "/made/for/it\n755 0\n"


def test_a_symlink_in_the_images_tree_stays_inside(node, image, tmp_path):
    """The image's link leads to a folder of the host, but for the container it is one of its own."""
    name = image("links", extra=[Layer("gzip").symlink("data", str(tmp_path))])
    node.pull(name)
    pod = node.pod()
    message = error_of(lambda: node.create(pod, ["true"], image=name, working_dir="/data/made"), KINDS.FAILED_PRECONDITION)
    assert "/data/made" in message
    assert not list(tmp_path.iterdir())


def test_a_file_in_the_place_of_the_working_folder(node):
    pod = node.pod()
    assert "/bin/busybox" in error_of(lambda: node.create(pod, ["true"], working_dir="/bin/busybox"), KINDS.FAILED_PRECONDITION)


# ---- stop signals ----

@pytest.mark.parametrize("signal, number", [("SIGRTMIN+3", 37), ("RTMAX-2", 62), ("10", 10), ("usr2", 12), ("37", 37)])
def test_stop_signals_of_images(node, image, signal, number):
    name = image("stop", {"StopSignal": signal}, tag=signal.replace("+", "p").lower())
    node.pull(name)
    container = node.sh(node.pod(), f"trap 'echo got; exit 7' {number}; echo up; while :; do sleep 1000 & wait $!; done", image=name)
    node.wait_log(container, "up")
    node.stop(container, timeout=60)
    assert node.status(container).exit_code == 7


def test_the_requests_real_time_signal_goes_before_the_images(node, image):
    name = image("stop2", {"StopSignal": "SIGUSR1"})
    node.pull(name)
    container = node.sh(node.pod(), "trap 'exit 9' 40; trap 'exit 8' USR1; echo up; while :; do sleep 1000 & wait $!; done",
                        image=name, stop_signal="SIGNAL_SIGRTMINPLUS6")
    node.wait_log(container, "up")
    node.stop(container, timeout=60)
    assert node.status(container).exit_code == 9


def test_an_image_with_no_such_stop_signal(node, image):
    name = image("stop3", {"StopSignal": "SIGNOTHING"})
    node.pull(name)
    pod = node.pod()
    assert "SIGNOTHING" in error_of(lambda: node.create(pod, ["true"], image=name), KINDS.INVALID_ARGUMENT)


# ---- annotations of the specification ----

def test_annotations_of_the_pod_and_the_container(node):
    pod = node.pod(annotations={"example.com/pod": "p", "example.com/both": "pod"}, labels={"l": "pod"})
    container = node.create(pod, ["true"], annotations={"example.com/own": "o", "example.com/both": "own"}, labels={"app": "web"}, tty=True)
    found = spec_of(node, container)["annotations"]
    assert (found["example.com/pod"], found["example.com/own"], found["example.com/both"]) == ("p", "o", "own")
    assert found["app"] == "web"
    crio = {key.removeprefix("io.kubernetes.cri-o."): value for key, value in found.items()}
    assert (crio["ContainerType"], crio["ContainerID"], crio["SandboxID"]) == ("container", container, pod[0])
    assert json.loads(crio["Labels"]) == {"app": "web"} and json.loads(crio["Annotations"])["example.com/own"] == "o"
    assert json.loads(crio["Metadata"]) == {"name": "main"}
    assert crio["TTY"] == "true" and crio["Stdin"] == "false"
    assert crio["Name"].startswith("k8s_main_") and crio["Image"] == node.image
    assert crio["IP.0"] == node.pod_status(pod[0]).network.ip
    assert crio["LogPath"].endswith("main/0.log") and crio["Created"].endswith("Z")
    assert os.path.isdir(crio["MountPoint"])
    assert found["io.kubernetes.cri.sandbox-id"] == pod[0]


def test_nobody_takes_anothers_name(node):
    """What says whose a container is, and what switches something in the runtime, is not for pods to say."""
    wrong = {"io.kubernetes.cri-o.SandboxID": "x", "io.kubernetes.cri.sandbox-id": "x", "io.kubernetes.cri.container-type": "sandbox",
             "run.oci.hooks.stdout": "/etc/x", "org.systemd.property.ExecStopPost": "x", "umask.crio.io": "0"}
    pod = node.pod(annotations=wrong)
    found = spec_of(node, node.create(pod, ["true"], annotations=wrong, labels=wrong))["annotations"]
    assert found["io.kubernetes.cri-o.SandboxID"] == found["io.kubernetes.cri.sandbox-id"] == pod[0]
    assert found["io.kubernetes.cri.container-type"] == "container"
    assert not [key for key in found if key.startswith(("run.oci.", "org.systemd.", "umask"))]


def test_default_annotations_of_a_handler(own_node, handler):
    lines = 'default_annotations = {"example.com/a" = "node", "example.com/b" = "node", "run.oci.handler" = "x"}\n'
    node = own_node(config={f"runtime.handlers.{handler or 'runc'}": lines})
    pod = node.pod(annotations={"example.com/b": "pod"})
    found = spec_of(node, node.create(pod, ["true"]))["annotations"]
    assert (found["example.com/a"], found["example.com/b"], found["run.oci.handler"]) == ("node", "pod", "x")
