"""What the service manager is told: that the daemon is ready, that it still answers, that it stops."""
import os
import signal
import socket

import pytest
from kit.wait import wait_for


class Manager:
    """The other end of NOTIFY_SOCKET."""

    def __init__(self, folder):
        self.path = f"{folder}/notify"
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(self.path)
        self.socket.setblocking(False)
        self.told = []

    def count(self, word):
        while True:
            try:
                self.told += self.socket.recv(4096).decode().splitlines()
            except BlockingIOError:
                return self.told.count(word)

    def env(self, **more):
        return {"NOTIFY_SOCKET": self.path, **more}


@pytest.fixture
def manager(own_daemon):
    daemon = own_daemon(start=False)
    manager = Manager(daemon.root)
    yield daemon, manager
    manager.socket.close()


def test_the_service_manager_is_told_of_start_and_stop(manager):
    daemon, manager = manager
    daemon.start(env=manager.env())
    wait_for(lambda: manager.count("READY=1"), "the daemon to say that it is ready")
    assert not manager.count("STOPPING=1")
    daemon.terminate()
    assert manager.count("STOPPING=1") == 1
    assert not manager.count("WATCHDOG=1"), "nobody asked for it"


def test_the_watchdog_hears_of_calls_that_are_answered(manager):
    daemon, manager = manager
    daemon.start(env=manager.env(WATCHDOG_USEC="300000"))
    wait_for(lambda: manager.count("WATCHDOG=1") >= 3, "the daemon to say that it is well, again and again")
    assert daemon.log_text().count("method=Version code=OK") >= 3


def test_the_watchdog_hears_nothing_of_a_daemon_that_nobody_can_reach(manager):
    daemon, manager = manager
    daemon.start(env=manager.env(WATCHDOG_USEC="300000"))
    wait_for(lambda: manager.count("WATCHDOG=1"), "the daemon to say that it is well")
    os.rename(daemon.socket, daemon.socket + ".gone")
    try:
        wait_for(lambda: "the watchdog got no answer" in daemon.log_text(), "the daemon to notice")
        told = manager.count("WATCHDOG=1")
        wait_for(lambda: daemon.log_text().count("the watchdog got no answer") > 1, "the daemon to notice once more")
        assert manager.count("WATCHDOG=1") == told
    finally:
        os.rename(daemon.socket + ".gone", daemon.socket)
    wait_for(lambda: manager.count("WATCHDOG=1") > told, "the daemon to be well again")


def test_a_daemon_that_stands_still_tells_the_watchdog_nothing(manager):
    daemon, manager = manager
    daemon.start(env=manager.env(WATCHDOG_USEC="300000"))
    wait_for(lambda: manager.count("WATCHDOG=1"), "the daemon to say that it is well")
    os.kill(daemon.pid, signal.SIGSTOP)
    try:
        wait_for(lambda: " T " in open(f"/proc/{daemon.pid}/stat").read(), "the daemon to stand still")
        told = manager.count("WATCHDOG=1")
        for _ in range(10):
            with socket.socket(socket.AF_UNIX) as s:  # it can be reached, but nobody is there
                s.connect(daemon.socket)
        assert manager.count("WATCHDOG=1") == told
    finally:
        os.kill(daemon.pid, signal.SIGCONT)
    wait_for(lambda: manager.count("WATCHDOG=1") > told, "the daemon to be well again")
