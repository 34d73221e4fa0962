"""The data doctor: what a set of examples is, and what about it may spoil a training or its scores."""

import logging
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from ..errors import MissingExtraError
from ..heads import MULTIPLE_CHOICE, SEQUENCE, TOKENS, HeadName
from ..json_types import JsonMapping, JsonObject
from ..tasks.rows import first_of
from ..tasks.squad import Gold
from ..tasks.tagging import MarkedText
from ..tasks.task import Example, take_balanced
from ..tasks.text import TextTask
from .config import FinetuneConfig
from .preparation import can_balance

if TYPE_CHECKING:
    from .batches import Tokenizer
    from .preparation import Data

logger = logging.getLogger(__name__)

_PERCENTILES = (50, 90, 99, 100)
_BASELINE_ROWS = 20_000
"""A linear model over so many rows shows what words alone give away; more only take longer."""
_RARE_SHARE, _RARE_PART = 0.02, 1 / 3
"""A label is rare with less than this share of the examples, and than this part of an average label."""
_RARE_SHOWN = 10
_LARGE_NUMBER = 10.0
"""A number to predict that is larger takes a head, which begins near 0, many steps to reach."""
_CUT_WHOLE = (SEQUENCE, MULTIPLE_CHOICE)
"""Heads for which a text beyond the length limit is lost; the others read long texts in pieces."""


def examine(data: "Data", config: FinetuneConfig, *, tokenizer: "Tokenizer") -> JsonObject:
    """Describe the data of a run.

    Args:
        data: checked examples.
        config: for the length limit and the seed.
        tokenizer: ours or any of transformers.

    Returns:
        ``train`` and for each dev source the facts of :func:`describe`, and ``warnings``, one line each.
    """
    head = data.task.head
    limit = config.data.max_length if head in _CUT_WHOLE else None
    train = describe(data.train, tokenizer, head=head, max_length=limit)
    known = {example.texts for example in data.train}
    dev = {}
    for source, examples in data.dev.items():
        facts = describe(examples, tokenizer, head=head, max_length=limit)
        facts["also_in_training"] = sum(example.texts in known for example in examples)
        if isinstance(data.task, TextTask) and data.task.target == "one-label":
            facts["baselines"] = word_baselines(data.train, examples, seed=config.seed)
        dev[source] = facts
    found = _warnings("training data", train, config)
    found += _rare_labels(
        train, can_balance=can_balance(data.task) and not config.regularization.balance_classes
    )
    for source, facts in dev.items():
        found += _warnings(source, facts, config)
    return {"train": train, "dev": dev, "warnings": found}


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


def describe(
    examples: Sequence[Example], tokenizer: "Tokenizer", *, head: HeadName, max_length: int | None
) -> dict[str, object]:
    """Count labels, lengths, repetitions and contradictions.

    Args:
        examples: of one set.
        tokenizer: by which lengths are counted, in tokens, special ones included.
        head: of the task, which decides what one input is.
        max_length: beyond which an example is cut; None if it never is.
    """
    labels_of = defaultdict(set)
    for example in examples:
        labels_of[example.texts].add(example.label)
    lengths, unknown = _token_counts(examples, tokenizer, head=head)
    facts: dict[str, object] = {
        "examples": len(examples),
        "labels": _label_counts(examples),
        "duplicates": len(examples) - len(labels_of),
        "contradictory": sum(len(labels) > 1 for labels in labels_of.values()),
        "tokens": {f"p{share}": int(np.percentile(lengths, share)) for share in _PERCENTILES},
        "with_unknown_tokens": unknown,
    }
    if max_length is not None:
        facts["truncated"] = int(np.sum(lengths > max_length))
    return facts


def word_baselines(train: Sequence[Example], dev: Sequence[Example], *, seed: int) -> dict[str, float]:
    """Accuracy of dev's commonest label, of a linear model over words and, for pairs, over the second text's.

    Where the second text alone gives answers away (Gururangan et al. 2018, arXiv:1803.02324), a high score
    says little about entailment.

    Args:
        train: what the linear models learn from, at most 20,000 of them.
        dev: what is scored.
        seed: of the draw.
    """
    try:
        from sklearn.feature_extraction.text import CountVectorizer
        from sklearn.linear_model import LogisticRegression
        from sklearn.pipeline import make_pipeline
    except ImportError as error:
        raise MissingExtraError(
            feature="the baselines of the data doctor", package="scikit-learn", extra="train"
        ) from error
    train = take_balanced(train, _BASELINE_ROWS, seed=seed)
    names = sorted({example.label for example in [*train, *dev]})
    gold = np.array([names.index(example.label) for example in dev])
    targets = np.array([names.index(example.label) for example in train])
    result = {"majority": float(np.mean(gold == np.bincount(gold).argmax()))}

    def linear(name: str, of_train: list[str], of_dev: list[str]) -> None:
        model = make_pipeline(
            CountVectorizer(ngram_range=(1, 2), binary=True, min_df=2, token_pattern=r"\S+"),
            LogisticRegression(max_iter=200, C=0.1),
        )
        try:
            model.fit(of_train, targets)
        except ValueError as error:  # no word stands in two texts
            logger.warning("no baseline of words: %s", error)
        else:
            result[name] = float(np.mean(model.predict(of_dev) == gold))

    def marked(example: Example) -> str:
        return " ".join(
            f"{place}:{word}" for place, text in enumerate(example.texts) for word in text.lower().split()
        )

    linear("words", [marked(example) for example in train], [marked(example) for example in dev])
    if len(train[0].texts) == 2:
        seconds = [[example.texts[1].lower() for example in part] for part in (train, dev)]
        linear("second_text_words", *seconds)
    return result


def _token_counts(
    examples: Sequence[Example], tokenizer: "Tokenizer", *, head: str
) -> tuple[npt.NDArray[np.int64], int]:
    """Tokens of each example's longest input, and how many examples have the unknown token."""
    inputs = [_inputs(example, head) for example in examples]
    texts = list(dict.fromkeys(text for one in inputs for parts in one for text in parts))
    encoded = tokenizer(texts, add_special_tokens=False)["input_ids"]
    sizes = {text: len(ids) for text, ids in zip(texts, encoded, strict=True)}
    odd = {text for text, ids in zip(texts, encoded, strict=True) if tokenizer.unk_token_id in ids}
    lengths = [max(sum(sizes[text] for text in parts) + len(parts) + 1 for parts in one) for one in inputs]
    return np.array(lengths), sum(any(not odd.isdisjoint(parts) for parts in one) for one in inputs)


def _inputs(example: Example, head: str) -> list[tuple[str, ...]]:
    """The texts of each input that an example becomes."""
    if head == TOKENS:
        is_cut = isinstance(example.extra, MarkedText)
        return [(example.extra.text if is_cut else " ".join(example.texts),)]
    if head == MULTIPLE_CHOICE:
        return [(example.texts[0], choice) for choice in example.texts[1:]]
    return [example.texts]


def _label_counts(examples: Sequence[Example]) -> dict[str, object]:
    if isinstance(examples[0].label, float):
        values = np.array([example.label for example in examples])
        return {
            "mean": float(values.mean()),
            "sd": float(values.std()),
            "min": values.min(),
            "max": values.max(),
        }
    if isinstance(examples[0].extra, Gold):
        return dict(Counter("answered" if example.extra.answers else "unanswered" for example in examples))
    counts: Counter[str] = Counter()
    for example in examples:
        counts.update(example.label if isinstance(example.label, tuple) else [example.label])
    return dict(counts.most_common())


def _warnings(source: str, facts: JsonObject, config: FinetuneConfig) -> list[str]:
    count, found = facts["examples"], []
    if facts["duplicates"]:
        found.append(f"{facts['duplicates']} of {count} examples repeat another one's texts")
    if facts["contradictory"]:
        found.append(
            f"{facts['contradictory']} texts occur with different labels; no model can be right on both"
        )
    if facts.get("truncated"):
        found.append(
            f"{facts['truncated']} of {count} examples have more than {config.data.max_length} tokens and "
            f"are cut (99% have at most {facts['tokens']['p99']}); raise max_length if the end matters"
        )
    if facts["with_unknown_tokens"]:
        found.append(
            f"{facts['with_unknown_tokens']} of {count} examples have characters unknown to the tokenizer"
        )
    if facts.get("also_in_training"):
        found.append(
            f"{facts['also_in_training']} of {count} examples are also in training; scores will be too good"
        )
    baselines = facts.get("baselines", {})
    if baselines.get("second_text_words", 0) > baselines.get("majority", 0) + 0.1:
        found.append(
            f"the second text alone gives {baselines['second_text_words']:.1%} right (always the commonest "
            f"label: {baselines['majority']:.1%}); compare scores with that"
        )
    largest = max(abs(facts["labels"].get("mean", 0)), facts["labels"].get("sd", 0))
    if largest > _LARGE_NUMBER:
        found.append(
            f"labels have the mean {facts['labels']['mean']:.4g} and the standard deviation "
            f"{facts['labels']['sd']:.4g}; a model begins near 0 and takes long to get there: divide them, "
            "or compare rmse with that of the mean"
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
