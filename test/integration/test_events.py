"""GetContainerEvents: every create, start, stop and delete, once, in order, with the pod's status."""
import json
import os
import random
import re
import signal
import subprocess
import threading
import time

import pytest
from kit.cri import grpc
from kit.events import Watcher
from kit.wait import wait_for
from recorder import Recorder
from support import EXITED, KINDS, NODE, NOTREADY, POD, READY, RUNNING, Node, phases
from test_restart import reboot

ALL = ["created", "started", "stopped", "deleted"]


@pytest.fixture
def watch(node):
    """Makes watchers of the shared daemon that are told of everything from now on."""
    made = []

    def make():
        before = metric(node.daemon, "crisp_event_clients")
        watcher = Watcher(node.client)
        made.append(watcher)
        wait_for(lambda: metric(node.daemon, "crisp_event_clients") > before, "the daemon to know the client")
        return watcher

    yield make
    for watcher in made:
        watcher.close()


def metric(daemon, name, labels=""):
    text = subprocess.run(
        [daemon.crisp, "metrics", "--socket", daemon.socket], stdout=subprocess.PIPE, text=True, check=True, timeout=120
    ).stdout
    return float(re.search(rf"^{name}{re.escape(labels)} (\S+)$", text, re.M)[1])


def host_pod(node, **more):
    """A pod that costs no network."""
    return node.pod(linux=node.namespaces(network=NODE), **more)


def states(event):
    return {status.id: status.state for status in event.containers_statuses}


# ---- what is told ----


def test_the_life_of_a_pod_and_its_containers(node, watch):
    watcher = watch()
    pod = node.pod(labels={"a": "b"}, annotations={"c": "d"})
    first = node.sleeper(pod, name="first")
    second = node.sh(pod, "exit 3", name="second")
    node.wait_exit(second)
    watcher.wait_for(second, "stopped")
    node.client.RemoveContainer(container_id=second)
    last = node.pod_status(pod[0])
    node.remove_pod(pod[0])
    watcher.wait_for(pod[0], "deleted")
    told = [(e.container_id, ALL[e.container_event_type]) for e in watcher.events if e.pod_sandbox_status.id == pod[0]]
    assert told == [
        (pod[0], "created"), (pod[0], "started"),
        (first, "created"), (first, "started"),
        (second, "created"), (second, "started"), (second, "stopped"), (second, "deleted"),
        (first, "stopped"), (pod[0], "stopped"), (first, "deleted"), (pod[0], "deleted"),
    ]
    for id in (pod[0], first, second):
        assert watcher.of(id) == ALL
    events = [e for e in watcher.events if e.pod_sandbox_status.id == pod[0]]
    assert all(a.created_at < b.created_at for a, b in zip(events, events[1:]))
    for event in events:
        status = event.pod_sandbox_status
        assert status.metadata == last.metadata
        assert (status.labels, status.annotations, status.created_at) == ({"a": "b"}, {"c": "d"}, last.created_at)
        assert status.linux.namespaces == last.linux.namespaces
        assert abs(event.created_at - time.time_ns()) < 3600 * 10**9

    def at(id, kind):
        return watcher.wait_for(id, kind)

    for id in (pod[0], first, second):
        for kind in ("created", "started"):
            assert at(id, kind).pod_sandbox_status.state == READY
            assert at(id, kind).pod_sandbox_status.network.ip == last.network.ip
    assert states(at(pod[0], "started")) == {}
    assert states(at(first, "started")) == {first: RUNNING}
    assert states(at(second, "stopped")) == {first: RUNNING, second: EXITED}
    ended = next(s for s in at(second, "stopped").containers_statuses if s.id == second)
    assert (ended.exit_code, ended.reason) == (3, "Error")
    assert ended.finished_at
    assert states(at(second, "deleted")) == {first: RUNNING}
    assert at(pod[0], "stopped").pod_sandbox_status.state == NOTREADY
    assert states(at(pod[0], "stopped")) == {first: EXITED}
    gone = at(pod[0], "deleted")
    assert gone.pod_sandbox_status.state == NOTREADY and not gone.containers_statuses


def test_the_newest_container_comes_first(own_node):
    """A kubelet takes the first of several attempts for the one that counts; also after a restart."""
    node = own_node()
    pod = host_pod(node)
    ids = []
    with Watcher(node.client) as watcher:
        for attempt in range(8):
            ids.insert(0, node.run(pod, ["/bin/true"], attempt=attempt))
            node.wait_exit(ids[0])
        assert [s.id for s in watcher.wait_for(ids[0], "stopped").containers_statuses] == ids
    assert [s.id for s in node.client.PodSandboxStatus(pod_sandbox_id=pod[0]).containers_statuses] == ids
    node.daemon.restart()
    assert [s.id for s in node.client.PodSandboxStatus(pod_sandbox_id=pod[0]).containers_statuses] == ids


def test_what_ends_at_once_has_started(node, watch):
    watcher = watch()
    pod = host_pod(node)
    ids = [node.run(pod, ["/bin/true"], name=f"c{i}") for i in range(20)]
    for id in ids:
        watcher.wait_for(id, "stopped")
        assert watcher.of(id) == ALL[:3]


def test_a_start_that_fails_has_not_started(node, watch):
    watcher = watch()
    pod = host_pod(node)
    container = node.create(pod, ["/no/such/command"])
    with pytest.raises(grpc.RpcError):
        node.start(container)
    event = watcher.wait_for(container, "stopped")
    assert watcher.of(container) == ["created", "stopped"]
    status = event.containers_statuses[0]
    assert (status.state, status.exit_code, status.reason) == (EXITED, 128, "StartError")
    assert "/no/such/command" in status.message


def test_what_was_never_started_has_not_stopped(node, watch):
    watcher = watch()
    pod = host_pod(node)
    container = node.create(pod, ["/bin/true"])
    node.client.RemoveContainer(container_id=container)
    watcher.wait_for(container, "deleted")
    assert watcher.of(container) == ["created", "deleted"]


def test_a_pod_whose_pid_holder_died_has_stopped(node, watch):
    watcher = watch()
    pod = node.pod(linux=node.namespaces(network=NODE, pid=POD))
    kill_holder(node, pod[0])
    event = watcher.wait_for(pod[0], "stopped")
    assert event.pod_sandbox_status.state == NOTREADY
    node.remove_pod(pod[0])
    watcher.wait_for(pod[0], "deleted")
    assert watcher.of(pod[0]) == ALL


def kill_holder(node, pod):
    os.kill(node.holder_of(pod), signal.SIGKILL)


def test_what_fails_is_not_told_of(node, watch):
    watcher = watch()
    pod = host_pod(node)
    with pytest.raises(grpc.RpcError):
        node.create(pod, ["/bin/true"], image="no.such/image:1")
    with pytest.raises(grpc.RpcError):
        node.pod(linux={"sysctls": {"net.ipv4.no_such_thing": "1"}})
    node.remove_pod(pod[0])
    watcher.wait_for(pod[0], "deleted")
    assert watcher.events[-1].container_id == pod[0]
    assert len({e.container_id for e in watcher.events[watcher.events.index(watcher.wait_for(pod[0], "created")):]}) == 1


def test_a_pod_is_told_of_when_somebody_knows_it(own_daemon, busybox):
    """Its client went away: it is in no list, and becomes one when it is asked for again."""
    daemon = own_daemon(start=False, network=False)
    recorder = Recorder(daemon)
    daemon.write_network({"cniVersion": "1.0.0", "name": "x", "plugins": [{"type": "recorder"}]})
    node = Node(daemon.start(), busybox)
    recorder.hold("ADD")
    config = node.pod_config()
    with Watcher(node.client) as watcher:
        call = node.client.start("RunPodSandbox", config=config)
        recorder.wait_held()
        call.cancel()
        assert not node.client.ListPodSandbox().items
        recorder.release()
        wait_for(lambda: list(phases(daemon, "pods").values()) == ["ready"], "the pod to be made")
        assert not node.client.ListPodSandbox().items
        other = node.pod(linux=node.namespaces(network=NODE))
        watcher.wait_for(other[0], "started")
        assert {e.container_id for e in watcher.events} == {other[0]}
        pod = node.run_pod(config)
        assert len(recorder.calls("ADD")) == 1
        assert watcher.wait_for(pod, "started").pod_sandbox_status.state == READY
        assert watcher.of(pod) == ["created", "started"]


def test_idempotent_calls_tell_once(node, watch):
    watcher = watch()
    config = node.pod_config(linux=node.namespaces(network=NODE))
    pods = {node.run_pod(config) for _ in range(3)}
    pod = (pods.pop(), config)
    assert not pods
    container = node.sleeper(pod)
    for _ in range(2):
        node.stop(container)
        node.client.StopPodSandbox(pod_sandbox_id=pod[0])
    for _ in range(2):
        node.client.RemoveContainer(container_id=container)
        node.client.RemovePodSandbox(pod_sandbox_id=pod[0])
    watcher.wait_for(pod[0], "deleted")
    assert watcher.of(container) == watcher.of(pod[0]) == ALL
    assert len([e for e in watcher.events if e.pod_sandbox_status.id == pod[0]]) == 8


# ---- who is told ----


def test_every_client_is_told_the_same(node, watch):
    watchers = [watch() for _ in range(5)]
    pod = host_pod(node)
    containers = [node.run(pod, ["/bin/true"], name=f"c{i}") for i in range(10)]
    for container in containers:
        node.wait_exit(container)
    node.remove_pod(pod[0])
    for watcher in watchers:
        watcher.wait_for(pod[0], "deleted")
    told = [e for e in watchers[0].events if e.pod_sandbox_status.id == pod[0]]
    assert len(told) == 4 + 10 * 4
    for watcher in watchers[1:]:
        assert watcher.events == told


def test_a_client_that_goes_away_leaves_nothing(node, watch):
    fds = f"/proc/{node.daemon.pid}/fd"
    for _ in range(3):
        watch().close()
    wait_for(lambda: metric(node.daemon, "crisp_event_clients") == 0, "no client to be left")
    before = len(os.listdir(fds))
    for _ in range(100):
        stream = node.client.GetContainerEvents()
        stream.cancel()
    watchers = [Watcher(node.client) for _ in range(20)]
    wait_for(lambda: metric(node.daemon, "crisp_event_clients") == 20, "the clients to be known")
    for watcher in watchers:
        watcher.close()
    wait_for(lambda: metric(node.daemon, "crisp_event_clients") == 0, "no client to be left")
    wait_for(lambda: len(os.listdir(fds)) <= before + 2, "descriptors to be closed")
    # A deadline of the client's own ends it as well.
    with pytest.raises(grpc.RpcError) as e:
        list(node.client.GetContainerEvents(deadline=0.2))
    assert e.value.code() == KINDS.DEADLINE_EXCEEDED
    wait_for(lambda: metric(node.daemon, "crisp_event_clients") == 0, "no client to be left")


def test_too_many_clients_are_refused(node, watch):
    wait_for(lambda: metric(node.daemon, "crisp_event_clients") == 0, "no client to be left")
    watchers = [Watcher(node.client) for _ in range(33)]
    try:
        wait_for(lambda: metric(node.daemon, "crisp_event_clients") == 32, "the clients to be known")
        wait_for(lambda: any(w.code for w in watchers), "one to be refused")
        refused = [w for w in watchers if w.code]
        assert [w.code for w in refused] == [KINDS.RESOURCE_EXHAUSTED]
        assert "32" in refused[0].text
    finally:
        for watcher in watchers:
            watcher.close()


def test_a_slow_client_is_told_to_list_again(node, watch):
    """Its events are counted and not kept; the others do not notice, nor does who comes back."""
    dropped = metric(node.daemon, "crisp_events_dropped_total", '{reason="slow_client"}')
    clients = metric(node.daemon, "crisp_event_clients")
    slow = node.client.GetContainerEvents()
    wait_for(lambda: metric(node.daemon, "crisp_event_clients") == clients + 1, "the slow client to be known")
    watcher = watch()
    pod = host_pod(node, annotations={"note": "x" * 1_000_000})
    ids = []
    for i in range(30):
        ids.append(node.create(pod, ["/bin/true"], name=f"c{i}"))
    for id in ids:
        watcher.wait_for(id, "created")
    lost = metric(node.daemon, "crisp_events_dropped_total", '{reason="slow_client"}') - dropped
    assert lost > 10
    assert metric(node.daemon, "crisp_event_clients") == clients + 1  # the one that reads
    got = []
    with pytest.raises(grpc.RpcError) as e:
        for event in slow:
            got.append(event.container_id)
    assert e.value.code() == KINDS.RESOURCE_EXHAUSTED
    assert f"{lost:.0f} events" in e.value.details() and "list again" in e.value.details()
    told = [event.container_id for event in watcher.events]
    assert got == told[:len(got)]
    again = watch()
    node.client.RemoveContainer(container_id=ids[0])
    again.wait_for(ids[0], "deleted")
    watcher.wait_for(ids[0], "deleted")


# ---- restarts ----


def test_what_ended_while_nobody_was_there_is_told_once(own_node):
    node = own_node()
    pod = host_pod(node)
    volume = f"{node.daemon.root}/logs/volume"
    os.makedirs(volume)
    script = "while [ ! -e /v/go ]; do sleep 0.05; done; exit 7"
    ended = node.sh(pod, script, name="ended", mounts=[{"container_path": "/v", "host_path": volume}])
    earlier = node.sh(pod, "exit 0", name="earlier")
    goes_on = node.sleeper(pod, name="on")
    node.wait_exit(earlier)
    process = node.pid_of(ended)
    watcher = Watcher(node.client)
    watcher.wait_for(earlier, "stopped")  # kept for the first who comes
    node.daemon.kill()
    assert watcher.wait_end() == KINDS.UNAVAILABLE
    assert watcher.of(pod[0]) == ["created", "started"]
    with open(f"{volume}/go", "w"):
        pass
    wait_for(lambda: not os.path.exists(f"/proc/{process}"), "the container to end")
    node.daemon.start()
    with Watcher(node.client) as watcher:
        event = watcher.wait_for(ended, "stopped")
        status = next(s for s in event.containers_statuses if s.id == ended)
        assert (status.exit_code, status.reason) == (7, "Error")
        assert states(event) == {ended: EXITED, earlier: EXITED, goes_on: RUNNING}
        node.stop(goes_on)
        watcher.wait_for(goes_on, "stopped")
        assert [e.container_id for e in watcher.events] == [ended, goes_on]
    # Its record says so by now, or soon: another restart does not tell it again.
    wait_for(lambda: record_phase(node, ended) == record_phase(node, goes_on) == "exited", "the records to be written")
    node.daemon.restart()
    with Watcher(node.client) as watcher:
        node.remove_pod(pod[0])
        watcher.wait_for(pod[0], "deleted")
        assert watcher.of(ended) == watcher.of(goes_on) == ["deleted"]
        assert watcher.of(pod[0]) == ["stopped", "deleted"]


def record_phase(node, container):
    with open(f"{node.daemon.state}/containers/{container}/record.json") as file:
        return json.load(file)["phase"]


def test_what_nobody_hears_is_kept_within_a_bound(own_node):
    node = own_node()
    pod = host_pod(node)
    dropped = '{reason="no_client"}'
    for i in range(600):
        node.client.RemoveContainer(container_id=node.create(pod, ["/bin/true"], name=f"c{i}"))
    last = node.create(pod, ["/bin/true"], name="last")
    assert metric(node.daemon, "crisp_events_dropped_total", dropped) == 2 + 1200 + 1 - 1000
    with Watcher(node.client) as watcher:
        watcher.wait_for(last, "created")
        assert len(watcher.events) == 1000
        assert all(a.created_at < b.created_at for a, b in zip(watcher.events, watcher.events[1:]))
        assert {ALL[e.container_event_type] for e in watcher.events} == {"created", "deleted"}
    wait_for(lambda: metric(node.daemon, "crisp_event_clients") == 0, "no client to be left")
    # What one has taken is not told to the next.
    node.client.RemoveContainer(container_id=last)
    with Watcher(node.client) as watcher:
        watcher.wait_for(last, "deleted")
        assert len(watcher.events) == 1


def test_a_reboot_is_told_once(own_node):
    node = own_node()
    pod = host_pod(node)
    running = node.sleeper(pod, name="running")
    exited = node.sh(pod, "exit 3", name="exited")
    node.wait_exit(exited)
    wait_for(lambda: record_phase(node, exited) == "exited", "the record to be written")
    reboot(node.daemon)
    node.daemon.start()
    with Watcher(node.client) as watcher:
        assert watcher.wait_for(pod[0], "stopped").pod_sandbox_status.state == NOTREADY
        assert [e.container_id for e in watcher.events] == [running, pod[0]]
    wait_for(lambda: record_phase(node, running) == "exited", "the record to be written")
    wait_for(lambda: '"notready"' in open(f"{node.daemon.state}/pods/{pod[0]}/record.json").read(), "the pod's record")
    node.daemon.restart()
    with Watcher(node.client) as watcher:
        node.remove_pod(pod[0])
        watcher.wait_for(pod[0], "deleted")
        assert watcher.of(pod[0]) == watcher.of(running) == ["deleted"]


def test_the_daemons_end_ends_the_streams(own_node):
    node = own_node()
    watchers = [Watcher(node.client) for _ in range(3)]
    wait_for(lambda: metric(node.daemon, "crisp_event_clients") == 3, "the clients to be known")
    assert node.daemon.terminate() == 0
    for watcher in watchers:
        assert watcher.wait_end() == KINDS.UNAVAILABLE
    node.daemon.start()


# ---- a kubelet-like watcher ----


class Model:
    """What a watcher knows from a list and the events after it."""

    def __init__(self, node):
        self.node, self.pods, self.containers, self.seen, self.taken = node, {}, {}, {}, 0

    def relist(self):
        self.pods = {p.id: p.state for p in self.node.client.ListPodSandbox().items}
        self.containers = {c.id: c.state for c in self.node.client.ListContainers().containers}

    def take(self, event):
        """An event's statuses replace what was known of its pod."""
        kind, id, pod = ALL[event.container_event_type], event.container_id, event.pod_sandbox_status
        before = self.seen.get(id, -1)
        assert before < ALL.index(kind), f"{id}: {kind} after {ALL[before]}"
        self.seen[id] = ALL.index(kind)
        if kind in ("created", "started"):
            assert pod.state == READY
        assert pod.metadata.name
        if id == pod.id and kind == "deleted":
            assert self.pods.pop(id, None) != READY
            return
        self.pods[pod.id] = pod.state
        if kind == "deleted":
            assert id not in states(event)
            self.containers.pop(id, None)
        elif id != pod.id:
            assert states(event)[id] == {"created": 0, "stopped": EXITED}.get(kind, states(event)[id])
        self.containers.update(states(event))


def churn(node, seed, stop, failures):
    """Does what a kubelet may do, at random, to pods of its own."""
    chance = random.Random(seed)
    try:
        while not stop.is_set():
            pod = host_pod(node)
            made = []
            for i in range(chance.randint(0, 5)):
                command = chance.choice([["/bin/true"], ["/bin/false"], ["/bin/sleep", "1000"], ["/no/such"]])
                made.append(node.create(pod, command, name=f"c{i}"))
                if chance.random() < 0.9:
                    try:
                        node.start(made[-1])
                    except grpc.RpcError:
                        if command != ["/no/such"]:
                            raise
                if chance.random() < 0.3:
                    victim = chance.choice(made)
                    node.stop(victim, timeout=0)
                    if chance.random() < 0.7:
                        node.client.RemoveContainer(container_id=victim)
            if chance.random() < 0.7:
                node.client.StopPodSandbox(pod_sandbox_id=pod[0])
                if chance.random() < 0.7:
                    node.client.RemovePodSandbox(pod_sandbox_id=pod[0])
    except grpc.RpcError as e:
        if e.code() not in (KINDS.UNAVAILABLE, KINDS.CANCELLED):
            failures.append(e)
    except Exception as e:
        failures.append(e)


def run_churn(node, until, seeds):
    stop, failures = threading.Event(), []
    threads = [threading.Thread(target=churn, args=(node, seed, stop, failures)) for seed in seeds]
    for thread in threads:
        thread.start()
    try:
        until()
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert not failures, failures


def settle(node, model, watcher):
    """Takes in all events until the model is what the lists say."""
    def equal():
        events = list(watcher.events)
        for event in events[model.taken:]:
            model.take(event)
        model.taken = len(events)
        pods = {p.id: p.state for p in node.client.ListPodSandbox().items}
        containers = {c.id: c.state for c in node.client.ListContainers().containers}
        return model.pods == pods and model.containers == containers

    wait_for(equal, "the events to say what the lists say")


def test_events_say_what_lists_say_under_churn(own_node):
    node = own_node()
    model = Model(node)
    with Watcher(node.client) as watcher:
        wait_for(lambda: metric(node.daemon, "crisp_event_clients") == 1, "the client to be known")

        def enough():
            wait_for(lambda: len({e.container_id for e in list(watcher.events)}) >= 100, "a hundred pods and containers", 300)

        run_churn(node, enough, range(5))
        settle(node, model, watcher)
        node.daemon.remove_everything()
        settle(node, model, watcher)
        assert model.pods == model.containers == {}
        started = {e.container_id for e in watcher.events if e.container_event_type == 1}
        for id in {e.container_id for e in watcher.events}:
            told = watcher.of(id)
            assert told in (ALL, ["created", "deleted"], ["created", "stopped", "deleted"]), told
            assert (id in started) == (told == ALL)


def test_events_say_what_lists_say_when_the_daemon_is_killed(own_node):
    node = own_node()
    for round in range(3):
        with Watcher(node.client) as watcher:
            model = Model(node)
            # What was kept while nobody listened comes first, and is older than the list.
            model.relist()
            wait_for(lambda: metric(node.daemon, "crisp_event_clients") == 1, "the client to be known")

            def kill_in_the_middle():
                wait_for(lambda: len({e.container_id for e in list(watcher.events)}) >= 20, "some pods and containers", 300)
                node.daemon.kill()

            run_churn(node, kill_in_the_middle, range(10 * round, 10 * round + 4))
            watcher.wait_end()
            for event in watcher.events:
                model.take(event)
            node.daemon.start()
        with Watcher(node.client) as watcher:
            model = Model(node)
            model.relist()
            settle(node, model, watcher)
            node.daemon.remove_everything()
            settle(node, model, watcher)
            assert model.pods == model.containers == {}
