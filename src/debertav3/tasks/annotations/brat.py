"""brat (brat.nlplab.org/standoff): a folder with documents, ``A.txt``, and their annotations, ``A.ann``."""

import re
from collections.abc import Iterator
from pathlib import Path

from ...errors import UserError
from ..notes import Notes
from ..source_file import Found, SourceFile
from .format import Marked
from .marks import ENTITIES, TEXT, Mark, locate

WRITES = ("*.txt", "*.ann", "annotation.conf")
"""Names of what makes up a folder."""
OBSOLETE = re.compile(r"\d{6}\.(txt|ann)")
"""Names that `write_document` gives."""
_BOUND = re.compile(r"T\S*\t(\S+) (\d+ \d+(?:;\d+ \d+)*)(?:\t(.*))?")


def is_brat(path: Path) -> bool:
    """Whether a path is a folder of annotations, or one file of them."""
    return path.suffix == ".ann" if not path.is_dir() else any(path.glob("*.ann"))


def read_brat(file: SourceFile) -> Found:
    """The documents of a folder in order of name; those without ``.ann`` have not been annotated.

    Raises:
        UserError: naming file and line of the first thing that cannot be read.
    """
    path = file.path
    texts = sorted(path.glob("*.txt")) if path.is_dir() else [path.with_suffix(".txt")]
    known = {one.with_suffix(".ann") for one in texts}
    alone = next((one for one in sorted(path.glob("*.ann")) if one not in known), None)
    if alone is not None or not texts[0].is_file():
        alone = alone or path
        raise UserError(f"{alone} has no {alone.with_suffix('.txt').name} beside it. Put the document there.")
    for one in texts:
        text = _content(one)
        annotations = one.with_suffix(".ann")
        found = None
        if annotations.is_file():
            found = [
                {"start": mark.start, "end": mark.end, "label": mark.label}
                for mark in _marks(annotations, text, file.notes)
            ]
        yield one.name, {"document": one.stem, TEXT: text, ENTITIES: found}


def _content(path: Path) -> str:
    """A text as it is, with its own line ends, which offsets count."""
    try:
        return path.read_bytes().decode("utf-8")
    except UnicodeDecodeError as error:
        raise UserError(
            f"{path} is not UTF-8 text (byte {error.start + 1}). Save the file as UTF-8."
        ) from None
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}.") from None


def _marks(path: Path, text: str, notes: Notes) -> Iterator[Mark]:
    for number, ended in enumerate(_content(path).split("\n"), start=1):
        line = ended.rstrip("\r")
        if not line.startswith("T"):
            continue  # relations, events, attributes, notes
        place = f"{path} line {number}"
        match = _BOUND.fullmatch(line)
        if match is None:
            raise UserError(
                f"{place} is not an entity of brat: {line[:60]!r}. Need 'T1 TAB PER 0 4 TAB Anna'."
            )
        label, offsets, surface = match.groups()
        parts = [tuple(map(int, one.split())) for one in offsets.split(";")]
        if len(parts) > 1:
            notes.add(
                "entities have gaps and are read from their first to their last character",
                f"{surface!r} ({place})",
            )
            surface = None
        mark = Mark(parts[0][0], parts[-1][1], label)
        yield locate(mark, text, surface=surface, place=place, notes=notes)


def write_document(folder: Path, number: int, marked: Marked) -> None:
    """Write one document and its annotations; brat types have no spaces."""
    name = f"{number:06d}"
    (folder / f"{name}.txt").write_bytes(marked.text.encode("utf-8"))
    lines = []
    for count, mark in enumerate(marked.marks, start=1):
        surface = " ".join(marked.text[mark.start : mark.end].split())
        lines.append(f"T{count}\t{brat_type(mark.label)} {mark.start} {mark.end}\t{surface}\n")
    (folder / f"{name}.ann").write_bytes("".join(lines).encode("utf-8"))


def write_configuration(folder: Path, labels: set[str]) -> None:
    """Write the types of entities that brat is to know."""
    lines = [
        "[entities]",
        *sorted(map(brat_type, labels)),
        "",
        "[relations]",
        "",
        "[events]",
        "",
        "[attributes]",
    ]
    (folder / "annotation.conf").write_text("\n".join(lines) + "\n", encoding="utf-8")


def brat_type(label: str) -> str:
    """A label as the name of a type: letters, digits, hyphens and underscores."""
    return re.sub(r"[^\w-]", "_", label)
