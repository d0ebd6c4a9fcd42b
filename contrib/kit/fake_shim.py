#!/usr/bin/python3
"""
A shim for tests that records what it is asked, byte by byte, and runs nothing: its containers are threads, as a virtual
machine's processes are none of the host's.

It stands for what Debian's shim of runc (1.6) has not: answers to its start in JSON, the task API's version 3, a sandbox, as a
container and by the sandbox API, events and statistics of a guest. FOLDER/requests has one line of JSON for each request. The first
word of a container's command says what it does: exit CODE, wait (until it is killed), oom, fail (Create is refused), echo WORDS, late
WORDS (which pass on after its end, but not once its input has ended: so does runc's shim with a terminal). With "v1" as its
last word the guest has cgroup v1, with "silent" it has no statistics, with "hang" it never answers to who asks for them. SIGUSR1 ends
the sandbox, as a machine dies whose shim lives.

    fake_shim.py FOLDER ANSWER[,sandbox] [shim's own arguments]       ANSWER: json3, json2 or plain; sandbox: it has that API
"""
import json
import os
import signal
import socket
import struct
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))

from kit import shim_pb  # noqa: E402

REQUEST, RESPONSE = 1, 2
NOT_FOUND, UNKNOWN, UNIMPLEMENTED = 5, 2, 12
lock = threading.Lock()


def note(folder, **what):
    with lock, open(f"{folder}/requests", "a") as file:
        file.write(json.dumps({"at": time.time(), **what}) + "\n")


def receive(connection, size):
    data = b""
    while len(data) < size:
        got = connection.recv(size - len(data))
        if not got:
            return None
        data += got
    return data


def read_frame(connection):
    header = receive(connection, 10)
    if header is None:
        return None
    length, stream, kind, _ = struct.unpack(">IIBB", header)
    return stream, kind, receive(connection, length)


def frame(stream, kind, message):
    data = message.SerializeToString()
    return struct.pack(">IIBB", len(data), stream, kind, 0) + data


class Refused(Exception):
    def __init__(self, code, message):
        self.code, self.message = code, message


class Process:
    """A container's, or a command's in it."""

    def __init__(self, request, words):
        self.request, self.words = request, words
        self.ended, self.code = threading.Event(), None
        self.input_ended = threading.Event()
        self.files = []

    def open(self):
        for path in (self.request.stdout, self.request.stderr):
            if path:
                self.files.append(open(path, "wb", buffering=0))

    def pass_on_late(self):
        if not self.input_ended.wait(0.1):
            self.files[0].write(" ".join(self.words[1:]).encode() + b"\n")
        for file in self.files:
            file.close()

    def end(self, code):
        if self.ended.is_set():
            return
        self.code = code
        for file in self.files:
            file.close()
        self.ended.set()

    def run(self, shim):
        if not self.words:
            return
        self.open()
        self.files[0].write(f"guest runs {' '.join(self.words)}\n".encode())
        if self.words[0] == "oom":
            shim.tell_oom(self.request.id)
            self.end(137)
        elif self.words[0] == "exit":
            self.end(int(self.words[1]))
        elif self.words[0] == "echo":
            self.files[0].write(" ".join(self.words[1:]).encode() + b"\n")
            self.end(0)
        elif self.words[0] == "late":
            self.code = 0
            self.ended.set()
            threading.Thread(target=self.pass_on_late, daemon=True).start()


class Shim:
    def __init__(self, folder, pod, has_sandboxes):
        self.folder, self.pod, self.has_sandboxes = folder, pod, has_sandboxes
        self.processes = {}
        self.sandboxes = {}

    def find(self, request):
        key = (request.id, getattr(request, "exec_id", ""))
        if key not in self.processes:
            raise Refused(NOT_FOUND, f"task {request.id}: not found")
        return self.processes[key]

    def tell_oom(self, container):
        oom = shim_pb.task_events.TaskOOM(container_id=container)
        envelope = shim_pb.event.Envelope(namespace="k8s.io", topic="/tasks/oom")
        envelope.event.type_url, envelope.event.value = "containerd.events.TaskOOM", oom.SerializeToString()
        forward = shim_pb.events.ForwardRequest(envelope=envelope)
        request = shim_pb.ttrpc.Request(service="containerd.services.events.ttrpc.v1.Events", method="Forward",
                                        payload=forward.SerializeToString(), timeout_nano=5 * 10**9)
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(os.environ["TTRPC_ADDRESS"])
            connection.sendall(frame(1, REQUEST, request))
            read_frame(connection)

    # ---- the task API ----

    def Create(self, r):
        with open(f"{r.bundle}/config.json") as file:
            spec = json.load(file)
        sandbox = spec["annotations"]["io.kubernetes.cri.container-type"] == "sandbox"
        words = [] if sandbox else spec["process"]["args"]
        if words[:1] == ["fail"]:
            raise Refused(UNKNOWN, "the guest has no room: \"none\"")
        self.processes[r.id, ""] = Process(r, words)
        return shim_pb.task.CreateTaskResponse(pid=os.getpid())

    def Exec(self, r):
        self.processes[r.id, r.exec_id] = Process(r, json.loads(r.spec.value)["args"])

    def Start(self, r):
        self.find(r).run(self)
        return shim_pb.task.StartResponse(pid=os.getpid())

    def Wait(self, r):
        process = self.find(r)
        process.ended.wait()
        answer = shim_pb.task.WaitResponse(exit_status=process.code)
        answer.exited_at.GetCurrentTime()
        return answer

    def Kill(self, r):
        self.find(r).end(128 + r.signal)

    def Delete(self, r):
        process = self.find(r)
        if not process.ended.is_set():
            raise Refused(9, "it runs")
        del self.processes[r.id, r.exec_id]
        return shim_pb.task.DeleteResponse(pid=os.getpid(), exit_status=process.code)

    def State(self, r):
        process = self.find(r)
        kind = shim_pb.states.Status.Value("STOPPED" if process.ended.is_set() else "RUNNING")
        return shim_pb.task.StateResponse(id=r.id, pid=os.getpid(), status=kind)

    def Connect(self, r):
        return shim_pb.task.ConnectResponse(shim_pid=os.getpid(), version="3")

    def Update(self, r):
        self.find(r)

    Pause = Resume = ResizePty = Update

    def CloseIO(self, r):
        self.find(r).input_ended.set()

    def Shutdown(self, r):
        threading.Timer(0.05, os._exit, [0]).start()

    def Stats(self, r):
        words = self.find(r).words
        if words[-1] == "silent":
            return None
        if words[-1] == "hang":
            time.sleep(1000)
        answer = shim_pb.task.StatsResponse()
        metrics = guest_metrics_v1() if words[-1] == "v1" else guest_metrics_v2()
        answer.stats.type_url = metrics.DESCRIPTOR.full_name
        answer.stats.value = metrics.SerializeToString()
        return answer

    # ---- the sandbox API ----

    def sandbox(self, r):
        if r.sandbox_id not in self.sandboxes:
            raise Refused(NOT_FOUND, f"sandbox {r.sandbox_id}: not found")
        return self.sandboxes[r.sandbox_id]

    def CreateSandbox(self, r):
        self.sandboxes[r.sandbox_id] = Process(r, [])

    def StartSandbox(self, r):
        self.sandbox(r)
        return shim_pb.sandbox.StartSandboxResponse(pid=os.getpid())

    def WaitSandbox(self, r):
        sandbox = self.sandbox(r)
        sandbox.ended.wait()
        return shim_pb.sandbox.WaitSandboxResponse(exit_status=sandbox.code)

    def StopSandbox(self, r):
        self.sandbox(r).end(0)

    def ShutdownSandbox(self, r):
        self.Shutdown(r)

    def die(self, *_):
        """The machine, not its shim."""
        for process in [*self.sandboxes.values(), *(p for p in self.processes.values() if not p.words)]:
            process.end(137)

    # ---- serving ----

    def answer(self, request):
        name = request.method
        if request.service == "containerd.runtime.sandbox.v1.Sandbox":
            if not self.has_sandboxes:
                raise Refused(UNIMPLEMENTED, f"service {request.service}")
            return getattr(self, name)(getattr(shim_pb.sandbox, f"{name}Request").FromString(request.payload))
        message = getattr(shim_pb.task, {"Create": "CreateTaskRequest", "Exec": "ExecProcessRequest",
                                         "Update": "UpdateTaskRequest"}.get(name, f"{name}Request"), None)
        method = getattr(self, name, None)
        if message is None or method is None:
            raise Refused(UNIMPLEMENTED, f"{name}: there is no such method")
        return method(message.FromString(request.payload))

    def serve_one(self, connection, sending, stream, data):
        request = shim_pb.ttrpc.Request.FromString(data)
        note(self.folder, what="request", service=request.service, method=request.method, frame=data.hex(),
             payload=request.payload.hex(), stream=stream)
        response = shim_pb.ttrpc.Response()
        try:
            answer = self.answer(request)
            response.payload = answer.SerializeToString() if answer is not None else b""
        except Refused as refused:
            response.status.code, response.status.message = refused.code, refused.message
        with sending:
            try:
                connection.sendall(frame(stream, RESPONSE, response))
            except OSError:
                pass

    def serve(self, connection):
        sending = threading.Lock()
        while (got := read_frame(connection)) is not None:
            threading.Thread(target=self.serve_one, args=(connection, sending, got[0], got[2]), daemon=True).start()


def guest_metrics_v1():
    metrics = shim_pb.metrics1.Metrics()
    metrics.cpu.usage.total, metrics.cpu.usage.user, metrics.cpu.usage.kernel = 7 * 10**9, 5 * 10**9, 2 * 10**9
    metrics.memory.usage.usage, metrics.memory.usage.limit, metrics.memory.total_inactive_file = 300 << 20, 512 << 20, 100 << 20
    metrics.memory.total_rss, metrics.memory.total_pg_fault, metrics.memory.total_pg_maj_fault = 150 << 20, 9000, 9
    metrics.pids.current = 11
    return metrics


def guest_metrics_v2():
    metrics = shim_pb.metrics2.Metrics()
    metrics.cpu.usage_usec, metrics.cpu.user_usec, metrics.cpu.system_usec = 7 * 10**6, 5 * 10**6, 2 * 10**6
    metrics.memory.usage, metrics.memory.usage_limit, metrics.memory.inactive_file = 300 << 20, 512 << 20, 100 << 20
    metrics.memory.anon, metrics.memory.pgfault, metrics.memory.pgmajfault = 150 << 20, 9000, 9
    metrics.pids.current = 11
    return metrics


def start(folder, answer, arguments, pod):
    with open("config.json") as file:
        config = json.load(file)
    note(folder, what="start", arguments=arguments, environment=dict(os.environ), stdin=sys.stdin.buffer.read().hex(),
         config=config, cwd=os.getcwd())
    # The kernel's bound of a path; and one may be there of an earlier try.
    path = f"/tmp/fake-shim-{pod[:16]}.sock"
    listener = socket.socket(socket.AF_UNIX)
    if os.path.exists(path):
        os.unlink(path)
    listener.bind(path)
    listener.listen()
    if os.fork() == 0:
        os.setsid()
        null = os.open("/dev/null", os.O_RDWR)
        for fd in (0, 1):
            os.dup2(null, fd)
        # As shims do; where nobody reads this would wait.
        os.dup2(os.open("log", os.O_WRONLY), 2)
        print("level=error msg=\"a note of the fake\"", file=sys.stderr, flush=True)
        shim = Shim(folder, pod, "sandbox" in answer.split(","))
        signal.signal(signal.SIGUSR1, shim.die)
        while True:
            threading.Thread(target=shim.serve, args=(listener.accept()[0],), daemon=True).start()
    address = f"unix://{path}"
    plain = {"json3": json.dumps({"version": 3, "address": address, "protocol": "ttrpc"}),
             "json2": json.dumps({"version": 2, "address": address, "protocol": "ttrpc"}), "plain": address}
    print(plain[answer.split(",")[0]], end="", flush=True)


def install(path, folder, answer="json3"):
    """Makes the program that a handler names: this one, with its folder and its manners."""
    with open(path, "w") as file:
        file.write(f'#!/bin/sh\nexec {sys.executable} {os.path.abspath(__file__)} {folder} {answer} "$@"\n')
    os.chmod(path, 0o755)


def main():
    folder, answer, *arguments = sys.argv[1:]
    action = arguments[-1]
    if action == "-v":
        print("containerd-shim-fake-v2:\n  Version:  3.0\n")
        return
    pod = arguments[arguments.index("-id") + 1]
    if action == "start":
        start(folder, answer, arguments, pod)
    else:
        note(folder, what=action, arguments=arguments, cwd=os.getcwd())
        sys.stdout.buffer.write(shim_pb.task.DeleteResponse(exit_status=137).SerializeToString())


if __name__ == "__main__":
    main()
