"""The figures of `pretraining_study.py` in one JSON file: ``paces`` and ``rows``, both by name of a row."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from debertav3.files import write_json

Record = Mapping[str, object]


class Records:
    """Reads the file, and writes it after every change.

    Args:
        path: of the file, which need not exist.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        content = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
        self.paces: dict[str, list[float]] = content.get("paces", {})
        """Seconds per step, one figure for each round."""
        self.rows: dict[str, Record] = content.get("rows", {})

    def put_paces(self, paces: Mapping[str, Sequence[float]]) -> None:
        """Keep the paces of rows that were timed together."""
        self.paces |= {name: list(found) for name, found in paces.items()}
        self._write()

    def put_row(self, name: str, record: Record) -> None:
        """Keep the figures of a finished row."""
        self.rows[name] = record
        self._write()

    def _write(self) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        write_json(self.path, {"paces": self.paces, "rows": self.rows})


def number(record: Record, name: str) -> float:
    """A figure of a record."""
    value = record[name]
    assert isinstance(value, int | float)
    return float(value)


def scores_of(record: Record, task: str) -> list[float]:
    """The scores of every seed; none if the row was not fine-tuned on the task."""
    scores = record.get("scores", {})
    assert isinstance(scores, dict)
    return list(next(iter(scores[task].values()))) if task in scores else []
