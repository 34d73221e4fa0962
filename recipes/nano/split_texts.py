"""The files that the public data do not hold as they are: SNLI split by premise, and rows as documents.

Writes ``snli_train.jsonl`` and ``snli_holdout.jsonl`` (each premise in one of them, one in ten held out) and
``pairs-text.jsonl``, the texts of the training sets without labels, for pre-training.

Run: python recipes/nano/split_texts.py --data DATA --out runs/nli
"""

import argparse
import hashlib
import json
import random
from collections.abc import Iterator
from pathlib import Path

from debertav3.files import replacing_text
from debertav3.tasks.tables import read_table

PAIRS = {
    "nli/snli_dev": ("premise", "hypothesis"),
    "nli/cad_snli_train": ("premise", "hypothesis"),
    "nli/conjnli_adv_train": ("premise", "hypothesis"),
    "nli/mnli_train_taxinli": ("premise", "hypothesis"),
    "nli/mnli_mismatched_1annot": ("premise", "hypothesis"),
    "nli/scitail_2way": ("premise", "hypothesis"),
    "nli/help_andor": ("premise", "hypothesis"),
    "nli/function_words": ("premise", "hypothesis"),
    "glue/qnli_train": ("question", "sentence"),
    "glue/boolq_train": ("question", "passage"),
}
TEXTS = (
    "sentence_polarity",
    "emobank_valence",
    "newsmtsc_target_sentiment",
    "movie_subjectivity",
    "hwu64_intent",
    "hint3_intent",
)
SQUAD = ("train-v2.0-slice", "train-from-dev-v2.0", "train-new-wiki-v1.1", "policy_qa", "covid_qa")
PAIRS_OF_A_DOCUMENT = 20
"""Held-out documents keep their pairs together."""


def is_held_out(premise: str) -> bool:
    """Whether a premise belongs to the tenth that is kept for scoring."""
    return int(hashlib.sha256(premise.encode()).hexdigest(), 16) % 10 == 0


def split_snli(data: Path, out: Path) -> None:
    """Write the two parts of SNLI's dev set."""
    rows = [row.fields for row in read_table(data / "nli" / "snli_dev.jsonl.gz")]
    for name, held_out in (("snli_train", False), ("snli_holdout", True)):
        with replacing_text(out / f"{name}.jsonl") as file:
            for row in rows:
                if is_held_out(row["premise"]) == held_out:
                    file.write(json.dumps(row, ensure_ascii=False) + "\n")


def texts(data: Path) -> Iterator[str]:
    """Every training pair as lines, and SQuAD's paragraphs with three questions each; nothing held out."""
    for name, columns in PAIRS.items():
        mark = "?" if name == "glue/boolq_train" else ""  # its questions have none
        for row in read_table(data / f"{name}.jsonl.gz"):
            first, second = (row.fields[column] for column in columns)
            if name == "nli/snli_dev" and is_held_out(first):
                continue
            yield f"{first}{mark}\n{second}"
    for name in TEXTS:
        yield from (row.fields["text"] for row in read_table(data / "classification" / f"{name}.jsonl.gz"))
    for name in SQUAD:
        content = json.loads((data / "squad" / f"{name}.json").read_text(encoding="utf-8"))
        for paragraph in (one for article in content["data"] for one in article["paragraphs"]):
            yield paragraph["context"] + "\n" + " ".join(qa["question"] for qa in paragraph["qas"][:3])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder of the public data")
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    split_snli(arguments.data, arguments.out)
    found = list(texts(arguments.data))
    random.Random(0).shuffle(found)
    with replacing_text(arguments.out / "pairs-text.jsonl") as file:
        for start in range(0, len(found), PAIRS_OF_A_DOCUMENT):
            text = "\n".join(found[start : start + PAIRS_OF_A_DOCUMENT])
            file.write(json.dumps({"id": start, "text": text}) + "\n")


if __name__ == "__main__":
    main()
