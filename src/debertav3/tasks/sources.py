"""What a source that a user names is: the format of its rows, and the files that a folder stands for."""

from collections.abc import Iterable
from pathlib import Path

from ..errors import UserError
from ..files.compression import READ_ENDINGS as COMPRESSED
from ..files.compression import bare_name, only_member
from ..files.named_sets import DATASETS_PREFIX
from .folders import folder_format, parts_of
from .formats import (
    BEIR,
    BRAT,
    CONLL,
    DATASETS,
    ENDINGS,
    FORMATS,
    JSON,
    JSONL,
    LOOK_ALIKE,
    PARQUET,
    SPACY,
    TSV,
    XLSX,
    Format,
    certain_format,
    format_named,
    format_within,
    is_conll,
    way_in,
)
from .ranking_rows import is_beir, is_qrels, splits_of
from .read_options import AS_FOUND, ReadOptions
from .source_file import SourceFile


def format_of(
    source: str | Path, options: ReadOptions = AS_FOUND, *, otherwise: Format | None = None
) -> Format:
    """The format of a source: its content where that leaves no doubt, else its ending, else what is named.

    Of tables of text, CoNLL and fastText, which look alike, what the user names counts before the ending.

    Args:
        source: a path or ``datasets:NAME``.
        options: what the user says of it.
        otherwise: the format of a text file that shows no other.

    Raises:
        UserError: if the name is unknown, a format that is compressed within is compressed again, or nothing
            tells the format.
    """
    if str(source).startswith(DATASETS_PREFIX):
        return DATASETS
    path = Path(source)
    if is_qrels(path):
        return BEIR
    if (folder := folder_format(path)) is not None:
        return folder
    given = None if options.format is None else format_named(options.format)
    by_ending = format_of_ending(source)
    if given is not None and (by_ending is None or {given, by_ending} <= set(LOOK_ALIKE)):
        return given
    if by_ending is not None:
        if not path.is_file() or by_ending in (PARQUET, XLSX, SPACY, BRAT):
            return by_ending
        certain = certain_format(SourceFile(path, options))
        is_json = {certain, by_ending} == {JSON, JSONL}
        if by_ending is TSV and certain is None and is_conll(SourceFile(path, options)):
            return CONLL  # which is often called .tsv, and has no line with names
        return by_ending if certain is None or is_json else certain
    file = SourceFile(path, options)
    found = format_within(file, may_be_table=otherwise is None or bool(options.columns)) or otherwise
    if found is None:
        raise UserError(
            f"{source}: neither its ending ({path.suffix or 'none'}) nor its content says "
            f"what it contains. {way_in(Path(bare_name(path)).suffix)}"
        )
    return found


def format_of_ending(path: str | Path) -> Format | None:
    """The format that a file's name says; None if it says none.

    Raises:
        UserError: if a format that is compressed within is compressed again.
    """
    is_archive = str(path).lower().endswith(".zip")
    ending = Path(bare_name((only_member(path) if is_archive else None) or path)).suffix
    found = next((one for one in FORMATS if ending in one.endings), None)
    if found is not None and found.is_packed and str(path).lower().endswith(COMPRESSED):
        raise UserError(
            f"{path}: {found.name.capitalize()} is already compressed. Give a name without "
            f"{Path(path).suffix}."
        )
    return found


def expand(sources: Iterable[str], *, role: str) -> tuple[str, ...]:
    """Replace each folder by its files for a role, in order of name.

    Args:
        sources: files, folders and ``datasets:`` names.
        role: ``train`` or ``dev``; of a folder those files are taken whose name begins with it, or for dev
            with ``validation``.

    Raises:
        UserError: if a folder has no such file.
    """
    starts = ("train",) if role == "train" else ("dev", "validation")
    expanded: list[str] = []
    for source in sources:
        folder = Path(source)
        if is_beir(folder):
            expanded += splits_of(folder, role=role)
            continue
        if parts := parts_of(folder, role=role):
            expanded += parts
            continue
        if source.startswith(DATASETS_PREFIX) or not folder.is_dir() or is_folder_of_rows(folder):
            expanded.append(source)
            continue
        files = sorted(
            path
            for path in folder.iterdir()
            if path.name.startswith(starts) and Path(bare_name(path)).suffix in ENDINGS
        )
        if not files:
            wanted = " or ".join(f"{start}*" for start in starts)
            raise UserError(f"{source} has no file {wanted} of kind {', '.join(ENDINGS)}.")
        expanded += [str(path) for path in files]
    return tuple(expanded)


def is_folder_of_rows(path: Path) -> bool:
    """Whether a folder is read as one source."""
    return folder_format(path) is not None
