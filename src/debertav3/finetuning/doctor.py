"""The data doctor: what a set of examples is, and what about it may spoil a training or its scores."""

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from ..json_types import JsonMapping, JsonObject
from ..tasks.example import Example
from ..tasks.rows import first_of
from ..tasks.task import Task
from ..tasks.text import TextTask
from .config import FinetuneConfig
from .preparation import can_balance
from .set_facts import SetFacts
from .word_baseline import BalancedSample, WordBaselines

if TYPE_CHECKING:
    from .batches import Tokenizer
    from .preparation import Data

_RARE_SHARE, _RARE_PART = 0.02, 1 / 3
"""A label is rare with less than this share of the examples, and than this part of an average label."""
_RARE_SHOWN = 10
_LARGE_NUMBER = 10.0
"""A number to predict that is larger takes a head, which begins near 0, many steps to reach."""
_BATCH_ROWS = 1024
_BATCH_CHARACTERS = 2_000_000


def examine(data: "Data", config: FinetuneConfig, *, tokenizer: "Tokenizer") -> JsonObject:
    """Describe the data of a run.

    Args:
        data: checked examples.
        config: for the length limit and the seed.
        tokenizer: ours or any of transformers.

    Returns:
        As `Doctor.facts`.
    """
    doctor = Doctor(data.task, config, tokenizer)
    for batch in batches_of(iter(data.train)):
        doctor.see_training(batch)
    for source, examples in data.dev.items():
        for batch in batches_of(iter(examples)):
            doctor.see_dev(source, batch)
    return doctor.facts()


class Doctor:
    """Looks at examples in passing, batch by batch: first at all of the training set, then at dev sets.

    Args:
        task: whose examples they are.
        config: for the length limit and the seed.
        tokenizer: by which lengths are counted.
    """

    def __init__(self, task: Task, config: FinetuneConfig, tokenizer: "Tokenizer") -> None:
        self.task = task
        self.config = config
        self.tokenizer = tokenizer
        self.train = self._new_set()
        self.dev: dict[str, SetFacts] = {}
        has_classes = isinstance(task, TextTask) and task.target == "one-label"
        self._sample = BalancedSample(config.seed) if has_classes else None
        self._words: WordBaselines | None = None
        self._right: dict[str, dict[str, int]] = {}

    def see_training(self, examples: Sequence[Example]) -> None:
        """Take in examples of the training set."""
        self.train.add(examples)
        if self._sample is not None:
            for example in examples:
                self._sample.add(example)

    def see_dev(self, source: str, examples: Sequence[Example]) -> None:
        """Take in examples of a dev set, after all of the training set."""
        if source not in self.dev:
            self.dev[source] = self._new_set()
        self.dev[source].add(examples)
        if self._sample is None:
            return
        if self._words is None:
            self._words = WordBaselines(self._sample)
        right = self._right.setdefault(source, {})
        for name, count in self._words.num_right(examples).items():
            right[name] = right.get(name, 0) + count

    def facts(self) -> JsonObject:
        """What was seen.

        Returns:
            ``train`` and for each dev source the facts of `SetFacts`, and ``warnings``, one line each.
        """
        train = self.train.result()
        dev = {}
        for source, seen in self.dev.items():
            dev[source] = seen.result()
            dev[source]["also_in_training"] = self.train.repetitions.num_known(seen.repetitions)
            if self._words is not None:
                dev[source]["baselines"] = self._baselines(source, self._words)
        found = _warnings("training data", train, self.config)
        found += _rare_labels(
            train,
            can_balance=can_balance(self.task) and not self.config.regularization.balance_classes,
        )
        for source, facts in dev.items():
            found += _warnings(source, facts, self.config)
        return {"train": train, "dev": dev, "warnings": found}

    def _new_set(self) -> SetFacts:
        return SetFacts(self.task, self.tokenizer, max_length=self.config.data.max_length)

    def _baselines(self, source: str, words: WordBaselines) -> dict[str, float]:
        """Accuracy of the dev set's commonest label and of the models over words."""
        seen = self.dev[source].summary
        found = {"majority": seen.labels.most_common(1)[0][1] / seen.num_examples}
        found |= {name: count / seen.num_examples for name, count in self._right[source].items()}
        if words.is_bounded:
            found["learned_from_rows"] = words.num_rows
        return found


def batches_of(examples: Iterator[Example]) -> Iterator[list[Example]]:
    """Cut a stream into batches of bounded size."""
    batch: list[Example] = []
    size = 0
    for example in examples:
        batch.append(example)
        size += sum(map(len, example.texts))
        if len(batch) == _BATCH_ROWS or size > _BATCH_CHARACTERS:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def add_word_baselines(dev: Mapping[str, JsonObject], facts: JsonMapping) -> None:
    """Add to the scores of each dev set those of the linear model over words, where it was trained.

    Args:
        dev: scores by source, as for ``metrics.json``.
        facts: by source, what `examine` says of the set.
    """
    for source, scores in dev.items():
        words = facts.get(source, {}).get("baselines", {}).get("words")
        if words is not None:
            scores["word_baseline"] = {"accuracy": words}


def _warnings(source: str, facts: JsonObject, config: FinetuneConfig) -> list[str]:
    count, found = facts["examples"], []
    if facts["duplicates"]:
        found.append(f"{facts['duplicates']} of {count} examples repeat another one's texts")
    if facts["contradictory"]:
        found.append(
            f"{facts['contradictory']} texts occur with different labels; no model can be correct on both"
        )
    if facts.get("truncated"):
        found.append(
            f"{facts['truncated']} of {count} examples have more than "
            f"{config.data.max_length} tokens and are truncated (99% have at most "
            f"{facts['tokens']['p99']}); raise max_length if the end matters"
        )
    if facts["with_unknown_tokens"]:
        found.append(
            f"{facts['with_unknown_tokens']} of {count} examples have characters unknown to the tokenizer"
        )
    if facts.get("also_in_training"):
        found.append(
            f"{facts['also_in_training']} of {count} examples are also in the training data; "
            "scores will be too high"
        )
    baselines = facts.get("baselines", {})
    if baselines.get("second_text_words", 0) > baselines.get("majority", 0) + 0.1:
        found.append(
            f"the second text alone gives {baselines['second_text_words']:.1%} accuracy "
            f"(always the most common label: {baselines['majority']:.1%}); compare scores "
            "with that"
        )
    mean, deviation = (facts["labels"].get(name) for name in ("mean", "sd"))
    are_numbers = isinstance(mean, float) and isinstance(deviation, float)  # else classes of these names
    if are_numbers and max(abs(mean), deviation) > _LARGE_NUMBER:
        found.append(
            f"labels have the mean {mean:.4g} and the standard deviation {deviation:.4g}; a model starts "
            "near 0 and takes a long time to get there: scale them, or compare rmse with that of predicting "
            "the mean"
        )
    return [f"{source}: {line}" for line in found]


def _rare_labels(facts: JsonMapping, *, can_balance: bool) -> list[str]:
    """Name rare labels of the training data, and the setting that helps where the task takes it."""
    named = {name: number for name, number in facts["labels"].items() if isinstance(number, int)}
    if len(named) < 2 or "O" in named:
        return []
    most = min(_RARE_SHARE, _RARE_PART / len(named)) * sum(named.values())
    rare = [name for name, number in named.items() if number < most]
    if not rare:
        return []
    listed = first_of([f"{name} ({named[name]})" for name in rare], most=_RARE_SHOWN)
    advice = "; consider --set balance_classes=true" if can_balance else ""
    return [f"training data: rare labels: {listed}{advice}"]
