"""Exported folders: a graph for ONNX Runtime or OpenVINO, or int8 weights for torch, with all that is needed.

``export.json`` says what the graph is, ``checks.json`` what it was checked for before it was written. Reading
a folder imports neither torch nor transformers.
"""

import contextlib
import importlib.util
import json
import logging
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ...checkpoint.folder import Checkpoint
from ...errors import MissingExtraError, UserError
from ...files.model_content import changed_files
from ...files.model_folder import EXPORT_MANIFEST
from ...heads import MASKED_LM
from .protocol import head_of_task

logger = logging.getLogger(__name__)

MANIFEST = EXPORT_MANIFEST
CHECKS = "checks.json"

ONNX, OPENVINO, TORCH = "onnx", "openvino", "torch"
FORMATS = (OPENVINO, ONNX)
"""Of graphs, in the order in which ``auto`` prefers them: OpenVINO is faster but for single short texts."""
ALL_FORMATS = (*FORMATS, TORCH)
GRAPH_FILE = {ONNX: "model.onnx", OPENVINO: "openvino_model.xml", TORCH: "model_int8.safetensors"}
"""What holds the weights; torch needs no graph (its name is also in ``checkpoint/files.py``)."""
DOES_NOT_RUN = "Use the checkpoint that it was exported from, or export that again on this machine."
_INPUTS = frozenset({"input_ids", "attention_mask", "token_type_ids", "masked_positions"})
_PACKAGE = {ONNX: "onnxruntime", OPENVINO: "openvino", TORCH: "torch"}


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """What ``export.json`` says."""

    format: str
    """One of `ALL_FORMATS`."""
    head: str
    """A head's name in ``heads.py``."""
    weights: str
    """``fp32``, ``fp16`` or ``int8``: how the large weights are stored."""
    inputs: tuple[str, ...]
    version: str
    """Of debertav3."""
    source: Mapping[str, str] = field(default_factory=dict)
    """SHA-256 sums of the checkpoint (`Checkpoint.fingerprint`); empty in exports of older versions."""
    files: Mapping[str, str] = field(default_factory=dict)
    """SHA-256 sums of the export's own files; empty as above, and while it is being made."""

    def to_json(self) -> str:
        """The file's content."""
        return json.dumps(asdict(self), indent=2) + "\n"


@dataclass(frozen=True, kw_only=True)
class Exported:
    """An exported folder."""

    checkpoint: Checkpoint
    """Its files."""
    manifest: Manifest

    @property
    def folder(self) -> Path:
        """Where it is."""
        return self.checkpoint.path

    @property
    def config(self) -> Mapping[str, object]:
        """The ``config.json`` of the checkpoint that was exported."""
        return self.checkpoint.config

    @property
    def graph(self) -> Path:
        """The file of the graph, or of the weights."""
        return self.folder / GRAPH_FILE[self.manifest.format]

    def check_files(self) -> None:
        """Hash the export's files: what was swapped or edited since the export must not answer.

        Raises:
            UserError: if a file is not the one that was exported.
        """
        if not self.manifest.files:
            logger.warning(
                "%s was exported by version %s without checksums: whether its files belong together is "
                "unknown. Export the checkpoint again.",
                self.folder,
                self.manifest.version,
            )
            return
        if changed := changed_files(self.manifest.files, self.checkpoint.fingerprint):
            raise UserError(
                f"{self.folder}: {', '.join(changed)} changed since the export. Put the exported files back, "
                "or export the checkpoint again."
            )

    def require(self, task: str | None) -> None:
        """Refuse a task that needs another head.

        Raises:
            UserError: if it does, or there is no such task.
        """
        if task is None:
            return
        if (needed := head_of_task(task)) != self.manifest.head:
            raise UserError(
                f"task {task!r} needs a {needed} head; {self.folder} was exported with its "
                f"{self.manifest.head} head. Export the checkpoint again with --task {task}."
            )

    def feed(self, batch: Mapping[str, npt.NDArray[np.int64]]) -> dict[str, npt.NDArray[np.int64]]:
        """What the graph reads of a batch.

        Raises:
            UserError: for more tokens than the model has absolute positions, where it needs them.
        """
        length, limit = batch["input_ids"].shape[-1], self.config["max_position_embeddings"]
        is_bounded = self.config.get("position_biased_input", True) or self.manifest.head == MASKED_LM
        if is_bounded and length > limit:
            raise UserError(
                f"the model has {limit} absolute positions; got {length} tokens: shorten the text"
            )
        return {name: batch[name] for name in self.manifest.inputs}


def read_exported(checkpoint: Checkpoint) -> Exported:
    """Read what an exported folder says of itself.

    Raises:
        UserError: if its files are damaged or name another format.
    """
    folder, raw = checkpoint.folder, checkpoint.folder.json(MANIFEST)
    try:
        manifest = Manifest(**{**raw, "inputs": tuple(raw["inputs"]), "source": _source_of(raw)})
        if not isinstance(manifest.files, dict):
            raise TypeError("files is not an object")
    except (TypeError, KeyError) as error:
        raise UserError(f"{folder}/{MANIFEST} is damaged ({error}). Export the checkpoint again.") from error
    if not set(manifest.inputs) <= _INPUTS:
        raise UserError(f"{folder}/{MANIFEST} names unknown inputs. Export the checkpoint again.")
    if manifest.format not in ALL_FORMATS:
        raise UserError(
            f"{folder} was exported in the format {manifest.format!r}; "
            f"this version reads {', '.join(ALL_FORMATS)}."
        )
    if not isinstance(checkpoint.config.get("max_position_embeddings"), int):
        raise UserError(f"{folder}/config.json lacks max_position_embeddings. Export the checkpoint again.")
    return Exported(checkpoint=checkpoint, manifest=manifest)


def changes_since_export(exported: Exported, checkpoint: Checkpoint) -> list[str]:
    """Name the files of a checkpoint that are not those that were exported.

    Its weights, ``config.json`` and tokenizer are hashed whole. For an export without sums of them the answer
    is the name of its manifest.
    """
    if not exported.manifest.source:
        return [MANIFEST]
    return changed_files(exported.manifest.source, checkpoint.fingerprint)


def is_installed(format_: str) -> bool:
    """Whether the runtime of a format is there."""
    return importlib.util.find_spec(_PACKAGE[format_]) is not None


def require_runtime(format_: str) -> None:
    """Refuse a format whose runtime is not there.

    Raises:
        MissingExtraError: if it is not.
    """
    if not is_installed(format_):
        raise MissingExtraError(feature=f"backend {format_}", package=_PACKAGE[format_], extra=format_)


@contextlib.contextmanager
def runtime_errors(runtime: str, action: str, *, advice: str) -> Iterator[None]:
    """Report in one line what a runtime raises: the exceptions of ONNX Runtime share no base of their own.

    Args:
        runtime: its name.
        action: what it is asked to do: "read F".
        advice: what to do if it cannot.
    """
    try:
        yield
    except MemoryError:
        raise
    except Exception as error:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        reason = lines[-1] if lines else type(error).__name__
        raise UserError(f"{runtime} cannot {action} ({reason}). {advice}") from error


def _source_of(raw: Mapping[str, object]) -> object:
    """The sums of the source; older versions wrote one text, of a sample of the weights."""
    source = raw["source"]
    if isinstance(source, str):
        return {}
    if not isinstance(source, dict):
        raise TypeError("source is not an object")
    return source
