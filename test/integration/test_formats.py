"""Images as other tools make them, file by file and attribute by attribute as umoci unpacks them."""
import gzip
import hashlib
import io
import json
import os
import random
import re
import stat
import struct
import subprocess
import tarfile

import pytest
from kit import hostile
from kit.hostile import HostileRegistry
from kit.image import DOCKER, OCI, Blob, Image, Index, Layer, compress, digest, write_layout
from kit.paths import program
from kit.registry import push
from support import KINDS, error_of, small

pytestmark = pytest.mark.usefixtures("no_images_left")

ACL = "system.posix_acl_access"
DEFAULT_ACL = "system.posix_acl_default"
CAPABILITY = "security.capability"
NET_RAW = struct.pack("<5I", 0x02000001, 1 << 13, 0, 0, 0)  # version 2, effective: cap_net_raw
NAME_255 = "n" * 255
LONG_PATH = "/".join(["long", *("d" * 100 + str(i) for i in range(8)), NAME_255])


def acl(*more):
    """A POSIX ACL as the kernel has it: owner, then more (tag, permissions, id), then group, mask and others."""
    entries = [(1, 6, 0xFFFFFFFF), *more, (4, 4, 0xFFFFFFFF), (16, 6, 0xFFFFFFFF), (32, 4, 0xFFFFFFFF)]
    return struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in entries)


# ---- what is compared ----

def file_kind(mode):
    return {stat.S_IFREG: "file", stat.S_IFDIR: "folder", stat.S_IFLNK: "symlink", stat.S_IFCHR: "character device",
            stat.S_IFBLK: "block device", stat.S_IFIFO: "fifo"}[stat.S_IFMT(mode)]


def describe(root):
    """Everything that can be seen of a tree: path to attributes, and the groups of hard links."""
    found, groups = {}, {}
    for folder, folders, files in os.walk(os.fsencode(root)):
        for name in [b"."] * (folder == os.fsencode(root)) + folders + files:
            path = os.path.join(folder, name)
            status = os.lstat(path)
            kind = file_kind(status.st_mode)
            key = os.path.relpath(path, os.fsencode(root)).decode(errors="surrogateescape")
            entry = {"kind": kind, "mode": f"{stat.S_IMODE(status.st_mode):04o}", "uid": status.st_uid, "gid": status.st_gid,
                     "mtime": status.st_mtime_ns,
                     "xattrs": {name: os.getxattr(path, name, follow_symlinks=False) for name in os.listxattr(path, follow_symlinks=False)}}
            if kind == "symlink":
                entry["target"] = os.readlink(path)
            if "device" in kind:
                entry["device"] = os.major(status.st_rdev), os.minor(status.st_rdev)
            if kind == "file":
                entry["size"] = status.st_size
                with open(path, "rb") as file:
                    entry["contents"] = hashlib.sha256(file.read()).hexdigest()
            if kind != "folder":
                groups.setdefault((status.st_dev, status.st_ino), []).append(key)
            found[key] = entry
    for names in groups.values():
        for name in names:
            found[name]["links"] = sorted(names)
    return found


def differences(wanted, got, implied=(), umoci=False):
    """In words. umoci: it is umoci that wanted comes from. implied: folders that no archive has, whose time nobody says."""
    out = [f"{path}: missing" for path in wanted.keys() - got.keys()] + [f"{path}: not in the image" for path in got.keys() - wanted.keys()]
    for path in wanted.keys() & got.keys():
        for key in wanted[path].keys() | got[path].keys():
            # The time of the root itself is that of the container's own layer.
            if key == "mtime" and (path in implied or path == "."):
                continue
            if key == "xattrs" and umoci:
                # To umoci an attribute without a value is none.
                got[path][key] = {name: value for name, value in got[path][key].items() if value}
            if wanted[path].get(key) != got[path].get(key):
                out.append(f"{path}: {key}: {got[path].get(key)} instead of {wanted[path].get(key)}")
    return sorted(out)


def run(*words, **more):
    done = subprocess.run([program(words[0]), *words[1:]], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          text=True, errors="replace", **more)
    assert done.returncode == 0, f"{' '.join(words)}: {done.stdout}"
    return done.stdout


class Bench:
    """A folder where others' tools work, and a node to hold against them."""

    def __init__(self, node, registry, folder):
        self.node, self.registry, self.folder = node, registry, folder
        self.serial = 0

    def path(self, name):
        self.serial += 1
        return f"{self.folder}/{name}{self.serial}"

    def unpacked(self, layout):
        """The image of an OCI layout, as umoci unpacks it."""
        bundle = self.path("bundle")
        run("umoci", "unpack", "--image", layout, bundle)
        return describe(f"{bundle}/rootfs")

    def pushed(self, source, *options):
        """Copies an image to the registry by skopeo and returns the name to pull it by."""
        self.serial += 1
        name = f"{self.registry.host}/formats/image{os.path.basename(self.folder)}:{self.serial}"
        run("skopeo", "--insecure-policy", "copy", "--dest-tls-verify=false", *options, source, f"docker://{name}")
        return name

    def pulled(self, name):
        """The image as a container sees it that has it as a volume: without what a container's root gets besides."""
        self.node.pull(name)
        mount = {"container_path": "/image", "image": {"image": name}, "readonly": True}
        container = self.node.create(self.node.pod(), ["/nothing"], mounts=[mount])
        return describe(f"{self.node.daemon.run}/containers/{container}/volumes/0")

    def assert_same(self, layout, name, implied=()):
        left = differences(self.unpacked(layout), self.pulled(name), implied, umoci=True)
        assert not left, "\n".join(left)

    def manifest(self, name):
        return json.loads(run("skopeo", "inspect", "--raw", "--tls-verify=false", f"docker://{name}"))

    def layout_of(self, image):
        """A layout with an image of the kit, and its tag."""
        folder = self.path("layout")
        write_layout(image, folder)
        return f"{folder}:latest"


@pytest.fixture
def bench(node, registry, tmp_path):
    return Bench(node, registry, str(tmp_path))


def fill(root):
    """A tree with one of everything."""
    def place(path):
        os.makedirs(os.path.dirname(f"{root}/{path}"), exist_ok=True)
        return f"{root}/{path}"

    def put(path, data=b"x\n", mode=0o644, uid=0, gid=0, xattrs=None):
        with open(place(path), "wb") as file:
            file.write(data)
        os.chown(file.name, uid, gid)
        os.chmod(file.name, mode)
        for name, value in (xattrs or {}).items():
            os.setxattr(file.name, name, value)

    put("plain")
    put("empty", b"")
    put("large", random.Random(7).randbytes(3 << 20))
    put("modes/setuid", mode=0o4755)
    put("modes/setgid", mode=0o2711)
    put("modes/setuid-of-others", mode=0o6755, uid=1000, gid=1001)
    put("modes/none", mode=0)
    put("owners/beyond-16-bits", uid=70000, gid=4200000)
    put("owners/largest", uid=0xFFFFFFFE, gid=0xFFFFFFFE)
    put("attributes/user", xattrs={"user.note": b"a\x00b\xff", "user.empty": b""})
    put("attributes/capability", mode=0o755, xattrs={CAPABILITY: NET_RAW})
    put("attributes/acl", xattrs={ACL: acl((2, 7, 1000), (2, 4, 70000))})
    put("names/\u00fcml\u00e4ut \u4f60")
    put("names/a\\b\"c'd;e")
    put("names/new\nline")
    put("names/\udcff\udcfe-no-text".encode(errors="surrogateescape").decode(errors="surrogateescape"))
    put(LONG_PATH)
    put("links/one", b"linked\n", mode=0o600, uid=5)
    for name in ("links/two", "elsewhere/three"):
        os.link(f"{root}/links/one", place(name))
    os.symlink("plain", place("symlinks/relative"))
    os.symlink("/etc/passwd", place("symlinks/absolute"))
    os.symlink("../../../../outside", place("symlinks/outside"))
    os.symlink("t" * 300, place("symlinks/long"))
    os.symlink("nowhere/\u4f60", place("symlinks/utf8"))
    os.lchown(f"{root}/symlinks/relative", 70000, 70001)
    os.mknod(place("devices/character"), stat.S_IFCHR | 0o640, os.makedev(1, 3))
    os.mknod(place("devices/block"), stat.S_IFBLK | 0o600, os.makedev(259, 70000))
    os.mkfifo(place("devices/fifo"), 0o622)
    for path, mode in [("folders/sticky", 0o1777), ("folders/setgid", 0o2775), ("folders/closed", 0o700)]:
        os.makedirs(f"{root}/{path}")
        os.chmod(f"{root}/{path}", mode)
    os.setxattr(f"{root}/folders/setgid", DEFAULT_ACL, acl((2, 7, 1000)))
    os.setxattr(f"{root}/folders/closed", "user.note", b"folder")
    with open(place("sparse/hole"), "wb") as file:
        file.seek(64 << 20)
        file.write(b"end")
    with open(place("sparse/holes-at-both-ends"), "wb") as file:
        file.truncate(32 << 20)
        file.seek(16 << 20)
        file.write(b"middle")
    with open(place("sparse/nothing-else"), "wb") as file:
        file.truncate(8 << 20)
    for folder, folders, files in os.walk(root, topdown=False):
        for serial, name in enumerate(sorted(folders + files)):
            os.utime(f"{folder}/{name}", ns=(0, 1_500_000_000_123_456_789 + serial * 10 ** 12), follow_symlinks=False)
    os.utime(f"{root}/plain", (0, 0))
    os.utime(f"{root}/empty", (0, 4_500_000_000))  # past 2106


# ---- umoci ----

def umoci_image(bench):
    """Two layers made by `umoci repack`."""
    layout, bundle = bench.path("layout"), bench.path("made")
    image = f"{layout}:made"
    run("umoci", "init", "--layout", layout)
    run("umoci", "new", "--image", image)
    run("umoci", "unpack", "--image", image, bundle)
    fill(f"{bundle}/rootfs")
    run("umoci", "repack", "--image", image, "--refresh-bundle", bundle)
    root = f"{bundle}/rootfs"
    os.unlink(f"{root}/plain")
    os.unlink(f"{root}/links/two")
    run("rm", "-r", f"{root}/folders/sticky", f"{root}/names")
    os.mkdir(f"{root}/plain")  # a folder where a file was
    os.mkdir(f"{root}/names")
    with open(f"{root}/names/new", "w") as file:
        file.write("new\n")
    os.chmod(f"{root}/folders/closed", 0o711)
    os.chown(f"{root}/empty", 9, 70000)
    run("umoci", "repack", "--image", image, bundle)
    return image


def test_umoci(bench):
    image = umoci_image(bench)
    bench.assert_same(image, bench.pushed(f"oci:{image}"))


@pytest.mark.parametrize("how", [
    ["--format=v2s2"], ["--format=oci", "--dest-compress-format=zstd", "--dest-compress-level=3"],
], ids=["docker", "zstd"])
def test_skopeo_converts(bench, how):
    image = umoci_image(bench)
    name = bench.pushed(f"oci:{image}", *how)
    bench.assert_same(image, name)


def test_docker_archive_by_skopeo(bench):
    image = umoci_image(bench)
    archive = bench.path("archive") + ".tar"
    run("skopeo", "--insecure-policy", "copy", f"oci:{image}", f"docker-archive:{archive}:some/name:tag")
    bench.assert_same(image, bench.pushed(f"docker-archive:{archive}"))


# ---- buildah ----

@pytest.mark.parametrize("format", ["oci", "docker"])
def test_buildah(bench, format):
    store = ["--storage-driver", "vfs", "--root", bench.path("storage"), "--runroot", bench.path("run")]

    def buildah(*words):
        return run("buildah", *store, *words).strip().split("\n")[-1]

    first = buildah("from", "scratch")
    try:
        fill(buildah("mount", first))
        buildah("config", "--label", "made=by-hand", "--annotation", "note=first", first)
        buildah("umount", first)
        buildah("commit", "--format", format, first, "localhost/first")
        second = buildah("from", "--pull-never", "localhost/first")
        root = buildah("mount", second)
        run("rm", "-r", f"{root}/links", f"{root}/folders", f"{root}/large")
        os.makedirs(f"{root}/folders/new")
        os.link(f"{root}/elsewhere/three", f"{root}/elsewhere/four")
        buildah("umount", second)
        buildah("commit", "--format", format, second, "localhost/second")
        name = f"{bench.registry.host}/formats/buildah-{format}:1"
        buildah("push", "--tls-verify=false", "localhost/second", f"docker://{name}")
    finally:
        buildah("rm", "--all")
    wanted = DOCKER if format == "docker" else OCI
    assert bench.manifest(name)["mediaType"] == wanted["manifest"]
    layout = bench.path("layout") + ":latest"
    run("skopeo", "--insecure-policy", "copy", "--src-tls-verify=false", f"docker://{name}", f"oci:{layout}")
    bench.assert_same(layout, name)


# ---- tar ----

class Tar:
    """A layer out of a tar that somebody else wrote."""

    def __init__(self, data, compression="gzip"):
        self.data, self.compression = data, compression

    def tar(self):
        return self.data


def tarred(bench, *options):
    """The tree as GNU tar writes it: the layer, and what GNU tar makes of it again."""
    source, archive, again = bench.path("source"), bench.path("archive") + ".tar", bench.path("again")
    os.mkdir(source)
    os.mkdir(again)
    fill(source)
    run("tar", "--create", "--file", archive, "--directory", source, *options, ".")
    run("tar", "--extract", "--file", archive, "--directory", again, "--same-owner", "--same-permissions", "--numeric-owner",
        "--xattrs", "--xattrs-include=*", "--acls")
    with open(archive, "rb") as file:
        return Tar(file.read()), again


@pytest.mark.parametrize("options", [
    ["--format=gnu", "--numeric-owner"],
    ["--format=gnu", "--sparse"],
    ["--format=pax", "--xattrs", "--xattrs-include=*", "--acls", "--numeric-owner"],
    ["--format=pax", "--sparse", "--sparse-version=0.0"],
    ["--format=pax", "--sparse", "--sparse-version=0.1"],
    ["--format=pax", "--sparse", "--sparse-version=1.0", "--xattrs", "--xattrs-include=*", "--acls"],
], ids=["gnu", "gnu-sparse", "pax", "sparse-0.0", "sparse-0.1", "sparse-1.0"])
def test_gnu_tar(bench, options):
    layer, again = tarred(bench, *options)
    image = Image([layer])
    name = push(bench.registry.host, "formats/tar", "1", image)
    left = differences(describe(again), bench.pulled(name))
    assert not left, "\n".join(left)
    # umoci 0.4 does not know sparse files.
    if "--sparse" not in options:
        bench.assert_same(bench.layout_of(image), name)


def test_holes_stay_holes(bench):
    image = Image([tarred(bench, "--format=pax", "--sparse")[0]])
    name = push(bench.registry.host, "formats/holes", "1", image)
    bench.node.pull(name)
    container = bench.node.create(bench.node.pod(), ["/nothing"], image=name)
    root = f"{bench.node.daemon.run}/containers/{container}/rootfs"
    for path in ("hole", "holes-at-both-ends", "nothing-else"):
        status = os.stat(f"{root}/sparse/{path}")
        assert status.st_size >= 8 << 20 and status.st_blocks * 512 < 1 << 20


# ---- layers by hand ----

def base():
    layer = Layer()
    for path, mode in [("a", 0o755), ("tmp", 0o1777), ("a/deep", 0o2750), ("usr", 0o755), ("usr/bin", 0o711), ("gone", 0o755), ("hidden", 0o700)]:
        layer.folder(path, mode=mode, uid=70000 if path == "a/deep" else 0)
    layer.symlink("bin", "usr/bin").symlink("late", "a")
    for path in ("a/one", "a/two", "a/deep/three", "usr/bin/tool", "gone/x", "hidden/x", "hidden/y", "tmp/old"):
        layer.file(path, path, mode=0o4755 if path == "usr/bin/tool" else 0o644, uid=9)
    return layer


def written_by_python(format, **more):
    """A tar with headers that GNU tar writes in no mode."""
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w", format=format, **more) as tar:
        for name, kind, size in [("folder", tarfile.DIRTYPE, 0), ("folder/" + "p" * 90 + "/" + "n" * 90, tarfile.REGTYPE, 5), ("old", tarfile.AREGTYPE, 3)]:
            info = tarfile.TarInfo(name)
            info.type, info.size, info.mode, info.uid, info.mtime = kind, size, 0o711, 0o7777777, 1600000000
            tar.addfile(info, io.BytesIO(b"x" * size))
    return Tar(data.getvalue())


STACKS = {
    "ustar": lambda: [written_by_python(tarfile.USTAR_FORMAT)],
    "pax": lambda: [written_by_python(tarfile.PAX_FORMAT)],
    "whiteouts": lambda: [base(), Layer().file("a/.wh.one").file(".wh.gone").file("a/deep/.wh.three"), Layer().file("gone/new", "new")],
    "opaque": lambda: [base(), Layer().folder("hidden", mode=0o750).file("hidden/.wh..wh..opq").file("hidden/z", "z")],
    "opaque-after-its-files": lambda: [base(), Layer().folder("hidden").file("hidden/z", "z").file("hidden/.wh..wh..opq")],
    "implied-folders": lambda: [base(), Layer().file("tmp/new", "1").file("a/deep/new", "2"), Layer().file("a/deep/newer", "3")],
    "through-a-symlink": lambda: [base(), Layer().file("bin/other", "o"), Layer().file("usr/bin/third", "t")],
    "folder-over-a-symlink": lambda: [base(), Layer().folder("late", mode=0o700).file("late/file", "x")],
    "folder-over-a-file": lambda: [base(), Layer().folder("a/one", mode=0o700).file("a/one/inside", "x")],
    "file-over-a-folder": lambda: [base(), Layer().file("a/deep", "now a file", mode=0o600)],
    "links-to-lower-layers": lambda: [base(), Layer().folder("b").hardlink("b/one", "a/one").hardlink("b/uno", "a/one").hardlink("tool", "usr/bin/tool")],
    "links-through-a-symlink": lambda: [base(), Layer().hardlink("a/tool", "bin/tool")],
    "twice-the-same": lambda: [base(), Layer().file("twice", "1").file("twice", "22", mode=0o600), base()],
    "no-entries": lambda: [base(), Layer(), Layer("tar")],
    "no-bytes": lambda: [base(), Tar(b"", "tar"), Tar(b"", "gzip")],
    "dots-and-slashes": lambda: [Layer().folder("./").folder("./x/").file("./x//y", "y").file("/x/z", "z").folder("x/./w")],
}


# To umoci a folder also changes when another is made in it that has no entry.
IMPLIED = {"whiteouts": {"gone"}, "ustar": {"folder", "folder/" + "p" * 90}, "pax": {"folder", "folder/" + "p" * 90}}


@pytest.mark.parametrize("stack", STACKS)
def test_layers_on_each_other(bench, stack):
    image = Image(STACKS[stack]())
    name = push(bench.registry.host, "formats/stack", stack, image)
    # A folder that came anew without an entry of its own has the time of its making.
    bench.assert_same(bench.layout_of(image), name, implied=IMPLIED.get(stack, ()))


def test_a_global_header_is_of_no_file(bench):
    """git archive writes one; umoci knows none."""
    image = Image([written_by_python(tarfile.PAX_FORMAT, pax_headers={"comment": "a commit", "SCHILY.xattr.user.x": "y"})])
    name = push(bench.registry.host, "formats/global", "1", image)
    bench.assert_same(bench.layout_of(Image(STACKS["pax"]())), name, IMPLIED["pax"])


@pytest.mark.parametrize("data", [b"", Layer().tar()], ids=["no-bytes", "no-entries"])
def test_an_empty_layer_in_zstd(bench, data):
    name = push(bench.registry.host, "formats/empty", "1", Image([base(), Tar(data, "zstd")]))
    bench.assert_same(bench.layout_of(Image([base()])), name)


def test_what_a_whiteout_removes_leaves_its_folder_alone(bench):
    """Also what is beside it in the same layer."""
    image = Image([base(), Layer().file("a/one", "again").file("a/.wh.one")])
    name = push(bench.registry.host, "formats/beside", "1", image)
    got = bench.pulled(name)
    assert got["a"]["mode"] == "0755" and "a/two" in got


@pytest.mark.parametrize("member", ["mtime", "SCHILY.fflags"])
def test_times(bench, member):
    """Fractions, before 1970, after 2242; and attributes that nobody knows."""
    layer = Layer()
    times = {"fraction": "1500000000.123456789", "before": "-86400.5", "far": "9000000000.25", "none": "0"}
    for name, time in times.items():
        layer.file(name, name, pax={"mtime": time, member: time if member == "mtime" else "nodump", "ATTR.unknown": "x"})
    image = Image([layer])
    name = push(bench.registry.host, "formats/times", "1", image)
    got = bench.pulled(name)
    assert got["fraction"]["mtime"] == 1500000000123456789
    assert got["far"]["mtime"] == 9000000000250000000
    bench.assert_same(bench.layout_of(image), name)


def members(tar, how):
    """The tar in several compressed members, cut where no tool would."""
    cuts = [0, 1, 511, 700, len(tar) // 2, len(tar) - 3, len(tar)]
    return b"".join(compress(tar[a:b], how) for a, b in zip(cuts, cuts[1:]))


def skippable(data):
    return struct.pack("<II", 0x184D2A50, len(data)) + data


def chunked(tar):
    """As zstd:chunked has it: a frame for each part, and a table of contents in skippable frames, which annotations point to."""
    body = b"".join(compress(tar[at:at + 1024], "zstd") for at in range(0, len(tar), 1024))
    manifest = compress(json.dumps({"version": 1, "entries": []}).encode(), "zstd")
    footer = struct.pack("<8Q", len(body) + 8, len(manifest), 2, 1, 0, 0, 0, 0) + b"GNUlInUx"
    return body + skippable(manifest) + skippable(footer)


FORMS = {
    "gzip-members": ("gzip", lambda tar: members(tar, "gzip")),
    "zstd-frames": ("zstd", lambda tar: members(tar, "zstd")),
    "zstd-skippable-first": ("zstd", lambda tar: skippable(b"first") + compress(tar, "zstd") + skippable(b"")),
    "zstd-chunked": ("zstd", chunked),
    "gzip-best": ("gzip", lambda tar: gzip.compress(tar, 9)),
    "gzip-stored": ("gzip", lambda tar: gzip.compress(tar, 0)),
    "gzip-named-members": ("gzip", lambda tar: b"\x1f\x8b\x08\x18" + bytes(6) + b"name\0comment\0" + gzip.compress(tar)[10:]),
    "padded": ("gzip", lambda tar: gzip.compress(tar)),
}


@pytest.mark.parametrize("types", [OCI, DOCKER], ids=["oci", "docker"])
@pytest.mark.parametrize("form", FORMS)
def test_compressed_forms(bench, form, types):
    how, make = FORMS[form]
    tar = base().tar() + bytes(1 << 16) * (form == "padded")
    image = Image([Tar(tar)], format="docker" if types is DOCKER else "oci", annotations={"org.example.note": "kept"})
    plain = bench.layout_of(Image([Tar(tar)]))
    image.layers = [Blob(make(tar), types[how])]
    manifest = json.loads(image.manifest.data)
    manifest["layers"] = [image.layers[0].descriptor(annotations={"io.github.containers.zstd-chunked.manifest-position": "1:2:3:1"})]
    image.manifest = Blob(json.dumps(manifest).encode(), types["manifest"])
    name = push(bench.registry.host, "formats/forms", form, image)
    bench.assert_same(plain, name)


# ---- layers that registries do not have ----

FOREIGN = {
    "docker": "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
    "oci": "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip",
}


def foreign(bad, format, urls):
    image = small("foreign", format=format)
    layer = image.layers[0]
    manifest = json.loads(image.manifest.data)
    manifest["layers"][0].update(mediaType=FOREIGN[format], urls=urls)
    image.manifest = Blob(json.dumps(manifest).encode(), image.manifest.media_type)
    name = bad.put("a/foreign", "1", image)
    del bad.blobs[layer.digest]
    return name, layer


@pytest.mark.parametrize("format", FOREIGN)
def test_foreign_layers(bench, bad, format):
    with HostileRegistry() as maker:
        name, layer = foreign(bad, format, [f"http://{maker.host}/not/there", f"http://{maker.host}/layers/1?x=y"])
        bad.rule = hostile.basic_auth("joe", "secret")

        def send(request):
            hostile.send(request, 200, layer.data)
        maker.rule = hostile.on("GET /layers/1", send)
        bench.node.pull(name, auth={"username": "joe", "password": "secret"})
        container = bench.node.create(bench.node.pod(), ["/nothing"], image=name)
        assert "foreign" in describe(f"{bench.node.daemon.run}/containers/{container}/rootfs")
        # The registry was asked first; the other host saw no password.
        assert bad.seen(f"GET /v2/a/foreign/blobs/{layer.digest}")
        assert maker.requests == ["GET /not/there", "GET /layers/1?x=y"]
        assert set(maker.shown) == {None}


def test_foreign_layers_that_nobody_has(node, bad):
    with HostileRegistry() as maker:
        name, layer = foreign(bad, "docker", [f"http://{maker.host}/a", "ftp://example.invalid/b"])
        message = error_of(lambda: node.pull(name), KINDS.NOT_FOUND)
        assert f"{bad.host}: 404" in message and f"{maker.host}: 404" in message and "ftp://example.invalid/b: not reached by https" in message


def test_foreign_layers_are_checked(node, bad):
    with HostileRegistry() as maker:
        name, layer = foreign(bad, "oci", [f"http://{maker.host}/a"])
        data = bytearray(layer.data)
        data[-1] ^= 1
        maker.rule = hostile.on("", lambda request: hostile.send(request, 200, bytes(data)))
        assert "digest" in error_of(lambda: node.pull(name), KINDS.DATA_LOSS)


# ---- what is refused, what is chosen ----

def test_schema_1_is_refused_in_words(node, bad):
    manifest = {"schemaVersion": 1, "name": "a/b", "tag": "1", "architecture": "amd64", "fsLayers": [{"blobSum": digest(b"")}],
                "history": [{"v1Compatibility": "{}"}], "signatures": []}
    for kind in ("application/vnd.docker.distribution.manifest.v1+prettyjws", "application/vnd.docker.distribution.manifest.v1+json", "application/json"):
        bad.manifests["a/b", "1"] = Blob(json.dumps(manifest).encode(), kind)
        message = error_of(lambda: node.pull(f"{bad.host}/a/b:1"), KINDS.FAILED_PRECONDITION)
        assert "schema 1" in message and "push the image again" in message


def platform_index(*platforms):
    images = []
    for architecture, variant in platforms:
        image = small(f"{architecture}-{variant}", architecture=architecture)
        image.platform = {"architecture": architecture, "os": "linux", "os.version": "99", **({"variant": variant} if variant else {})}
        images.append(image)
    return Index(images)


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="variants of amd64")
def test_the_best_variant_that_the_processor_runs(node, registry):
    with open("/proc/cpuinfo") as file:
        flags = set(re.search(r"^flags\s*:(.*)$", file.read(), re.M)[1].split())
    level = 1
    for number, needed in [(2, "cx16 lahf_lm popcnt sse4_1 sse4_2 ssse3"), (3, "avx avx2 bmi1 bmi2 f16c fma abm movbe"),
                           (4, "avx512f avx512bw avx512cd avx512dq avx512vl")]:
        level = number if level == number - 1 and set(needed.split()) <= flags else level
    index = platform_index(("386", ""), ("arm64", "v8"), ("amd64", ""), ("amd64", "v2"), ("amd64", "v3"), ("amd64", "v4"))
    name = registry.push("formats/variants", "1", index)
    node.pull(name)
    assert node.image_status(name).id == index.images[1 + level].id
    alone = platform_index(("arm", "v7"), ("386", ""))
    name = registry.push("formats/variants", "2", alone)
    node.pull(name)
    assert node.image_status(name).id == alone.images[1].id
