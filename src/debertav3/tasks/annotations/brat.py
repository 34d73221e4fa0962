"""brat (brat.nlplab.org/standoff): a folder with documents, ``A.txt``, and their annotations, ``A.ann``."""

import re
from collections.abc import Iterator
from pathlib import Path

from ...errors import UserError
from ...files.compression import bare_name, reading
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
    """Whether a path is a folder of annotations, or one file of them; they may be compressed."""
    if not path.is_dir():
        return _ending(path) == ".ann"
    return any(_ending(one) == ".ann" for one in path.glob("*.ann*"))


def _ending(path: Path) -> str:
    return Path(bare_name(path)).suffix


def _stem(path: Path) -> str:
    """The name of a document: that of its file without endings."""
    return path.name[: len(Path(bare_name(path)).stem)]


def read_brat(file: SourceFile) -> Found:
    """The documents of a folder in order of name; those without ``.ann`` have not been annotated.

    Raises:
        UserError: naming file and line of the first thing that cannot be read.
    """
    path = file.path
    files = sorted(path.iterdir() if path.is_dir() else path.parent.iterdir())
    if not path.is_dir():
        files = [one for one in files if _stem(one) == _stem(path)]
    texts = {_stem(one): one for one in files if _ending(one) == ".txt"}
    marked = {_stem(one): one for one in files if _ending(one) == ".ann"}
    alone = next((name for name in marked if name not in texts), None)
    if alone is not None:
        raise UserError(f"{marked[alone]} has no {alone}.txt next to it. Put the document there.")
    for name, one in texts.items():
        text = _content(one)
        found = None
        if name in marked:
            found = [
                {"start": mark.start, "end": mark.end, "label": mark.label}
                for mark in _marks(marked[name], text, file.notes)
            ]
        yield one.name, {"document": name, TEXT: text, ENTITIES: found}


def _content(path: Path) -> str:
    """A text as it is, with its own line ends, which offsets count.

    Raises:
        UserError: if it cannot be read, or is not UTF-8.
    """
    with reading(path) as stream:
        content = stream.read()
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(
            f"{path} is not UTF-8 text (byte {error.start + 1}). Save the file as UTF-8."
        ) from None


def _marks(path: Path, text: str, notes: Notes) -> Iterator[Mark]:
    for number, ended in enumerate(_content(path).split("\n"), start=1):
        line = ended.rstrip("\r")
        if not line.startswith("T"):
            continue  # relations, events, attributes, notes
        place = f"{path} line {number}"
        match = _BOUND.fullmatch(line)
        if match is None:
            raise UserError(f"{place} is not a brat entity: {line[:60]!r}. Need 'T1 TAB PER 0 4 TAB Anna'.")
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
