"""CoNLL: a word in each line with its tag, blank lines between sentences; CoNLL-U and IOB2 of UD and UNER.

Which columns hold words and tags is found in the first lines, unless the user says it. A first column that
counts the words is left aside, lines with # are comments, and so is ``-DOCSTART-``.
"""

import itertools
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from ...errors import UserError
from ..read_options import ReadOptions
from ..source_file import Found, SourceFile
from .format import Marked
from .marks import tag_words

TAG = re.compile(r"[O_-]|[BIESLUM](-\S+)?")
_BLANKS = ("-", "_")
"""Tags of words outside of entities, in files that have them beside others."""
_COUNT = re.compile(r"(\d+)([-.]\d+)?")
_CHUNKS = frozenset(["NP", "VP", "PP", "ADJP", "ADVP", "SBAR", "PRT", "CONJP", "INTJ", "LST", "UCP"])
"""Types of syntactic chunks, which CoNLL-2003 has in the column before the entities."""
_IN_MISC = re.compile(r"(?:^|\|)(?:name|ner|ne|entity|bio|iob)=([^|]+)", re.IGNORECASE)
_CONLL_U = 10
_BLANK = re.compile(r"[ \t]+")
_LOOKED_AT = 2000
_DOCUMENT = "-DOCSTART-"

Sentences = list[list[list[str]]]


@dataclass(frozen=True, kw_only=True)
class ConllColumns:
    """Which columns of a file are read, counted from 0."""

    width: int
    has_tabs: bool
    word: int
    tag: int | None
    """None for words alone."""
    is_counted: bool = False
    """Whether the first column counts the words of a sentence."""
    is_in_misc: bool = False
    """Whether the tag is among the features of the last column of CoNLL-U."""
    is_scheme: bool = False
    """Whether all tags are of the BIO scheme or a relative of it."""
    others: tuple[int, ...] = ()
    """Further columns that could be the tags."""

    def columns(self, line: str) -> list[str] | None:
        """The columns of a line; None for a comment and for the mark of a document."""
        cells = _split(line, has_tabs=self.has_tabs)
        if cells[:1] == [_DOCUMENT] or cells[self.word : self.word + 1] == [_DOCUMENT]:
            return None
        if cells and cells[0].startswith("#") and not self._is_word(cells):
            return None
        return cells

    def _is_word(self, cells: Sequence[str]) -> bool:
        """Whether a line that begins with # has a word like the others."""
        if len(cells) != self.width or self.is_counted:
            return False
        return self.tag is None or not self.is_scheme or bool(TAG.fullmatch(cells[self.tag]))

    def tag_of(self, cells: Sequence[str]) -> str | None:
        """The tag in a line; None if it has none."""
        if self.tag is None or self.tag >= len(cells):
            return None
        if not self.is_in_misc:
            return cells[self.tag]
        found = _IN_MISC.search(cells[self.tag])
        return found.group(1) if found else "O"


def read_conll(file: SourceFile) -> Found:
    """Sentences: ``tokens``, and ``label`` with a tag for each if there are tags.

    Raises:
        UserError: naming the line that has no word or no tag.
    """
    lines = file.lines()
    head = list(itertools.islice(lines, _LOOKED_AT))
    layout = layout_of(head, file.options, place=str(file.path))
    if layout.others and file.options.tag_column is None:
        also = " and ".join(str(number + 1) for number in layout.others)
        file.notes.say(
            f"tags are read from column {(layout.tag or 0) + 1}; column {also} has tags, too. "
            "--tag-column N reads another"
        )
    words: list[str] = []
    tags: list[str] = []
    first = 1
    for number, line in enumerate(itertools.chain(head, lines, [""]), start=1):
        if line.strip():
            cells = layout.columns(line)
            if cells is None or (layout.is_counted and not cells[0].isdecimal()):
                continue  # a comment; in CoNLL-U also a contraction, whose parts follow
            if layout.word >= len(cells):
                raise UserError(
                    f"{file.path} line {number} has {len(cells)} columns; words are in column "
                    f"{layout.word + 1}. If that is wrong, add --word-column N."
                )
            if len(cells) > layout.width and layout.tag == layout.width - 1:
                raise UserError(
                    f"{file.path} line {number} has {len(cells)} columns; other lines have {layout.width}. "
                    "Separate columns by tabs where words contain spaces."
                )
            first = first if words else number
            words.append(cells[layout.word])
            tag = layout.tag_of(cells)
            tags += [] if tag is None else [tag]
            if len(tags) not in (0, len(words)):
                found = "a word and no tag" if tag is None else "a tag"
                raise UserError(
                    f"{file.path} line {number} has {found}, unlike the lines before it in its sentence. "
                    "Need 'word TAB tag' in all of them, or the word alone."
                )
        elif words:
            yield f"line {first}", {"tokens": words, **({"label": tags} if tags else {})}
            words, tags = [], []


def sentence_text(marked: Marked) -> str:
    """A sentence as lines of word, tab and tag, with the blank line after it."""
    tags = tag_words(marked.words, marked.marks)
    rows = zip(marked.words, tags, strict=True)
    return "".join(f"{_cell(marked.text[a:b])}\t{_cell(tag)}\n" for (a, b), tag in rows) + "\n"


def _cell(text: str) -> str:
    """A word or a tag without the white space that would divide it."""
    return "_".join(text.split()) or "_"


def looks_like_conll(lines: Sequence[str]) -> bool:
    """Whether lines have words and tags of the BIO scheme, all in the same columns."""
    try:
        layout = layout_of(lines, ReadOptions(), place="")
    except UserError:
        return False
    rows = [cells for line in lines if line.strip() and (cells := layout.columns(line)) is not None]
    alike = sum(len(cells) == layout.width for cells in rows)
    return layout.is_scheme and not layout.is_in_misc and alike == len(rows) > 0


def layout_of(lines: Sequence[str], options: ReadOptions, *, place: str) -> ConllColumns:
    """Find the columns of words and tags.

    Args:
        lines: the first of a file.
        options: what the user says.
        place: the file, for messages.

    Raises:
        UserError: if the file has no column of the number that the user says.
    """
    plain = [line for line in lines if line.strip() and not line.startswith(("#", _DOCUMENT))]
    plain = plain or [line for line in lines if line.strip()]
    has_tabs = 2 * sum("\t" in line for line in plain) > len(plain)
    widths = Counter(len(_split(line, has_tabs=has_tabs)) for line in plain)
    width = widths.most_common(1)[0][0] if widths else 1
    sentences = list(_sentences(lines, width=width, has_tabs=has_tabs))
    rows = list(itertools.chain.from_iterable(sentences))
    is_counted = width > 1 and _counts(sentences) and not (width == 2 and _is_scheme(rows, 1))
    word, tag = _asked(options, width, place)
    if word is None:
        free = [one for one in range(width) if _can_be_word(sentences, one, is_counted, tag)]
        word = next((one for one in free if not _is_scheme(rows, one)), free[0] if free else 0)
    basis = ConllColumns(width=width, has_tabs=has_tabs, word=word, tag=tag, is_counted=is_counted)
    if tag is not None:
        return replace(basis, is_scheme=_is_scheme(rows, tag))
    found = [one for one in range(width) if one != word and (one or not is_counted) and _is_scheme(rows, one)]
    if found:
        best = max(found, key=lambda one: _rank(rows, one))
        others = tuple(one for one in found if one != best and _rank(rows, one)[:2] == (1, 1))
        return replace(basis, tag=best, is_scheme=True, others=others)
    if width == _CONLL_U and is_counted:
        in_misc = [match.group(1) for cells in rows if (match := _IN_MISC.search(cells[-1]))]
        is_found = bool(in_misc) and all(TAG.fullmatch(one) for one in in_misc)
        return replace(basis, tag=width - 1 if is_found else None, is_in_misc=is_found, is_scheme=is_found)
    remaining = [one for one in range(width) if one > word]
    has_outside = bool(remaining) and any(cells[remaining[-1]] == "O" for cells in rows)
    return replace(basis, tag=remaining[-1] if len(remaining) == 1 or has_outside else None)


def _asked(options: ReadOptions, width: int, place: str) -> tuple[int | None, int | None]:
    """The columns that the user says, from 0."""
    found = []
    for option, value in (("--word-column", options.word_column), ("--tag-column", options.tag_column)):
        number = int(value) if value is not None and value.isdecimal() else None
        if value is not None and (number is None or not 1 <= number <= width):
            raise UserError(f"{option} {value}: {place} has the columns 1 to {width}. Give one of them.")
        found.append(None if number is None else number - 1)
    return found[0], found[1]


def _split(line: str, *, has_tabs: bool) -> list[str]:
    if has_tabs and "\t" in line:
        return [cell.strip(" ") for cell in line.rstrip(" \t\r\n").split("\t")]
    if has_tabs and line.startswith("#"):
        return [line.strip()]
    return _BLANK.split(line.strip(" \t\r\n"))  # other white space belongs to a word


def _sentences(lines: Sequence[str], *, width: int, has_tabs: bool) -> Iterator[list[list[str]]]:
    """The rows of each sentence that have all columns; lines with # left out."""
    rows: list[list[str]] = []
    for line in [*lines, ""]:
        if line.strip():
            cells = _split(line, has_tabs=has_tabs)
            if len(cells) == width and not line.startswith(("#", _DOCUMENT)):
                rows.append(cells)
        elif rows:
            yield rows
            rows = []


def _counts(sentences: Sentences) -> bool:
    """Whether the first column counts the words of every sentence, from 0 or 1."""
    for rows in sentences:
        matches = [_COUNT.fullmatch(cells[0]) for cells in rows]
        if any(match is None for match in matches):
            return False
        plain = [int(match.group(1)) for match in matches if match and match.group(2) is None]
        if not plain or plain[0] not in (0, 1) or plain != list(range(plain[0], plain[0] + len(plain))):
            return False
    return any(len(rows) > 1 for rows in sentences)


def _can_be_word(sentences: Sentences, column: int, is_counted: bool, tag: int | None) -> bool:
    """Whether a column is neither the count, nor the tags, nor a name that all words of a sentence share."""
    if column == tag or (column == 0 and is_counted):
        return False
    long = [rows for rows in sentences if len(rows) > 1]
    is_shared = len(long) > 1 and all(len({cells[column] for cells in rows}) == 1 for rows in long)
    return not (is_shared and column + 2 < len(sentences[0][0]))


def _is_scheme(rows: Sequence[Sequence[str]], column: int) -> bool:
    has_tags = any(cells[column] not in _BLANKS for cells in rows)
    return has_tags and all(TAG.fullmatch(cells[column]) for cells in rows)


def _rank(rows: Sequence[Sequence[str]], column: int) -> tuple[int, int, int, int]:
    """How likely a column of tags is the entities': it has some, they are not chunks, and there are many."""
    entities = [cells[column] for cells in rows if cells[column] not in ("O", *_BLANKS)]
    kinds = {tag[2:] for tag in entities}
    return int(bool(entities)), int(not kinds <= _CHUNKS), len(entities), -column
