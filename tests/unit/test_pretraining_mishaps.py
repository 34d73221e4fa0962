"""The runs that go wrong on purpose can run, and docs/pretraining.md shows them all."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[2] / "benchmarks"))

from debertav3.pretrain.settings import recipe
from mishap_rows import MISHAPS, RUNS


def test_mishaps_name_runs_that_can_run() -> None:
    for one in MISHAPS:
        assert one.advice and one.figures and {one.run, one.healthy} <= RUNS.keys()
    for run in RUNS.values():
        recipe("nano").with_overrides(["max_steps=200", *run.settings])
        assert run.start in (*RUNS, "mlm-weights", "rtd-weights", "strong")


def test_the_page_shows_every_mishap(repository: Path) -> None:
    text = (repository / "docs" / "pretraining.md").read_text(encoding="utf-8")
    table = text.partition("<!-- table of benchmarks/pretraining_mishaps.py -->")[2].partition("<!-- end")[0]
    assert [one.what for one in MISHAPS if f"| {one.what} |" not in table] == []
