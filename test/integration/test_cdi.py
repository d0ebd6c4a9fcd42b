"""CDI devices, by the CRI's field and by annotation."""
import json
import os
import stat

import pytest
from support import KINDS, error_of
from test_devices import spec_of

EDITS = {"env": ["FROM_CDI=yes"]}


@pytest.fixture
def write(node):
    """Writes a CDI document into the first or the last of the daemon's folders; gone after the test."""
    made = []

    def make(name="vendor.json", devices=None, folder="cdi", kind="vendor.example/gpu", version="0.6.0", text=None, **more):
        folder = f"{node.daemon.root}/{folder}"
        os.makedirs(folder, exist_ok=True)
        document = {"cdiVersion": version, "kind": kind,
                    "devices": [{"name": key, "containerEdits": edits} for key, edits in (devices or {"one": EDITS}).items()], **more}
        with open(f"{folder}/{name}", "w") as file:
            file.write(text if text is not None else json.dumps(document))
        made.append(file.name)

    yield make
    for path in made:
        if os.path.exists(path):
            os.unlink(path)


def asked(*names):
    return [{"name": f"vendor.example/gpu={name}"} for name in names]


def test_environment_of_the_file_and_of_the_device(node, write):
    """What CDI says goes before what the request and the image say."""
    write(devices={"one": {"env": ["A=one", "B=one"]}, "two": {"env": ["B=two"]}}, containerEdits={"env": ["A=file", "C=file"]})
    text = node.output(node.pod(), 'echo "$A $B $C $D"', CDI_devices=asked("one", "two"),
                       envs=[{"key": "A", "value": b"mine"}, {"key": "D", "value": b"mine"}])
    assert text == "one two file mine\n"


def test_yaml(node, write):
    write("vendor.yaml", text="""
cdiVersion: "0.6.0"
kind: vendor.example/gpu
devices:
- name: 0
  containerEdits:
    env:
    - YAML=read
""")
    assert node.output(node.pod(), "echo $YAML", CDI_devices=asked("0")) == "read\n"


@pytest.mark.parametrize("both", [False, True])
def test_annotations(node, write, both):
    write(devices={"one": {"env": ["A=1"]}, "two": {"env": ["B=2"]}})
    text = node.output(node.pod(), "echo $A$B", CDI_devices=asked("one") if both else [],
                       annotations={"cdi.k8s.io/vendor_x": "vendor.example/gpu=one,vendor.example/gpu=two"})
    assert text == "12\n"


def test_device_nodes(node, write, tmp_path):
    os.mknod(tmp_path / "zero", stat.S_IFCHR | 0o600, os.makedev(1, 5))
    os.mkfifo(tmp_path / "pipe")
    write(devices={"one": {"deviceNodes": [
        {"path": "/dev/looked-up", "hostPath": f"{tmp_path}/zero", "permissions": "r"},
        {"path": "/dev/told", "type": "c", "major": 1, "minor": 3, "fileMode": 0o640, "uid": 5, "gid": 6, "permissions": "rw"},
        {"path": "/dev/loop-control"},
        {"path": "/dev/pipe", "hostPath": f"{tmp_path}/pipe", "type": "p"},
    ]}})
    pod = node.pod()
    container = node.sh(pod, "stat -c '%n %F %t:%T %a %u:%g' /dev/looked-up /dev/told /dev/loop-control; test -p /dev/pipe && echo pipe",
                        CDI_devices=asked("one"), linux={"security_context": {"run_as_user": {"value": 1000}, "run_as_group": {"value": 1001}}})
    node.wait_exit(container)
    mode = stat.S_IMODE(os.stat("/dev/loop-control").st_mode)  # udev's, or the kernel's
    assert node.text(pod, container).splitlines() == [
        "/dev/looked-up character special file 1:5 600 1000:1001",
        "/dev/told character special file 1:3 640 5:6",
        f"/dev/loop-control character special file a:ed {mode:o} 1000:1001",
        "pipe",
    ]
    rules = [rule for rule in spec_of(node, container)["linux"]["resources"]["devices"] if rule["allow"]]
    assert [(rule["major"], rule["minor"], rule["access"]) for rule in rules] == [(1, 5, "r"), (1, 3, "rw"), (10, 237, "rwm")]


def test_mounts(node, write, tmp_path):
    (tmp_path / "library").write_text("a library\n")
    write(devices={"one": {"mounts": [
        {"hostPath": f"{tmp_path}/library", "containerPath": "/usr/lib/vendor.so", "options": ["ro", "nosuid", "nodev", "bind"]},
        {"hostPath": f"{tmp_path}", "containerPath": "/vendor"},
        {"hostPath": "tmpfs", "containerPath": "/tmp/data", "type": "tmpfs", "options": ["nosuid", "mode=755", "size=64k"]},
    ]}})
    text = node.output(node.pod(), "cat /usr/lib/vendor.so /vendor/library; echo x >/usr/lib/vendor.so; echo $?; grep ' /tmp/data ' /proc/mounts",
                       CDI_devices=asked("one"))
    assert text.count("a library") == 2 and "\n1\n" in text and "size=64k" in text


def test_additional_groups(node, write):
    write(version="0.7.0", devices={"one": {"additionalGids": [4711, 0]}}, containerEdits={"additionalGids": [4712]})
    text = node.output(node.pod(), "id -G", CDI_devices=asked("one"))
    assert {"4711", "4712"} <= set(text.split())


def test_intel_rdt_reaches_the_specification(node, write):
    write(version="0.7.0", devices={"one": {"intelRdt": {"closID": "gold", "l3CacheSchema": "L3:0=f"}}})
    container = node.create(node.pod(), ["true"], CDI_devices=asked("one"))
    assert spec_of(node, container)["linux"]["intelRdt"] == {"closID": "gold", "l3CacheSchema": "L3:0=f"}


def test_hooks_of_all_kinds(node, write, tmp_path):
    stages = ["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"]
    hook = {"path": "/bin/sh", "env": ["WHERE=there"], "timeout": 20}
    def of(stage):
        out = "/startContainer" if stage == "startContainer" else f"{tmp_path}/{stage}"
        return {"hookName": stage, **hook, "args": ["sh", "-c", f"echo $WHERE >{out}"]}
    write(devices={"one": {"hooks": [of(stage) for stage in stages]}})
    pod = node.pod()
    container = node.sh(pod, "cat /startContainer", CDI_devices=asked("one"))
    node.wait_exit(container)
    assert node.text(pod, container) == "there\n"
    node.client.RemoveContainer(container_id=container)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(set(stages) - {"startContainer"})
    assert (tmp_path / "poststop").read_text() == "there\n"


def test_a_later_folder_goes_first_and_files_are_read_anew(node, write):
    pod = node.pod()
    write(devices={"one": {"env": ["A=low"]}})
    assert node.output(pod, "echo $A", CDI_devices=asked("one"), name="a") == "low\n"
    write(folder="cdi-over", devices={"one": {"env": ["A=high"]}})
    assert node.output(pod, "echo $A", CDI_devices=asked("one"), name="b") == "high\n"


def test_two_files_of_a_folder_conflict(node, write):
    write("a.json")
    write("b.json")
    pod = node.pod()
    message = error_of(lambda: node.create(pod, ["true"], CDI_devices=asked("one")), KINDS.FAILED_PRECONDITION)
    assert "vendor.example/gpu=one" in message and "a.json" in message and "b.json" in message


def test_an_unknown_device_is_told_with_those_that_are_known(node, write):
    write(devices={"one": EDITS, "two": EDITS})
    write("broken.json", text="{")
    pod = node.pod()
    message = error_of(lambda: node.create(pod, ["true"], CDI_devices=asked("three")), KINDS.FAILED_PRECONDITION)
    for word in ("config.CDI_devices", "vendor.example/gpu=three", "vendor.example/gpu=one, vendor.example/gpu=two", "broken.json"):
        assert word in message
    assert not node.client.ListContainers().containers


def test_a_broken_file_of_another_vendor_does_no_harm(node, write):
    write("broken.yaml", text="cdiVersion: 9.9.9\n", kind="other.example/gpu")
    write()
    assert node.output(node.pod(), "echo $FROM_CDI", CDI_devices=asked("one")) == "yes\n"
    with open(node.daemon.log) as file:
        assert "broken.yaml" in file.read()


@pytest.mark.parametrize("change, where", [
    ({"CDI_devices": [{"name": "gpu0"}]}, "config.CDI_devices"),
    ({"CDI_devices": [{"name": ""}]}, "config.CDI_devices"),
    ({"annotations": {"cdi.k8s.io/x": "vendor.example/gpu=one,"}}, "cdi.k8s.io/x"),
])
def test_wrong_names(node, write, change, where):
    write()
    pod = node.pod()
    message = error_of(lambda: node.create(pod, ["true"], **change), KINDS.INVALID_ARGUMENT)
    assert where in message and "VENDOR/CLASS=NAME" in message


def test_net_devices_are_refused_in_words(node, write):
    write(version="1.1.0", devices={"one": {"netDevices": [{"hostInterfaceName": "eth7", "name": "net1"}]}})
    pod = node.pod()
    assert "netDevices" in error_of(lambda: node.create(pod, ["true"], CDI_devices=asked("one")), KINDS.UNIMPLEMENTED)


def test_a_missing_device_node(node, write):
    write(devices={"one": {"deviceNodes": [{"path": "/dev/nothing-here"}]}})
    pod = node.pod()
    message = error_of(lambda: node.create(pod, ["true"], CDI_devices=asked("one")), KINDS.FAILED_PRECONDITION)
    assert "vendor.example/gpu=one" in message and "/dev/nothing-here" in message
