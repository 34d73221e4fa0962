"""The servers that ``serve_load.py`` compares, each a process of its own.

Run: python benchmarks/serve_contenders.py NAME --model FOLDER --port PORT
"""

import argparse
import asyncio
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import uvicorn
from fastapi import FastAPI, Request

from debertav3 import Predictor
from debertav3.serve import Limits, create_app, queue
from debertav3.serve.lifecycle import Server, bind


def ours(model: str) -> FastAPI:
    return create_app({"m": Predictor.from_pretrained(model)})


def first_come(model: str) -> FastAPI:
    """The same engine under a queue as text-embeddings-inference plans it: in order, by padded cost."""

    def in_order(lengths: Sequence[int], cost: queue.BatchCost) -> list[int]:
        longest = lengths[0]
        for size, length in enumerate(lengths[1:], start=2):
            longest = max(longest, length)
            if size * longest > cost.budget:
                return list(range(size - 1))
        return list(range(len(lengths)))

    queue.next_batch = in_order
    return ours(model)


def stock(model: str) -> FastAPI:
    """What a newcomer writes: a route around transformers' pipeline, one call a request, in a thread."""
    import transformers

    pipe = transformers.pipeline("text-classification", model=model, device="cpu", top_k=None)
    app, one_at_a_time = FastAPI(), asyncio.Lock()

    @app.get("/ready")
    def ready() -> None:
        return None

    @app.post("/predict")
    async def predict(request: Request) -> Any:
        first, second = (await request.json())["inputs"]
        async with one_at_a_time:
            return await asyncio.to_thread(pipe, {"text": first, "text_pair": second})

    return app


APPLICATIONS: dict[str, Callable[[str], FastAPI]] = {"ours": ours, "first-come": first_come, "stock": stock}
INFINITY_PYTHON = os.environ.get("INFINITY_PYTHON")
"""The Python of an environment with infinity, which is then a contender too: see ``serve_infinity.py``."""
CONTENDERS = [*APPLICATIONS, *(["infinity"] if INFINITY_PYTHON else [])]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", choices=CONTENDERS)
    parser.add_argument("--model", required=True)
    parser.add_argument("--port", type=int, required=True)
    asked = parser.parse_args()
    if asked.name == "infinity":
        assert INFINITY_PYTHON is not None
        script = str(Path(__file__).with_name("serve_infinity.py"))
        os.execv(
            INFINITY_PYTHON,
            [INFINITY_PYTHON, script, "--model", str(Path(asked.model).resolve()), "--port", str(asked.port)],
        )
    bound = bind("127.0.0.1", asked.port)
    app = APPLICATIONS[asked.name](asked.model)
    if asked.name == "stock":
        uvicorn.Server(uvicorn.Config(app, log_level="warning", access_log=False)).run(sockets=[bound])
    else:
        Server(app, limits=Limits()).run(sockets=[bound])


if __name__ == "__main__":
    main()
