"""StreamPodSandboxes and StreamContainers: the lists in messages of bounded size, and then the end."""
import random
import threading

from kit.cri import grpc
from support import CREATED, EXITED, NODE, READY, RUNNING, Node, error_of

MESSAGE = (256 << 10) + (64 << 10)  # what a message may have: its items, and the last one's excess


def host_pod(node, **more):
    """A pod that costs no network."""
    return node.pod(linux=node.namespaces(network=NODE), **more)


def gathered(stream, field):
    """The items of all messages, by id, and the size of each message."""
    items, sizes = {}, []
    for message in stream:
        sizes.append(message.ByteSize())
        for item in getattr(message, field):
            assert item.id not in items, f"{item.id} came twice"
            items[item.id] = item
    return items, sizes


def streamed_pods(node, **filter):
    return gathered(node.client.StreamPodSandboxes(filter=filter or None), "pod_sandboxes")


def streamed_containers(node, **filter):
    return gathered(node.client.StreamContainers(filter=filter or None), "containers")


def listed_pods(node, **filter):
    return {item.id: item for item in node.client.ListPodSandbox(filter=filter or None).items}


def listed_containers(node, **filter):
    return {item.id: item for item in node.client.ListContainers(filter=filter or None).containers}


def test_an_empty_list_is_an_end_at_once(own_node):
    node = own_node()
    assert streamed_pods(node) == ({}, [])
    assert streamed_containers(node) == ({}, [])


def test_filters_are_those_of_the_lists(node):
    pods = [host_pod(node, labels={"app": f"a{i % 2}", "all": "yes"}) for i in range(3)]
    node.client.StopPodSandbox(pod_sandbox_id=pods[2][0])
    created = node.create(pods[0], ["/bin/true"], name="created", labels={"tier": "x"})
    running = node.sleeper(pods[0], name="running", labels={"tier": "x", "more": "y"})
    ended = node.run(pods[1], ["/bin/true"], name="ended", labels={"tier": "z"})
    node.wait_exit(ended)
    for filter in (
        {}, {"id": pods[0][0]}, {"id": pods[0][0][:10]}, {"id": "zz"}, {"state": {"state": READY}},
        {"label_selector": {"app": "a0"}}, {"label_selector": {"app": "a0", "all": "yes"}},
        {"label_selector": {"app": "a0"}, "state": {"state": READY}},
        {"id": pods[2][0], "state": {"state": READY}},
    ):
        assert streamed_pods(node, **filter)[0] == listed_pods(node, **filter), filter
    for filter, expected in (
        ({}, {created, running, ended}),
        ({"id": created[:12]}, {created}),
        ({"pod_sandbox_id": pods[0][0]}, {created, running}),
        ({"pod_sandbox_id": pods[0][0][:9], "state": {"state": RUNNING}}, {running}),
        ({"state": {"state": CREATED}}, {created}),
        ({"state": {"state": EXITED}, "label_selector": {"tier": "x"}}, set()),
        ({"label_selector": {"tier": "x"}}, {created, running}),
        ({"label_selector": {"tier": "x", "more": "y"}, "pod_sandbox_id": pods[0][0]}, {running}),
    ):
        got, _ = streamed_containers(node, **filter)
        assert got == listed_containers(node, **filter), filter
        assert set(got) == expected, filter


def test_two_thousand_containers_come_in_bounded_messages(node):
    pod = host_pod(node)
    note = {"note": "x" * 1000}
    for i in range(2000):
        node.create(pod, ["/bin/true"], name=f"c{i}", annotations=note)
    got, sizes = streamed_containers(node)
    assert len(got) == 2000
    assert got == listed_containers(node)
    assert len(sizes) > 5 and max(sizes) < MESSAGE
    # Somebody removes them while a slow client reads: who is told of was there, and nobody comes twice.
    stream = node.client.StreamContainers()
    seen = {item.id for item in next(stream).containers}
    for id in random.sample(sorted(got), 500):
        node.client.RemoveContainer(container_id=id)
    for message in stream:
        for item in message.containers:
            assert item.id not in seen
            seen.add(item.id)
    left = listed_containers(node)
    assert set(left) <= seen <= set(got)
    # A client that goes away in the middle is no harm.
    stream = node.client.StreamContainers()
    next(stream)
    stream.cancel()
    assert len(streamed_containers(node)[0]) == 1500


def test_what_is_too_big_for_a_list_comes_as_a_stream(own_daemon, busybox):
    """The List call says in words what to do instead."""
    daemon = own_daemon(config={"limits": "max_message_bytes = 1048576\n"})
    node = Node(daemon, busybox)
    big = {"note": "x" * 200_000}
    pods = {host_pod(node, annotations=big)[0] for _ in range(8)}
    # One alone that is more than a message should have comes by itself.
    pods.add(host_pod(node, annotations={"note": "x" * 300_000})[0])
    text = error_of(node.client.ListPodSandbox, grpc.StatusCode.RESOURCE_EXHAUSTED)
    assert "Stream" in text and "filter" in text
    got, sizes = streamed_pods(node)
    assert set(got) == pods
    assert len(sizes) == 9 and sum(size > MESSAGE - (64 << 10) for size in sizes) == 1
    some = next(iter(pods))
    assert list(listed_pods(node, id=some)) == [some]
    # daemon.remove_everything lists.
    for pod in pods:
        node.remove_pod(pod)


def test_many_streams_at_once(node):
    pod = host_pod(node)
    ids = {node.create(pod, ["/bin/true"], name=f"c{i}") for i in range(50)}
    failures = []

    def read():
        try:
            assert set(streamed_containers(node)[0]) == ids
            assert set(streamed_pods(node)[0]) == {pod[0]}
        except BaseException as e:
            failures.append(e)

    threads = [threading.Thread(target=read) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
