#!/usr/bin/python3
"""
A shim for tests that records what it is asked, byte by byte, and runs nothing: its containers are threads, as a virtual
machine's processes are none of the host's.

It stands for what Debian's shim of runc (1.6) has not: answers to its start in JSON, the task API's version 3, a sandbox
container, events of a guest. FOLDER/requests has one line of JSON for each request. The first word of a container's command says
what it does: exit CODE, wait (until it is killed), oom, fail (Create is refused).

    fake_shim.py FOLDER ANSWER [shim's own arguments]       ANSWER: json3, json2 or plain
"""
import json
import os
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
        self.files = []

    def open(self):
        for path in (self.request.stdout, self.request.stderr):
            if path:
                self.files.append(open(path, "wb", buffering=0))

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


class Shim:
    def __init__(self, folder, pod):
        self.folder, self.pod = folder, pod
        self.processes = {}

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

    Pause = Resume = ResizePty = CloseIO = Update

    def Shutdown(self, r):
        threading.Timer(0.05, os._exit, [0]).start()

    # ---- serving ----

    def answer(self, request):
        name = request.method
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
        shim = Shim(folder, pod)
        while True:
            threading.Thread(target=shim.serve, args=(listener.accept()[0],), daemon=True).start()
    address = f"unix://{path}"
    plain = {"json3": json.dumps({"version": 3, "address": address, "protocol": "ttrpc"}),
             "json2": json.dumps({"version": 2, "address": address, "protocol": "ttrpc"}), "plain": address}
    print(plain[answer], end="", flush=True)


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


main()
