"""The steps of ``data prepare`` as datatrove runs them. Importing this module needs datatrove."""

import hashlib
import json
import logging
import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from datatrove.data import Document
from datatrove.executor import LocalPipelineExecutor
from datatrove.pipeline.dedup import (
    ExactDedupFilter,
    ExactDedupSignature,
    ExactFindDedups,
    MinhashDedupBuckets,
    MinhashDedupCluster,
    MinhashDedupFilter,
    MinhashDedupSignature,
)
from datatrove.pipeline.dedup.exact_dedup import ExactDedupConfig
from datatrove.pipeline.dedup.minhash import MinhashConfig
from datatrove.pipeline.filters import GopherQualityFilter, GopherRepetitionFilter
from datatrove.utils.hashing import HashConfig
from datatrove.utils.stats import PipelineStats
from datatrove.utils.word_tokenizers import WordTokenizer, simple_span_tokenize
from loguru import logger as datatrove_log

from ..errors import UserError
from ..files import fingerprint, write_json
from ..processes import end_with_parent
from ..tokenization import DebertaV3Tokenizer
from .cleaning import clean_text
from .documents import Problem, Unit, read_documents
from .shards import ShardWriter, token_dtype

log = logging.getLogger(__name__)

MINHASH_BUCKETS = (
    14  # datatrove's default: 14 bands of 8 hashes of word 5-grams, half of all pairs at similarity 0.72
)
HASH = HashConfig(precision=64, hash_fc="sha1")  # datatrove's xxhash calls fail on str with xxhash 4
Documents = Iterator[Document]


class SpaceWordTokenizer(WordTokenizer):
    """Words by spaces: enough for shingles and Gopher's statistics, and needs no language package."""

    def word_tokenize(self, text: str) -> list[str]:
        """Split at spaces."""
        return text.split()

    def sent_tokenize(self, text: str) -> list[str]:
        """Split at line ends."""
        return [line for line in text.split("\n") if line]

    def span_tokenize(self, text: str) -> list[tuple[int, int]]:
        """Start and end of each sentence."""
        return list(simple_span_tokenize(text, self.sent_tokenize(text)))


WORDS = SpaceWordTokenizer()


@dataclass
class ReadUnit:
    """First step: the documents of the task's unit.

    Args:
        units: one for each task.
        text_column: see `read_documents`.
        blank_line_ends_document: see `read_documents`.
        clean: run `clean_text` on each document.
        problems: folder for one file of problems per task, or None to leave them to another stage.
    """

    units: list[Unit]
    text_column: str
    blank_line_ends_document: bool
    clean: bool
    problems: Path | None = None

    def __call__(self, data: Documents | None, rank: int, world_size: int) -> Documents:
        """Yield the documents of unit ``rank``."""
        found: list[Problem] = []
        texts = read_documents(
            self.units[rank],
            text_column=self.text_column,
            blank_line_ends_document=self.blank_line_ends_document,
            report=found.append,
        )
        for number, text in enumerate(texts):
            cleaned = clean_text(text) if self.clean else text
            if cleaned is not None:
                yield Document(text=cleaned, id=f"{rank}/{number}")
        if self.problems is not None:
            self.problems.mkdir(parents=True, exist_ok=True)
            write_json(self.problems / f"{rank:05d}.json", [vars(problem) for problem in found])


def gopher_filters() -> list[object]:
    """Gopher's repetition and quality filters (English stop words), as datatrove implements them."""
    return [GopherRepetitionFilter(language=WORDS), GopherQualityFilter(language=WORDS)]


@dataclass
class WriteShard:
    """Last step: tokenize document by document into one train and one held-out shard.

    Args:
        out: folder of the shards.
        tokenizer: folder of the tokenizer.
        heldout_share: share of the documents, chosen by the hash of their text, that goes to ``heldout``.
    """

    out: Path
    tokenizer: Path
    heldout_share: float

    def __call__(self, data: Documents, rank: int, world_size: int) -> None:
        """Write shard ``rank``, then its facts for the index."""
        vocabulary = fingerprint(self.tokenizer)
        tokenizer = DebertaV3Tokenizer.from_pretrained(str(self.tokenizer))
        dtype = token_dtype(len(tokenizer))
        counts: Counter[str] = Counter()
        lengths: Counter[int] = Counter()
        name = f"{rank:05d}"
        with (
            ShardWriter(self.out / "train", name, dtype) as train,
            ShardWriter(self.out / "heldout", name, dtype) as heldout,
        ):
            for document in data:
                ids = tokenizer.encode(document.text)
                if not ids:
                    counts["empty_documents"] += 1
                    continue
                (heldout if is_held_out(document.text, self.heldout_share) else train).add(ids)
                counts["characters"] += len(document.text)
                counts["unknown_tokens"] += ids.count(tokenizer.unk_token_id)
                lengths[len(ids).bit_length()] += 1
        facts = self.out / "stages" / "facts"
        facts.mkdir(parents=True, exist_ok=True)
        row = {
            "train": train.facts(),
            "heldout": heldout.facts(),
            "counts": counts,
            "lengths": lengths,
            "tokenizer": vocabulary,
        }
        write_json(facts / f"{name}.json", row)


def is_held_out(text: str, share: float) -> bool:
    """Whether a text is held out. A hash that ignores white space decides: duplicates land in one split."""
    digest = hashlib.blake2b(without_spacing(text), digest_size=8).digest()
    return int.from_bytes(digest, "little") < share * 2**64


def text_of(document: Document) -> bytes:
    """What exact duplicates are compared by."""
    return without_spacing(document.text)


def without_spacing(text: str) -> bytes:
    """The words of a text with one space between them."""
    return " ".join(text.split()).encode("utf-8")


def exact_stages(
    read: list[object], folder: Path, num_units: int
) -> tuple[list[tuple[str, list[object], int]], object]:
    """Stages that find exact duplicates, as (name, pipeline, tasks), and the filter that drops them."""
    config = ExactDedupConfig(content_getter=text_of, hash_config=HASH)
    signatures, found = str(folder / "signatures"), str(folder / "found")
    stages = [
        ("exact-signatures", [*read, ExactDedupSignature(signatures, config)], num_units),
        ("exact-find", [ExactFindDedups(signatures, found, config, lines_to_buffer=1000)], 1),
    ]
    return stages, ExactDedupFilter(found, config)


def minhash_stages(
    read: list[object], folder: Path, num_units: int
) -> tuple[list[tuple[str, list[object], int]], object]:
    """Stages that find near duplicates, as (name, pipeline, tasks), and the filter that drops them."""
    signatures, pairs, removed = str(folder / "signatures"), str(folder / "pairs"), str(folder / "removed")
    config = MinhashConfig(num_buckets=MINHASH_BUCKETS, hash_config=HASH)
    stages = [
        ("minhash-signatures", [*read, MinhashDedupSignature(signatures, config, language=WORDS)], num_units),
        (
            "minhash-pairs",
            [MinhashDedupBuckets(signatures, pairs, config=config, lines_to_buffer=1000)],
            MINHASH_BUCKETS,
        ),
        ("minhash-clusters", [MinhashDedupCluster(pairs, removed, config, lines_to_buffer=1000)], 1),
    ]
    return stages, MinhashDedupFilter(removed)


class PatientExecutor(LocalPipelineExecutor):
    """datatrove's local executor, but a failing task is reported and left unfinished; the others continue.

    Its worker processes end with the process that made this object, even if that is killed.
    """

    def __init__(self, *args: object, **kwargs: object) -> None:
        super().__init__(*args, **kwargs)
        self._owner = os.getpid()

    def _run_for_rank(self, rank: int, local_rank: int = 0, node_rank: int = -1) -> PipelineStats:
        if os.getpid() != self._owner:
            end_with_parent()
        datatrove_log.disable(
            "datatrove"
        )  # its task logs would go to our stderr; failures are reported below
        try:
            return super()._run_for_rank(rank, local_rank, node_rank)
        except (OSError, UserError) as error:
            log.error("task %d of %d failed, the others continue: %s", rank + 1, self.world_size, error)
            return PipelineStats()


def read_json_files(folder: Path) -> list[Any]:
    """The values of all ``NNNNN.json`` below ``folder``, in order of name."""
    names = sorted(name for name in os.listdir(folder) if name.endswith(".json")) if folder.is_dir() else []
    return [json.loads((folder / name).read_text(encoding="utf-8")) for name in names]
