"""Labelled texts as pairs: a hypothesis says the right label (entailment) or another one (no entailment).

Reads sentiment, intent and question sets of the public data, with label names and templates of
``recast.yaml``; those under ``kept_out`` are never read, so that zero-shot answers can be measured on them.
It also writes pair sets with two labels as distributions over three.

Run: python recipes/nano/recast.py --data DATA --out FOLDER
"""

import argparse
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import yaml
from pairs import (
    CONTRADICTED,
    ENTAILED,
    NEUTRAL,
    WRONG_NAME,
    Pair,
    Shares,
    cut,
    draw_template,
    sentence,
    write_pairs,
)

from debertav3.errors import UserError
from debertav3.tasks.tables import read_table

SETTINGS = Path(__file__).with_name("recast.yaml")
EXCLUDES = {"sentiment": CONTRADICTED, "name": WRONG_NAME}
"""What another label of the set means for the pair."""


@dataclass(frozen=True, kw_only=True)
class LabelledSet:
    """How a set of labelled texts is recast."""

    templates: tuple[str, ...]
    """Hypotheses with ``{}`` for the label, and fields of the row such as ``{target}``."""
    names: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Words for a label; missing, the label itself."""
    excludes: str = "name"
    wrong: float = 1
    """Hypotheses with another label, for each text."""
    most: int = 10_000
    """Texts."""
    asks_default: bool = True
    """Whether the commands' own template is among the templates."""

    def words(self, label: str) -> tuple[str, ...]:
        """How a label may be called."""
        return self.names.get(label, (label,))


def read_settings(path: Path = SETTINGS) -> tuple[dict[str, LabelledSet], dict[str, Mapping[str, Shares]]]:
    """Labelled sets and pair sets by file.

    Raises:
        UserError: if a set that is kept out is also to be recast.
    """
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    templates, names = content["templates"], content["names"]
    sets = {
        file: LabelledSet(
            templates=tuple(one for kind in row.pop("templates") for one in templates[kind]),
            names={label: tuple(words) for label, words in names.get(row.pop("names", ""), {}).items()},
            **row,
        )
        for file, row in content["sets"].items()
    }
    if both := set(sets) & set(content["kept_out"]):
        raise UserError(f"{path.name}: {', '.join(sorted(both))} is kept out and recast. Choose one.")
    two_way = {
        file: {label: Shares(*shares) for label, shares in row.items()}
        for file, row in content["two_way"].items()
    }
    return sets, two_way


def kept_out(path: Path = SETTINGS) -> dict[str, Mapping[str, str]]:
    """The sets that no training reads: names of labels, as far as they differ from the label."""
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    return {file: names or {} for file, names in content["kept_out"].items()}


def recast(rows: Sequence[Mapping[str, str]], settings: LabelledSet, random: random.Random) -> Iterator[Pair]:
    """Pairs of labelled texts.

    Args:
        rows: with ``text`` and ``label``.
        settings: of the set.
        random: of templates, words and wrong labels.
    """
    labels = sorted({row["label"] for row in rows})
    near = {one: [other for other in labels if other != one and _is_near(one, other)] for one in labels}
    for row in random.sample(list(rows), min(len(rows), settings.most)):
        right, text = row["label"], cut(row["text"])
        yield Pair(text, _hypothesis(row, right, settings, random), ENTAILED)
        count = int(settings.wrong) + (random.random() < settings.wrong % 1)
        for _ in range(min(count, len(labels) - 1)):
            others = near[right] if near[right] and random.random() < 0.3 else labels
            wrong = random.choice([label for label in others if label != right])
            shares = NEUTRAL if "neutral" in (right, wrong) else EXCLUDES[settings.excludes]
            yield Pair(text, _hypothesis(row, wrong, settings, random), shares)


def _is_near(one: str, other: str) -> bool:
    """Whether two labels share a word, as "alarm set" and "alarm query" do."""
    return bool(set(one.split()) & set(other.split()))


def _hypothesis(row: Mapping[str, str], label: str, settings: LabelledSet, random: random.Random) -> str:
    if settings.asks_default:
        template = draw_template(random, settings.templates)
    else:
        template = random.choice(settings.templates)
    for name in ("target", "aspect"):
        template = template.replace("{" + name + "}", row.get(name, ""))
    return sentence(template, random.choice(settings.words(label)))


def widen(
    rows: Sequence[Mapping[str, str]], shares: Mapping[str, Shares], most: int, random: random.Random
) -> Iterator[Pair]:
    """Pairs whose labels stand for distributions over three."""
    for row in random.sample(list(rows), min(len(rows), most)):
        yield Pair(cut(row["premise"]), row["hypothesis"], shares[row["label"]])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder of the public data")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--most", type=int, default=4_000, help="pairs of a set with two labels")
    parser.add_argument("--out", type=Path, required=True, help="folder for a file of each set")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    sets, two_way = read_settings()
    for file in (*sets, *two_way):
        rows = [row.fields for row in read_table(arguments.data / f"{file}.jsonl.gz")]
        draws = random.Random(f"{file} {arguments.seed}")
        pairs = (
            recast(rows, sets[file], draws)
            if file in sets
            else widen(rows, two_way[file], arguments.most, draws)
        )
        name = Path(file).name
        count = write_pairs(arguments.out / f"{name}.jsonl", pairs, source=name, seed=arguments.seed)
        print(f"{file:<45} {count:>7,} pairs", flush=True)


if __name__ == "__main__":
    main()
