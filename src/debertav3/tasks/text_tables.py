"""Rows in tables of text, lines of fastText, and texts in a folder for each class."""

import csv
import itertools
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Literal

from ..errors import UserError
from .around_tables import above_note, num_above, separator_said
from .dialect import Dialect, find_dialect, likeliest_delimiter
from .source_file import Found, Header, SourceFile

if TYPE_CHECKING:
    from _csv import Reader

_DELIMITERS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars"}
FASTTEXT_MARK = "__label__"
_LINE = re.compile(r"[^\r\n]*(?:\r\n|\r|\n)|[^\r\n]+")


class TextTable:
    """A table of text: what may separate the columns, and whether cells may be quoted."""

    def __init__(self, delimiters: str, *, is_quoted: bool) -> None:
        self.delimiters = delimiters
        self.is_quoted = is_quoted

    def __call__(self, file: SourceFile) -> Found:
        """Yield the rows."""
        csv.field_size_limit(64 << 20)  # characters; the csv module's own limit is 128 thousand
        lines = _at_carriage_returns(file.lines())
        head, num_blank = _head(lines)
        if not any(line.strip() for line in head):
            raise UserError(
                f"{file.path} contains no rows: it is empty. Need a line with the names of the columns, then "
                "rows."
            )
        delimiters, above = self._above(head, file)
        head = head[above:]
        second = next(lines, None)
        lines = itertools.chain(head, [] if second is None else [second], lines)
        dialect, notes = find_dialect(
            head,
            delimiters,
            is_quoted=self.is_quoted,
            is_cut=second is not None,
            options=file.options,
            is_triples="triples" in file.path.name.lower(),
        )
        for note in notes:
            file.notes.note(*note)
        quotes = "" if dialect.is_quoted else ", quotes belong to the texts"
        file.details.append(f"{_DELIMITERS[dialect.delimiter]} between columns{quotes}")
        reader = dialect.reader(lines)
        before = num_blank + above
        try:
            if dialect.names is None:
                yield from self._with_header(reader, dialect, file, before=before)
            else:
                yield from _without_header(reader, dialect, file, before=before)
        except csv.Error as error:
            line = before + reader.line_num
            raise UserError(
                f"{file.path} line {line} is not valid CSV ({error}). Quote cells that hold "
                f"{dialect.delimiter!r} or line ends, and double the quotes in "
                "them; or write tabs between columns."
            ) from None

    def _above(self, head: Sequence[str], file: SourceFile) -> tuple[str, int]:
        """What may separate the columns, and how many lines are above the table."""
        said = separator_said(head[0]) if len(head) > 1 else None
        if said is not None and said in _DELIMITERS:
            return said, 1
        if file.options.has_header is not None or len(head) < 2:
            return self.delimiters, 0
        delimiter = likeliest_delimiter(head, self.delimiters, is_quoted=self.is_quoted)
        quoting: Literal[0, 3] = csv.QUOTE_MINIMAL if self.is_quoted else csv.QUOTE_NONE
        rows = [next(csv.reader([line], delimiter=delimiter, quoting=quoting), []) for line in head[:60]]
        above = num_above(rows)
        if above:
            file.notes.note(*above_note(above))
        return self.delimiters, above

    def _with_header(self, reader: "Reader", dialect: Dialect, file: SourceFile, *, before: int) -> Found:
        place = f"{file.path} line {before + 1}"
        header = Header(next(reader, []), place)
        for note in header.notes:
            file.notes.note(*note)
        line = before + reader.line_num + 1
        for cells in reader:
            if cells:  # a blank line has none
                fields = header.fields(cells, f"{file.path} line {line}")
                if fields is None:
                    first = f"line {before + 1}" if before else "the first line"
                    error = UserError(
                        f"{file.path} line {line} has {len(cells)} cells; {first} has "
                        f"{len(header.names)} names ({', '.join(header.names)}). {_advice(dialect)}"
                    )
                    file.skip(error)
                else:
                    yield f"line {line}", fields
            line = before + reader.line_num + 1


def _at_carriage_returns(lines: Iterable[str]) -> Iterator[str]:
    r"""Lines that end at ``\r``, too; the csv module puts those of quoted cells together again."""
    for line in lines:
        if "\r" in line[:-2] or line.endswith("\r"):
            yield from _LINE.findall(line)
        else:
            yield line


def _head(lines: Iterable[str], *, most: int = 500) -> tuple[list[str], int]:
    """The first lines without blank ones before the first row, and how many of those there are."""
    found: list[str] = []
    size = num_blank = 0
    for line in lines:
        if not found and not line.strip():
            num_blank += 1
            continue
        found.append(line)
        size += len(line)
        if len(found) == most or size > 1 << 20:
            break
    return found, num_blank


def _advice(dialect: Dialect) -> str:
    if dialect.is_quoted:
        return (
            f"Quote cells that contain {dialect.delimiter!r}, or say --no-header if the first line is a row."
        )
    return "Cells of a .tsv file cannot contain tabs or line ends; save such texts as .csv, quoted."


def _without_header(reader: "Reader", dialect: Dialect, file: SourceFile, *, before: int) -> Found:
    """Rows whose columns are numbered; where quotes mean nothing, rows may differ in width."""
    names = dialect.names or ()
    line = before + 1
    for cells in reader:
        if cells:
            if len(cells) != len(names) and dialect.is_quoted:
                file.skip(
                    UserError(
                        f"{file.path} line {line} has {len(cells)} cells; most lines have {len(names)}. "
                        f"{_advice(dialect)}"
                    )
                )
            else:
                own = names if len(cells) <= len(names) else [str(n) for n in range(1, len(cells) + 1)]
                yield f"line {line}", dict(itertools.zip_longest(own, cells, fillvalue=""))
        line = before + reader.line_num + 1


def read_fasttext(file: SourceFile) -> Found:
    """FastText's training files: labels with the mark ``__label__`` before, or after, the text of a line."""
    for number, line in enumerate(file.lines(), start=1):
        words = line.split()
        if not words:
            continue
        labels = [word.removeprefix(FASTTEXT_MARK) for word in words if word.startswith(FASTTEXT_MARK)]
        pattern = rf"(?:(?<=\s)|^){re.escape(FASTTEXT_MARK)}\S+"
        text = re.sub(pattern, "", line).strip().strip(",").strip()
        if not labels:
            raise UserError(f"{file.path} line {number} has no {FASTTEXT_MARK}. Put one before each text.")
        yield f"line {number}", {"text": text, "label": labels[0] if len(labels) == 1 else labels}


_UNLABELLED = ("unsup", "unlabeled", "unlabelled")


def read_class_folders(file: SourceFile) -> Found:
    """Texts in a folder for each class, as IMDB's reviews and the news of 20 Newsgroups are published.

    Raises:
        UserError: if a text cannot be read.
    """
    for folder in sorted(one for one in file.path.iterdir() if one.is_dir()):
        if folder.name in _UNLABELLED:
            file.notes.note(f"the texts in {folder.name}, which have no label", is_left_out=True)
            continue
        for path in sorted(folder.glob("*.txt")):
            text = "".join(SourceFile(path, file.options, notes=file.notes).lines())
            yield f"{folder.name}/{path.name}", {"text": text.strip(), "label": folder.name}
