"""A CRI client that knows nothing of crisp: messages and methods come from api/cri/runtime_v1.proto when it runs."""
import importlib
import os
import subprocess
import sys
import tempfile

os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")
import grpc  # noqa: E402

from .paths import TOP, program  # noqa: E402
from .wait import PATIENCE  # noqa: E402

MESSAGE_MAX = 16 << 20


def _generate():
    with tempfile.TemporaryDirectory(prefix="crisp-cri-") as folder:
        subprocess.run(
            [program("protoc"), f"--proto_path={TOP}/api/cri", f"--python_out={folder}", f"{TOP}/api/cri/runtime_v1.proto"],
            check=True,
        )
        sys.path.insert(0, folder)
        try:
            return importlib.import_module("runtime_v1_pb2")
        finally:
            sys.path.remove(folder)


pb = _generate()


def _methods():
    from google.protobuf.descriptor_pb2 import FileDescriptorProto

    proto = FileDescriptorProto()
    pb.DESCRIPTOR.CopyToProto(proto)
    for service in proto.service:
        for method in service.method:
            path = f"/{proto.package}.{service.name}/{method.name}"
            yield method.name, path, method.input_type.split(".")[-1], method.output_type.split(".")[-1], method.server_streaming


METHODS = {name: rest for name, *rest in _methods()}


class Client:
    """client.RunPodSandbox(config={...}) makes the call; the keyword `deadline` is the call's own, in seconds."""

    def __init__(self, socket, deadline=120, after=None):
        self.socket = socket
        self.deadline = deadline * PATIENCE
        self.after = after
        self.channel = grpc.insecure_channel(
            f"unix://{socket}",
            options=[
                ("grpc.max_receive_message_length", MESSAGE_MAX),
                ("grpc.max_send_message_length", 2 * MESSAGE_MAX),
                # Each client its own connection, and a daemon that comes back is found at once.
                ("grpc.use_local_subchannel_pool", 1),
                ("grpc.initial_reconnect_backoff_ms", 50),
                # How long one attempt may take: a busy machine answers late.
                ("grpc.min_reconnect_backoff_ms", 5000),
                ("grpc.max_reconnect_backoff_ms", 200),
            ],
        )

    def close(self):
        self.channel.close()

    def _callable(self, name):
        path, request, response, streams = METHODS[name]
        make = self.channel.unary_stream if streams else self.channel.unary_unary
        reader = getattr(pb, response).FromString
        return getattr(pb, request), make(path, request_serializer=lambda m: m.SerializeToString(), response_deserializer=reader)

    def start(self, name, deadline=None, **fields):
        """Starts a call and returns its future: result(), cancel(), code()."""
        request, invoke = self._callable(name)
        return invoke.future(request(**fields), timeout=deadline or self.deadline)

    def raw(self, path, data, deadline=None):
        """Sends bytes to any method path and returns the bytes that come back."""
        return self.channel.unary_unary(path)(data, timeout=deadline or self.deadline)

    def invoke(self, name, message, deadline=None):
        """Makes the call with a request that is already a message."""
        _, invoke = self._callable(name)
        response = invoke(message, timeout=deadline or self.deadline)
        if self.after:
            self.after(name, message, response)
        return response

    def __getattr__(self, name):
        if name not in METHODS:
            raise AttributeError(name)
        request = getattr(pb, METHODS[name][1])
        return lambda deadline=None, **fields: self.invoke(name, request(**fields), deadline)
