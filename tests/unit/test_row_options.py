"""The commands around training take the same options about rows, and each reaches its setting."""

import inspect
from dataclasses import fields

import pytest

from debertav3.cli.data_check import check_command
from debertav3.cli.finetune import finetune, only_given
from debertav3.cli.row_options import RowOptions
from debertav3.cli.search import search
from debertav3.finetuning.config import FinetuneConfig

SAID = RowOptions(
    text_column="text", pair_column="pair", label_column="gold", choice_columns="A, B",
    label_kind="tags", file_format="csv", encoding="latin-1", header=False, sheet="2", records="rows",
    dev_records="more", labels="map.yaml", skip_bad=True,
    word_column="1", tag_column="4", tag_names="O, B-PER",
)  # fmt: skip


@pytest.mark.parametrize("command", [finetune, search, check_command])
def test_a_command_has_every_option(command: object) -> None:
    taken = inspect.signature(command).parameters  # type: ignore[arg-type]
    assert {field.name for field in fields(RowOptions)} <= taken.keys() and "rows" not in taken


def test_each_option_reaches_its_setting() -> None:
    said = only_given(**SAID.settings())
    assert len(said) == len(fields(RowOptions))
    config = FinetuneConfig(task="ner", model="nano").with_values(said, source="the options")
    assert {name: config.get(name) for name in said} == {
        **said,
        "tag_names": ("O", "B-PER"),
        "choice_columns": ("A", "B"),
    }
    assert not only_given(**RowOptions().settings())
