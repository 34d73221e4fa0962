"""What the tests of the server share: applications on tiny models, without measuring and without a socket."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fastapi.testclient import TestClient

from debertav3 import Predictor
from debertav3.serve import create_app
from debertav3.serve.queue import BatchCost

COST = BatchCost(budget=512, call=32.0, rate=10_000.0)


@contextmanager
def serving(models: dict[str, Predictor], **settings: Any) -> Iterator[TestClient]:
    """A client of an application that serves ``models``."""
    settings = {"costs": {name: COST for name in models}} | settings
    with TestClient(create_app(models, **settings), raise_server_exceptions=False) as client:
        yield client


def opened(folder: Path, **settings: Any) -> Predictor:
    """A predictor on the CPU."""
    return Predictor.from_pretrained(folder, device="cpu", **settings)
