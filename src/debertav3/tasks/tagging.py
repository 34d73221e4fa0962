"""A tag for every word: named entities from CoNLL files or rows with lists, scored as seqeval does."""

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import NamedTuple, Self

from ..errors import UserError
from ..heads import TOKENS, HeadName
from ..json_types import Json
from .annotations.marks import ENTITIES, TEXT, Mark, tag_text
from .columns import actual_name
from .example import Example
from .formats import CONLL, Format
from .metrics import MetricName, split_tag, tag_entities
from .notes import Note
from .read_options import Said
from .rows import Row, column_of, first_of, is_missing, lacks, shortened, structured, words_in
from .scorers import EntityScorer, Scorer
from .summary import Summary
from .tables import Reading
from .task import Task
from .understanding import listed_labels, shown_spans, shown_words
from .words import Span

OUTSIDE = "O"
WORDS_COLUMNS = ("tokens", "words")
TAGS_COLUMNS = ("ner_tags", "tags", "labels", "label", "gold_label", "word_labels", "tag", "Tag")
"""The usual names; a CoNLL file gives ``tokens`` and ``label``."""


_TEXTS = ("text", "sentence")
_OTHER_SCHEMES = (
    (re.compile(r"(?!.-)(\S+)-([BIESLUM])"), (2, 1)),
    (re.compile(r"([BIESLUM])_(\S+)"), (1, 2)),
    (re.compile(r"([bieslum])-(\S+)"), (1, 2)),
)
"""Tags in other spellings of BIO, and which part is the prefix, which the kind of entity."""


class MarkedText(NamedTuple):
    """The text that the words of an example are cut from; `Example.extra` where there is one."""

    text: str
    spans: tuple[Span, ...]
    """First character of each word and one past its last."""


@dataclass(frozen=True, kw_only=True)
class TaggingTask(Task):
    """Tags of words, in the BIO, BIOES or BILOU scheme where they name entities."""

    name: str
    words_column: tuple[str, ...] = WORDS_COLUMNS
    tags_column: tuple[str, ...] = TAGS_COLUMNS
    metrics: tuple[MetricName, ...] = ("f1", "precision", "recall", "accuracy")
    """Of whole entities, and the accuracy of tags."""
    head: HeadName = TOKENS

    text_format: Format | None = CONLL
    label_map: Mapping[str, str] = field(default_factory=dict)
    """What the user calls tags, and what they are to be called."""
    notes: tuple[Note, ...] = ()
    """What was guessed when the task was made from a user's rows."""
    is_asked: bool = False
    """Whether the user has named columns, so that numbers of columns count as names."""
    needs: str = "words and tags ('word TAB tag' in each line, or two lists), or a text with entities"

    def with_said(self, said: Said) -> Self:
        """See `Task.with_said`."""
        if said.pair is not None:
            raise UserError(f"task {self.name} reads one text: leave --pair-column out.")
        return replace(
            self,
            words_column=self.words_column if said.text is None else (said.text,),
            tags_column=self.tags_column if said.label is None else (said.label,),
            label_map=said.label_map,
            is_asked=bool(said.columns),
        )

    def examples(self, reading: Reading) -> Iterator[Example]:
        """Read sentences of CoNLL, rows with a list of words and a list of tags, or texts with entities."""
        return reading.each(self._read_row)

    def _read_row(self, row: Row, reading: Reading) -> Example | None:
        if is_marked_text(row):
            reading.use(("text", "entities"), (TEXT, ENTITIES))
            if row.fields[ENTITIES] is None:
                reading.num_unlabelled += 1
                return None
            example = _marked_example(row, self.label_map)
            reading.num_empty += example is None
            return example
        words_name = self._words_name(row)
        words = words_in(row, words_name)
        if reading.format is CONLL and len(row.fields) == 1:
            raise UserError(f"{row.place} has a word and no tag: {words[0]!r}. Need 'word TAB tag'.")
        column = self._column(row, self.tags_column)
        reading.use(("words", "tags"), (words_name, column))
        if is_missing(row.fields[column]):
            reading.num_unlabelled += 1
            return None
        tags = named_tags(tags_in(row, column), reading.options.tag_names, place=row.place)
        tags = [renamed_tag(tag, self.label_map) for tag in tags]
        check_names(row.place, tags)
        if len(words) != len(tags):
            raise UserError(
                f"{row.place} has {len(words)} words and {len(tags)} tags; need one tag for each word."
            )
        if not words:
            reading.num_empty += 1
            return None
        return Example(texts=tuple(words), label=tuple(tags), place=row.place)

    def _words_name(self, row: Row) -> str:
        """The column of the words: by its name, or a text beside a column that has a tag for each word."""
        has_words = self.is_asked or any(name in row.fields for name in self.words_column)
        name = None if has_words else text_with_tags(row, self.tags_column)
        if name is None and not has_words:
            raise UserError(
                f"{row.place}: {lacks([(one,) for one in self.words_column], row.fields)} Name the column of "
                "the words with --text-column, and that of their tags with --label-column."
            )
        return name or self._column(row, self.words_column)

    def _column(self, row: Row, names: Sequence[str]) -> str:
        """The first of some columns that a row has, by number too if the user names it.

        Raises:
            UserError: if it has none of them.
        """
        said = actual_name(row.fields, names[0], is_said=True) if self.is_asked and len(names) == 1 else None
        return said or column_of(row, names)

    def label_kind(self, found: Summary) -> str:
        """The kinds of entities, or the tags where they name none."""
        kinds = sorted({split_tag(tag)[1] for tag in found.names if tag != OUTSIDE})
        return f"a tag for each word; {listed_labels(kinds)}"

    def shown(self, example: Example) -> str:
        """The sentence with its entities marked, as a text where it is one."""
        if not isinstance(example.extra, MarkedText):
            return shown_words(example.texts, example.label)
        text, words = example.extra
        entities = tag_entities(example.label)
        return shown_spans(
            text, [(words[first][0], words[stop - 1][1], kind) for first, stop, kind in entities]
        )

    def choose_labels(self, found: Summary, *, source: str) -> tuple[str, ...]:
        """All tags, ``O`` first, and for each type all prefixes of the scheme: every tag can be predicted."""
        seen = set(found.names)
        if len(seen) < 2:
            raise UserError(f"{source}: every word is tagged {', '.join(seen)}; need at least two tags.")
        kinds = sorted({tag[2:] for tag in seen if _has_prefix(tag)})
        others = sorted(tag for tag in seen if not _has_prefix(tag) and tag != OUTSIDE)
        used = {tag[0] for tag in seen if _has_prefix(tag)}
        prefixes = "BI" + "".join(pair for pair in ("ES", "LU") if used & set(pair))
        return (OUTSIDE, *(f"{prefix}-{kind}" for kind in kinds for prefix in prefixes), *others)

    def check_dev(self, found: Summary, labels: Sequence[str], *, source: str) -> None:
        """Refuse tags that training does not know."""
        unknown = sorted(found.names.keys() - set(labels))
        if unknown:
            raise UserError(
                f"{source}: tag {unknown[0]!r} does not occur in training, which has {first_of(labels)}."
            )

    def scorer(self, labels: Sequence[str]) -> Scorer:
        """Whole entities, and tags."""
        return EntityScorer()

    def baseline(
        self, train: Sequence[Example], dev: Sequence[Example], *, labels: Sequence[str]
    ) -> dict[str, float]:
        """Always the commonest tag."""
        commonest = Counter(tag for example in train for tag in example.label).most_common(1)[0][0]
        return self.own(self.scores(dev, [[commonest] * len(one.texts) for one in dev], labels=labels))


def is_marked_text(row: Row) -> bool:
    """Whether a row is a text with entities by their characters, or one that may have some."""
    return ENTITIES in row.fields and isinstance(row.fields.get(TEXT), str)


def _marked_example(row: Row, label_map: Mapping[str, str]) -> Example | None:
    """The words of a text and their tags; None if it has no words."""
    text = row.fields[TEXT]
    marks = [
        Mark(**{**one, "label": label_map.get(one["label"], one["label"])}) for one in row.fields[ENTITIES]
    ]
    words, tags = tag_text(text, marks)
    texts = tuple(text[start:end] for start, end in words)
    if not texts:
        return None
    return Example(texts=texts, label=tuple(tags), extra=MarkedText(text, tuple(words)), place=row.place)


def renamed_tag(tag: str, label_map: Mapping[str, str]) -> str:
    """A tag as the user's map has it: the whole tag, else its kind of entity under the same prefix."""
    if tag in label_map or not label_map:
        return label_map.get(tag, tag)
    prefix, kind = split_tag(tag)
    return f"{prefix}-{label_map[kind]}" if kind in label_map and _has_prefix(tag) else tag


def _has_prefix(tag: str) -> bool:
    """Whether a tag is a prefix, a hyphen and a type."""
    return tag.startswith(f"{split_tag(tag)[0]}-")


def entities_text(words: Sequence[str], tags: Sequence[str]) -> str:
    """The entities of a sentence with their types, for people."""
    return (
        "; ".join(f"{' '.join(words[start:end])} ({kind})" for start, end, kind in tag_entities(tags))
        or "none"
    )


def named_tags(tags: list[str], names: Sequence[str], *, place: str) -> list[str]:
    """Tags by name where a file has numbers and their names are said.

    Args:
        tags: as the file has them.
        names: in the order of their numbers; none leaves the tags as they are.
        place: of the row, for messages.

    Raises:
        UserError: for a number that has no name, or a tag by another name.
    """
    if not names:
        return usual_tags(tags)
    if not all(map(is_number, tags)):
        for tag in tags:
            if tag not in names:
                raise UserError(f"{place}: tag {tag!r} is not in --tag-names; leave that option out.")
        return tags
    for tag in tags:
        if not 0 <= int(tag) < len(names):
            raise UserError(
                f"{place}: tag {tag} is not one of the {len(names)} that --tag-names names, counted from 0."
            )
    return [names[int(tag)] for tag in tags]


def text_with_tags(row: Row, tags_columns: Sequence[str]) -> str | None:
    """The column of a text whose words have a tag each in another column; None without one."""
    text = next((name for name in map(partial(actual_name, row.fields), _TEXTS) if name is not None), None)
    column = next((name for name in tags_columns if not is_missing(row.fields.get(name))), None)
    if text is None or column is None or not isinstance(row.fields[text], str):
        return None
    if not isinstance(structured(row.fields[column]), str | list):
        return None
    tags = tags_in(row, column)
    is_scheme = bool(tags) and all(tag == OUTSIDE or _has_prefix(tag) for tag in usual_tags(tags))
    return text if is_scheme and len(row.fields[text].split()) == len(tags) else None


def tags_in(row: Row, column: str) -> list[str]:
    """The tags of a row: a list, or a text with white space or commas between them.

    Raises:
        UserError: if there is something else in the column.
    """
    tags = words_in(row, column)
    if not isinstance(structured(row.fields[column]), str):
        return tags
    if len(tags) == 1 and "," in tags[0]:
        return [tag.strip() for tag in tags[0].split(",")]
    return [tag.rstrip(",") for tag in tags] if len(tags) > 1 and tags[0].endswith(",") else tags


def usual_tags(tags: list[str]) -> list[str]:
    """The tags of a sentence as BIO and BIOES write them.

    ``PER-B`` and ``B_PER`` are ``B-PER``, ``b-per`` is ``B-per``, a dash or an underscore is ``O``, and the
    middle of an entity in BMES is ``I``.
    """
    outside = [tag in ("-", "_", "o") for tag in tags]
    inside = [tag for tag, is_outside in zip(tags, outside, strict=True) if not is_outside and tag != OUTSIDE]
    for pattern, order in _OTHER_SCHEMES:
        matches = [pattern.fullmatch(tag) for tag in inside]
        if inside and all(matches):
            fixed = iter(
                [f"{match.group(order[0]).upper()}-{match.group(order[1])}" for match in matches if match]
            )
            tags = [
                tag if is_out or tag == OUTSIDE else next(fixed)
                for tag, is_out in zip(tags, outside, strict=True)
            ]
            break
    found: list[str] = []
    for tag, is_outside in zip(tags, outside, strict=True):
        if tag.startswith("M-") and found and found[-1] in (f"B-{tag[2:]}", f"I-{tag[2:]}"):
            tag = f"I-{tag[2:]}"
        found.append(OUTSIDE if is_outside else tag)
    return found


def check_names(place: str, tags: Sequence[str]) -> None:
    """Refuse numbers, which do not say which of them means no entity, nor where entities begin."""
    for tag in tags:
        if is_number(tag):
            raise UserError(
                f"{place}: the tags are numbers ({tag}). Say their names in order with --tag-names, such as "
                "O,B-PER,I-PER; or keep the dataset_info.json of the data set beside the file."
            )


def is_number(tag: str) -> bool:
    """Whether a tag is a number instead of a name."""
    return tag.lstrip("-").isdecimal()


def given_tags(
    row: Row, names: Sequence[str], *, count: int, tag_names: Sequence[str] = ()
) -> tuple[str, list[str]] | None:
    """The column and the tags of ``count`` words that are to be tagged; None where there are none.

    Public copies write ``ner_tags`` as numbers whose meaning they keep elsewhere: those are not tags, unless
    ``tag_names`` says what they mean.

    Raises:
        UserError: if there are not as many.
    """
    for name in names:
        value = structured(row.fields.get(name))
        if is_missing(value):
            continue
        tags = named_tags(tags_in(row, name), tag_names, place=row.place)
        if tags and all(map(is_number, tags)):
            continue
        if len(tags) != count:
            raise UserError(
                f"{row.place} has {count} words and {len(tags)} tags; need one tag for each word."
            )
        return name, tags
    return None


def given_entities(value: Json, *, kind_field: str | None) -> list[tuple[int, int, str]]:
    """Entities or words of a text: objects with ``start`` and ``end``, and the type where it is needed.

    Raises:
        UserError: if an entry has another form.
    """
    value = structured(value)
    needed = ["start", "end", *([kind_field] if kind_field else [])]
    entries = value if isinstance(value, list) else [value]
    for entry in entries:
        if not isinstance(entry, dict) or any(name not in entry for name in needed):
            raise UserError(
                f"label must be a list of objects with {', '.join(needed)}; got {shortened(value)}."
            )
    return [
        (entry["start"], entry["end"], str(entry[kind_field]) if kind_field else "word") for entry in entries
    ]


TAGGING_TASKS = (TaggingTask(name="ner"),)
