"""A listener in the process of the test."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from pyconquest_rules.network.storage_scp import Listener, Listening
from tests.network.folder import Folder

Listen = Callable[..., Listener]


@pytest.fixture
def listen(tmp_path: Path) -> Iterator[Listen]:
    """Start a listener "RULES" that stores in `tmp_path/in`: `listen(allow=("CLINIC",))`. Keywords are settings."""
    (tmp_path / "in").mkdir()
    with ExitStack() as stack:

        def start(keep: Folder | None = None, **settings: object) -> Listener:
            listener = Listener(Listening("RULES", **settings), keep or Folder(tmp_path / "in"))  # type: ignore[arg-type]
            listener.start()
            stack.callback(listener.stop, 0)
            return listener

        yield start
