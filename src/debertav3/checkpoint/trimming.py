"""A checkpoint with the embeddings of only those pieces that a corpus uses, and its own tokenizer.

Most of a small model is its vocabulary: of V3 xsmall's 70 million parameters 49 are word embeddings. On every
text whose pieces were kept the outputs are equal bit for bit, since the same numbers meet in the same order.
"""

import json
import logging
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from safetensors.torch import save_file

from ..errors import UserError
from ..files import write_json, write_text
from ..files.model_content import PROBABILITIES, obsolete_names
from ..tasks.columns import RUN
from ..tokenization import DebertaV3Tokenizer
from . import files, keys
from .folder import Checkpoint
from .saving import replacing_folder

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    from torch import Tensor

logger = logging.getLogger(__name__)

_OUTPUT_PREFIXES = ("lm_predictions.", "cls.predictions.")  # heads with a row for every piece
_ID_KEYS = ("pad_token_id", "bos_token_id", "eos_token_id")


@dataclass(frozen=True, kw_only=True)
class TrimReport:
    """What trimming has removed."""

    pieces_before: int
    pieces_after: int
    embedding_parameters_before: int
    embedding_parameters_after: int
    parameters_before: int
    parameters_after: int
    corpus_tokens: int
    corpus_tokens_kept_share: float
    """Share of the corpus' tokens whose piece was kept."""


def trim_checkpoint(
    checkpoint: str | Path | Checkpoint,
    folder: str | Path,
    counts: "npt.NDArray[np.int64]",
    tokenizer: DebertaV3Tokenizer,
    *,
    min_count: int = 1,
) -> TrimReport:
    """Write a smaller checkpoint.

    Args:
        checkpoint: a checkpoint, its folder, or a Hub name.
        folder: where to.
        counts: ``(ids,)``: how often the corpus uses each id.
        tokenizer: the checkpoint's.
        min_count: how often a piece must come to be kept.

    Raises:
        UserError: if the checkpoint cannot be read, has fewer embeddings than the tokenizer has pieces, or is
            ``folder`` itself.
    """
    from ..tokenization.vocabulary_trimming import trim_tokenizer

    checkpoint, target = Checkpoint.open(checkpoint), Path(folder)
    source = checkpoint.path
    if target.resolve() == source.resolve():
        raise UserError(f"{target} is the model itself. Give another folder for --out.")
    vocab_size = checkpoint.config["vocab_size"]
    if vocab_size < len(tokenizer):
        raise UserError(
            f"{source}: {vocab_size} embeddings for {len(tokenizer)} pieces: this is not its own tokenizer."
        )
    trimmed = trim_tokenizer(tokenizer, (counts >= min_count).nonzero()[0].tolist())
    before = checkpoint.weights.read()
    checkpoint.weights.forget()
    after = _select_rows(before, trimmed.old_ids, vocab_size=vocab_size)
    config = dict(checkpoint.folder.json("config.json"))
    new_ids = {old: new for new, old in enumerate(trimmed.old_ids)}
    config |= {key: new_ids.get(config[key], config[key]) for key in _ID_KEYS if key in config}
    config |= {"vocab_size": len(trimmed.old_ids)}
    report = _report(before, after, counts, trimmed.old_ids)
    if files.find_generator(checkpoint.folder):
        logger.warning(
            "%s: the generator is not copied, because a trimmed model is not for pre-training", source
        )
    with replacing_folder(target, obsolete=obsolete_names(target)) as partial:
        save_file(after, partial / files.WEIGHTS[0], metadata={"format": "pt"})
        (partial / "config.json").write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", "utf-8")
        trimmed.tokenizer.save_pretrained(partial)
        if checkpoint.folder.has(PROBABILITIES):
            shutil.copyfile(checkpoint.folder.file(PROBABILITIES), partial / PROBABILITIES)
        if checkpoint.trained.task is not None:  # which columns the model reads
            write_json(partial / RUN, checkpoint.trained.record())
        write_text(partial / "README.md", _card(checkpoint.name, report))
    return report


def _select_rows(
    tensors: "Mapping[str, Tensor]", old_ids: Sequence[int], *, vocab_size: int
) -> "dict[str, Tensor]":
    tables = {keys.table_key("word_embeddings"), keys.delta_key("word_embeddings")}
    selected = {}
    for name, tensor in tensors.items():
        is_by_piece = name in tables or name.startswith(_OUTPUT_PREFIXES)
        if is_by_piece and tensor.shape[:1] == (vocab_size,):
            tensor = tensor[list(old_ids)]
        selected[name] = tensor.contiguous().clone()  # no two share memory
    return selected


def _report(
    before: "Mapping[str, Tensor]",
    after: "Mapping[str, Tensor]",
    counts: "npt.NDArray[np.int64]",
    old_ids: Sequence[int],
) -> TrimReport:
    table = keys.table_key("word_embeddings")
    return TrimReport(
        pieces_before=len(counts),
        pieces_after=len(old_ids),
        embedding_parameters_before=before[table].numel(),
        embedding_parameters_after=after[table].numel(),
        parameters_before=sum(tensor.numel() for tensor in before.values()),
        parameters_after=sum(tensor.numel() for tensor in after.values()),
        corpus_tokens=int(counts.sum()),
        corpus_tokens_kept_share=round(float(counts[list(old_ids)].sum() / max(counts.sum(), 1)), 6),
    )


def _card(model: str, report: TrimReport) -> str:
    removed = 1 - report.embedding_parameters_after / report.embedding_parameters_before
    smaller = 1 - report.parameters_after / report.parameters_before
    return f"""---
library_name: transformers
tags: [deberta-v3, debertav3, trimmed-vocabulary]
---

# {Path(model).name}, trimmed vocabulary

`{model}` with the pieces that a corpus of {report.corpus_tokens:,} tokens uses, and all single characters
and bytes: {report.pieces_after:,} of {report.pieces_before:,} pieces.

- word embeddings: {report.embedding_parameters_before:,} to {report.embedding_parameters_after:,} parameters,
  {removed:.1%} removed
- all parameters: {report.parameters_before:,} to {report.parameters_after:,}, {smaller:.1%} removed
- tokens of the corpus that have kept their piece: {report.corpus_tokens_kept_share:.4%}

On every text whose pieces were kept, ids map one to one and outputs are equal bit for bit. Other texts are
spelled with shorter pieces, which costs tokens and may cost quality: measure it on your own data.

```json
{json.dumps(asdict(report), indent=2)}
```
"""
