"""Pods and containers whose client goes away while they are made: made to the end, given to who asks again, else removed."""
import os
import threading

import pytest
from kit.events import Watcher
from kit.wait import wait_for
from recorder import Recorder
from support import READY, Node, phases
from test_image_volumes import Artifact

PROFILE = "seccomp-profile.kubernetes.cri-o.io"
SOON = "unclaimed_timeout = 1\n"


def leave(node, call):
    """The call's client goes away, and the daemon has heard of it."""
    call.cancel()
    assert not node.client.ListPodSandbox(filter={"id": "0" * 64}).items


@pytest.fixture
def networked(own_daemon, busybox):
    """Makes a node whose pods' CNI plugin can be held."""

    def make(runtime=""):
        daemon = own_daemon(start=False, network=False, config={"runtime": runtime})
        recorder = Recorder(daemon)
        daemon.write_network({"cniVersion": "1.0.0", "name": "x", "plugins": [{"type": "recorder"}]})
        return Node(daemon.start(), busybox), recorder

    return make


def left_pod(node, recorder, config):
    """It was asked for by somebody who went away while the plugin was at work."""
    recorder.hold("ADD")
    call = node.client.start("RunPodSandbox", config=config)
    recorder.wait_held()
    leave(node, call)
    recorder.release()


@pytest.fixture
def fetching(own_node, handler, bad):
    """Makes a node, the request for a container on it that somebody sends and goes away while its seccomp profile is fetched."""

    def make(runtime=""):
        node = own_node(config={"runtime": runtime, f"runtime.handlers.{handler or 'runc'}": f'allowed_annotations = ["{PROFILE}"]\n'})
        name = bad.put("test/profile", "1", Artifact(("seccomp.json", b'{"defaultAction": "SCMP_ACT_ALLOW"}')))
        asked, opened = threading.Event(), threading.Event()

        def rule(request):
            if "/manifests/" in request.path:
                asked.set()
                opened.wait(600)
            return False

        bad.rule = rule
        pod = node.pod(annotations={f"{PROFILE}/main": name})
        request = {"pod_sandbox_id": pod[0], "config": node.container_config(["/bin/true"]), "sandbox_config": pod[1]}

        def left():
            call = node.client.start("CreateContainer", **request)
            wait_for(asked.is_set, "the profile to be asked for")
            leave(node, call)
            opened.set()

        return node, request, left

    return make


# ---- pods ----

def test_a_pod_that_nobody_comes_back_for_is_removed(networked):
    node, recorder = networked(SOON)
    with Watcher(node.client) as watcher:
        config = node.pod_config()
        left_pod(node, recorder, config)
        wait_for(lambda: recorder.calls("DEL"), "the pod to be taken down")
        wait_for(lambda: not os.listdir(f"{node.daemon.state}/pods"), "its record to go")
        lost = recorder.calls("DEL")[0]["env"]["CNI_CONTAINERID"]
        pod = node.run_pod(config)
        assert pod != lost
        watcher.wait_for(pod, "started")
        assert {e.container_id for e in watcher.events} == {pod}


def test_a_pod_that_was_asked_for_again_stays(networked):
    node, recorder = networked(SOON)
    kept, lost = node.pod_config(), node.pod_config()
    left_pod(node, recorder, kept)
    pod = node.run_pod(kept)
    # One that is left later has gone: the first one's time is over.
    left_pod(node, recorder, lost)
    wait_for(lambda: [c for c in recorder.calls("DEL") if c["env"]["CNI_CONTAINERID"] != pod], "the second pod to be taken down")
    assert [p.id for p in node.client.ListPodSandbox().items] == [pod]
    assert node.pod_status(pod).state == READY


def test_what_nobody_has_asked_for_is_listed_after_a_restart(networked):
    node, recorder = networked()
    left_pod(node, recorder, node.pod_config())
    wait_for(lambda: list(phases(node.daemon, "pods").values()) == ["ready"], "the pod to be made")
    (pod,) = phases(node.daemon, "pods")
    assert not node.client.ListPodSandbox().items
    node.daemon.kill()
    node.daemon.start()
    assert [p.id for p in node.client.ListPodSandbox().items] == [pod]
    assert len(recorder.calls("ADD")) == 1


# ---- containers ----

def test_a_container_is_made_to_the_end_whatever_it_waited_for(fetching):
    node, request, left = fetching()
    with Watcher(node.client) as watcher:
        left()
        wait_for(lambda: list(phases(node.daemon, "containers").values()) == ["created"], "the container to be made")
        assert not node.client.ListContainers().containers
        (made,) = phases(node.daemon, "containers")
        assert node.client.CreateContainer(**request).container_id == made
        node.client.StartContainer(container_id=made)
        watcher.wait_for(made, "stopped")
        assert watcher.of(made) == ["created", "started", "stopped"]


def test_a_container_that_nobody_comes_back_for_is_removed(fetching):
    node, request, left = fetching(SOON)
    left()
    wait_for(lambda: phases(node.daemon, "containers"), "the container to be begun")
    (lost,) = phases(node.daemon, "containers")
    wait_for(lambda: not phases(node.daemon, "containers"), "the container to be removed")
    assert node.client.CreateContainer(**request).container_id != lost
