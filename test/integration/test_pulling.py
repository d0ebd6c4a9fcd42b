"""Pulls that share layers, end in the middle, come again, or find no room."""
import concurrent.futures
import os
import re
import subprocess
import threading

import grpc
import pytest
from kit import exposition, hostile
from kit.image import Image, Layer
from kit.wait import wait_for
from support import KINDS, error_of


def layer(name, size=1000):
    return Layer("tar").file(name, os.urandom(size))


def fetched(registry, blob):
    """How often the blob was fetched."""
    return registry.seen(rf"^GET /v2/.*/blobs/{blob.digest}")


def layers_of(image):
    return [blob for blob in image.blobs if blob.digest != image.id]


class Gate:
    """Lets the first bytes of a blob through, and the rest when it is opened."""

    def __init__(self, registry, *blobs):
        self.opened, self.reached, self.broken = threading.Event(), threading.Event(), False
        self.pattern = "^GET /v2/.*/blobs/(" + "|".join(blob.digest for blob in blobs) + ")"
        self.registry = registry

    def __call__(self, request):
        if self.opened.is_set() or not re.search(self.pattern, f"{request.command} {request.path}"):
            return False
        data = self.registry.blobs[request.path.rsplit("/", 1)[1].split("?")[0]].data
        request.send_response(200)
        request.send_header("Content-Length", str(len(data)))
        request.end_headers()
        half = len(data) // 2
        request.wfile.write(data[:half])
        request.wfile.flush()
        self.reached.set()
        self.opened.wait(120)
        if self.broken:
            request.close_connection = True
        else:
            request.wfile.write(data[half:])
        return True


def test_tags_that_share_layers_fetch_each_once(own_node, bad):
    node = own_node(config={"images": "max_parallel_pulls = 10\n"})
    shared = [layer(f"shared{i}", 300000) for i in range(3)]
    images = [Image([*shared, layer(f"own{i}")]) for i in range(10)]
    names = [bad.put("a/b", str(i), image) for i, image in enumerate(images)]
    gate = Gate(bad, layers_of(images[0])[0])
    bad.rule = gate
    with concurrent.futures.ThreadPoolExecutor(10) as pool:
        pulls = [pool.submit(node.pull, name) for name in names]
        wait_for(lambda: bad.seen("^GET /v2/a/b/blobs/") >= 20, "all of them to have come to layers")
        gate.opened.set()
        for pull in pulls:
            pull.result()
    for image in images:
        for blob in layers_of(image):
            assert fetched(bad, blob) == 1
    for name, image in zip(names, images):
        assert node.image_status(name).id == image.id
    metrics = exposition.read(subprocess.check_output([node.daemon.crisp, "metrics", "--socket", node.daemon.socket], text=True))
    assert metrics["crisp_image_layers_shared_total", None] >= 9
    assert metrics["crisp_image_layers_overtaken_total", None] == 0


def test_who_waits_for_a_layer_needs_the_right_to_it(own_node, bad):
    node = own_node()
    image = Image([layer("secret", 300000)])
    name, other = bad.put("a/b", "1", image), bad.put("c/d", "1", image)
    gate = Gate(bad, layers_of(image)[0])
    refuse = hostile.on("^(GET|HEAD) /v2/c/d/blobs/" + layers_of(image)[0].digest, hostile.status(403))
    bad.rule = lambda request: refuse(request) or gate(request)
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        first = pool.submit(node.pull, name)
        assert gate.reached.wait(60)
        second = pool.submit(error_of, lambda: node.pull(other), KINDS.PERMISSION_DENIED)
        wait_for(lambda: bad.seen("^GET /v2/c/d/blobs/" + image.id), "the second pull to know its layers")
        gate.opened.set()
        first.result()
        assert "403" in second.result()
    assert node.image_status(other) is None
    assert bad.seen("^HEAD /v2/c/d/blobs/" + layers_of(image)[0].digest)


@pytest.mark.parametrize("how", ["cancelled", "failed"])
def test_a_layer_goes_to_the_next_when_its_pull_ends(own_node, bad, how):
    node = own_node()
    shared = layer("shared", 300000)
    images = [Image([shared, layer("1")]), Image([shared, layer("2")])]
    names = [bad.put("a/b", str(i), image) for i, image in enumerate(images)]
    blob = layers_of(images[0])[0]
    gate = Gate(bad, blob)
    bad.rule = gate
    first = node.client.start("PullImage", image={"image": names[0]})
    assert gate.reached.wait(60)
    second = node.client.start("PullImage", image={"image": names[1]})
    wait_for(lambda: fetched(bad, layers_of(images[1])[1]), "the second pull to have come to layers")
    assert fetched(bad, blob) == 1
    lie = hostile.on("^GET /v2/.*/blobs/" + blob.digest, hostile.status(404), times=1)
    if how == "cancelled":
        bad.rule = None
        first.cancel()
    else:
        gate.broken = True
        bad.rule = lambda request: lie(request) or gate(request)
        gate.opened.set()
        with pytest.raises(grpc.RpcError):
            first.result()
    second.result()
    gate.opened.set()
    assert node.image_status(names[1]).id == images[1].id
    assert node.image_status(names[0]) is None


def test_whole_layers_of_a_failed_pull_are_not_fetched_again(own_node, bad):
    node = own_node()
    image = Image([layer("one"), layer("two"), layer("three", 300000)])
    name = bad.put("a/b", "1", image)
    last = layers_of(image)[2]
    gate = Gate(bad, last)
    bad.rule = gate
    pull = node.client.start("PullImage", image={"image": name})
    assert gate.reached.wait(60)
    folder = f"{node.daemon.state}/images/staging"
    wait_for(lambda: len([f for _, _, files in os.walk(folder) for f in files if f.endswith(".json") and len(f) == 29]) == 2,
             "two layers to be whole")
    pull.cancel()
    wait_for(lambda: not os.listdir(folder), "the pull to end")
    gate.opened.set()
    node.pull(name)
    assert [fetched(bad, blob) for blob in layers_of(image)] == [1, 1, 2]
    assert node.image_status(name).id == image.id


@pytest.mark.parametrize("how", ["killed", "stopped"])
def test_a_pull_goes_on_while_the_daemon_is_gone(own_node, bad, how):
    node = own_node()
    image = Image([layer("one"), layer("two", 300000), layer("three", 300000)])
    name = bad.put("a/b", "1", image)
    gate = Gate(bad, *layers_of(image)[1:])
    bad.rule = gate
    pull = node.client.start("PullImage", image={"image": name})
    wait_for(lambda: all(fetched(bad, blob) for blob in layers_of(image)), "all layers to be on their way")
    node.daemon.kill() if how == "killed" else node.daemon.terminate()
    with pytest.raises(grpc.RpcError):
        pull.result()
    node.daemon.start()
    again = node.client.start("PullImage", image={"image": name})
    wait_for(lambda: bad.seen("^GET /v2/a/b/blobs/" + image.id) == 2, "the second pull to know its layers")
    gate.opened.set()
    again.result()
    assert [fetched(bad, blob) for blob in layers_of(image)] == [1, 1, 1]
    assert node.image_status(name).id == image.id
    wait_for(lambda: not os.listdir(f"{node.daemon.state}/images/staging"), "the staging folders to be gone")


def test_a_pull_that_has_no_layers_yet_ends_with_its_daemon(own_node, bad):
    node = own_node()
    name = bad.put("a/b", "1", Image([layer("one")]))
    hang = threading.Event()

    def wait(request):
        hang.wait(60)
        hostile.send(request, 404)
    bad.rule = hostile.on("^GET /v2/a/b/manifests", wait)
    pull = node.client.start("PullImage", image={"image": name})
    wait_for(lambda: bad.seen("^GET /v2/a/b/manifests"), "the pull to ask")
    node.daemon.kill()
    with pytest.raises(grpc.RpcError):
        pull.result()
    hang.set()
    node.daemon.start()
    wait_for(lambda: not os.listdir(f"{node.daemon.state}/images/staging"), "the staging folders to be gone")


@pytest.fixture
def on_small_disk(own_node):
    """A daemon whose images are on a disk of so many MiB, and that disk's folder."""
    mounted = []

    def make(mib, config):
        node = own_node()
        node.daemon.terminate()
        images = f"{node.daemon.state}/images"
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={mib}m", "none", images], check=True)
        mounted.append((node, images))
        node.daemon.write_config({"images": config})
        node.daemon.start()
        return node, images
    yield make
    for node, images in mounted:
        node.daemon.terminate()
        subprocess.run(["umount", images], check=True)
        node.daemon.start()


def test_the_reserve_of_the_disk_is_not_touched(on_small_disk, bad):
    node, _ = on_small_disk(40, "disk_reserve_mib = 512\n")
    large = Image([layer("one", 39 << 20)])
    message = error_of(lambda: node.pull(bad.put("a/b", "large", large)), KINDS.RESOURCE_EXHAUSTED)
    assert "images.disk_reserve_mib" in message and "40 MiB more" in message and "2 MiB stay free" in message
    assert not fetched(bad, layers_of(large)[0])
    node.pull(bad.put("a/b", "fits", Image([layer("one", 10 << 20)])))


def test_a_full_disk_is_told_and_nothing_is_left(on_small_disk, bad):
    node, images = on_small_disk(16, "disk_reserve_mib = 0\n")
    name = bad.put("a/b", "1", Image([layer("fits", 1 << 20), layer("large", 20 << 20)]))
    message = error_of(lambda: node.pull(name), KINDS.RESOURCE_EXHAUSTED)
    assert "disk" in message and "full" in message
    assert node.image_status(name) is None
    wait_for(lambda: not os.listdir(f"{images}/staging") and not os.listdir(f"{images}/layers"), "all to be removed")


@pytest.mark.parametrize("stage", ["manifests", "config", "layer"])
def test_a_registry_that_hangs_does_not_keep_a_pull_that_nobody_wants(own_node, bad, stage):
    node = own_node()
    image = Image([layer("one", 300000)])
    name = bad.put("a/b", "1", image)
    pattern = {"manifests": "manifests/", "config": "blobs/" + image.id, "layer": "blobs/" + layers_of(image)[0].digest}[stage]
    bad.rule = hostile.on("^GET /v2/a/b/" + pattern, hostile.hang(bad))
    pull = node.client.start("PullImage", image={"image": name})
    wait_for(lambda: bad.seen("^GET /v2/a/b/" + pattern), "the pull to come there")
    pull.cancel()
    wait_for(lambda: not os.listdir(f"{node.daemon.state}/images/staging"), "the pull to end")
    wait_for(lambda: "nobody waits for it any more" in node.daemon.log_text(), "that to be told")


def test_a_trickle_is_given_up(own_node, bad):
    node = own_node(config={"images": "pull_stall_timeout = 1\nmin_pull_rate = 100000\n"})
    image = Image([layer("one", 300000)])
    name = bad.put("a/b", "1", image)
    gate = Gate(bad, layers_of(image)[0])
    bad.rule = gate
    pull = node.client.start("PullImage", image={"image": name})
    wait_for(lambda: fetched(bad, layers_of(image)[0]) > 1, "a second try")
    gate.opened.set()
    pull.result()
    assert node.image_status(name).id == image.id
