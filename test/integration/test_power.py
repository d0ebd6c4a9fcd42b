"""
The power goes away at each step of the image store towards the disk: what was not synced is lost, what was acknowledged is there, and
what is there is whole.

The store lies on an ext4 of its own. The daemon and crisp-image are stopped just before their Nth rename, sync, link or removal
(cutter.c), the file system is shut down without its journal being written, and mounted again.
"""
import ctypes
import fcntl
import mmap
import os
import signal
import stat
import struct
import subprocess
import threading
import uuid

import grpc
import pytest
from kit.image import Image, Layer
from kit.paths import program
from kit.wait import wait_for

HERE = os.path.dirname(os.path.abspath(__file__))
SHUTDOWN = 0x8004587D  # EXT4_IOC_SHUTDOWN
WITHOUT_JOURNAL = 2  # EXT4_GOING_FLAGS_NOLOGFLUSH
SIZE = 64 << 20


CLONE_NEWNS, MS_REC, MS_PRIVATE = 0x20000, 0x4000, 0x40000


def in_own_mounts(function):
    """
    Calls function in a mount namespace of its own. What others make while a disk is mounted would have a copy of the mount, and a disk
    that is mounted anywhere stays without power.
    """
    result = []

    def call():
        libc = ctypes.CDLL(None, use_errno=True)
        try:
            if libc.unshare(CLONE_NEWNS) or libc.mount(None, b"/", None, MS_REC | MS_PRIVATE, None):
                raise OSError(ctypes.get_errno(), "a mount namespace")
            function()
        except BaseException as e:  # the caller's to see
            result.append(e)

    thread = threading.Thread(target=call)
    thread.start()
    thread.join()
    if result:
        raise result[0]


@pytest.fixture(scope="session")
def cutter(workdir):
    path = f"{workdir}/cutter.so"
    subprocess.run([program("gcc"), "-std=gnu17", "-O1", "-shared", "-fPIC", "-o", path, f"{HERE}/cutter.c", "-ldl"], check=True)
    return path


class Disk:
    """An ext4 in a file, to be mounted at a folder, whose power can be cut. A context manager."""

    def __init__(self, image, folder):
        self.image, self.folder, self.device = image, folder, None

    def __enter__(self):
        with open(self.image, "wb") as file:
            file.truncate(SIZE)
        # One device for all: it takes a moment until one that was given back can be had again.
        self.device = subprocess.run([program("losetup"), "--find", "--show", self.image], stdout=subprocess.PIPE, text=True, check=True).stdout.strip()
        os.makedirs(self.folder, exist_ok=True)
        return self

    def __exit__(self, *_):
        subprocess.run([program("losetup"), "--detach", self.device], check=True)

    def make(self):
        """Empty, and mounted."""
        subprocess.run([program("mkfs.ext4"), "-q", "-F", self.device], check=True)
        self.mount()

    def mount(self):
        subprocess.run([program("mount"), self.device, self.folder], check=True)

    def unmount(self):
        subprocess.run([program("umount"), self.folder], check=True)

    def cut(self):
        fd = os.open(self.folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.ioctl(fd, SHUTDOWN, struct.pack("I", WITHOUT_JOURNAL))
        finally:
            os.close(fd)


class Boots:
    """Which start of the machine the kernel says this is: in our mount namespace, what we say."""

    def __init__(self, path):
        self.path = path
        self.next()
        subprocess.run([program("mount"), "--bind", path, "/proc/sys/kernel/random/boot_id"], check=True)

    def next(self):
        with open(self.path, "w") as file:
            file.write(f"{uuid.uuid4()}\n")


class Counter:
    """The file that cutter.c counts in."""

    def __init__(self, path):
        self.path = path
        with open(path, "wb") as file:
            file.truncate(64)
        with open(path, "r+b") as file:
            self.map = mmap.mmap(file.fileno(), 64)

    def arm(self, at):
        self.map[:] = struct.pack("III52s", at, 0, 0, b"")

    @property
    def count(self):
        return struct.unpack_from("I", self.map, 4)[0]

    @property
    def reached(self):
        return struct.unpack_from("I", self.map, 8)[0] != 0

    @property
    def name(self):
        return self.map[12:64].rstrip(b"\0").decode()


def kill_all(daemon, counter):
    """The daemon, and whatever else counts: all at once, as without power."""
    daemon.process.send_signal(signal.SIGKILL)
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/environ", "rb") as file:
                if f"CUT_FILE={counter.path}".encode() in file.read().split(b"\0"):
                    os.kill(int(pid), signal.SIGKILL)
        except OSError:
            continue
    daemon.process.wait()
    # What was mounted over the disk's folders goes with the power, too: left there, it keeps the dead file system alive.
    probe = f"{daemon.run}/users-probe"
    if os.path.ismount(probe):
        subprocess.run([program("umount"), probe], check=True)


class Story:
    """What is done to the store, step by step, and what is listed after each step: image IDs with their tags."""

    def __init__(self, registry):
        self.registry = registry
        base = Layer().folder("etc").file("etc/a", "1\n").file("etc/b", "2\n").file("big", b"x" * 300000)
        self.files = {}
        first = self.image(base, Layer().file("first", "one\n"))
        second = self.image(base, Layer("zstd").file("second", "two\n"))
        # An opaque folder, one that the layer implies, and a link to a lower layer's file: marks, notes and a fix-up.
        third = self.image(Layer().folder("lib", mode=0o700).file("lib/x", "x\n").folder("opt").file("opt/old", "o\n"),
                           Layer().folder("opt").file("opt/.wh..wh..opq").file("opt/new", "n\n").file("lib/y", "y\n").hardlink("z", "lib/x"))
        moving, other = f"{registry.host}/test/power:moving", f"{registry.host}/test/power:other"
        push = lambda tag, image: registry.push("test/power", tag, image)
        push("other", third)
        self.steps = [
            (lambda client: client.PullImage(image={"image": moving}), {first.id: [moving]}),
            (lambda client: client.PullImage(image={"image": moving}), {first.id: [], second.id: [moving]}),
            (lambda client: client.RemoveImage(image={"image": first.id}), {second.id: [moving]}),
            (lambda client: client.PullImage(image={"image": other}), {second.id: [moving], third.id: [other]}),
            (lambda client: client.RemoveImage(image={"image": other}), {second.id: [moving]}),
        ]
        # The registry's tag moves before the second step.
        self.before = {0: lambda: push("moving", first), 1: lambda: push("moving", second)}
        self.images = {image.id: image for image in (first, second, third)}
        self.names = [moving, other]

    def image(self, *layers):
        return Image(layers)

    def listed_after(self, count):
        return self.steps[count - 1][1] if count else {}

    def tell(self, client, acknowledged):
        """Does all steps; one is added to acknowledged for each that was answered."""
        for i, (do, _) in enumerate(self.steps):
            self.before.get(i, lambda: None)()
            try:
                do(client)
            except grpc.RpcError as e:
                acknowledged.append(e)
                return
            acknowledged.append(True)


def listed(daemon):
    return {image.id: sorted(image.repo_tags) for image in daemon.client.ListImages().images}


def tree(folder):
    """What is in a layer's folder: paths with kind, mode and content."""
    found = {}
    for place, folders, files in os.walk(folder):
        for name in folders + files:
            path = f"{place}/{name}"
            status = os.lstat(path)
            content = ""
            if stat.S_ISREG(status.st_mode):
                with open(path, "rb") as file:
                    content = file.read()
            found[os.path.relpath(path, folder)] = (stat.S_IFMT(status.st_mode), stat.S_IMODE(status.st_mode), content)
    return found


def layer_trees(daemon):
    """All layers but those that are being removed, as garbage is after a start."""
    folder = f"{daemon.state}/images/layers"
    found = {}
    for name in os.listdir(folder):
        try:
            found[name] = tree(f"{folder}/{name}")
        except FileNotFoundError:
            pass
    return found


def garbage(daemon, story):
    """What lies in the store and belongs to no listed image."""
    needed = {diff_id.partition(":")[2] for image in listed(daemon) for diff_id in story.images[image].diff_ids}
    layers = set(os.listdir(f"{daemon.state}/images/layers"))
    return sorted(layers - needed) + os.listdir(f"{daemon.state}/images/staging")


def check_layers(daemon, story, trees, what):
    there = layer_trees(daemon)
    for image in listed(daemon):
        for diff_id in story.images[image].diff_ids:
            name = diff_id.partition(":")[2]
            assert there.get(name) == trees[name], f"{what}: layer {name} is not whole"


def check(daemon, story, trees, allowed, what):
    now = listed(daemon)
    assert now in allowed, f"{what}: {now} is listed and not one of {allowed}"
    assert not os.path.isdir(f"{daemon.state}/images/aside") or not os.listdir(f"{daemon.state}/images/aside"), what
    check_layers(daemon, story, trees, what)
    wait_for(lambda: not garbage(daemon, story), f"{what}: garbage to be removed: {garbage(daemon, story)}")


def live(daemon, story, counter, env):
    """A life without a cut: gives the steps of the start alone, of all, and how each layer looks."""
    trees = {}
    counter.arm(0)
    daemon.start(env=env)
    started = counter.count
    for i, (do, after) in enumerate(story.steps):
        story.before.get(i, lambda: None)()
        do(daemon.client)
        assert listed(daemon) == after
        trees.update(layer_trees(daemon))
    daemon.kill()
    return started, counter.count, trees


def cut_at(at, daemon, disk, boots, story, counter, env, trees):
    """A life that ends before a step, and the next one. False where the step was not reached."""
    acknowledged = []
    counter.arm(at)
    daemon.start(wait=False, env=env)
    # Not always has the start as many steps before it answers: the first cuts may come before that.
    wait_for(lambda: counter.reached or daemon.answers(), f"step {at} or the daemon to answer", 120)
    thread = threading.Thread(target=story.tell, args=(daemon.client, acknowledged))
    thread.start()
    wait_for(lambda: counter.reached or not thread.is_alive(), f"step {at} or the end")
    what = f"cut before step {at}, {counter.name}"
    disk.cut()
    kill_all(daemon, counter)
    thread.join()
    done = acknowledged.count(True)
    disk.unmount()
    disk.mount()
    boots.next()
    daemon.start()
    check(daemon, story, trees, [story.listed_after(done), story.listed_after(min(done + 1, len(story.steps)))], what)
    # Whatever was lost comes again.
    for name in story.names:
        daemon.client.PullImage(image={"image": name})
    check_layers(daemon, story, trees, f"{what}, and pulled again")
    daemon.terminate()
    return counter.reached


@pytest.mark.slow
def test_every_step(own_daemon, registry, cutter, tmp_path):
    daemon = own_daemon(start=False, network=False)
    story, counter = Story(registry), Counter(str(tmp_path / "count"))
    env = {"LD_PRELOAD": cutter, "CUT_FILE": counter.path}

    def on_a_new_disk(disk, function, *arguments):
        disk.make()
        try:
            return function(*arguments)
        finally:
            if daemon.alive():
                daemon.kill()
            disk.unmount()

    def cut_everywhere():
        boots = Boots(str(tmp_path / "boot_id"))
        with Disk(str(tmp_path / "disk"), daemon.state) as disk:
            started, total, trees = on_a_new_disk(disk, live, daemon, story, counter, env)
            assert total - started > 2 * len(story.steps), "the steps are not counted"
            at = started + 1
            while on_a_new_disk(disk, cut_at, at, daemon, disk, boots, story, counter, env, trees):
                at += 1
            assert at > total - len(story.steps), f"only {at} of {total} steps were reached"

    in_own_mounts(cut_everywhere)
