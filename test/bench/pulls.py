"""
Pulls of images of several shapes, from a registry on loopback into an empty store, with what they are made of measured alone beside:
network (curl), inflating (igzip or gzip, zstd) and disk (tar and a sync), and the three in a pipe. The files are the machine's own.
"""
import os
import shlex
import shutil
import subprocess
import tempfile
import time

from kit.image import Image, Layer
from kit.paths import program
from kit.peak import Peak
from kit.registry import Registry
from report import median
from subjects import pss

MIB = 1 << 20
SOURCES = ("/usr/lib", "/usr/share", "/usr/bin")
FILE_MAX = 8 * MIB  # larger ones would leave too few files in a layer
SHAPES = {"one of 250 MB": [250 * MIB], "ten of 25 MB": [25 * MIB] * 10, "60 of 1 MB": [MIB] * 60}
COMPRESSIONS = ("gzip", "zstd")
ROUNDS = 5
LIMIT = 1.2  # times the slowest of network, inflating and disk
PARTS = {"network": 9, "inflate": 9, "disk": 7, "by hand": 9}  # and their columns' widths
MEMORY = 64  # MB, crisp-image at its peak


def _files():
    """Regular files of this machine, always in the same order."""
    for source in SOURCES:
        for folder, folders, names in os.walk(source):
            folders.sort()
            for name in sorted(names):
                path = f"{folder}/{name}"
                try:
                    status = os.lstat(path)
                    if os.path.isfile(path) and not os.path.islink(path) and status.st_size <= FILE_MAX:
                        with open(path, "rb") as file:
                            yield path, file.read(), status
                except OSError:
                    continue


def _fill(layer, files, size):
    folders, count = set(), 0
    while size > 0:
        path, data, status = next(files)
        name = path[1:]
        parts = name.split("/")[:-1]
        for i in range(1, len(parts) + 1):
            folder = "/".join(parts[:i])
            if folder not in folders:
                folders.add(folder)
                layer.folder(folder)
        layer.file(name, data, mode=status.st_mode & 0o7777)
        size -= len(data)
        count += 1
    return count


class Shape:
    """An image in the registry, and its layers as files."""

    def __init__(self, registry, folder, title, sizes, compression):
        self.title, self.compression, files = title, compression, _files()
        layers = [Layer(compression) for _ in sizes]
        self.files = sum(_fill(layer, files, size) for layer, size in zip(layers, sizes))
        image = Image(layers)
        self.name = registry.push(f"bench/{compression}", title.replace(" ", "-").lower(), image)
        host, _, rest = self.name.partition("/")
        repository = rest.rsplit(":", 1)[0]
        self.urls = [f"http://{host}/v2/{repository}/blobs/{blob.digest}" for blob in image.layers]
        self.tars, self.blobs = [], []
        for i, (layer, blob) in enumerate(zip(layers, image.layers)):
            self._keep(self.tars, f"{folder}/{i}.tar", layer.tar())
            self._keep(self.blobs, f"{folder}/{i}.{compression}", blob.data)
        self.packed = sum(len(blob.data) for blob in image.layers)
        self.plain = sum(len(layer.tar()) for layer in layers)

    @staticmethod
    def _keep(names, path, data):
        with open(path, "wb") as file:
            file.write(data)
        names.append(path)


def _timed(function, *arguments):
    began = time.perf_counter()
    function(*arguments)
    return time.perf_counter() - began


def _run(*words):
    subprocess.run(words, check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)


def _inflater(compression):
    """What inflates alone: ISA-L's program where it is installed, as crisp uses that library."""
    if compression == "zstd":
        return [program("zstd"), "-q", "-d", "-c"]
    try:
        return [program("igzip"), "-d", "-c"]
    except FileNotFoundError:
        return [program("gzip"), "-d", "-c"]


def _network(shape):
    for url in shape.urls:
        _run(program("curl"), "-s", "-o", "/dev/null", url)


def _inflate(shape):
    for blob in shape.blobs:
        _run(*_inflater(shape.compression), blob)


def _target(folder):
    """Where ext4 does not have to look past inodes that were just given back: so does crisp."""
    parent = f"{folder}/disk"
    if not os.path.exists(parent):
        os.mkdir(parent)
        subprocess.run([program("chattr"), "+T", parent], check=False, stderr=subprocess.DEVNULL)  # what is no ext4 has no such thing
    return tempfile.mkdtemp(dir=parent)


def _disk(shape, folder):
    target = _target(folder)
    for i, tar in enumerate(shape.tars):
        os.mkdir(f"{target}/{i}")
        _run(program("tar"), "-x", "-f", tar, "-C", f"{target}/{i}")
    _run(program("sync"), "-f", target)


def _by_hand(shape, folder):
    """What a shell would do: nothing is checked, nothing synced."""
    target = _target(folder)
    for i, url in enumerate(shape.urls):
        os.mkdir(f"{target}/{i}")
        words = [program("curl"), "-s", url], _inflater(shape.compression), [program("tar"), "-x", "-C", f"{target}/{i}"]
        _run("sh", "-c", " | ".join(shlex.join(w) for w in words))


def _pull(subject, shape):
    """Pulls into a store that has none of it, and takes it away again."""
    took = _timed(lambda: subject.client.PullImage(image={"image": shape.name}))
    subject.client.RemoveImage(image={"image": shape.name})
    return took


def measure(make_subjects, folder):
    """make_subjects gives started daemons, the first of them crisp. Returns a row for each shape and compression."""
    rows = []
    os.makedirs(folder)
    with Registry(f"{folder}/registry") as registry:
        subjects = make_subjects(registry)
        try:
            for compression in COMPRESSIONS:
                for title, sizes in SHAPES.items():
                    blobs = tempfile.mkdtemp(dir=folder)
                    shape = Shape(registry, blobs, title, sizes, compression)
                    rows.append(_row(shape, subjects, folder))
                    shutil.rmtree(blobs)
        finally:
            for subject in subjects:
                left = subject.destroy()
                if left:
                    print(f"{subject.name} left behind:\n  " + "\n  ".join(left[:20]))
    return rows


def _row(shape, subjects, folder):
    alone = {part: [] for part in PARTS}
    times = {subject.name: [] for subject in subjects}
    before = pss(subjects[0].pid)
    with Peak(subjects[0].pid) as peak:
        for _ in range(ROUNDS):
            alone["network"].append(_timed(_network, shape))
            alone["inflate"].append(_timed(_inflate, shape))
            alone["disk"].append(_timed(_disk, shape, folder))
            alone["by hand"].append(_timed(_by_hand, shape, folder))
            for subject in subjects:
                times[subject.name].append(_pull(subject, shape))
    return {
        "shape": shape, "alone": {name: median(values) for name, values in alone.items()}, "times": times,
        "peak": peak.value, "grown": pss(subjects[0].pid) - before,
    }


def show(rows):
    names = list(rows[0]["times"])
    print(f"\nPulls from loopback, {ROUNDS} each, pulled and removed in turn: median seconds; the limit is {LIMIT} x the slowest part alone.")
    print("By hand: curl | inflate | tar, one layer after the other; nothing is checked, nothing synced.\n")
    print(f"{'':24}{'files':>7}{'MB':>6}{'packed':>8}" + "".join(f"{part:>{width}}" for part, width in PARTS.items())
          + "".join(f"{n:>12}{'max':>7}" for n in names)
          + f"{'ratio':>7}  limit")
    for row in rows:
        shape, slowest = row["shape"], max(row["alone"][part] for part in ("network", "inflate", "disk"))
        line = f"{shape.title + ', ' + shape.compression:24}{shape.files:7}{shape.plain / MIB:6.0f}{shape.packed / MIB:8.0f}"
        line += "".join(f"{row['alone'][part]:{width}.2f}" for part, width in PARTS.items())
        line += "".join(f"{median(row['times'][name]):12.2f}{max(row['times'][name]):7.2f}" for name in names)
        ratio = median(row["times"][names[0]]) / slowest
        line += f"{ratio:7.2f}  {'held' if ratio <= LIMIT else f'missed by {ratio - LIMIT:.2f}'}"
        line += f"; {median(row['times'][names[0]]) / row['alone']['by hand']:.2f} of by hand"
        print(line)
    peak = max(row["peak"] for row in rows)
    print(f"\ncrisp-image at its peak: {peak:.1f} MB resident; {MEMORY}: {'held' if peak <= MEMORY else 'missed'}."
          f" The daemon grew by at most {max(row['grown'] for row in rows):.2f} MB.")
