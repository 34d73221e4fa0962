"""Entities that a model found, written as annotation tools import them: people correct them and train again.

`TOOLS` are all of them. What a tool reads and what it writes is in one file of `annotations`.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

from ..errors import UserError
from ..files import Output, replacing_folder, replacing_text
from ..files.compression import bare_name
from .annotations.brat import OBSOLETE, WRITES, write_configuration, write_document
from .annotations.character_spans import DOCCANO
from .annotations.conll import sentence_text
from .annotations.format import Marked, RowFormat
from .annotations.label_studio import LABEL_STUDIO
from .annotations.prodigy import PRODIGY
from .formats import JSON, JSONL
from .table_writers import Layout, open_writer

WriteMarked = Callable[[Sequence[Marked]], None]


@dataclass(frozen=True, kw_only=True)
class Tool:
    """What pre-annotations are written for."""

    name: str
    """As the option ``--as`` has it."""
    endings: tuple[str, ...]
    """Of the file, the usual one first; none for a folder."""
    open: Callable[[str | Path], AbstractContextManager[WriteMarked]]
    """Open the output, and give the function that writes texts to it."""

    def output(self, path: str | Path) -> Output:
        """What is written, for `check_outputs`.

        Raises:
            UserError: if the file's name has another ending.
        """
        ending = Path(bare_name(path)).suffix
        if self.endings and ending not in self.endings:
            raise UserError(
                f"--out {path}: {self.name} takes files that end in {' or '.join(self.endings)}. "
                "Give such a name."
            )
        if not self.endings and ending:
            raise UserError(f"--out {path}: {self.name} takes a folder. Give a name without {ending}.")
        is_folder = not self.endings
        return Output(option="--out", path=path, is_folder=is_folder, writes=WRITES if is_folder else ("*",))


def tool_named(name: str) -> Tool:
    """The tool of a name.

    Raises:
        UserError: if there is none.
    """
    for tool in TOOLS:
        if tool.name == name:
            return tool
    raise UserError(f"--as {name!r} is not known. Choose one of: {', '.join(tool.name for tool in TOOLS)}.")


def _rows(
    row_format: RowFormat, *, is_ascii: bool = False
) -> Callable[[str | Path], AbstractContextManager[WriteMarked]]:
    """Objects: a list of them, or one a line, as the file's name says."""

    @contextmanager
    def opened(path: str | Path) -> Iterator[WriteMarked]:
        assert row_format.write is not None
        write_one = row_format.write
        is_list = Path(bare_name(path)).suffix in JSON.endings
        layout = Layout(file_format=JSON if is_list else JSONL, columns=(), is_ascii=is_ascii)
        with open_writer(path, layout) as write:
            yield lambda texts: write([write_one(one) for one in texts])

    return opened


@contextmanager
def _open_conll(path: str | Path) -> Iterator[WriteMarked]:
    with replacing_text(path) as file:
        yield lambda texts: file.writelines(sentence_text(one) for one in texts if one.words)


@contextmanager
def _open_brat(path: str | Path) -> Iterator[WriteMarked]:
    labels: set[str] = set()
    count = 0
    existing = sorted(Path(path).iterdir()) if Path(path).is_dir() else []
    obsolete = [one.name for one in existing if OBSOLETE.fullmatch(one.name)]
    with replacing_folder(path, obsolete=obsolete) as folder:

        def write(texts: Sequence[Marked]) -> None:
            nonlocal count
            for one in texts:
                count += 1
                labels.update(mark.label for mark in one.marks)
                write_document(folder, count, one)

        yield write
        write_configuration(folder, labels)


TOOLS = (
    Tool(name="label-studio", endings=(".json", ".jsonl"), open=_rows(LABEL_STUDIO)),
    Tool(name="doccano", endings=(".jsonl", ".json"), open=_rows(DOCCANO, is_ascii=True)),
    Tool(name="prodigy", endings=(".jsonl", ".json"), open=_rows(PRODIGY)),
    Tool(name="brat", endings=(), open=_open_brat),
    Tool(name="conll", endings=(".conll", ".bio", ".iob2", ".txt"), open=_open_conll),
)
