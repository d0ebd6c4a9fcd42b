"""Images: pulled in every form, named in every way, listed and removed."""
import json
import os
import subprocess

import grpc
import pytest
from kit.image import Image, Index, Layer
from kit.wait import wait_for
from support import FAILS, KINDS, error_of, small

pytestmark = pytest.mark.usefixtures("no_images_left")


def listed(node, name=None):
    filter = {"filter": {"image": {"image": name}}} if name else {}
    return list(node.client.ListImages(**filter).images)


# ---- forms ----

@pytest.mark.parametrize("compression", ["gzip", "zstd", "tar"])
@pytest.mark.parametrize("format", ["oci", "docker"])
def test_formats(node, registry, layer, format, compression):
    extra = Layer(compression).file("etc/form", f"{format} {compression}\n")
    built = Image([layer, extra], format=format)
    name = registry.push("test/forms", f"{format}-{compression}", built)
    reference = node.pull(name)
    status = node.image_status(name)
    assert status.id == built.id
    assert reference
    assert status.repo_tags == [name]
    assert status.repo_digests == [f"{registry.host}/test/forms@{built.digest}"]
    assert status.size > 0
    assert node.image_status(reference).id == built.id
    assert node.output(node.pod(), "cat /etc/form", image=name) == f"{format} {compression}\n"


@pytest.mark.parametrize("format", ["oci", "docker"])
def test_an_index_gives_this_machines_image(node, registry, layer, format):
    mine = Image([layer], format=format)
    index = Index([small("s390x", architecture="s390x", format=format), mine, small("win", os_name="windows", format=format)], format)
    name = registry.push("test/index", format, index)
    node.pull(name)
    status = node.image_status(name)
    assert status.id == mine.id
    assert f"{registry.host}/test/index@{index.digest}" in status.repo_digests


def test_an_index_without_this_machine(node, registry):
    index = Index([small(architecture="s390x"), small("b", architecture="ppc64le")])
    name = registry.push("test/index", "other", index)
    message = error_of(lambda: node.pull(name), *FAILS)
    assert "s390x" in message or "platform" in message


def test_many_layers_whiteouts_and_links(node, registry, layer):
    layers = [
        layer,
        Layer().folder("data").file("data/a", "a1\n").file("data/b", "b1\n").folder("gone").file("gone/x", "x").symlink("link", "data"),
        Layer("zstd").file("data/a", "a2\n").file("data/.wh.b").file(".wh.gone"),
        Layer("tar").folder("data").file("data/c", "c3\n").hardlink("data/d", "data/c"),
        Layer().folder("opaque").file("opaque/old", "x"),
        Layer().folder("opaque").file("opaque/.wh..wh..opq").file("opaque/new", "y"),
        # Folders that the layer implies, a file through a lower layer's link, a hard link to a lower layer's file.
        Layer().file("tmp/implied", "i\n").file("link/through", "t\n").hardlink("data/e", "data/a"),
    ]
    name = registry.push("test/layers", "1", Image(layers))
    node.pull(name)
    container = node.sleeper(node.pod(), image=name)
    assert node.exec_sh(container, "cat /data/a /data/c /data/d /data/e") == "a2\nc3\nc3\na2\n"
    assert node.exec_sh(container, "ls /data").split() == ["a", "c", "d", "e", "through"]
    assert node.exec_sh(container, "ls /opaque") == "new\n"
    assert node.exec(container, "ls", "/gone").exit_code != 0
    assert node.exec_sh(container, "stat -c %a /tmp") == "1777\n"
    assert node.exec_sh(container, "readlink /link") == "data\n"


def test_names_in_utf8_owners_modes_and_attributes(node, registry, layer):
    extra = (
        Layer().file("etc/ünï☃", "x\n").file("etc/" + "long" * 50, "long\n").file("etc/suid", "s", mode=0o4755, uid=1000, gid=33)
        .file("etc/cap", "c", pax={"SCHILY.xattr.user.note": "kept"}).fifo("etc/fifo").device("dev/null9", 1, 3)
    )
    name = registry.push("test/names", "1", Image([layer, extra]))
    node.pull(name)
    container = node.sleeper(node.pod(), image=name)
    assert node.exec_sh(container, "cat /etc/ünï☃") == "x\n"
    assert node.exec_sh(container, "cat /etc/longlong*") == "long\n"
    assert node.exec_sh(container, "stat -c '%a %u %g' /etc/suid") == "4755 1000 33\n"
    assert node.exec_sh(container, "test -p /etc/fifo && echo yes") == "yes\n"


def test_an_image_of_a_hundred_layers(node, registry, layer):
    layers = [layer] + [Layer("tar").file(f"many/{i}", f"{i}\n") for i in range(99)]
    name = registry.push("test/hundred", "1", Image(layers))
    node.pull(name)
    assert node.output(node.pod(), "ls /many | wc -l", image=name).strip() == "99"


# ---- names ----

def test_by_tag_by_digest_and_by_id(node, registry):
    built = small()
    name = registry.push("test/named", "v1", built)
    by_digest = f"{registry.host}/test/named@{built.digest}"
    node.pull(by_digest)
    status = node.image_status(by_digest)
    assert status.id == built.id
    assert status.repo_tags == []
    assert status.repo_digests == [by_digest]
    node.pull(name)
    for given in (name, by_digest, built.id, built.id.split(":")[1], built.id.split(":")[1][:12]):
        assert node.image_status(given).id == built.id, given
    assert node.image_status(f"{registry.host}/test/named:v2") is None


def test_a_name_without_a_tag_is_latest(node, registry):
    registry.push("test/named", "latest", small())
    node.pull(f"{registry.host}/test/named")
    assert node.image_status(f"{registry.host}/test/named").repo_tags == [f"{registry.host}/test/named:latest"]


def test_tag_and_digest_together(node, registry):
    built, other = small(), small("other")
    registry.push("test/named", "both", other)
    registry.push("test/named", "x", built)
    node.pull(f"{registry.host}/test/named:both@{built.digest}")
    assert node.image_status(f"{registry.host}/test/named@{built.digest}").id == built.id


@pytest.mark.parametrize("name", [
    "", " ", "a/UPPER", "127.0.0.1:1/a b", "127.0.0.1:1/a:", "127.0.0.1:1/a@sha256:short", "a//b", "/a", "../../etc/passwd",
    "127.0.0.1:1/a:tag:tag", "127.0.0.1:1/" + "x" * 5000, "127.0.0.1:1/a:" + "t" * 200, "http://127.0.0.1:1/a", "a\nb", "-x",
])
def test_names_that_are_none(node, name):
    error_of(lambda: node.pull(name), KINDS.INVALID_ARGUMENT)


def test_a_short_name_is_completed(node):
    # No registry answers here, but the error says which name was meant.
    registries = f"{node.daemon.root}/registries.conf"
    assert not os.path.exists(registries)
    with pytest.raises(grpc.RpcError) as caught:
        node.client.PullImage(image={"image": "no-such-image-of-crisp"}, deadline=20)
    if caught.value.code() != KINDS.DEADLINE_EXCEEDED:
        assert "docker.io" in caught.value.details()


def test_pull_again_moves_a_tag(node, registry):
    first, second = small("one"), small("two")
    name = registry.push("test/moving", "1", first)
    node.pull(name)
    registry.push("test/moving", "1", second)
    node.pull(name)
    assert node.image_status(name).id == second.id
    old = node.image_status(first.id)
    assert old is None or name not in old.repo_tags


# ---- status, list, remove ----

def test_status_of_an_unknown_image_is_empty(node, registry):
    for name in (f"{registry.host}/no/such:1", "0" * 64, "sha256:" + "0" * 64, "nosuch"):
        assert node.image_status(name) is None
        assert listed(node, name) == []


def test_list_and_filter(node, registry):
    a, b = small("a"), small("b")
    name_a, name_b = registry.push("test/a", "1", a), registry.push("test/b", "1", b)
    node.pull(name_a)
    node.pull(name_b)
    assert {a.id, b.id} < {image.id for image in listed(node)}
    for given in (name_a, a.id, f"{registry.host}/test/a@{a.digest}"):
        assert [image.id for image in listed(node, given)] == [a.id]
    for image in listed(node):
        status = node.image_status(image.id)
        status.ClearField("spec")
        image.ClearField("spec")
        assert image == status
        assert image.size and (image.repo_tags or image.repo_digests)


def test_the_stream_gives_what_the_list_gives(node, registry):
    node.pull(registry.push("test/streamed", "1", small()))
    streamed = [image for answer in node.client.StreamImages() for image in answer.images]
    assert sorted(image.id for image in streamed) == sorted(image.id for image in listed(node))


def test_verbose_status_has_the_config(node):
    answer = node.client.ImageStatus(image={"image": node.image}, verbose=True)
    assert answer.info
    for text in answer.info.values():
        json.loads(text)
    assert not node.client.ImageStatus(image={"image": node.image}).info


@pytest.mark.parametrize("user, uid, username", [
    ("", None, ""), ("1000", 1000, ""), ("1000:5", 1000, ""), ("tester", None, "tester"), ("tester:extra", None, "tester"),
])
def test_the_status_tells_the_images_user(node, image, user, uid, username):
    name = image("userstatus", {"User": user}, tag="t" + user.replace(":", "-"))
    node.pull(name)
    status = node.image_status(name)
    assert status.username == username
    if uid is None:
        assert not status.HasField("uid") or status.uid.value == 0
    else:
        assert status.uid.value == uid


def test_removing_by_one_tag_removes_every_tag(node, registry):
    built = small()
    names = [registry.push("test/tags", tag, built) for tag in ("1", "2", "3")]
    for name in names:
        node.pull(name)
    assert sorted(node.image_status(names[0]).repo_tags) == names
    node.client.RemoveImage(image={"image": names[1]})
    assert [node.image_status(name) for name in [*names, built.id]] == [None] * 4


@pytest.mark.parametrize("by", ["id", "digest"])
def test_remove_by(node, registry, by):
    built = small()
    name = registry.push("test/remove", "1", built)
    node.pull(name)
    node.client.RemoveImage(image={"image": built.id if by == "id" else f"{registry.host}/test/remove@{built.digest}"})
    assert node.image_status(name) is None
    node.client.RemoveImage(image={"image": name})
    node.client.RemoveImage(image={"image": built.id})


def test_an_image_in_use_is_removed_by_name_and_its_container_runs_on(node, registry, layer):
    built = Image([layer, Layer().file("etc/mine", "mine\n")])
    name = registry.push("test/inuse", "1", built)
    node.pull(name)
    pod = node.pod()
    running = node.sleeper(pod, image=name)
    created = node.create(pod, ["cat", "/etc/mine"], image=name, name="later")
    node.client.RemoveImage(image={"image": name})
    assert node.image_status(name) is None
    assert node.exec_sh(running, "cat /etc/mine") == "mine\n"
    status = node.status(running)
    assert status.image.image and status.image_ref and status.image_id
    node.start(created)
    node.wait_exit(created)
    assert node.text(pod, created) == "mine\n"
    node.remove_pod(pod[0])


def test_one_id_for_an_image_everywhere(node, registry, layer):
    name = registry.push("test/oneid", "1", Image([layer, Layer().file("etc/oneid")]))
    reference = node.pull(name)
    image = node.image_status(name)
    container = node.create(node.pod(), ["true"], image=name)
    status = node.status(container)
    assert status.image_id == status.image_ref == image.id == reference
    assert status.image.image == name


def test_layers_are_shared(node, registry, layer):
    base = registry.push("test/base", "1", Image([layer]))
    node.pull(base)
    before = node.client.ImageFsInfo().image_filesystems[0].used_bytes.value
    for i in range(3):
        node.pull(registry.push("test/on-base", str(i), Image([layer, Layer().file(f"x{i}", "x")])))
    after = node.client.ImageFsInfo().image_filesystems[0].used_bytes.value
    assert after - before < len(layer.tar())


def test_image_fs_info(node):
    # What containers have written is measured beside: the first answer may come before.
    measured = lambda: all(usage.used_bytes.value for usage in node.client.ImageFsInfo().container_filesystems)
    wait_for(measured, "the containers' folders to be measured")
    info = node.client.ImageFsInfo()
    for usage in [*info.image_filesystems, *info.container_filesystems]:
        assert usage.timestamp and usage.used_bytes.value and usage.fs_id.mountpoint.startswith("/")
    assert len(info.image_filesystems) == 1
    assert info.image_filesystems[0].fs_id.mountpoint.startswith(node.daemon.state)
    assert info.container_filesystems


def test_the_same_pull_at_once_downloads_once(node, bad):
    data = os.urandom(3 << 20)
    name = bad.put("test/once", "1", Image([Layer("tar").file("blob", data)]))
    calls = [node.client.start("PullImage", image={"image": name}) for _ in range(8)]
    assert len({call.result().image_ref for call in calls}) == 1
    assert bad.seen("GET /v2/test/once/blobs/") <= 2 * 2


# ---- what the kubelet's collection reads ----

def test_pinned_images_and_how_they_were_asked_for(own_node, registry, layer):
    mine = registry.push("test/base/pinned", "1", Image([layer], config={"Labels": {"a": "pinned"}}))
    other = registry.push("test/other/pinned", "1", Image([layer], config={"Labels": {"a": "other"}}))
    node = own_node(config={"images": 'pinned = ["*/test/base/*"]\n'})
    node.client.PullImage(image={"image": mine, "user_specified_image": "mine", "runtime_handler": "kata"})
    node.pull(other)
    for _ in range(2):
        status = node.image_status(mine)
        assert status.pinned and not node.image_status(other).pinned
        assert {image.id: image.pinned for image in listed(node)}[status.id]
        assert (status.spec.image, status.spec.user_specified_image, status.spec.runtime_handler) == (mine, "mine", "kata")
        assert node.image_status(status.id).spec == status.spec
        node.daemon.restart()
    node.client.RemoveImage(image={"image": mine})  # who asks for it gets it
    assert node.image_status(mine) is None


def test_images_on_a_disk_of_their_own(own_node, tmp_path):
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", str(tmp_path)], check=True)
    try:
        node = own_node(config={"images": f'dir = "{tmp_path}/here"\n'})
        assert node.output(node.pod(), "echo runs") == "runs\n"
        assert os.listdir(f"{tmp_path}/here/layers") and not os.path.exists(f"{node.daemon.state}/images")
        (info,) = node.client.ImageFsInfo().image_filesystems
        assert info.fs_id.mountpoint == f"{tmp_path}/here"
        node.daemon.restart()
        assert node.image_status(node.image)
        node.daemon.remove_everything()
        assert node.daemon.terminate() == 0
    finally:
        subprocess.run(["umount", str(tmp_path)], check=True)
