"""``export_model``: a checkpoint in, a checked and self-contained folder out; on failure, nothing."""

import json
import logging
import shutil
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ...checkpoint.folder import Checkpoint
from ...checkpoint.opening import open_model
from ...checkpoint.saving import replacing_folder
from ...errors import UserError
from ...files import write_json, write_text
from ...files.model_content import PROBABILITIES, PROBES, content_sums
from ...heads import MULTIPLE_CHOICE
from ...json_types import JsonObject
from ...models import class_of
from ...models.base import complete_config
from ...tasks.columns import RUN, Trained
from ...version import __version__
from ..backends.choose import open_exported
from ..backends.exported import (
    CHECKS,
    MANIFEST,
    TORCH,
    Exported,
    Manifest,
    read_exported,
)
from ..backends.probes import Probes
from ..backends.protocol import Backend
from .export_card import export_card
from .gate import GateReport, pass_gate
from .graph import folded_copy, random_batch
from .graph_writers import halve_weights, write_graph
from .int8_examples import Calibration, head_to_export, task_of
from .request import ExportConfig
from .torch_weights import write_weights
from .verification import Verification, outputs_of, verify

if TYPE_CHECKING:
    from transformers import PreTrainedModel

logger = logging.getLogger(__name__)

_PROBE_SHAPES = ((16, 24), (16, 64))
"""Of the probes of int8: 32 inputs of 1 to 64 tokens, which cost a V3 xsmall some 50 ms."""

_SAMPLE = (2, 70)
"""Batch size and tokens of the traced batch: neither 1 nor equal to any dimension of a model."""


def export_model(checkpoint: str | Path | Checkpoint, target: str | Path, config: ExportConfig) -> Exported:
    """Export a checkpoint.

    Args:
        checkpoint: a checkpoint, its folder, or a Hub name.
        target: the folder to write; an older export there is replaced.
        config: what to write.

    Returns:
        The folder written.

    Raises:
        UserError: if the checkpoint cannot be used, the graph does not compute what the model computes, or
            int8 does not give the same answers; then nothing is written.
    """
    target = Path(target)
    if target.is_dir() and any(target.iterdir()) and not (target / MANIFEST).is_file():
        raise UserError(f"{target} contains something other than an export. Choose another folder.")
    checkpoint = Checkpoint.open(checkpoint)
    sums = checkpoint.fingerprint  # first, to notice a file that changes in the meantime
    head = head_to_export(checkpoint.config, task=config.task, place=checkpoint.name)
    if config.int8 and config.task is None:
        task_of(head, checkpoint.config)  # refuses now what the gate could not judge
    model = open_model(checkpoint, head=class_of(head)).model
    if config.fp16:
        model = model.half().float()  # what the export's weights will be
    tokenizer = checkpoint.tokenizer
    older = read_exported(Checkpoint.open(target)).manifest.files if (target / MANIFEST).is_file() else ()
    with replacing_folder(target, obsolete=(*older, RUN)) as folder:
        settings = complete_config(model.config) | {"architectures": [type(model).__name__]}
        text = json.dumps(settings, indent=2, sort_keys=True) + "\n"
        (folder / "config.json").write_text(text, encoding="utf-8")
        if checkpoint.folder.has(PROBABILITIES):
            shutil.copyfile(checkpoint.folder.file(PROBABILITIES), folder / PROBABILITIES)
        size, length = _SAMPLE
        length = min(length, model.config.max_position_embeddings)
        sample = random_batch(size, length, head=head, config=model.config, is_ragged=True)
        if config.format != TORCH:  # the tokenizer must give exactly what the graph takes
            tokenizer.model_input_names = tuple(n for n in tokenizer.model_input_names if n in sample)
        tokenizer.save_pretrained(folder)
        manifest = Manifest(
            format=config.format,
            head=head,
            weights="fp32",
            inputs=tuple(sample),
            version=__version__,
            source=sums,
        )
        (folder / MANIFEST).write_text(manifest.to_json(), encoding="utf-8")
        if config.format == TORCH:
            folded, graph = model, write_weights(model, folder)
        else:
            logger.info("converting to %s; a large model takes a few minutes", config.format)
            folded = folded_copy(model, by_head=config.for_long_inputs)
            graph = write_graph(folded, sample, folder, format_=config.format)
        checks = _finish(folder, graph, model, folded, manifest, config, trained=checkpoint.trained)
        (folder / CHECKS).write_text(json.dumps(checks, indent=2) + "\n", encoding="utf-8")
        if checkpoint.trained.task is not None:  # which columns the model reads
            write_json(folder / RUN, checkpoint.trained.record())
        card = export_card(checkpoint.name, read_exported(Checkpoint.open(folder)), checks)
        write_text(folder / "README.md", card)
    logger.info("%s: %s", target, checks["summary"])
    return read_exported(Checkpoint.open(target))


def _finish(
    folder: Path,
    graph: Path,
    model: "PreTrainedModel",
    folded: "PreTrainedModel",
    manifest: Manifest,
    config: ExportConfig,
    *,
    trained: Trained,
) -> dict[str, object]:
    """Verify the graph, then shrink it and check again. Returns what the checks found."""
    logger.info("comparing the export with the model")
    found = verify(_opened(folder), model, head=manifest.head, weights="fp32")
    checks: JsonObject = {"verification": {"fp32": _described(found)}}
    report: GateReport | None = None
    if config.int8:
        assert config.calibration is not None
        examples = Calibration(config.calibration, columns=config.columns, trained=trained)
        report = pass_gate(
            folder,
            folded,
            examples=examples,
            task=config.task,
            force=config.force,
            needs_vnni=config.needs_vnni,
            is_fp16=config.fp16,
        )
        checks["gate"] = asdict(report)
    elif config.fp16:
        halve_weights(graph, format_=config.format)
        found = verify(_opened(folder), model, head=manifest.head, weights="fp16")
        checks["verification"]["fp16"] = _described(found)
    if config.int8 and manifest.head != MULTIPLE_CHOICE:  # which no export answers
        probes = _probes(folder, model, head=manifest.head)
        (folder / PROBES).write_text(probes.to_json(), encoding="utf-8")
        checks["probes"] = {"allowed_difference": probes.tolerance}
    weights = "int8" if config.int8 else "fp16" if config.fp16 else "fp32"
    stored = replace(manifest, weights=weights, files=content_sums(folder))
    (folder / MANIFEST).write_text(stored.to_json(), encoding="utf-8")
    checks["summary"] = _summary(found, report)
    return checks


def _probes(folder: Path, model: "PreTrainedModel", *, head: str) -> Probes:
    """Inputs of random words, so that nobody's text is in the folder, with the logits of both models."""
    tokenizer = Checkpoint.open(folder).tokenizer
    batches = []
    for size, length in _PROBE_SHAPES:
        length = min(length, model.config.max_position_embeddings)
        batch = random_batch(size, length, head=head, config=model.config, is_ragged=True)
        ids, mask = batch["input_ids"], batch["attention_mask"]
        ids[np.arange(size), mask.sum(1) - 1] = tokenizer.sep_token_id
        ids[:, 0] = tokenizer.cls_token_id
        batches.append(batch)
    backend = _opened(folder)
    ours, exact = [backend.run(batch) for batch in batches], [outputs_of(model, batch) for batch in batches]
    return Probes.make(batches, head=head, ours=ours, exact=exact)


def _opened(folder: Path) -> Backend:
    """Open what is written so far, as prediction will."""
    return open_exported(read_exported(Checkpoint.open(folder)))


def _described(found: Verification) -> dict[str, object]:
    return {
        "shapes": [f"{size} x {length}" for size, length in found.shapes],
        "largest_difference": found.largest_difference,
        "equal_decisions": found.equal_decisions,
    }


def _summary(found: Verification, report: GateReport | None) -> str:
    text = f"{len(found.shapes)} shapes checked, largest difference {found.largest_difference:.1e}"
    if report is None:
        return text
    return f"{text}; int8: {report.verdict.rstrip('.')}, {len(report.kept_in_float)} layers kept in float"
