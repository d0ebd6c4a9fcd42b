"""A client of GetContainerEvents, as a kubelet with an evented PLEG is one."""
import threading

from .cri import grpc
from .wait import wait_for

CREATED, STARTED, STOPPED, DELETED = range(4)
KINDS = ("created", "started", "stopped", "deleted")


class Watcher:
    """Reads the stream in a thread; `events` are its messages so far, `code` and `text` how it ended."""

    def __init__(self, client):
        self.events, self.code, self.text = [], None, ""
        self.stream = client.GetContainerEvents(deadline=3600)
        self.thread = threading.Thread(target=self._read, daemon=True)
        self.thread.start()

    def _read(self):
        try:
            for event in self.stream:
                self.events.append(event)
            self.code = grpc.StatusCode.OK
        except grpc.RpcError as e:
            self.code, self.text = e.code(), e.details()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.stream.cancel()
        self.thread.join()

    def of(self, id):
        """What was told of one pod or container, in words."""
        return [KINDS[event.container_event_type] for event in list(self.events) if event.container_id == id]

    def wait_for(self, id, kind, seconds=60):
        """The event of this kind that an object had."""
        def there():
            return next((e for e in list(self.events) if e.container_id == id and KINDS[e.container_event_type] == kind), None)
        return wait_for(there, f"{id[:12]} to be told as {kind}", seconds)

    def wait_end(self, seconds=60):
        wait_for(lambda: self.code is not None, "the stream to end", seconds)
        return self.code
