"""Images: pulled in every form, named in every way, removed, and refused where they are not what they say."""
import base64
import json
import os

import grpc
import pytest
from kit import hostile
from kit.hostile import HostileRegistry
from kit.image import Image, Index, Layer, digest
from kit.wait import wait_for
from support import KINDS, error_of

FAILS = tuple(set(KINDS) - {KINDS.OK, KINDS.UNIMPLEMENTED})


@pytest.fixture
def bad():
    with HostileRegistry() as registry:
        yield registry


def small(*files, compression="gzip", **more):
    layer = Layer(compression)
    for name in files or ("hello",):
        layer.file(name, name + "\n")
    return Image([layer], **more)


def listed(node, name=None):
    filter = {"filter": {"image": {"image": name}}} if name else {}
    return list(node.client.ListImages(**filter).images)


@pytest.fixture(autouse=True)
def tidy(node):
    """Each test starts with busybox alone, and nothing partial may stay of what failed."""
    yield
    if node.daemon.alive():
        node.daemon.remove_everything()
        for image in listed(node):
            node.client.RemoveImage(image={"image": image.id})
        assert not listed(node)
        wait_for(lambda: not partial_files(node.daemon), "layers and partial downloads to be gone", 20)


def partial_files(daemon):
    """What is below the images' layers although there is no image."""
    found = []
    for folder, folders, names in os.walk(f"{daemon.state}/images"):
        if folder.rstrip("/").endswith("/layers"):
            found += [f"{folder}/{name}" for name in folders]
            folders.clear()
    return found


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


@pytest.mark.parametrize("user, uid, username", [("", None, ""), ("1000", 1000, ""), ("1000:5", 1000, ""), ("tester", None, "tester"), ("tester:extra", None, "tester")])
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


# ---- passwords ----

AUTHS = [
    {"username": "joe", "password": "se:cret"},
    {"auth": base64.b64encode(b"joe:se:cret").decode()},
]


@pytest.mark.parametrize("auth", AUTHS)
@pytest.mark.parametrize("kind", ["basic", "token"])
def test_passwords(node, bad, kind, auth):
    built = small()
    name = bad.put("private/image", "1", built)
    bad.rule = hostile.basic_auth("joe", "se:cret") if kind == "basic" else hostile.token_auth(bad, "joe", "se:cret")
    message = error_of(lambda: node.pull(name), KINDS.UNAUTHENTICATED)
    assert bad.host in message
    error_of(lambda: node.pull(name, auth={"username": "joe", "password": "wrong"}), KINDS.UNAUTHENTICATED)
    assert node.image_status(name) is None
    node.pull(name, auth=auth)
    assert node.image_status(name).id == built.id
    for text in (node.daemon.log_text(), message):
        for secret in ("se:cret", base64.b64encode(b"joe:se:cret").decode()):
            assert secret not in text


def test_a_token_for_anybody(node, bad):
    name = bad.put("public/image", "1", small())
    bad.rule = hostile.token_auth(bad)
    node.pull(name)


def test_a_registry_token(node, bad):
    name = bad.put("private/image", "1", small())

    def rule(request):
        if request.headers.get("Authorization") == "Bearer given-token":
            return False
        hostile.send(request, 401, hostile.error("UNAUTHORIZED"), {"WWW-Authenticate": 'Bearer realm="http://127.0.0.1:1/none"'})
        return True

    bad.rule = rule
    node.pull(name, auth={"registry_token": "given-token"})


# ---- registries that misbehave ----

BLOB = r"GET /v2/.*/blobs/"
MANIFEST = r"(GET|HEAD) /v2/.*/manifests/"


def test_nobody_listens(node):
    message = error_of(lambda: node.pull("127.0.0.1:1/a/b:1"), KINDS.UNKNOWN)
    assert message.startswith("RegistryUnavailable")
    assert "127.0.0.1:1" in message


@pytest.mark.parametrize("code", [500, 502, 503])
def test_a_broken_registry(node, bad, code):
    name = bad.put("a/b", "1", small())
    bad.rule = hostile.on("", hostile.status(code))
    message = error_of(lambda: node.pull(name), KINDS.UNKNOWN)
    assert message.startswith("RegistryUnavailable")
    assert str(code) in message and bad.host in message


def test_an_image_that_is_not_there(node, bad):
    message = error_of(lambda: node.pull(f"{bad.host}/no/such:1"), KINDS.NOT_FOUND)
    assert "no/such" in message


def test_a_forbidden_image(node, bad):
    bad.rule = hostile.on("", hostile.status(403))
    error_of(lambda: node.pull(f"{bad.host}/a/b:1"), *FAILS)


@pytest.mark.parametrize("what", [BLOB, MANIFEST])
def test_too_many_requests_then_well(node, bad, what):
    name = bad.put("a/b", "1", small())
    bad.rule = hostile.on(what, hostile.status(429, {"Retry-After": "1"}), times=1)
    node.pull(name)


def test_too_many_requests_for_ever(node, bad):
    name = bad.put("a/b", "1", small())
    bad.rule = hostile.on(MANIFEST, hostile.status(429, {"Retry-After": "100000"}))
    message = error_of(lambda: node.pull(name, deadline=300), *FAILS)
    assert "429" in message


def test_a_broken_answer_then_well(node, bad):
    name = bad.put("a/b", "1", small())
    bad.rule = hostile.on(BLOB, hostile.status(503), times=1)
    node.pull(name)


def test_a_download_that_breaks_off_goes_on(node, bad):
    data = os.urandom(2 << 20)
    name = bad.put("a/b", "1", Image([Layer("tar").file("blob", data)]))
    bad.rule = hostile.on(BLOB, hostile.truncate(bad), times=2)
    node.pull(name)
    assert node.image_status(name)


def test_a_download_that_always_breaks_off(node, bad):
    name = bad.put("a/b", "1", small())
    bad.rule = hostile.on(BLOB, hostile.truncate(bad, keep=0.3))
    error_of(lambda: node.pull(name, deadline=300), *FAILS)
    assert node.image_status(name) is None


def test_a_lie_about_a_layer(node, bad):
    built = small()
    name = bad.put("a/b", "1", built)
    bad.rule = hostile.on(built.layers[0].digest, hostile.lie(bad))
    message = error_of(lambda: node.pull(name), *FAILS)
    assert "digest" in message
    assert node.image_status(name) is None


def test_a_lie_about_the_config(node, bad):
    built = small()
    name = bad.put("a/b", "1", built)
    bad.rule = hostile.on(built.config.digest, hostile.lie(bad))
    assert "digest" in error_of(lambda: node.pull(name), *FAILS)


def test_a_lie_about_a_manifest_pulled_by_digest(node, bad):
    built, other = small(), small("other")
    bad.put("a/b", "1", built)
    bad.put("a/b", "2", other)
    bad.manifests["a/b", built.digest] = other.manifest
    assert "digest" in error_of(lambda: node.pull(f"{bad.host}/a/b@{built.digest}"), *FAILS)


def test_a_lie_about_a_diff_id(node, bad):
    built = small(diff_ids=[digest(b"something else")])
    name = bad.put("a/b", "1", built)
    assert built.diff_ids[0] in error_of(lambda: node.pull(name), *FAILS)


def test_a_lie_about_a_size(node, bad):
    built = small()
    manifest = json.loads(built.manifest.data)
    manifest["layers"][0]["size"] += 7
    built.manifest = type(built.manifest)(json.dumps(manifest).encode(), built.manifest.media_type)
    name = bad.put("a/b", "1", built)
    error_of(lambda: node.pull(name), *FAILS)


def test_a_registry_that_hangs_holds_up_only_its_pull(own_node, bad):
    node = own_node(config={"images": "pull_stall_timeout = 3\n"})
    name = bad.put("a/b", "1", small())
    bad.rule = hostile.on(BLOB, hostile.hang(bad, after=10))
    call = node.client.start("PullImage", image={"image": name}, deadline=300)
    wait_for(lambda: bad.seen(BLOB), "the download to begin")
    assert node.client.Status().status.conditions
    node.run_pod()
    error_of(call.result, *FAILS)
    assert node.image_status(name) is None


@pytest.mark.parametrize("body", [
    b"", b"null", b"[]", b"{}", b"not json", b"{" * 100000, b"\xff\xfe", b'{"schemaVersion": 1}',
    b'{"schemaVersion": 2, "layers": [], "config": {"digest": "sha256:../../etc", "size": 1}}',
    b'{"schemaVersion": 2, "layers": 7, "config": 7}',
    b'{"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json", "config": {"digest": "sha256:%s", "size": -1}, "layers": []}' % (b"0" * 64),
])
def test_rubbish_for_a_manifest(node, bad, body):
    headers = {"Content-Type": "application/vnd.oci.image.manifest.v1+json"}
    bad.rule = hostile.on(MANIFEST, hostile.status(200, headers, body))
    error_of(lambda: node.pull(f"{bad.host}/a/b:1"), *FAILS)


def test_a_manifest_without_end(node, bad):
    bad.rule = hostile.on(MANIFEST, hostile.endless(bad))
    error_of(lambda: node.pull(f"{bad.host}/a/b:1", deadline=300), *FAILS)


def test_an_index_that_names_itself_over_and_over(node, bad):
    def deeper(request):
        inner = {"mediaType": "application/vnd.oci.image.index.v1+json", "size": 100, "digest": "sha256:" + "1" * 64}
        body = json.dumps({"schemaVersion": 2, "mediaType": inner["mediaType"], "manifests": [inner]}).encode()
        hostile.send(request, 200, body, {"Content-Type": inner["mediaType"]})
    bad.rule = hostile.on(MANIFEST, deeper)
    error_of(lambda: node.pull(f"{bad.host}/a/b:1"), *FAILS)


def test_redirects_are_followed_but_not_for_ever(node, bad):
    name = bad.put("a/b", "1", small())

    def once(request):
        if request.command == "GET" and "/blobs/" in request.path and "?again" not in request.path:
            hostile.send(request, 307, b"", {"Location": f"http://{bad.host}{request.path}?again"})
            return True
        return False

    bad.rule = once
    node.pull(name)
    bad.rule = hostile.on("/v2/other/", lambda r: hostile.send(r, 302, b"", {"Location": f"http://{bad.host}{r.path}"}))
    error_of(lambda: node.pull(f"{bad.host}/other/b:1"), *FAILS)


def test_a_redirect_to_a_file_is_not_followed(node, bad):
    bad.rule = hostile.on("", lambda r: hostile.send(r, 302, b"", {"Location": "file:///etc/passwd"}))
    error_of(lambda: node.pull(f"{bad.host}/a/b:1"), *FAILS)


# ---- layers that misbehave ----

OUT = "../../../../../../../../../../../../tmp/crisp-escape"


@pytest.mark.parametrize("what", ["dotdot", "dotdot-deep", "absolute", "symlink", "symlink-chain", "hardlink", "hardlink-symlink", "whiteout", "opaque"])
def test_layers_that_reach_out(node, bad, what):
    """Either refused or kept inside the tree; never a file outside of it."""
    victim = "/tmp/crisp-escape"
    os.makedirs(victim, exist_ok=True)
    with open(f"{victim}/secret", "w") as file:
        file.write("secret\n")
    try:
        layers = {
            "dotdot": [Layer().file(f"{OUT}/new", "x")],
            "dotdot-deep": [Layer().folder("a").file(f"a/b/../{OUT}/new", "x")],
            "absolute": [Layer().file(f"{victim}/new", "x")],
            "symlink": [Layer().symlink("l", victim).file("l/new", "x")],
            "symlink-chain": [Layer().symlink("a", OUT).symlink("b", "a").folder("b").file("b/new", "x")],
            "hardlink": [Layer().hardlink("h", f"{victim}/secret")],
            "hardlink-symlink": [Layer().symlink("l", victim).hardlink("h", "l/secret").file("h", "changed")],
            "whiteout": [Layer().symlink("l", victim).file("l/.wh.secret")],
            "opaque": [Layer().symlink("l", victim).file("l/.wh..wh..opq")],
        }[what]
        try:
            node.pull(bad.put("a/b", what, Image(layers)))
        except grpc.RpcError as e:
            assert e.code() not in (KINDS.UNIMPLEMENTED, KINDS.DEADLINE_EXCEEDED)
            assert e.details()
        with open(f"{victim}/secret") as file:
            assert file.read() == "secret\n"
        assert os.listdir(victim) == ["secret"]
        assert os.stat(f"{victim}/secret").st_nlink == 1
    finally:
        os.unlink(f"{victim}/secret")
        for name in os.listdir(victim):
            os.unlink(f"{victim}/{name}")
        os.rmdir(victim)


@pytest.mark.parametrize("what, words", [
    ("dotdot", ".."), ("whiteout-node", "0"), ("overlay-xattr", "overlay"), ("hardlink-missing", "link"), ("whiteout-dotdot", ""),
])
def test_layers_that_are_refused(node, bad, what, words):
    layer = {
        "dotdot": Layer().file("../up", "x"),
        "whiteout-node": Layer().device("hidden", 0, 0),
        "overlay-xattr": Layer().folder("d", pax={"SCHILY.xattr.trusted.overlay.opaque": "y"}),
        "hardlink-missing": Layer().hardlink("h", "never/was"),
        "whiteout-dotdot": Layer().file(".wh..."),
    }[what]
    message = error_of(lambda: node.pull(bad.put("a/b", what, Image([layer]))), *FAILS)
    assert words in message
    assert node.image_status(f"{bad.host}/a/b:{what}") is None


@pytest.mark.parametrize("data, how", [
    (b"this is no tar" * 100, "gzip"), (b"", "gzip"), (b"\0" * 100, "tar"), (b"ustar" * 1000, "zstd"),
])
def test_layers_that_are_no_tar(node, bad, data, how):
    class Raw:
        compression = how

        def tar(self):
            return data
    try:
        node.pull(bad.put("a/b", "raw", Image([Raw()])))
    except grpc.RpcError as e:
        assert e.code() not in (KINDS.UNIMPLEMENTED, KINDS.DEADLINE_EXCEEDED)


def test_a_layer_that_says_gzip_and_is_not(node, bad):
    built = small(compression="tar")
    manifest = json.loads(built.manifest.data)
    manifest["layers"][0]["mediaType"] += "+gzip"
    built.manifest = type(built.manifest)(json.dumps(manifest).encode(), built.manifest.media_type)
    try:
        node.pull(bad.put("a/b", "1", built))
    except grpc.RpcError as e:
        assert e.code() not in (KINDS.UNIMPLEMENTED, KINDS.DEADLINE_EXCEEDED)


def test_a_layer_cut_in_the_middle_of_a_file(node, bad):
    data = Layer().file("big", os.urandom(1 << 20)).tar()[: 1 << 19]

    class Cut:
        compression = "gzip"

        def tar(self):
            return data
    error_of(lambda: node.pull(bad.put("a/b", "1", Image([Cut()]))), *FAILS)


def many_entries(count):
    """A tar of many empty files, made without Python's slow tarfile."""
    block = bytearray(Layer().file("f" * 12, b"").tar()[:512])
    for i in range(count):
        block[0:12] = b"%012d" % i
        block[148:156] = b" " * 8
        block[148:156] = b"%06o\0 " % sum(block)
        yield bytes(block)


def test_more_entries_than_allowed_are_refused(own_node, bad):
    node = own_node(config={"images": "max_layer_entries = 10000\n"})

    def image(count):
        class Many:
            compression = "zstd"

            def tar(self):
                return b"".join(many_entries(count)) + bytes(1024)
        return bad.put("a/b", str(count), Image([Many()]))
    message = error_of(lambda: node.pull(image(10001)), *FAILS)
    assert "entries" in message and "10000" in message
    assert node.image_status(f"{bad.host}/a/b:10001") is None
    node.pull(image(10000))


def test_a_layer_larger_than_allowed_is_refused(own_node, bad):
    node = own_node(config={"images": "max_layer_mib = 8\n"})
    name = bad.put("a/b", "large", Image([Layer("gzip").file("zero", bytes(8 << 20))]))
    message = error_of(lambda: node.pull(name), *FAILS)
    assert str(8 << 20) in message and "bytes" in message
    assert node.image_status(name) is None
    node.pull(bad.put("a/b", "fits", Image([Layer("gzip").file("zero", bytes(7 << 20))])))


def test_a_bomb_is_refused_or_bounded_by_what_the_manifest_says(node, bad):
    """A small blob that inflates to much: the diff ID is checked over all of it, and nothing is left."""
    class Bomb:
        compression = "gzip"

        def tar(self):
            return Layer().file("zero", bytes(64 << 20)).tar()
    built = Image([Bomb()], diff_ids=[digest(b"no")])
    error_of(lambda: node.pull(bad.put("a/b", "1", built), deadline=300), *FAILS)


def test_a_config_that_names_fewer_layers(node, bad):
    built = Image([Layer().file("a"), Layer().file("b")], diff_ids=[digest(Layer().file("a").tar())])
    error_of(lambda: node.pull(bad.put("a/b", "1", built)), *FAILS)
