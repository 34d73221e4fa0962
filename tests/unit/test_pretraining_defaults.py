"""docs/pretraining.md gives every default with its reason, and names rows of the study that exist."""

import re
import sys
from collections import Counter
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).resolve().parents[2] / "benchmarks"))

from debertav3.pretrain.settings import PretrainConfig, recipe
from debertav3.runs.settings import all_settings
from study_page import table
from study_records import Records
from study_rows import BASES, ROWS, Row

NAMES = {row.name for row in (*BASES, *ROWS)}


@pytest.fixture(scope="module")
def section(repository: Path) -> str:
    text = (repository / "docs" / "pretraining.md").read_text(encoding="utf-8")
    return text.partition("### Why these defaults\n")[2].partition("\n## ")[0]


def defaults(section: str) -> list[tuple[str, str, str, str]]:
    """Name, default, default of nano ("" if it is the same) and reason of every setting of the two tables."""
    found = []
    for line in section.splitlines():
        if not line.startswith("| `"):
            continue
        names, values, nano, why, _ = (cell.strip() for cell in line.strip("|").split("|"))
        names, values, nano = (
            re.split(r", (?=\S)", re.sub(r"(?<=\d),(?=\d{3})", "", cell)) for cell in (names, values, nano)
        )
        nano = nano if nano != [""] else [""] * len(names)
        for name, value, one in zip(names, values, nano, strict=True):
            found.append((name.strip("`"), value, one, why))
    return found


def test_every_setting_is_there_once_with_its_reason(section: str) -> None:
    rows = defaults(section)
    assert Counter(name for name, *_ in rows) == Counter(one.short for one in all_settings(PretrainConfig))
    assert all(why for *_, why in rows)


def test_the_defaults_are_those_of_the_code(section: str) -> None:
    base, nano = PretrainConfig(), recipe("nano")
    for name, value, of_nano, _ in defaults(section):
        assert base.with_overrides([f"{name}={value}"]) == base, name
        assert nano.with_overrides([f"{name}={of_nano or value}"]) == nano, name
    assert recipe("large").optimizer.learning_rate == 3e-4 and "learning rate of 3e-4" in section


def test_rows_that_are_named_exist_and_have_an_anchor(section: str, repository: Path) -> None:
    named = re.findall(r"\[`([^`]+)`\]\(results\.md#study-([^)]+)\)", section)
    assert named and all(text == anchor for text, anchor in named)
    assert {text for text, _ in named} <= NAMES
    results = (repository / "docs" / "results.md").read_text(encoding="utf-8")
    assert "## Pre-training at equal tokens and equal time\n" in results
    anchors = re.findall(r'<a id="study-([^"]+)"></a>', results)
    assert anchors == [row.name for row in ROWS]


@pytest.mark.parametrize("row", [*BASES, *ROWS], ids=lambda row: row.name)
def test_a_row_of_the_study_can_run(row: Row) -> None:
    settings = recipe("nano").with_overrides(["max_steps=800", *row.settings])
    for name in (row.start, row.pace, row.time_of):
        assert not name or name in NAMES
    (paced,) = [one for one in ROWS if one.name == row.pace_row]
    assert paced.trains and not paced.start and paced.pace_row == paced.name
    assert paced.is_stock == row.is_stock and (paced.shape == row.shape or not row.trains)
    assert settings.masking.mask_prob == 0.15  # validation masks alike in all rows, so their losses compare


def test_names_of_rows_are_unique() -> None:
    assert len(NAMES) == len(BASES) + len(ROWS)


def test_the_table_of_the_study_has_figures_of_what_is_finished(tmp_path: Path) -> None:
    rows = [row for row in ROWS if row.name in ("mlm", "mlm-seed-1", "rtd-gdes")]
    path = tmp_path / "results.json"
    assert [line.count("|") for line in table(Records(path).rows, ["inference"], rows)] == [4] * 5
    for name, scores in (("mlm", [0.5, 0.52]), ("mlm-seed-1", [0.53, 0.55])):
        curve = [{"step": 800, "heldout_mlm_loss": 4.321, "heldout_cosine_generator": 0.5}]
        record = {"tokens": 3_276_800, "seconds": 90, "steps": 800, "curve": curve}
        Records(path).put_row(name, record | {"scores": {"inference": {"accuracy": scores}}})
    lines = table(Records(path).rows, ["inference"], rows)
    (mlm,) = [line for line in lines if "`mlm`" in line]
    assert mlm.endswith("| MLM + EMD | 3.3 M | 1.5 | 51.0 ± 1.4 | 4.32 |  | 0.50 |")
    (unfinished,) = [line for line in lines if "`rtd-gdes`" in line]
    assert unfinished.endswith("| RTD, GDES |" + "  |" * 6) and unfinished.count("|") == mlm.count("|")
    assert lines[-1].endswith("in their seed alone): inference 1.4 (3.0).")
