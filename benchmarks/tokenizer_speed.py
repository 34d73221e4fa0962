"""How fast do we encode 5,000 real sentences, beside stock transformers and bare sentencepiece?

    python benchmarks/tokenizer_speed.py [--model DIR] [--data DIR]

Every figure compares one batch call of ours with one of the tokenizer that transformers 5 builds from the
same ``spm.model``, in alternating rounds of one process, each with its default threads (the stock tokenizer
takes every core) and again with ours on two. Three calls are compared: ids only, the ordinary call with masks
and padding, and the call with character offsets.
"""

import argparse
import gzip
import itertools
import json
import os
import re
import statistics
from collections.abc import Callable, Iterator
from pathlib import Path

from side_by_side import alternate, print_json, ratio

REPOSITORY = Path(__file__).resolve().parents[1]
DATA = Path(os.environ.get("DEBERTAV3_DATA", REPOSITORY.parent / "shared" / "data"))
SENTENCE_END = re.compile(r"(?<=[.!?]) +")
NUM_SENTENCES = 5_000


def rows(path: Path) -> Iterator[dict]:
    with gzip.open(path, "rt", encoding="utf-8") as stream:
        yield from map(json.loads, stream)


def sentences(data: Path, count: int) -> list[str]:
    """Half of them NLI premises and hypotheses, half from paragraphs of all corpora, each once."""
    pairs = (
        row[name] for row in rows(data / "nli" / "snli_dev.jsonl.gz") for name in ("premise", "hypothesis")
    )
    nli = list(dict.fromkeys(itertools.islice(pairs, 4 * count)))[: count // 2]
    files = sorted((data / "corpus").glob("*.jsonl.gz"))
    corpus = [
        sentence
        for path in files
        for sentence in itertools.islice(
            (
                part
                for row in rows(path)
                for line in row["text"].split("\n")
                for part in SENTENCE_END.split(line)
            ),
            count // 2 // len(files),
        )
    ]
    return nli + corpus


def contenders(model: Path, texts: list[str]) -> dict[str, dict[str, Callable[[], object]]]:
    """For every kind of call: the stock tokenizer's, ours on one thread, and ours on two."""
    from transformers import AutoTokenizer

    from debertav3.tokenization import DebertaV3Tokenizer

    stock = AutoTokenizer.from_pretrained(model)
    one = DebertaV3Tokenizer.from_pretrained(model)
    two = DebertaV3Tokenizer.from_pretrained(model, num_threads=2)
    bare = {"add_special_tokens": False, "return_attention_mask": False, "return_token_type_ids": False}
    return {
        "ids only": {
            "stock": lambda: stock(texts, **bare)["input_ids"],
            "stock, tokenizers library alone": lambda: [
                encoding.ids
                for encoding in stock.backend_tokenizer.encode_batch_fast(texts, add_special_tokens=False)
            ],
            "ours, 1 thread": lambda: one.encode_batch(texts),
            "ours, 2 threads": lambda: two.encode_batch(texts),
        },
        "call with masks and padding": {
            "stock": lambda: stock(texts, padding=True, truncation=True, max_length=512),
            "ours, 1 thread": lambda: one(texts, padding=True, truncation=True, max_length=512),
            "ours, 2 threads": lambda: two(texts, padding=True, truncation=True, max_length=512),
        },
        "call with offsets": {
            "stock": lambda: stock(texts, return_offsets_mapping=True),
            "ours, 1 thread": lambda: one(texts, return_offsets_mapping=True),
            "ours, 2 threads": lambda: two(texts, return_offsets_mapping=True),
        },
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--model", type=Path, default=DATA / "deberta-v3-tokenizer")
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--rounds", type=int, default=9)
    arguments = parser.parse_args()
    texts = sentences(arguments.data, NUM_SENTENCES)
    characters = sum(map(len, texts))
    print(f"{len(texts)} sentences, {characters} characters, model {arguments.model.name}")
    figures: dict[str, dict[str, float]] = {}
    for kind, calls in contenders(arguments.model, texts).items():
        seconds = alternate(calls, rounds=arguments.rounds)
        print(f"\n{kind:34s}{'ms':>8s}{'quartiles':>16s}{'MB/s':>7s}{'times as fast':>15s}")
        for name, times in seconds.items():
            low, middle, high = (1000 * quartile for quartile in statistics.quantiles(times, n=4))
            faster = ratio(seconds["stock"], times)
            rate = characters / 1000 / middle
            print(f"{name:34s}{middle:8.1f}{low:8.1f} -{high:6.1f}{rate:7.1f}{faster:15.2f}")
            figures.setdefault(kind, {})[name] = round(faster, 2)
    print_json("tokenizer_speed", sentences=len(texts), times_as_fast_as_stock=figures)


if __name__ == "__main__":
    main()
