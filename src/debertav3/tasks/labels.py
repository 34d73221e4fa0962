"""What a cell of a label column means: one rule for every file format, for training and for prediction.

1. Nothing, white space and NaN are not labels; for several labels an empty text is the answer "none of them".
2. A label is its text without white space around it (`label_text`). Whole numbers are written without a
   fraction: ``1``, ``1.0`` and the cell ``"1.0"`` are the label ``1``. ``true``, ``True`` and JSON's true are
   ``true``, likewise ``false``.
3. Where the labels are known (`find_label`) the text as written counts first, then rule 2, then the same
   without regard to case, spaces and hyphens; a number that is not a label's name is an index, from 0.
4. A list or object that is written into a cell as JSON is that list or object.
"""

import math
import re
from collections.abc import Mapping, Sequence

from ..errors import UserError
from ..json_types import Json
from .rows import Row, first_of, is_missing, shortened, structured

ENTAILMENT, NEUTRAL, CONTRADICTION = "entailment", "neutral", "contradiction"
NOT_ENTAILMENT = "not_entailment"
NLI_LABELS = (ENTAILMENT, NEUTRAL, CONTRADICTION)
TWO_WAY_LABELS = (ENTAILMENT, NOT_ENTAILMENT)

LABEL_COLUMNS = ("label", "gold_label")
"""The usual names of a label column."""
CUSTOM_LABEL_NAMES = (
    "label",
    "labels",
    "class",
    "category",
    "target",
    "sentiment",
    "score",
    "rating",
    "stars",
    "relevance",
    "relevant",
    "tags",
    "ner_tags",
    "gold_label",
    "intent",
    "emotion",
    "cats",
    "annotation",
)
"""Under which names a user's own label is found by itself, the surest first."""
NO_GOLD = ("-1", "-")
"""How public sets write that there is no agreed label."""
SEVERAL_SEPARATOR = "|"
"""Between the labels of a text that has several."""
SEPARATORS = (SEVERAL_SEPARATOR, ";", ",", "\n", "/", "+", "&", " ")
"""What people write between several labels."""
NO_VALUES = ("nan", "NaN", "NAN", "<NA>", "#N/A", "NaT")
"""What programs write where there is no label."""
_BRACKETED = re.compile(r"\[([^\[\]{}'\"]*)\]|\{([^\[\]{}'\"]*)\}")
_TAGGED = re.compile(r"(?:<[^<>]+>)+")

_DECIMAL_COMMA = re.compile(r"[-+]?\d+,(?!\d{3}$)\d+")
_WHOLE = re.compile(r"([+-]?\d+)\.0*")


def label_text(value: object) -> str:
    """A label as text: see the rule above."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    text = str(value).strip()
    if text.lower() in ("true", "false"):
        return text.lower()
    whole = _WHOLE.fullmatch(text)
    return whole.group(1) if whole else text


def whole_number(value: Json) -> int | None:
    """A whole number, as JSON has it or as a text (``"3"``, ``3.0``); None for anything else."""
    if isinstance(value, str):
        text = label_text(value)
        return int(text) if re.fullmatch(r"[+-]?\d{1,18}", text) else None
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def is_no_gold(value: object, *, marks: Sequence[str] = NO_GOLD, known: Sequence[str] = ()) -> bool:
    """Whether a cell says that there is no gold label.

    Args:
        value: the cell.
        marks: how the set writes it.
        known: the labels: one called ``-1`` is a label.
    """
    if is_missing(value):
        return True
    if isinstance(value, list | dict):
        return False
    text = label_text(value)
    if text in NO_VALUES and text not in known:
        return True
    return text in marks and text not in known


def plain_label(label: str) -> str:
    """Lower case, with ``_`` for spaces and hyphens."""
    return re.sub(r"[\s\-]+", "_", label.strip().lower())


def find_label(label: object, names: Sequence[str]) -> int:
    """The id of a gold label: see the rule above.

    Raises:
        UserError: if it is none of the labels.
    """
    if str(label) in names:  # labels may differ in case alone, or be called 1.0
        return list(names).index(str(label))
    if isinstance(label, str | bool | int | float):
        text = label_text(label)
        plain = [plain_label(name) for name in names]
        if text in names:
            return list(names).index(text)
        if plain_label(text) in plain:
            return plain.index(plain_label(text))
        is_index = text.isascii() and text.isdecimal() and not any(map(str.isdecimal, names))
        if is_index and len(text) < 10 and int(text) < len(names):
            return int(text)
        if text in ("false", "true") and len(names) == 2:
            return int(text == "true")
    raise UserError(f"unknown label {label!r}. This model knows: {', '.join(names)}.")


NLI_SPELLINGS = {
    "e": ENTAILMENT,
    "n": NEUTRAL,
    "c": CONTRADICTION,
    "entails": ENTAILMENT,
    "entailed": ENTAILMENT,
    "contradicts": CONTRADICTION,
    "non_entailment": NOT_ENTAILMENT,
    "no_entailment": NOT_ENTAILMENT,
    "notentailment": NOT_ENTAILMENT,
    "yes": ENTAILMENT,
    "no": NOT_ENTAILMENT,
    "true": ENTAILMENT,
    "false": NOT_ENTAILMENT,
    "unknown": NEUTRAL,
    "supports": ENTAILMENT,
    "supported": ENTAILMENT,
    "refutes": CONTRADICTION,
    "refuted": CONTRADICTION,
    "not_enough_info": NEUTRAL,
    "nei": NEUTRAL,
}
"""How public sets call the labels of NLI: ANLI, SciTail, HANS, the RTE challenges, FEVER."""


def nli_label(value: Json, labels: Sequence[str]) -> str:
    """The normal form of an NLI label for a model.

    Numbers are those of the public copies (0 entailment, 1 neutral, 2 contradiction), never the head's order.

    Args:
        value: a name in any case, one of `NLI_SPELLINGS`, or a number.
        labels: the labels that the model knows.

    Raises:
        UserError: if it is unknown, or a number and the model has two labels, where it could mean either.
    """
    text = label_text(value)
    is_number = text.isdecimal()
    if is_number and NOT_ENTAILMENT in labels:
        raise UserError(
            f"label {value!r} is a number; a model with two labels needs names, such as entailment."
        )
    known = (*NLI_LABELS, NOT_ENTAILMENT)
    if is_number and not int(text[:3]) < len(NLI_LABELS):
        raise UserError(f"unknown label {text}. This model knows: {first_of(labels)}.")
    text = NLI_SPELLINGS.get(plain_label(text), text)
    return known[find_label(text, NLI_LABELS if is_number else known)]


def several(value: Json, *, what: str = "label", separator: str = SEVERAL_SEPARATOR) -> list[Json]:
    """Several labels of a row: a list, an object with a flag for each, or a text with a separator.

    Args:
        value: the cell.
        what: what an error calls it.
        separator: between the labels of a text.

    Raises:
        UserError: naming ``what``, if it is neither.
    """
    value = structured(value)
    value = bracketed(value) if isinstance(value, str) else value
    if isinstance(value, str):
        return [one.strip() for one in value.split(separator) if one.strip()]
    if isinstance(value, int | float):
        return [value]
    if isinstance(value, Mapping) and is_named_flags(value):
        return [name for name, holds in value.items() if holds]
    if not isinstance(value, list | tuple):
        raise UserError(
            f"{what} must be a list, or a text with {separator!r} between the labels; got {shortened(value)}."
        )
    refuse_spans(value, place=what)
    nested = next((one for one in value if isinstance(one, list | tuple | dict)), None)
    if nested is not None:
        raise UserError(f"{what} has {shortened(nested)}, which is not the name of a label.")
    return [one for one in value if str(one).strip()]


def bracketed(text: str) -> str | list[str]:
    """The labels of a cell such as ``[sea, car]``, ``{sea,car}`` or ``<sea><car>``; else the text."""
    inside = _BRACKETED.fullmatch(text.strip())
    if inside is not None:
        parts = (inside.group(1) or inside.group(2) or "").split(",")
        return [part.strip() for part in parts if part.strip()]
    return text.strip()[1:-1].split("><") if _TAGGED.fullmatch(text.strip()) else text


def several_known(
    value: Json, known: Sequence[str], *, label_map: Mapping[str, str] | None = None
) -> list[int]:
    """The ids of several labels of a row, by whatever of ``|``, ``;`` and ``,`` is between them.

    Args:
        value: the cell.
        known: names of the labels, by which the separator is recognized.
        label_map: what the rows call labels, and their names.

    Raises:
        UserError: if one is none of them.
    """
    named = label_map or {}
    value = structured(value)
    if isinstance(value, str) and value.strip() and value.strip() not in known:
        value = bracketed(value)
    if isinstance(value, str) and value.strip() and value.strip() not in known:
        for separator in SEPARATORS:
            parts = [part.strip() for part in value.split(separator) if part.strip()]
            parts = [named.get(part, part) for part in parts]
            if len(parts) > 1 and all(part in known for part in parts):
                return [find_label(part, known) for part in parts]
    return [find_label(named.get(label_text(one), one), known) for one in several(value)]


def refuse_spans(value: Json, *, place: str) -> None:
    """Refuse places in a text (begin, end, kind) where classes are needed: those are entities.

    Raises:
        UserError: if a value is a list of them.
    """
    if isinstance(value, list | tuple) and any(map(_is_span, value)):
        raise UserError(
            f"{place}: {shortened(next(filter(_is_span, value)))} is a span of the text, an "
            "entity, not a class. Train entities with task ner (debertav3 finetune ner)."
        )


def _is_span(value: Json) -> bool:
    if isinstance(value, Mapping):
        names = {str(name) for name in value}
        return bool({"start", "end"} <= names or {"start_offset", "end_offset"} <= names or "value" in names)
    if not isinstance(value, list | tuple) or len(value) != 3:
        return False
    places = [isinstance(one, int) and not isinstance(one, bool) for one in value]
    return sum(places) == 2 and any(isinstance(one, str) for one in value)


def is_named_flags(value: Mapping[Json, Json]) -> bool:
    """Whether an object gives 1 to each label that holds and 0 to the others, as spaCy's ``cats`` do."""
    return bool(value) and all(isinstance(one, int | float) and one in (0, 1) for one in value.values())


def number(value: Json, *, what: str = "the label") -> float:
    """A label that is a finite number; a decimal comma counts, unless it may be one between thousands.

    Raises:
        UserError: naming ``what``, if it is none.
    """
    if isinstance(value, str) and _DECIMAL_COMMA.fullmatch(value.strip()):
        value = value.replace(",", ".")
    try:
        found = float("not a number" if isinstance(value, bool) else value)
    except (TypeError, ValueError):
        hint = ""
        if isinstance(value, str) and re.fullmatch(r"[-+]?\d[\d.,' ]*\s?%?", value.strip()):
            hint = " Write it with a point and no other marks, such as 1234.5."
        raise UserError(f"{what} must be a number, got {shortened(value)}.{hint}") from None
    except OverflowError:
        found = math.inf
    if not math.isfinite(found):
        raise UserError(f"{what} must be a finite number, got {shortened(value)}.")
    return found


def relevance(value: object, *, what: str = "relevance") -> float:
    """How well a text answers a query: a number from 0 on.

    Raises:
        UserError: if it is none.
    """
    found = number(value, what=what)
    if not found >= 0:
        raise UserError(f"{what} must be at least 0; got {shortened(value)}.")
    return found


def right_indices(value: object, *, count: int) -> list[int]:
    """Which of ``count`` texts are right: from one index, or a list with 0 or 1 for each text.

    Raises:
        UserError: if it is neither.
    """
    if isinstance(value, list) and len(value) == count and all(one in (0, 1) for one in value):
        return [index for index, one in enumerate(value) if one]
    text = "" if isinstance(value, list | dict | bool) else label_text(value)
    if text.isdecimal() and int(text) < count:
        return [int(text)]
    raise UserError(
        f"label must be the index of the right text, 0 to {count - 1}, or {count} numbers 0 or 1; "
        f"got {shortened(value)}."
    )


def shares_in(row: Row, value: Mapping[object, object]) -> dict[str, float]:
    """Return a distribution over labels, divided by its sum: a teacher's probabilities, or annotators' votes.

    Raises:
        UserError: if an entry is not a number of at least 0, or none is above 0.
    """
    shares = {str(name): number(share, what=f"{row.place}: the label") for name, share in value.items()}
    total = sum(shares.values())
    if not total or min(shares.values()) < 0:
        raise UserError(f"{row.place}: shares of labels must be 0 or more and not all 0, got {value!r}.")
    return {name: share / total for name, share in shares.items()}


def likeliest(row: Row, value: object) -> object:
    """The label with the largest share, if the gold label is a distribution; else the label as it is."""
    if not isinstance(value, Mapping):
        return value
    shares = shares_in(row, value)
    return max(shares, key=lambda name: shares[name])


def natural(name: str) -> tuple[int, float, str]:
    """Sorting key of labels: numbers by value, and before words."""
    try:
        return 0, float(name), name
    except ValueError:
        return 1, 0.0, name
