"""Devices: the CRI's, the node's, those of annotations, and the host's in privileged containers."""
import json
import os
import stat

import pytest
from support import KINDS, error_of

pytestmark = pytest.mark.handler


def spec_of(node, container):
    with open(f"{node.daemon.state}/containers/{container}/bundle/config.json") as file:
        return json.load(file)


def devices_of(node, container):
    return {device["path"]: device for device in spec_of(node, container)["linux"].get("devices", [])}


def rules_of(node, container):
    return spec_of(node, container)["linux"]["resources"]["devices"]


def device(host, container=None, permissions="rwm"):
    return {"host_path": host, "container_path": container or host, "permissions": permissions}


def user(uid=None, gid=None, **more):
    security = dict(more)
    if uid is not None:
        security["run_as_user"] = {"value": uid}
    if gid is not None:
        security["run_as_group"] = {"value": gid}
    return {"security_context": security}


@pytest.fixture
def nodes(tmp_path):
    """A folder with device nodes of our own: two memory devices, a folder of one, a symlink, a plain file."""
    def node(name, kind, major, minor, mode=0o640, uid=0, gid=0):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        os.mknod(path, kind | mode, os.makedev(major, minor))
        os.chmod(path, mode)
        os.chown(path, uid, gid)
    node("zero", stat.S_IFCHR, 1, 5, 0o640, 11, 12)
    node("sub/null", stat.S_IFCHR, 1, 3)
    node("loop", stat.S_IFBLK, 7, 0)
    (tmp_path / "plain").write_text("no device")
    (tmp_path / "sub" / "plain").write_text("no device")
    (tmp_path / "link").symlink_to("zero")
    (tmp_path / "empty").mkdir()
    return tmp_path


def test_a_device_is_there_with_its_numbers_mode_and_owner(node, nodes):
    pod = node.pod()
    text = node.output(pod, "stat -c '%F %t:%T %a %u:%g' /dev/mine; head -c 4 /dev/mine | od -An -tx1; "
                       "stat -c '%F %t:%T' /dev/disk", devices=[device(f"{nodes}/zero", "/dev/mine"), device(f"{nodes}/loop", "/dev/disk")])
    assert text.split("\n")[0] == "character special file 1:5 640 11:12"
    assert "00 00 00 00" in text
    assert "block special file 7:0" in text


@pytest.mark.node
def test_without_the_request_the_device_is_denied(node):
    """What the cgroup's rules forbid: the node can be made, but not opened."""
    text = node.output(node.pod(), "mknod /tmp/kmsg c 1 11 && head -c 1 /tmp/kmsg; echo code $?",
                       linux=user(capabilities={"add_capabilities": ["MKNOD"]}))
    assert "not permitted" in text and "code 1" in text


@pytest.mark.parametrize("permissions, read, write", [("r", True, False), ("w", False, True), ("rw", True, True), ("mwr", True, True)])
def test_permissions(node, permissions, read, write):
    """/dev/loop-control is no device that each container has, so that only this rule allows it."""
    pod = node.pod()
    container = node.sh(pod, "(exec 3</dev/it) && echo reads; (exec 3>/dev/it) && echo writes; true",
                        devices=[device("/dev/loop-control", "/dev/it", permissions)])
    node.wait_exit(container)
    text = node.text(pod, container)
    assert ("reads" in text, "writes" in text) == (read, write)
    wanted = {"allow": True, "type": "c", "major": 10, "minor": 237, "access": permissions}
    assert wanted in rules_of(node, container)


def test_a_device_of_which_the_hosts_path_alone_is_said(node):
    """It is in the same place, and may be used in each way."""
    pod = node.pod()
    container = node.sh(pod, "exec 3<>/dev/loop-control && echo opened", devices=[{"host_path": "/dev/loop-control"}])
    node.wait_exit(container)
    assert node.text(pod, container) == "opened\n"
    assert {"allow": True, "type": "c", "major": 10, "minor": 237, "access": "rwm"} in rules_of(node, container)


def test_a_folder_of_devices(node, nodes):
    container = node.create(node.pod(), ["true"], devices=[device(str(nodes), "/dev/all", "rw")])
    found = devices_of(node, container)
    assert sorted(found) == ["/dev/all/loop", "/dev/all/sub/null", "/dev/all/zero"]  # no symlink, no plain file
    assert (found["/dev/all/loop"]["type"], found["/dev/all/loop"]["major"]) == ("b", 7)
    assert [rule["access"] for rule in rules_of(node, container) if rule["allow"]] == ["rw"] * 3


def test_a_symlink_leads_to_its_device(node, nodes):
    text = node.output(node.pod(), "stat -c %t:%T /dev/l", devices=[device(f"{nodes}/link", "/dev/l")])
    assert text == "1:5\n"


@pytest.mark.parametrize("name, words", [("gone", "No such file"), ("plain", "neither a device nor a folder"), ("empty", "no devices")])
def test_what_is_no_device_is_refused_in_words(node, nodes, name, words):
    pod = node.pod()
    message = error_of(lambda: node.create(pod, ["true"], devices=[device(f"{nodes}/{name}", "/dev/x")]),
                       KINDS.NOT_FOUND, KINDS.FAILED_PRECONDITION)
    assert words in message and f"{nodes}/{name}" in message and "config.devices" in message


@pytest.mark.parametrize("wrong, field", [
    (device("/dev/null", "/dev/x", "rx"), "config.devices.permissions"),
    (device("/dev/null", "/dev/x", "rrw"), "config.devices.permissions"),
    (device("dev/null", "/dev/x"), "config.devices.host_path"),
    (device("/dev/null", "x"), "config.devices.container_path"),
    (device("/dev/null", "/dev/../etc/x"), "config.devices.container_path"),
])
def test_wrong_requests(node, wrong, field):
    pod = node.pod()
    assert field in error_of(lambda: node.create(pod, ["true"], devices=[wrong]), KINDS.INVALID_ARGUMENT)


def test_owner_from_the_security_context(own_node, nodes):
    node = own_node(config={"runtime": "device_ownership_from_security_context = true\n"})
    pod = node.pod()
    wanted = [device(f"{nodes}/zero", "/dev/mine")]
    assert node.output(pod, "stat -c %u:%g /dev/mine", devices=wanted, linux=user(1000, 1001), name="a") == "1000:1001\n"
    assert node.output(pod, "stat -c %u:%g /dev/mine", devices=wanted, linux=user(1000), name="b") == "1000:12\n"
    assert node.output(pod, "stat -c %u:%g /dev/mine", devices=wanted, linux=user(0, 0), name="c") == "11:12\n"
    folder = node.create(pod, ["true"], devices=[device(str(nodes), "/dev/all")], linux=user(1000, 1001), name="d")
    assert {entry["uid"] for entry in devices_of(node, folder).values()} == {1000}


def test_the_owner_stays_the_hosts_by_default(node, nodes):
    text = node.output(node.pod(), "stat -c %u:%g /dev/mine", devices=[device(f"{nodes}/zero", "/dev/mine")], linux=user(1000, 1001))
    assert text == "11:12\n"


def test_privileged_has_the_hosts_devices(node):
    pod = node.privileged_pod()
    container = node.sh(pod, "ls -l /dev; mknod /tmp/k c 1 11 && head -c 1 /tmp/k >/dev/null && echo opened; ls /dev/pts",
                        linux=user(privileged=True))
    node.wait_exit(container)
    text = node.text(pod, container)
    assert "kmsg" in text and "fuse" in text and "loop-control" in text and "opened" in text
    found = devices_of(node, container)
    assert "/dev/net/tun" in found and "/dev/console" not in found
    assert not [path for path in found if path.startswith(("/dev/pts", "/dev/shm", "/dev/ptmx"))]
    assert rules_of(node, container) == [{"allow": True, "access": "rwm"}]


def test_privileged_beside_a_device_of_its_own(node, nodes):
    """The one asked for is there under its name, also where the host has another of that name."""
    text = node.output(node.privileged_pod(), "stat -c %t:%T /dev/kmsg", devices=[device(f"{nodes}/zero", "/dev/kmsg")], linux=user(privileged=True))
    assert text == "1:5\n"


@pytest.mark.parametrize("all_allowed", [False, True])
@pytest.mark.node
def test_privileged_without_host_devices(own_node, handler, nodes, all_allowed):
    keys = "privileged_without_host_devices = true\n"
    if all_allowed:
        keys += "privileged_without_host_devices_all_devices_allowed = true\n"
    node = own_node(config={f"runtime.handlers.{handler or 'runc'}": keys})
    pod = node.privileged_pod()
    container = node.sh(pod, "ls /dev; mknod /tmp/k c 1 11 && head -c 1 /tmp/k >/dev/null && echo opened",
                        linux=user(privileged=True), devices=[device(f"{nodes}/zero", "/dev/mine")])
    node.wait_exit(container)
    text = node.text(pod, container)
    assert "mine" in text and "kmsg" not in text and "fuse" not in text
    assert ("opened" in text) == all_allowed
    assert list(devices_of(node, container)) == ["/dev/mine"]


def test_devices_of_the_node(own_node, nodes):
    config = {"runtime": f'additional_devices = ["/dev/loop-control", "{nodes}/zero:/dev/additional:r"]\n'}
    node = own_node(config=config)
    pod = node.pod()
    container = node.create(pod, ["true"])
    found = devices_of(node, container)
    assert set(found) == {"/dev/loop-control", "/dev/additional"}
    assert [rule["access"] for rule in rules_of(node, container) if rule["allow"]] == ["rwm", "r"]
    assert node.output(pod, "stat -c %t:%T /dev/additional; ls -l /dev/loop-control", name="b").startswith("1:5\nc")
    os.unlink(nodes / "zero")
    message = error_of(lambda: node.create(pod, ["true"], name="c"), KINDS.NOT_FOUND)
    assert "runtime.additional_devices" in message and f"{nodes}/zero" in message


@pytest.mark.parametrize("name", ["devices.crio.io", "io.kubernetes.cri-o.Devices", "devices.crio.io/main"])
def test_devices_by_annotation(own_node, nodes, name):
    node = own_node(config={"runtime": f'allowed_devices = ["{nodes}/zero", "/dev/fuse"]\n'})
    pod = node.pod(annotations={name: f"{nodes}/zero:/dev/asked:rw,,/dev/fuse"})
    container = node.create(pod, ["true"])
    assert set(devices_of(node, container)) == {"/dev/asked", "/dev/fuse"}
    assert [rule["access"] for rule in rules_of(node, container) if rule["allow"]] == ["rw", "rwm"]


def test_a_device_that_is_not_allowed(node):
    """The default allows /dev/fuse and /dev/net/tun."""
    pod = node.pod(annotations={"devices.crio.io": "/dev/fuse,/dev/kmsg"})
    message = error_of(lambda: node.create(pod, ["true"]), KINDS.PERMISSION_DENIED)
    assert "/dev/kmsg" in message and "allowed_devices" in message and "devices.crio.io" in message


@pytest.mark.parametrize("value, words", [("/dev/fuse:/etc/x", "below /dev"), ("/dev/fuse:/dev/x:q", "letters r, w and m"),
                                          ("/dev/fuse:/dev/a:r:w", "letters r, w and m")])
def test_wrong_annotations(node, value, words):
    pod = node.pod(annotations={"devices.crio.io": value})
    assert words in error_of(lambda: node.create(pod, ["true"]), KINDS.INVALID_ARGUMENT)


def test_the_annotation_counts_only_where_it_is_allowed(own_node, handler):
    node = own_node(config={"runtime": "allowed_annotations = []\n"})
    pod = node.pod(annotations={"devices.crio.io": "/dev/fuse"})
    assert not devices_of(node, node.create(pod, ["true"]))
    assert "devices.crio.io" not in spec_of(node, node.create(pod, ["true"], name="b"))["annotations"]


def test_the_annotation_is_allowed_by_a_handler(own_node, handler):
    node = own_node(config={"runtime": "allowed_annotations = []\n",
                            f"runtime.handlers.{handler or 'runc'}": 'allowed_annotations = ["devices.crio.io"]\n'})
    pod = node.pod(annotations={"devices.crio.io": "/dev/fuse"})
    assert list(devices_of(node, node.create(pod, ["true"]))) == ["/dev/fuse"]
