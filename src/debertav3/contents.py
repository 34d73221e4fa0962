"""The content of a model's folder: SHA-256 sums of every whole file that shapes its answers.

Names, sizes and dates say nothing about what a file holds, so nothing is remembered between two openings: a
remembered sum can be out of date without a word. A processor with SHA instructions hashes 1.5 GB a second and
core: half a second for a base model in fp32, a second and a half for a large one, less where files are split.
"""

import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from .files import sha256_of_file

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
PROBABILITIES = "probabilities.json"
"""Temperature and thresholds of a fine-tuned model: see docs/finetuning.md."""

PATTERNS = ("config.json", *_WEIGHTS, *_GRAPHS, *_TOKENIZER, PROBABILITIES)
"""Names of the files that shape the answers of a checkpoint or an export."""


def content_files(folder: Path) -> list[Path]:
    """Return the files of a folder that shape its answers, by name; folders inside it do not count."""
    return sorted({path for pattern in PATTERNS for path in folder.glob(pattern) if path.is_file()})


def content_sums(folder: Path) -> dict[str, str]:
    """Return the SHA-256 sum of each of `content_files`, by name.

    Raises:
        UserError: if a file cannot be read.
    """
    files = content_files(folder)
    with ThreadPoolExecutor(max_workers=min(4, os.cpu_count() or 1)) as pool:  # hashlib releases the lock
        return dict(zip((path.name for path in files), pool.map(sha256_of_file, files), strict=True))


def changed_files(before: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    """Return the names of files that were changed, added or removed between two `content_sums`."""
    return [name for name in sorted({*before, *now}) if before.get(name) != now.get(name)]
