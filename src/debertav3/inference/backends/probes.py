"""Probes: a check, on the machine that runs an int8 model, that it computes what passed the gate.

An int8 export holds ``probes.json``: some inputs of random words, and the logits that its int8 model gave for
them when it passed. int8 products can overflow without a word on another processor (16-bit sums of ONNX
Runtime and oneDNN without VNNI); then the logits of the probes are far off, and the folder is refused.

How far they may be off: correct int8 differs between machines only where the last digits of fp32 decide how
an activation is rounded. Let e be the root mean square error of int8 on these inputs, which the gate has
accepted. About half of e squared comes from the weights, which are the same everywhere, and half from the
activations. If two machines rounded every activation differently, their difference would hold the activation
errors of both, and be as large as e. So a difference of up to e is allowed. In practice few activations
differ: torch and our backend are a third of e apart. e is measured at the export and stored in the file;
what fp32 itself differs by is always allowed.
"""

import hashlib
import json
import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ...checkpoint.folder import Checkpoint
from ...cpu.machine import installed_version, machine_description
from ...errors import UserError
from ...files.model_content import PROBES
from ...files.user_cache import recall, remember
from ...heads import BY_NAME
from ...version import __version__
from .protocol import Backend, Batch, Logits

logger = logging.getLogger(__name__)

FP32_TOLERANCE = 1e-4
"""Least difference that is allowed, times the largest logit where that is above 1: between machines fp32
itself differs by less."""

_COLUMNS = 64  # of a vocabulary's logits, evenly spread
_DIGITS = 6
_MOST_TOKENS = 1 << 16
_PACKAGES = {"onnx": "onnxruntime", "openvino": "openvino", "torch": "torch", "native": "numpy"}

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Probes:
    """Inputs, the logits that passed, and how much int8 differs from float on them."""

    batches: Sequence[Batch]
    logits: Floats
    """What `compared` makes of all batches, one after the other."""
    noise: float
    """Root mean square of int8's difference from float."""

    @property
    def tolerance(self) -> float:
        """The largest root mean square of a difference that is allowed."""
        largest = float(np.abs(self.logits).max(initial=0.0))
        return max(self.noise, FP32_TOLERANCE * max(1.0, largest))

    @classmethod
    def make(
        cls, batches: Sequence[Batch], *, head: str, ours: Sequence[Logits], exact: Sequence[Logits]
    ) -> "Probes":
        """Make probes of what two models gave.

        Args:
            batches: the inputs.
            head: a head's name in ``heads.py``.
            ours: the int8 model's outputs.
            exact: the float model's.
        """
        logits, wanted = _joined(ours, batches, head), _joined(exact, batches, head)
        return cls(batches, logits, _rms(logits - wanted))

    def to_json(self) -> str:
        """The file's content."""
        return json.dumps(
            {
                "about": "Random words, and the logits of the int8 model that passed the gate.",
                "noise": self.noise,
                "inputs": [{name: array.tolist() for name, array in one.items()} for one in self.batches],
                "logits": [float(f"{number:.{_DIGITS}g}") for number in self.logits],
            }
        )

    def difference(self, backend: Backend) -> float:
        """Root mean square of the difference of a backend's logits from these; infinite where not finite."""
        logits = _joined([backend.run(batch) for batch in self.batches], self.batches, backend.head)
        if logits.shape != self.logits.shape or not np.isfinite(logits).all():
            return float("inf")
        return _rms(logits - self.logits)


def compared(outputs: Logits, batch: Batch, *, head: str) -> Floats:
    """The numbers of a batch's outputs that count: none of padding, and of a vocabulary some words."""
    known = BY_NAME[head]
    parts = []
    for name in known.outputs:
        values = np.asarray(outputs[name], np.float32)
        if known.outputs_per == "token":
            values = values[batch["attention_mask"] > 0]
        elif known.outputs_per == "mask":
            values = values[..., :: max(1, values.shape[-1] // _COLUMNS)]
        parts.append(values.reshape(-1))
    return np.concatenate(parts)


def check_int8(backend: Backend, checkpoint: Checkpoint, *, dtype: str) -> None:
    """Run the probes of an int8 folder, unless a machine like this one has passed them with these very files.

    Args:
        backend: the folder, opened.
        checkpoint: its files.
        dtype: what was asked for.

    Raises:
        UserError: if the logits differ by more than is allowed, or the file is damaged.
    """
    if not checkpoint.folder.has(PROBES):
        logger.warning(
            "%s contains int8 weights without probes, so nothing shows that they compute "
            "here what passed their "
            "gate. To add probes, export again: debertav3 export --int8 --calibration ROWS ...",
            checkpoint.name,
        )
        return
    key = _key(backend, checkpoint, dtype=dtype)
    if recall(key) is not None:
        return
    probes = read_probes(checkpoint)
    started = time.perf_counter()
    found = probes.difference(backend)
    seconds = time.perf_counter() - started
    if not found <= probes.tolerance:
        raise UserError(
            f"{checkpoint.name}: int8 on backend {backend.name} does not compute here what passed its gate: "
            f"logits of its probes differ by {found:.2g} (root mean square), {probes.tolerance:.2g} is "
            "allowed. "
            f"{_cause_and_cure(backend.name)}"
        )
    said = f"int8 probes: they differ by {found:.2g}, {probes.tolerance:.2g} is allowed"
    logger.info("%s: %s; %.0f ms, cached for this machine", checkpoint.name, said, 1000 * seconds)
    remember(key, f"{said}\n")


def read_probes(checkpoint: Checkpoint) -> Probes:
    """Read the probes of a folder.

    Raises:
        UserError: if they are damaged.
    """
    raw, config = checkpoint.folder.json(PROBES), checkpoint.config
    try:
        batches = [_read_batch(one, config) for one in raw["inputs"]]
        logits, noise = np.array(raw["logits"], np.float32), float(raw["noise"])
        if not batches or logits.ndim != 1 or not np.isfinite(logits).all() or not 0 <= noise < np.inf:
            raise ValueError("numbers are missing or not finite")
    except (TypeError, ValueError, KeyError, AttributeError, OverflowError) as error:
        raise UserError(
            f"{checkpoint.folder}/{PROBES} is damaged ({error}). Export the checkpoint again."
        ) from error
    return Probes(batches, logits, noise)


def _read_batch(raw: Mapping[str, object], config: Mapping[str, object]) -> Batch:
    vocabulary, types = int(str(config["vocab_size"])), int(str(config.get("type_vocab_size") or 0))
    batch = {name: np.array(rows, np.int64) for name, rows in raw.items()}
    ids, mask = batch["input_ids"], batch["attention_mask"]
    masked, kinds = batch.get("masked_positions"), batch.get("token_type_ids")
    is_right = (
        ids.ndim == 2
        and 0 < ids.size <= _MOST_TOKENS
        and ids.shape == mask.shape
        and 0 <= ids.min() <= ids.max() < vocabulary
        and bool((mask.sum(1) > 0).all())
        and (masked is None or (len(masked) == len(ids) and 0 <= masked.min() <= masked.max() < ids.shape[1]))
        and (kinds is None or (kinds.shape == ids.shape and 0 <= kinds.min() <= kinds.max() < max(1, types)))
    )
    if not is_right:
        raise ValueError("inputs are not token ids of this model")
    return batch


def _key(backend: Backend, checkpoint: Checkpoint, *, dtype: str) -> str:
    """Where it is remembered that a folder passed: by content, machine and versions, never by path alone."""
    package = _PACKAGES[backend.name]
    installed = installed_version(package)
    about = [
        *machine_description(),
        f"debertav3 {__version__}",
        f"{package} {installed}",
        backend.name,
        str(backend.device),
        dtype,
        json.dumps(checkpoint.fingerprint, sort_keys=True),
    ]
    return str(Path("int8_probes") / hashlib.sha256("\n".join(about).encode()).hexdigest())


def _cause_and_cure(backend: str) -> str:
    if backend in ("onnx", "openvino"):
        return (
            "Most likely its int8 products overflow on this processor, which has no VNNI or may not use it. "
            f"Export again without --vnni (debertav3 export --format {backend} --int8), or with --format "
            "torch, whose int8 is exact on every processor."
        )
    return (
        "Our int8 products are exact on every processor, so weights or kernel are damaged. Export the folder "
        "again; if it is refused again, install debertav3 again."
    )


def _joined(outputs: Sequence[Logits], batches: Sequence[Batch], head: str) -> Floats:
    found = [compared(one, batch, head=head) for one, batch in zip(outputs, batches, strict=True)]
    return np.concatenate(found)


def _rms(x: Floats) -> float:
    return float(np.sqrt(np.square(x.astype(np.float64)).mean())) if x.size else 0.0
