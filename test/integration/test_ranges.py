"""Big layers that come in ranges, over several connections at once."""
import os
import re
import threading
import time

import pytest
from kit import hostile
from kit.image import Image, Layer
from kit.wait import wait_for

MIB = 1 << 20
RANGE = 2 * MIB
ALONE = 16 * MIB  # of a connection that keeps up alone: the rest, where it is less, is asked for without an end
SIZE = 40 * MIB
SLOW = 1  # s, far more than it takes to unpack a range


class Ranges:
    """Answers for the big layer, and keeps what was asked for: (first, one after the last or None, port of the client)."""

    def __init__(self, bad):
        self.bad, self.image = bad, Image([Layer("tar").file("big", os.urandom(SIZE))])
        self.layer = next(blob for blob in self.image.blobs if blob.digest != self.image.id)
        self.data = self.layer.data
        self.name = bad.put("a/b", "1", self.image)
        self.asked, self.lock = [], threading.Lock()
        self.under_way = self.most = 0
        self.act = None  # answers instead, where it returns True
        bad.rule = self

    def __call__(self, request):
        if request.command != "GET" or not request.path.endswith(self.layer.digest):
            return False
        wanted = re.fullmatch(r"bytes=(\d+)-(\d*)", request.headers.get("Range", "bytes=0-"))
        first, last = int(wanted[1]), int(wanted[2]) + 1 if wanted[2] else None
        with self.lock:
            self.asked.append((first, last, request.client_address[1]))
            self.under_way += 1
            self.most = max(self.most, self.under_way)
        try:
            if not self.act or not self.act(request, first, last):
                hostile.send(request, 200, self.data)
        finally:
            with self.lock:
                self.under_way -= 1
        return True

    def send(self, request, said, first, last, total, part=1.0):
        """A range, said to be from said on and of total bytes; with part, only so much of it."""
        data = self.data[first:last]
        request.send_response(206)
        request.send_header("Content-Range", f"bytes {said}-{said + len(data) - 1}/{total}")
        request.send_header("Content-Length", str(len(data)))
        request.end_headers()
        request.wfile.write(data[:int(len(data) * part)])
        request.wfile.flush()
        request.close_connection = part < 1

    def together(self, count):
        """Holds every range but the first until so many are under way. The first is slow: it takes a slow network for there to be more."""
        reached = threading.Event()

        def act(_, first, __):
            if first == 0:
                time.sleep(SLOW)
            if first > 0 and self.under_way >= count:
                reached.set()
            return first > 0 and not reached.wait(60)
        return act

    def asked_twice(self):
        """Bytes that were asked for more than once; all must have been asked for."""
        at = twice = 0
        for first, last, _ in sorted(self.asked, key=lambda one: one[0]):
            assert first <= at, f"nobody asked for {at}..{first}"
            last = last or len(self.data)
            twice += max(0, min(at, last) - first)
            at = max(at, last)
        assert at == len(self.data)
        return twice


@pytest.fixture
def ranges(bad):
    return Ranges(bad)


def pull(node, ranges):
    assert node.pull(ranges.name) == ranges.image.id


@pytest.mark.parametrize("connections", [2, 3, 6])
def test_a_big_layer_comes_over_several_connections(own_node, ranges, connections):
    node = own_node(config={"images": f"max_parallel_layers = {connections}\n"})
    ranges.act = ranges.together(connections)
    pull(node, ranges)
    assert ranges.most == connections
    assert len({port for _, _, port in ranges.asked}) == connections
    assert ranges.asked_twice() == 0


def test_one_connection_where_no_more_are_allowed(own_node, ranges):
    node = own_node(config={"images": "max_parallel_layers = 1\n"})
    pull(node, ranges)
    assert [(first, last) for first, last, _ in ranges.asked] == [(0, None)]


def test_a_server_without_ranges_streams_it_once(own_node, ranges):
    def whole(request, *_):
        del request.headers["Range"]
        return False
    ranges.act = whole
    pull(own_node(), ranges)
    assert [first for first, _, _ in ranges.asked] == [0]


@pytest.mark.parametrize("status", [400, 416, 501])
def test_a_server_that_refuses_ranges_is_asked_without(own_node, ranges, status):
    def refuse(request, _, last):
        if last:
            hostile.send(request, status, hostile.error("UNSUPPORTED"))
        return bool(last)
    ranges.act = refuse
    pull(own_node(), ranges)
    assert [(first, last) for first, last, _ in ranges.asked] == [(0, RANGE), (0, None)]


@pytest.mark.parametrize("kind", ["start", "total", "whole", "longer"])
def test_a_lying_range_ends_the_ranges(own_node, ranges, kind):
    together = ranges.together(2)

    def lie(request, first, last):
        together(request, first, last)
        if first == 0 or not last:
            return False
        if kind == "start":
            ranges.send(request, first - 1, first - 1, last - 1, len(ranges.data))
        elif kind == "total":
            ranges.send(request, first, first, last, len(ranges.data) + 1)
        elif kind == "longer":
            ranges.send(request, first, first, last + MIB, len(ranges.data))
        else:
            del request.headers["Range"]
        return kind != "whole"
    ranges.act = lie
    pull(own_node(), ranges)
    bounded = [first for first, last, _ in ranges.asked if last]
    assert len(bounded) < len(ranges.data) // RANGE // 2, "it goes on asking for ranges"


@pytest.mark.parametrize("kind", ["cut", "busy"])
def test_a_range_that_fails_is_tried_again(own_node, ranges, kind):
    together, hit = ranges.together(3), set()

    def fail(request, first, last):
        together(request, first, last)
        with ranges.lock:
            again = first in hit or first % RANGE or first == 0 or len(hit) >= 5
            hit.add(first)
        if again:
            return False
        if kind == "cut":
            ranges.send(request, first, first, last or len(ranges.data), len(ranges.data), part=0.5)
        else:
            hostile.send(request, 503, hostile.error("UNAVAILABLE"), {"Retry-After": "0"})
        return True
    ranges.act = fail
    pull(own_node(), ranges)
    if kind == "cut":
        assert any(first % RANGE for first, _, _ in ranges.asked), "none was gone on with"
    starts = [first for first, _, _ in ranges.asked]
    assert len(starts) > len(set(starts)) or kind == "cut"
    without_end = [first for first, last, _ in ranges.asked if not last]
    assert all(first >= len(ranges.data) - ALONE for first in without_end), "it fell back to one stream"


def test_a_server_with_one_connection_for_each_gets_one_stream(own_node, ranges):
    """It refuses whoever comes beside the first."""
    together, owner = ranges.together(2), []

    def single(request, first, last):
        owner[:] = owner or [request.client_address[1]]
        together(request, first, last)
        if request.client_address[1] == owner[0]:
            return False
        hostile.send(request, 403, hostile.error("DENIED"))
        return True
    ranges.act = single
    pull(own_node(), ranges)


def test_other_bytes_in_a_range_are_found(own_node, ranges):
    ranges.act = ranges.together(3)
    ranges.data = bytearray(ranges.data)
    ranges.data[5 * RANGE + 5] ^= 1
    node = own_node()
    with pytest.raises(Exception, match="digest"):
        node.pull(ranges.name)


def test_a_pull_that_nobody_wants_ends_its_ranges(own_node, ranges):
    node = own_node()

    def hang(request, first, _):
        if first == 0:
            time.sleep(SLOW)
        else:
            ranges.bad.ended.wait(600)
            request.close_connection = True
        return first > 0
    ranges.act = hang
    started = node.client.start("PullImage", image={"image": ranges.name})
    wait_for(lambda: ranges.under_way == 3, "three ranges")
    started.cancel()
    wait_for(lambda: not os.listdir(f"{node.daemon.state}/images/staging"), "the pull to end")
