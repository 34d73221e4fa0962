"""The content of a model's folder: SHA-256 sums of every whole file that shapes its answers.

Names, sizes and dates say nothing about what a file holds, so nothing is remembered between two openings: a
remembered sum can be out of date without a word. A processor with SHA instructions hashes 1.5 GB a second and
core: half a second for a base model in fp32, a second and a half for a large one, less where files are split.
"""

import os
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from fnmatch import fnmatchcase
from pathlib import Path

from .content import sha256_of_file
from .model_folder import GENERATOR_BESIDE, user_path

_WEIGHTS = ("*.safetensors", "*.safetensors.index.json", "*.bin", "*.bin.index.json")
_GRAPHS = ("*.onnx", "*.onnx.data", "*.xml")
_TOKENIZER = (
    "*.model",  # spm.model, spiece.model, sentencepiece.bpe.model
    "tokenizer.json",
    "tokenizer_config.json",
    "added_tokens.json",
    "special_tokens_map.json",
    "vocab.json",
    "vocab.txt",
    "merges.txt",
)
PROBES = "probes.json"
"""Inputs of an int8 export with the logits that passed its gate: see docs/export.md."""

PROBABILITIES = "probabilities.json"
"""Temperature and thresholds of a fine-tuned model: see docs/finetuning.md."""

FITTED = (PROBABILITIES, PROBES)
"""Files that were made for certain weights: beside others they are wrong without a word."""

_RECORDS = ("run.json", "metrics.json", "report.html", "README.md")
"""What a model's folder says about that model."""

_OWN = (
    "config.json",
    "model.safetensors",
    "model-*-of-*.safetensors",
    "model.safetensors.index.json",
    "model_int8.safetensors",
    "pytorch_model.bin",
    "pytorch_model-*-of-*.bin",
    "pytorch_model.bin.index.json",
    *GENERATOR_BESIDE,
    "model.onnx",
    "model.onnx.data",
    "openvino_model.xml",
    "openvino_model.bin",
    "spm.model",
    "spiece.model",
    "sentencepiece.bpe.model",
    *_TOKENIZER[1:],
    PROBABILITIES,
    PROBES,
)
"""Names under which this package and transformers write; other files of a folder are the user's."""

PATTERNS = ("config.json", *_WEIGHTS, *_GRAPHS, *_TOKENIZER, PROBABILITIES, PROBES)
"""Names of the files that shape the answers of a checkpoint or an export."""


def obsolete_names(folder: str | Path) -> list[str]:
    """Names of the files that would be wrong in a folder where another model takes a model's place.

    They are those that shape its answers, and the records of its training. A model of fewer files would
    otherwise leave some there; see ``obsolete`` of `replacing_folder`.
    """
    return [*(path.name for path in Path(folder).glob("*") if is_of_a_model(path.name)), *_RECORDS]


def is_of_a_model(name: str) -> bool:
    """Whether a file of this name belongs to a model, as this package and transformers write it."""
    return any(fnmatchcase(name, pattern) for pattern in _OWN)


def content_files(folder: Path) -> list[Path]:
    """Return the files of a folder that shape its answers, by name; folders inside it do not count."""
    return sorted({path for pattern in PATTERNS for path in folder.glob(pattern) if path.is_file()})


def content_sums(folder: Path, *, known: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the SHA-256 sum of each of `content_files`, by name.

    Args:
        folder: of a model.
        known: sums of files that were read whole: what counts is what was read.

    Raises:
        UserError: if a file cannot be read.
    """
    names = [path.name for path in content_files(folder)]
    sums = {name: total for name, total in (known or {}).items() if name in names}
    files = [folder / name for name in names if name not in sums]
    with ThreadPoolExecutor(max_workers=min(4, os.cpu_count() or 1)) as pool:  # hashlib releases the lock
        sums |= zip((path.name for path in files), pool.map(sha256_of_file, files), strict=True)
    return dict(sorted(sums.items()))


def model_content(name: str, *, parts: Iterable[str] = ()) -> dict[str, str] | None:
    """Return what identifies a model by content: sums of its folder, or the commit of its copy from the Hub.

    Args:
        name: a folder or a Hub name.
        parts: names of folders inside it that count too, such as ``generator``.

    Returns:
        None for a Hub name of which the cache holds no copy yet.

    Raises:
        UserError: if a file cannot be read.
    """
    folder = user_path(name)
    if folder.is_dir():
        sums = content_sums(folder)
        for part in parts:
            sums |= {f"{part}/{file}": total for file, total in content_sums(folder / part).items()}
        return sums
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    try:
        cached = try_to_load_from_cache(name, "config.json")
    except HFValidationError:
        return None  # not a name either, as opening it will say
    return {"commit": Path(cached).parent.name} if isinstance(cached, str) else None


def changed_files(before: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    """Return the names of files that were changed, added or removed between two `content_sums`."""
    return [name for name in sorted({*before, *now}) if before.get(name) != now.get(name)]
