"""Fixtures of the network tests."""

from collections.abc import Iterator

import pytest

from pyconquest_rules.network.node import Node
from tests.network.listeners import listen
from tests.network.nodes import Receiver, named
from tests.peers.archives import dcmqrscp, orthanc, stored
from tests.quickstart import instances

__all__ = ["listen"]


@pytest.fixture(scope="module")
def receiver() -> Iterator[Receiver]:
    """The destination RECEIVER of the archives."""
    receiver = Receiver()
    yield receiver
    receiver.server.shutdown()


@pytest.fixture(scope="module", params=[dcmqrscp, orthanc], ids=["dcmqrscp", "orthanc"])
def archive(request: pytest.FixtureRequest, receiver: Receiver, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    """An archive with the instances of the quick start and of patients with all kinds of names."""
    with request.param({"RECEIVER": receiver.port}) as node:
        stored(node, [*instances(), *named(tmp_path_factory.mktemp("named"))])
        yield node
