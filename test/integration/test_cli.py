"""What an operator types: the real command against the real daemon."""
import base64
import fcntl
import json
import os
import pty
import re
import select
import signal
import socket
import struct
import subprocess
import termios
import threading
import time

import pytest
from kit import exposition, hostile
from kit.image import Image, Layer
from kit.wait import wait_for
from support import small

pytestmark = pytest.mark.usefixtures("no_images_left")


class Cli:
    def __init__(self, daemon):
        self.daemon = daemon

    def command(self, *arguments):
        return [self.daemon.crisp, *arguments, "--socket", self.daemon.socket]

    def run(self, *arguments, status=0, **more):
        if "input" not in more:
            more.setdefault("stdin", subprocess.DEVNULL)
        done = subprocess.run(self.command(*arguments), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=120, **more)
        assert done.returncode == status, f"{arguments}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stderr if status else done.stdout

    def json(self, *arguments):
        return json.loads(self.run(*arguments, "--json"))

    def start(self, *arguments, stdin=subprocess.DEVNULL):
        return subprocess.Popen(self.command(*arguments), stdin=stdin, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def working(self):
        """The crisp-images that the daemon has running."""
        with open(f"/proc/{self.daemon.pid}/task/{self.daemon.pid}/children") as file:
            return file.read().split()


@pytest.fixture
def cli(node):
    return Cli(node.daemon)


def rows(text):
    """The lines of a table as dictionaries."""
    lines = text.splitlines()
    starts = [m.start() for m in re.finditer(r"(?<![^ ] )(?<!\S)\S", lines[0])]
    cut = lambda line: [line[a:b].strip() for a, b in zip(starts, starts[1:] + [None])]  # noqa: E731
    return [dict(zip(cut(lines[0]), cut(line))) for line in lines[1:]]


class Terminal:
    """The command on a terminal of its own, of this size."""

    def __init__(self, command, columns=100, lines=30):
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.environ["TERM"] = "xterm"
            os.execv(command[0], command)
        self.text = ""
        self.size(columns, lines)

    def size(self, columns, lines):
        fcntl.ioctl(self.fd, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))

    def read(self, seconds=0.05):
        """Takes what has come; false at the end."""
        if not select.select([self.fd], [], [], seconds)[0]:
            return True
        try:
            data = os.read(self.fd, 65536)
        except OSError:
            data = b""
        self.text += data.decode(errors="replace")
        return bool(data)

    def until(self, pattern):
        wait_for(lambda: (self.read(), re.search(pattern, self.text))[1], f"{pattern!r} on the terminal")
        return self

    def type(self, text):
        os.write(self.fd, text.encode())

    def end(self):
        """Reads all there is and returns the exit status, negative for a signal."""
        while self.read(60):
            pass
        status = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        os.close(self.fd)
        return status


def screen(text, columns):
    """What a terminal shows after these bytes: only what crisp uses of ECMA-48 is known here, all else is an error."""
    lines, row = [""], 0
    for part in re.findall(r"\x1b\[\d*[A-Z]|\r|\n|[^\x1b\r\n]+|\x1b", text):
        if part == "\n":
            row += 1
            if row == len(lines):
                lines.append("")
        elif part == "\r":
            column = 0
        elif part.endswith("A") and part.startswith("\x1b["):
            row -= int(part[2:-1])
            assert row >= 0, "above the first line"
        elif part == "\x1b[K":
            lines[row] = lines[row][:column]
        elif part == "\x1b[J":
            del lines[row + 1:]
            lines[row] = ""
        else:
            assert "\x1b" not in part
            if part:
                lines[row] = part
                column = len(part)
                assert column < columns, f"wraps: {part!r}"
    return lines


class Gate:
    """A rule that holds blobs up after their first half, until opened."""

    def __init__(self, registry):
        self.registry, self.opened, self.held = registry, threading.Event(), threading.Semaphore(0)
        self.only = None  # the digest of the blob that is held up, where others are not

    def __call__(self, request):
        if "/blobs/" not in request.path or request.command != "GET":
            return False
        digest = request.path.rsplit("/", 1)[1]
        blob = self.registry.blobs[digest].data
        if len(blob) < 10000 or self.only not in (None, digest) or request.headers.get("Range"):
            return False
        request.send_response(200)
        request.send_header("Content-Length", str(len(blob)))
        request.end_headers()
        try:
            request.wfile.write(blob[:len(blob) // 2])
            request.wfile.flush()
            self.held.release()
            while not self.opened.wait(0.05):
                # A client that has gone away is noticed.
                if select.select([request.connection], [], [], 0)[0]:
                    request.close_connection = True
                    return True
            request.wfile.write(blob[len(blob) // 2:])
        except OSError:
            request.close_connection = True
        return True


@pytest.fixture
def gate(bad):
    gate = bad.rule = Gate(bad)
    yield gate
    gate.opened.set()


def big(layers=2):
    """An image of layers that do not compress."""
    return Image([Layer("gzip").file(f"data{i}", os.urandom(300000)) for i in range(layers)])


# ---- list, inspect, rm ----

def test_list(cli, node, registry):
    name = registry.push("test/listed", "1", small("a"))
    again = registry.push("test/listed", "2", small("a"))
    node.pull(name)
    node.pull(again)
    found = [r for r in rows(cli.run("images", "list")) if "listed" in r["NAME"]]
    assert [(r["NAME"], r["TAG"]) for r in found] == [(f"{registry.host}/test/listed", "1"), (f"{registry.host}/test/listed", "2")]
    status = node.image_status(name)
    for row in found:
        assert status.id.startswith("sha256:" + row["ID"]) and len(row["ID"]) == 12
        assert re.fullmatch(r"\d+ s", row["AGE"]) and re.fullmatch(r"[\d.]+ k?B", row["SIZE"])
        assert row["IN USE"] == "-" and row["PINNED"] == "-"
    one = cli.json("images", "list", name)["images"]
    assert [i["id"] for i in one] == [status.id]
    assert one[0]["size"] == status.size and sorted(one[0]["tags"]) == sorted(status.repo_tags)
    assert abs(one[0]["pulledAt"] / 1e9 - time.time()) < 600
    assert cli.json("images", "list", "no.example/such:1") == {"images": []}
    assert cli.run("images", "list", "-q", name).split() == [one[0]["id"]]
    assert one[0]["id"] in cli.run("images", "list", "--quiet").split()


def test_list_tells_who_is_in_use(cli, node):
    node.output(node.pod(), "true")
    busybox = [r for r in rows(cli.run("images", "list")) if "busybox" in r["NAME"]]
    assert [r["IN USE"] for r in busybox] == ["1"]


def test_an_image_without_tags_is_listed_by_its_repository(cli, node, registry):
    old = registry.push("test/moved", "1", small("old"))
    old_id = node.pull(old)
    node.pull(registry.push("test/moved", "1", small("new")))
    row, = [r for r in rows(cli.run("images", "list")) if old_id.startswith("sha256:" + r["ID"])]
    assert (row["NAME"], row["TAG"]) == (f"{registry.host}/test/moved", "-")


def test_pinned_images_are_told(own_node):
    node = own_node(config={"images": 'pinned = ["*busybox*"]\n'})
    cli = Cli(node.daemon)
    row, = rows(cli.run("images", "list"))
    assert row["PINNED"] == "yes"
    assert json.loads(cli.run("images", "inspect", node.image))["pinned"] is True


def test_inspect(cli, node, image):
    name = image("inspected", config={"Env": ["A=b"]})
    node.pull(name)
    pod = node.pod(name="inspector")
    container = node.sh(pod, "sleep 1000", image=name)
    seen = json.loads(cli.run("images", "inspect", name))
    status = node.image_status(name)
    assert seen["id"] == status.id and seen["tags"] == [name] and seen["digests"] == list(status.repo_digests)
    assert seen["config"]["config"]["Env"] == ["A=b"]
    assert [layer["diffId"] for layer in seen["layers"]] == seen["config"]["rootfs"]["diff_ids"]
    assert all(layer["size"] > 0 for layer in seen["layers"])
    user, = seen["users"]
    assert user["id"] == container and user["pod"] == "inspector" and user["namespace"] == "default"


def test_remove(cli, node, registry):
    first, second = (registry.push("test/removed", tag, small(tag)) for tag in "12")
    ids = [node.pull(name) for name in (first, second)]
    assert cli.run("images", "rm", first, ids[1]).split() == [first, ids[0], second, ids[1]]
    assert node.image_status(first) is None and node.image_status(second) is None


def test_of_several_to_remove_the_unknown_one_is_told(cli, node, registry):
    name = registry.push("test/removed", "3", small("3"))
    node.pull(name)
    assert "no image no.example/such:1 is here" in cli.run("images", "rm", "no.example/such:1", name, status=1)
    assert node.image_status(name) is None


# ---- pull ----

def test_pull_tells_a_line_for_each_layer_and_the_id(cli, node, bad, gate):
    built = big(2)
    name = bad.put("test/lines", "1", built)
    layers = [layer.digest for layer in built.blobs if len(layer.data) > 10000]
    gate.only = layers[0]
    pull = cli.start("images", "pull", name)
    first = pull.stdout.readline()
    gate.opened.set()
    out, errors = pull.communicate(timeout=120)
    assert pull.returncode == 0, errors
    second, end = out.splitlines()
    assert end == built.id
    for digest, line in zip(reversed(layers), (first, second)):
        assert re.fullmatch(digest.split(":")[1][:12] + r"  \d+ kB", line.rstrip("\n"))


def test_quiet_prints_the_id_alone(cli, registry):
    built = small("quiet")
    assert cli.run("images", "pull", "-q", registry.push("test/quiet", "1", built)) == built.id + "\n"


def test_bars_on_a_terminal(cli, node, bad, gate):
    built = big(3)
    name = bad.put("test/bars", "1", built)
    shown = Terminal(cli.command("images", "pull", name), columns=90)
    for _ in range(2):
        assert gate.held.acquire(timeout=60)
    shown.until(r"\[=+> +\]  [\d.]+ kB / \d+ kB")
    lines = screen(shown.text, 90)
    assert lines[0].startswith(f"{name}: downloading, ")
    shown.size(60, 30)
    before = len(shown.text)
    wait_for(lambda: (shown.read(), f"{name}"[:20] in shown.text[before + 200:])[1], "another drawing")
    gate.opened.set()
    assert shown.end() == 0
    lines = screen(shown.text, 90)
    assert lines[0] == f"{name}: here"[:59]
    assert lines[-2] == built.id and lines[-1] == ""
    for line in lines[1:-2]:
        assert re.fullmatch(r"[0-9a-f]{12}  \[=+\]  \d+ kB", line), lines


def test_interrupt_cancels_the_pull(cli, node, bad, gate):
    name = bad.put("test/interrupted", "1", big(1))
    shown = Terminal(cli.command("images", "pull", name))
    assert gate.held.acquire(timeout=60)
    assert cli.json("explain", "pulls")["pulls"]
    shown.type("\x03")
    assert shown.end() == -signal.SIGINT
    wait_for(lambda: not cli.json("explain", "pulls")["pulls"], "the pull to be given up")
    assert node.image_status(name) is None


def test_a_pull_that_fails_says_why(cli, registry):
    said = cli.run("images", "pull", f"{registry.host}/test/missing:1", status=1)
    assert said.startswith("crisp: ") and f"{registry.host}/test/missing:1" in said and "404" in said


@pytest.fixture
def private(bad):
    bad.rule = hostile.basic_auth("joe", "se:cret")
    return bad.put("private/image", "1", small("private"))


def test_a_password_from_a_pipe(cli, node, private):
    cli.run("images", "pull", private, "--creds", "joe", "--password-stdin", input="se:cret\n")
    assert node.image_status(private)


def test_a_password_is_asked_for_without_echo(cli, node, private):
    shown = Terminal(cli.command("images", "pull", private, "--creds", "joe"))
    shown.until("Password of joe for " + re.escape(private) + ": ")
    wait_for(lambda: not termios.tcgetattr(shown.fd)[3] & termios.ECHO, "the terminal to be quiet")
    shown.type("se:cret\n")
    assert shown.end() == 0
    assert "cret" not in shown.text
    assert node.image_status(private)


def test_interrupted_at_the_password_the_terminal_is_as_before(cli, private):
    shown = Terminal(cli.command("images", "pull", private, "--creds", "joe"))
    shown.until("Password of joe")
    wait_for(lambda: not termios.tcgetattr(shown.fd)[3] & termios.ECHO, "the terminal to be quiet")
    shown.type("\x03")
    wait_for(lambda: termios.tcgetattr(shown.fd)[3] & termios.ECHO, "the terminal to echo again")
    assert shown.end() == -signal.SIGINT


def test_without_a_terminal_a_password_is_not_waited_for(cli, private):
    said = cli.run("images", "pull", private, "--creds", "joe", status=1, start_new_session=True)
    assert "--password-stdin" in said


def test_a_password_from_an_auth_file(cli, node, private, bad, tmp_path):
    file = tmp_path / "auth.json"
    right = {"auth": base64.b64encode(b"joe:se:cret").decode()}
    wrong = {"auth": base64.b64encode(b"joe:no").decode()}
    file.write_text(json.dumps({"auths": {bad.host: wrong, f"{bad.host}/private": right, "other.example": wrong}}))
    cli.run("images", "pull", private, "--authfile", str(file))
    assert node.image_status(private)
    file.write_text("{")
    assert str(file) in cli.run("images", "pull", private, "--authfile", str(file), status=1)


def test_a_wrong_password(cli, private):
    said = cli.run("images", "pull", private, "--creds", "joe:wrong", status=1)
    assert "401" in said and "wrong" not in said


# ---- explain ----

def test_explain_a_pull(cli, bad, gate):
    name = bad.put("test/explained", "1", big(1))
    pull = cli.start("images", "pull", name)
    assert gate.held.acquire(timeout=60)
    wait_for(lambda: any(layer["bytes"] for p in cli.json("explain", "pulls")["pulls"] for layer in p["layers"]), "bytes to be told")
    told, = cli.json("explain", name)["pulls"]
    assert told["reference"] == name and told["step"] == "downloading" and told["waiting"] == 1
    assert told["startedAt"] <= told["stepSince"] <= time.time() * 1e9
    layer, = [layer for layer in told["layers"] if layer["total"] > 10000]
    assert layer["state"] == "PULL_LAYER_DOWNLOADING" and 0 < layer["bytes"] < layer["total"]
    text = cli.run("explain", "pulls")
    assert re.search(re.escape(name) + r" +\d+ s +1 +0 of 1 .* downloading for \d+ s\n", text)
    assert layer["digest"].split(":")[1][:12] in text
    gate.opened.set()
    assert pull.wait(120) == 0
    pull.communicate()
    assert cli.run("explain", "pulls") == ""


def test_explain_pods_containers_and_images(cli, node):
    pod = node.pod(name="explained", namespace="space")
    container = node.sh(pod, "exit 3")
    node.wait_exit(container)
    pod = pod[0]
    for name in ("explained", "space/explained", pod, pod[:12]):
        told = cli.json("explain", name)
        assert [p["id"] for p in told["pods"]] == [pod], name
        assert [c["id"] for c in told["containers"]] == [container], name
    assert told["pods"][0]["state"] == "ready" and told["pods"][0]["namespace"] == "space"
    told, = cli.json("explain", container[:12])["containers"]
    assert told["state"] == "exited" and told["exitCode"] == 3 and told["podId"] == pod and told["step"] == ""
    image, = cli.json("explain", node.image)["images"]
    assert image["users"] == [container]
    text = cli.run("explain")
    assert "space/explained" in text and "exited 3 (Error)" in text and node.image in text
    assert "other/explained" in cli.run("explain", "other/explained", status=1)


def test_explain_tells_the_step_of_a_pod_whose_network_hangs(cli, own_node, tmp_path):
    node = own_node(network=False)
    cli = Cli(node.daemon)
    plugins = tmp_path / "plugins"
    plugins.mkdir()
    (plugins / "hangs").write_text("#!/bin/sh\n[ \"$CNI_COMMAND\" = ADD ] && exec sleep 1000\necho '{\"cniVersion\": \"1.0.0\"}'\n")
    (plugins / "hangs").chmod(0o755)
    node.daemon.plugin_dirs.insert(0, str(plugins))
    node.daemon.write_config()
    node.daemon.write_network({"cniVersion": "1.0.0", "name": "hangs", "plugins": [{"type": "hangs"}]})
    node.daemon.restart()
    call = node.client.start("RunPodSandbox", config=node.pod_config("stuck"))
    wait_for(lambda: "calling CNI plugins for " in cli.run("explain"), "the step to be told")
    told, = cli.json("explain", "stuck")["pods"]
    assert told["state"] == "creating" and told["step"] == "calling CNI plugins" and told["stepSince"] > told["createdAt"] > 0
    call.cancel()
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            words = open(f"/proc/{pid}/environ").read()
        except OSError:
            continue
        if f"CNI_PATH={plugins}" in words:
            os.kill(int(pid), signal.SIGKILL)
    wait_for(lambda: not node.client.ListPodSandbox().items and "stuck" not in cli.run("explain"), "the pod to be given up", 60)


# ---- metrics ----

def test_metrics(cli, node, bad, gate):
    def value(name, labels=None):
        return exposition.read(cli.run("metrics"))[name, labels]

    built = big(2)
    name = bad.put("test/counted", "1", built)
    before = exposition.read(cli.run("metrics"))
    pulls = [cli.start("images", "pull", "-q", name)]
    assert gate.held.acquire(timeout=60)
    pulls.append(cli.start("images", "pull", "-q", name))
    wait_for(lambda: value("crisp_image_pulls_joined_total") == before["crisp_image_pulls_joined_total", None] + 1, "the second to join")
    assert value("crisp_image_pulls_under_way") == 1
    gate.opened.set()
    for pull in pulls:
        assert pull.communicate(timeout=120)[0] == built.id + "\n"
    cli.run("images", "pull", f"{bad.host}/test/missing:1", status=1)
    after = exposition.read(cli.run("metrics"))
    grown = {key: after[key] - before.get(key, 0) for key in after
             if key[0].startswith("crisp_image") and after[key] != before.get(key, 0)}
    size = sum(len(blob.data) for blob in built.blobs if len(blob.data) > 10000)
    assert grown.pop(("crisp_image_store_bytes", None)) > 500000 and grown.pop(("crisp_image_store_inodes", None)) > 0
    assert grown == {
        ("crisp_image_pulls_started_total", None): 2, ("crisp_image_pulls_joined_total", None): 1,
        ("crisp_image_pulls_ended_total", 'result="succeeded"'): 1, ("crisp_image_pulls_ended_total", 'result="failed"'): 1,
        ("crisp_image_pull_bytes_total", None): size, ("crisp_images", None): 1, ("crisp_image_layers", None): 2,
    }


def test_a_metric_counts_pulls_that_wait_for_a_turn(own_node, bad, gate):
    node = own_node(config={"images": "max_parallel_pulls = 1\n"})
    cli = Cli(node.daemon)
    names = [bad.put("test/turn", str(i), big(1)) for i in range(2)]
    pulls = [cli.start("images", "pull", "-q", name) for name in names]
    assert gate.held.acquire(timeout=60)
    bound = ("crisp_bound_reached_total", 'bound="images.max_parallel_pulls"')
    wait_for(lambda: exposition.read(cli.run("metrics"))[bound] == 1, "one to wait")
    assert sorted(p["step"] for p in cli.json("explain", "pulls")["pulls"]) == ["downloading", "waiting for a turn"]
    gate.opened.set()
    for pull in pulls:
        pull.communicate(timeout=120)
        assert pull.returncode == 0


# ---- what goes wrong ----

def test_no_daemon(cli, node, tmp_path):
    def ask(path):
        return subprocess.run([node.daemon.crisp, "images", "list", "--socket", path], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    for path in (tmp_path / "none.sock", tmp_path / "file"):
        if path.name == "file":
            path.write_text("")
        done = ask(str(path))
        assert done.returncode == 1 and done.stdout == ""
        assert done.stderr.startswith(f"crisp: crisp is not running: {path}: ")


def test_the_socket_is_that_of_the_configuration(node):
    done = subprocess.run([node.daemon.crisp, "images", "list", "--config", f"{node.daemon.root}/crisp.toml"], stdout=subprocess.PIPE, text=True)
    assert done.returncode == 0 and node.image.rsplit(":", 1)[0] in done.stdout


def test_a_port_that_is_no_crisp(node, tmp_path):
    path = tmp_path / "other.sock"
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(path))
        other.listen()

        def hang_up():
            while select.select([other, over], [], [])[0] == [other]:
                other.accept()[0].close()

        over, tell = socket.socketpair()
        thread = threading.Thread(target=hang_up)
        thread.start()
        done = subprocess.run([node.daemon.crisp, "metrics", "--socket", str(path)], stderr=subprocess.PIPE, text=True, timeout=120)
        tell.close()
        thread.join()
        over.close()
    assert done.returncode == 1 and f"the connection to crisp at {path} was lost" in done.stderr


WRONG = [
    ["images"], ["images", "fetch"], ["images", "pull"], ["images", "pull", "a", "b"], ["images", "rm"], ["images", "rm", ""],
    ["images", "inspect"], ["images", "list", "--nope"], ["images", "list", "--json=yes"], ["images", "list", "--json", "-q"], ["images", "list", "a", "b"],
    ["images", "pull", "a", "--creds"], ["images", "pull", "a", "--creds", ""], ["images", "pull", "a", "--password-stdin"],
    ["images", "pull", "a", "--creds", "x", "--authfile", "y"], ["explain", "a", "b"], ["metrics", "a"], ["metrics", "--json"],
    ["images", "list", "--socket"], ["images", "list", "--socket", "/x", "--socket", "/y"],
]


@pytest.mark.parametrize("words", WRONG, ids=lambda words: " ".join(words))
def test_wrong_arguments(node, words):
    done = subprocess.run([node.daemon.crisp, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr.startswith("crisp: ") and 'Try "crisp help".' in done.stderr


@pytest.mark.parametrize("words", [["--help"], ["-h"], ["images", "--help"], ["images", "pull", "-h"], ["explain", "x", "--help"], ["serve", "-h"]],
                         ids=lambda words: " ".join(words))
def test_help_is_where_one_looks_for_it(node, words):
    done = subprocess.run([node.daemon.crisp, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 0 and done.stderr == "" and done.stdout.startswith("Usage: crisp serve")


def test_unknown_images(cli):
    assert "no image no.example/such:1 is here" in cli.run("images", "inspect", "no.example/such:1", status=1)
    assert "no.example/such:1" in cli.run("explain", "no.example/such:1", status=1)


def test_output_that_does_not_arrive_is_an_error(cli, registry):
    name = registry.push("test/full", "1", small("full"))
    for words in (["images", "pull", name], ["images", "list"], ["explain"], ["metrics"], ["images", "inspect", name]):
        with open("/dev/full", "w") as full:
            done = subprocess.run(cli.command(*words), stdout=full, stderr=subprocess.PIPE, text=True)
        assert done.returncode == 1 and "write to standard output" in done.stderr, words


# ---- the service ----

def test_a_newer_client_is_understood(node):
    """Fields that this daemon does not know are passed over."""
    future = b"\xa2\x06\x05hello" + b"\xa8\x06\x07"  # 100: "hello", 101: 7
    plain = node.client.raw("/crisp.v1.Crisp/Metrics", b"")
    newer = node.client.raw("/crisp.v1.Crisp/Metrics", future)
    assert len(newer) > 1000 and abs(len(newer) - len(plain)) < 100


def test_lists_answer_and_streams_end_while_a_pull_hangs(cli, node, bad, gate):
    name = bad.put("test/hangs", "1", big(1))
    pull = cli.start("images", "pull", name)
    assert gate.held.acquire(timeout=60)
    channel = node.client.channel.unary_stream("/crisp.v1.Crisp/PullProgress")
    watchers = [channel(b"") for _ in range(20)]
    for watcher in watchers:
        assert name.encode() in next(watcher)
    assert name in cli.run("explain") and "busybox" in cli.run("images", "list")
    for watcher in watchers:
        watcher.cancel()
    ended = r"call failed.*method=PullProgress.*code=CANCELLED"
    wait_for(lambda: len(re.findall(ended, node.daemon.log_text())) >= 20, "the streams to end")
    gate.opened.set()
    pull.communicate(timeout=120)
    assert pull.returncode == 0
