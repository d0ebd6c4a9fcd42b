"""What crisp-image takes of memory, whatever the layer's maker chose."""
import json
import os
import subprocess

from kit.image import OCI, Blob, Image, Layer
from kit.paths import program
from kit.peak import Peak
from kit.registry import push

MIB = 1 << 20
MOST = 64  # MB


def with_window(log):
    """An image of which a layer was compressed with a window of 2^LOG bytes, and needs nearly all of it."""
    far = (1 << log) - 4 * MIB
    start = os.urandom(far)
    layer = Layer("zstd").file("far", start).file("again", start[:far // 2])
    image = Image([layer])
    tar = layer.tar()
    words = [program("zstd"), "-q", "-c", "-1", "-T1", f"--long={log}"]
    image.layers = [Blob(subprocess.run(words, input=tar, stdout=subprocess.PIPE, check=True).stdout, OCI["zstd"])]
    assert len(image.layers[0].data) < far + 4 * MIB  # it did look back as far as that
    manifest = json.loads(image.manifest.data)
    manifest["layers"] = [image.layers[0].descriptor()]
    image.manifest = Blob(json.dumps(manifest).encode(), OCI["manifest"])
    return image


def test_a_large_window_takes_no_more_memory(node, registry):
    """128 MiB: what zstd --ultra -22 and --long make."""
    name = push(registry.host, "memory/window", "1", with_window(27))
    with Peak(node.daemon.pid) as peak:
        node.pull(name)
    assert peak.seen
    assert 5 < peak.value < MOST
    node.client.RemoveImage(image={"image": name})
