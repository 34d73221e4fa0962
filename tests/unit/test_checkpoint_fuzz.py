"""Contract: whatever bytes stand in a checkpoint folder, reading them succeeds or raises ``UserError``."""

import json
import random
import struct
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save

from debertav3 import models
from debertav3.checkpoint import open_model, save_model
from debertav3.checkpoint.doctor import examine
from debertav3.checkpoint.files import read_header
from debertav3.checkpoint.weights import Weights
from debertav3.errors import UserError
from debertav3.files.model_folder import ModelFolder
from debertav3.sizes import config_for

MUTATIONS = pytest.mark.parametrize(
    "mutations", [300, pytest.param(5000, marks=pytest.mark.slow)], ids=["some", "many"]
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    config = config_for(
        "nano",
        vocab_size=20,
        hidden_size=8,
        num_attention_heads=2,
        intermediate_size=8,
        num_hidden_layers=1,
        position_buckets=4,
        max_position_embeddings=8,
    )
    return save_model(
        models.DebertaV2ForSequenceClassification(config), tmp_path_factory.mktemp("fuzz") / "model"
    )


def strange_value(chance: random.Random) -> Any:
    return chance.choice(
        [
            *(None, True, -1, 0, 1, 2, 7, 2**31, 2**63, 10**30, 0.5, -0.1, 1e308, float("inf")),
            *("", "gelu", "F32", "..", "é\0", "c2p|p2p"),
            *([], [None], [[0]], [1, -1], [2**62, 2**62], {}, {"0": "a"}, {"a": 0}),
        ]
    )


def mutate_json(content: dict[str, Any], chance: random.Random) -> dict[str, Any]:
    """Change one to three places of a JSON object: a value, a key, or what is inside a value."""
    changed = json.loads(json.dumps(content))
    for _ in range(chance.randint(1, 3)):
        place, key = changed, chance.choice(list(changed) or ["x"])
        while isinstance(place.get(key), dict) and place[key] and chance.random() < 0.8:
            place, key = place[key], chance.choice(list(place[key]))
        action = chance.randrange(4)
        if action == 0:
            place.pop(key, None)
        elif action == 1:
            place[key + chance.choice("sx_")] = place.pop(key, None)
        else:
            place[key] = strange_value(chance)
    return changed


def mutate_bytes(content: bytes, chance: random.Random) -> bytes:
    """Flip, cut, insert or overwrite a few bytes, most of them near the start, where the header is."""
    changed = bytearray(content)
    for _ in range(chance.randint(1, 4)):
        place = min(int(chance.expovariate(1 / 500)), len(changed) - 1)
        action = chance.randrange(4)
        if action == 0:
            changed[place] ^= 1 << chance.randrange(8)
        elif action == 1:
            changed[place : place + chance.randint(1, 8)] = chance.randbytes(chance.randint(0, 8))
        elif action == 2:
            del changed[chance.randrange(len(changed)) :]
        else:
            changed[:8] = chance.choice([chance.randbytes(8), struct.pack("<Q", chance.randrange(5000))])
        if not changed:
            return b""
    return bytes(changed)


def mutate_header(content: bytes, chance: random.Random) -> bytes:
    """Change the header as JSON and keep the file's frame right, so that deeper checks are reached."""
    length = struct.unpack("<Q", content[:8])[0]
    header = json.dumps(mutate_json(json.loads(content[8 : 8 + length]), chance)).encode()
    return struct.pack("<Q", len(header)) + header + content[8 + length :]


def refused(action: Callable[[], Any]) -> bool:
    """Whether the action refuses its input; any error but ``UserError`` fails the test."""
    try:
        action()
    except UserError as error:
        assert "\n" not in str(error)
        return True
    return False


@MUTATIONS
@pytest.mark.parametrize("mutate", [mutate_bytes, mutate_header])
def test_damaged_weights(mutate: Any, mutations: int, folder: Path, tmp_path: Path) -> None:
    original = (folder / "model.safetensors").read_bytes()
    path = tmp_path / "model.safetensors"
    count = 0
    for seed in range(mutations):
        content = mutate(original, random.Random(seed))
        path.write_bytes(content)
        count += refused(lambda: Weights(ModelFolder(tmp_path)).read())
    assert count > mutations // 2  # the mutations do damage


@MUTATIONS
def test_damaged_config(mutations: int, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes())
    original = json.loads((folder / "config.json").read_text())
    count = 0
    for seed in range(mutations):
        changed = mutate_json(original, random.Random(seed))
        (tmp_path / "config.json").write_text(json.dumps(changed))
        count += refused(lambda: open_model(tmp_path, head=models.DebertaV2ForSequenceClassification))
    assert count > mutations // 4


@MUTATIONS
def test_damaged_config_bytes(mutations: int, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes())
    original = (folder / "config.json").read_bytes()
    for seed in range(mutations):
        (tmp_path / "config.json").write_bytes(mutate_bytes(original, random.Random(seed)))
        refused(lambda: open_model(tmp_path, head=models.DebertaV2ForSequenceClassification))


@MUTATIONS
def test_damaged_bin(mutations: int, folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "pytorch_model.bin"
    torch.save({"a.weight": torch.arange(12.0).view(3, 4), "a.bias": torch.ones(3)}, path)
    original = path.read_bytes()
    for seed in range(mutations):
        path.write_bytes(mutate_bytes(original, random.Random(seed)))
        refused(lambda: Weights(ModelFolder(tmp_path)).read())


def mutate_tensors(tensors: dict[str, torch.Tensor], chance: random.Random) -> dict[str, torch.Tensor]:
    """Drop, rename, reshape, convert or fill one to three tensors."""
    changed = dict(tensors)
    for _ in range(chance.randint(1, 3)):
        name = chance.choice(sorted(changed))
        tensor = changed.pop(name)
        shape = chance.choice([(), (0,), (1,), (0, 8), (20, 0), (3, 1, 2), tuple(reversed(tensor.shape))])
        fill = chance.choice([0.0, 1e38, float("nan"), float("-inf")])
        action = chance.randrange(5)
        if action == 1:
            changed[
                name.replace(*chance.choice([("deberta.", ""), ("weight", "_weight"), (".0.", ".9.")]))
            ] = tensor
        elif action == 2:
            changed[name] = torch.zeros(shape)
        elif action == 3:
            changed[name] = tensor.to(chance.choice([torch.int8, torch.bool, torch.bfloat16, torch.float64]))
        elif action == 4:
            changed[name] = torch.full_like(tensor, fill, dtype=torch.float32)
    return changed


@pytest.mark.parametrize("mutations", [100, pytest.param(2000, marks=pytest.mark.slow)], ids=["some", "many"])
def test_doctor_and_loader_of_damaged_tensors(mutations: int, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_bytes((folder / "config.json").read_bytes())
    original = Weights(ModelFolder(folder)).read()
    for seed in range(mutations):
        tensors = mutate_tensors(original, random.Random(seed))
        (tmp_path / "model.safetensors").write_bytes(save(tensors))
        assert not examine(tmp_path).is_ok  # there is no tokenizer, at least
        refused(lambda: open_model(tmp_path, head=models.DebertaV2ForSequenceClassification))


def frame(header: Any, data: bytes = b"", length: int | None = None) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def entry(dtype: Any = "F32", shape: Any = (1,), offsets: Any = (0, 4)) -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": offsets}


KNOWN_ATTACKS = {
    "header-longer-than-file": frame({"a": entry()}, bytes(4), length=2**63),
    "header-of-all-the-memory": frame({"a": entry()}, bytes(4), length=2**40),
    "overlap": frame({"a": entry(), "b": entry()}, bytes(4)),
    "gap": frame({"a": entry(), "b": entry(offsets=(8, 12))}, bytes(12)),
    "trailing-data": frame({"a": entry()}, bytes(9)),
    "beyond-the-end": frame({"a": entry(shape=(2,), offsets=(0, 8))}, bytes(4)),
    "backwards": frame({"a": entry(shape=(0,), offsets=(4, 0))}, bytes(4)),
    "negative": frame({"a": entry(offsets=(-4, 0))}, bytes(4)),
    "shape-overflow": frame({"a": entry(shape=(2**62, 4))}, bytes(4)),
    "shape-of-zero-and-huge": frame({"a": entry(shape=(0, 2**63), offsets=(0, 0))}),
    "shape-of-many": frame({"a": entry(shape=(1,) * 100_000)}, bytes(4)),
    "shape-of-fractions": frame({"a": entry(shape=(1.0,))}, bytes(4)),
    "shape-of-booleans": frame({"a": entry(shape=(True,))}, bytes(4)),
    "unknown-dtype": frame({"a": entry(dtype="F4", shape=(8,))}, bytes(4)),
    "missing-field": frame({"a": {"dtype": "F32", "shape": [1]}}, bytes(4)),
    "metadata-of-numbers": frame({"__metadata__": {"a": 1}, "a": entry()}, bytes(4)),
    "not-utf-8": frame(b'{"\xff": 1}'),
    "deep": frame(b"[" * 100_000),
    "list": frame([1]),
    "nothing": b"",
    "seven-bytes": bytes(7),
}


@pytest.mark.parametrize("content", KNOWN_ATTACKS.values(), ids=list(KNOWN_ATTACKS))
def test_known_attacks_on_the_header(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(content)
    assert refused(lambda: read_header(path))


def test_attacked_frame_is_otherwise_sound(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(frame({"a": entry()}, bytes(4)))
    assert torch.equal(Weights(ModelFolder(tmp_path)).read()["a"], torch.zeros(1))
    path.write_bytes(save({"b": torch.ones(2, 3)}))
    assert read_header(path)["b"].shape == (2, 3)


@pytest.mark.parametrize("name", ["header-of-all-the-memory", "overlap", "shape-of-many", "deep"])
def test_refusal_takes_no_more_memory_than_the_file(name: str, tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(KNOWN_ATTACKS[name])
    refused(lambda: read_header(path))  # the first call imports and caches
    tracemalloc.start()
    refused(lambda: read_header(path))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak <= 20 * len(KNOWN_ATTACKS[name]) + 100_000
