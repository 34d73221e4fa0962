"""Tables with one word a row: the rows of a sentence become one row with a list of words and a list of tags.

As in the NER data of Kaggle: ``Sentence #,Word,POS,Tag``, where only the first word has the sentence's id.
"""

import itertools
import re
from collections.abc import Iterable, Iterator, Sequence

from ...errors import UserError
from ...json_types import Json, JsonObject
from ..labels import label_text
from ..read_options import ReadOptions
from ..rows import is_missing
from .conll import TAG
from .marks import Fields

_SENTENCE = re.compile(
    r"sent(ence)?([ _-]?(id|ids|#|num|number|no|nr|idx|index))?\.?|document([ _-]?id)", re.I
)
_WORD = re.compile(r"words?|tokens?|form|tok", re.I)
_TAG_NAME = re.compile(r"tags?|ner([ _-]?tags?)?|labels?|iob2?|bio|entity|ne", re.I)
_LOOKED_AT = 100
_LONGEST_ID = 40

Rows = Iterable[tuple[str, JsonObject]]


def refuse_word_columns(options: ReadOptions, source: str) -> None:
    """Refuse columns of words and tags that the user says of a file that has none.

    Raises:
        UserError: if they are said.
    """
    if options.word_column is not None or options.tag_column is not None:
        raise UserError(
            "--word-column and --tag-column are for files with one word per line or row, "
            f"unlike {source}. Leave them out."
        )


def grouped(rows: Rows, options: ReadOptions, *, source: str) -> Iterator[tuple[str, JsonObject]]:
    """Rows as they are, or those of each sentence as one with ``tokens`` and ``ner_tags``.

    Raises:
        UserError: if some words of a sentence have a tag and others none.
    """
    stream = iter(rows)
    head = list(itertools.islice(stream, 1))
    names = None if not head else _columns(head[0][1], options)
    if names is not None:
        head += itertools.islice(stream, _LOOKED_AT - 1)
        if not _are_words([fields for _, fields in head], *names):
            names = None
    rest = itertools.chain(head, stream)
    if names is None:
        refuse_word_columns(options, source)
        for where, fields in rest:
            yield where, fields
        return
    sentence, word, tag = names
    key: object = None
    current: list[tuple[str, Fields]] = []
    for where, fields in rest:
        own = fields.get(sentence)
        if current and not is_missing(own) and own != key:
            yield _joined(current, sentence, word, tag)
            current = []
        key = key if is_missing(own) else own
        if not is_missing(fields.get(word)):
            current.append((where, fields))
    if current:
        yield _joined(current, sentence, word, tag)


def _columns(fields: Fields, options: ReadOptions) -> tuple[str, str, str | None] | None:
    """The columns of sentence, word and tag by their names; None if a row has no such."""
    names = list(fields)
    sentence = next((name for name in names if _SENTENCE.fullmatch(name.strip())), None)
    word = _said(names, options.word_column) or next(
        (name for name in names if _WORD.fullmatch(name.strip())), None
    )
    tag = _said(names, options.tag_column) or next(
        (name for name in names if _TAG_NAME.fullmatch(name.strip()) and name != word), None
    )
    return None if sentence is None or word is None else (sentence, word, tag)


def _said(names: Sequence[str], column: str | None) -> str | None:
    """The column that the user says, by name or by number from 1."""
    if column is None or column in names:
        return column
    return names[int(column) - 1] if column.isdecimal() and 1 <= int(column) <= len(names) else None


def _are_words(rows: Sequence[Fields], sentence: str, word: str, tag: str | None) -> bool:
    """Whether rows hold a word each, most of them in the sentence of the row before."""
    words = [row.get(word) for row in rows if not is_missing(row.get(word))]
    if any(isinstance(one, list | dict) or len(str(one).split()) != 1 for one in words):
        return False
    ids = [row.get(sentence) for row in rows]
    if any(isinstance(one, list | dict) or len(str(one)) > _LONGEST_ID for one in ids):
        return False
    continued = sum(is_missing(one) or one == before for before, one in itertools.pairwise(ids))
    if tag is not None and not all(TAG.fullmatch(str(row.get(tag)).strip()) for row in rows):
        return False
    return 2 * continued >= len(ids) - 1 and len(rows) > 1


def _joined(
    rows: Sequence[tuple[str, Fields]], sentence: str, word: str, tag: str | None
) -> tuple[str, JsonObject]:
    where, first = rows[0]
    row: JsonObject = {
        sentence: first.get(sentence),
        "tokens": [_word(one[word]) for _, one in rows],
    }
    if tag is not None:
        tags = [one.get(tag) for _, one in rows]
        missing = next((place for (place, _), cell in zip(rows, tags, strict=True) if is_missing(cell)), None)
        if missing is not None:
            raise UserError(f"{missing}: the word has no tag in column {tag!r}. Write O for no entity.")
        row["ner_tags"] = [str(cell).strip() for cell in tags]
    return where, row


def _word(cell: Json) -> str:
    """A word as it is written; a number of a workbook without its empty decimals."""
    return cell if isinstance(cell, str) else label_text(cell)
