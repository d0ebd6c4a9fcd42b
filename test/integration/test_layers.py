"""Layers that are not what they should be: refused, or kept inside their own folder."""
import json
import os
import tempfile

import grpc
import pytest
from kit.image import Image, Layer, digest
from support import FAILS, KINDS, error_of, small

pytestmark = pytest.mark.usefixtures("no_images_left")


@pytest.mark.parametrize("what", [
    "dotdot", "dotdot-deep", "absolute", "symlink", "symlink-chain", "hardlink", "hardlink-symlink", "whiteout", "opaque",
])
def test_layers_that_reach_out(node, bad, what):
    """Either refused or kept inside the tree; never a file outside of it."""
    victim = tempfile.mkdtemp(prefix="crisp-escape-", dir="/tmp")
    out = "../" * 12 + victim.lstrip("/")
    with open(f"{victim}/secret", "w") as file:
        file.write("secret\n")
    try:
        layers = {
            "dotdot": [Layer().file(f"{out}/new", "x")],
            "dotdot-deep": [Layer().folder("a").file(f"a/b/../{out}/new", "x")],
            "absolute": [Layer().file(f"{victim}/new", "x")],
            "symlink": [Layer().symlink("l", victim).file("l/new", "x")],
            "symlink-chain": [Layer().symlink("a", out).symlink("b", "a").folder("b").file("b/new", "x")],
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
