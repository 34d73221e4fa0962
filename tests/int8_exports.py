"""What tests of int8 exports share: labels, examples for the gate, and which runtimes are there."""

import json
import random
from pathlib import Path

import pytest

NLI = {0: "contradiction", 1: "entailment", 2: "neutral"}
WORDS = ["a", "the", "man", "dog", "cat", "sleeps", "runs", "sees", "red", "big", "two", "under", "not"]


def need_runtime(format_: str) -> None:
    """Skip where the runtime of a format is not installed."""
    package = {"onnx": "onnxruntime", "openvino": "openvino"}.get(format_)
    if package is not None:
        pytest.importorskip(package, reason=f"export to {format_} needs the extra {format_}")


def examples(path: Path, number: int) -> Path:
    """Random sentences as pairs, without labels."""
    draw = random.Random(0)
    rows = [
        {key: " ".join(draw.choices(WORDS, k=draw.randint(3, 12))) for key in ("premise", "hypothesis")}
        for _ in range(number)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path
