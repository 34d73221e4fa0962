"""Settings: a value has its field's type or an error names the key; recipes are the published numbers."""

import json
from pathlib import Path
from typing import Any

import pytest

from debertav3.errors import UserError
from debertav3.finetuning.config import FinetuneConfig
from debertav3.finetuning.preparation import read_data, resolve, size_of
from debertav3.finetuning.recipes import RECIPES, SIFT_RECIPES
from debertav3.runs.assignments import read_settings
from debertav3.sizes import raw_config
from debertav3.tasks.names import TASKS
from debertav3.tasks.public import PUBLIC_SOURCES


@pytest.fixture
def config() -> FinetuneConfig:
    return FinetuneConfig.of(task="nli", model="nano")


@pytest.mark.parametrize(
    ("assignment", "key", "value"),
    [
        ("learning_rate=5e-5", "learning_rate", 5e-5),
        ("epochs=2", "epochs", 2.0),
        ("batch_size=16", "batch_size", 16),
        ("max_steps=null", "max_steps", None),
        ("length_grouping=false", "length_grouping", False),
        ("tokenizer=models/nano", "tokenizer", "models/nano"),
        ("report_to=[tensorboard, wandb]", "report_to", ("tensorboard", "wandb")),
        ("train=a.jsonl", "train", ("a.jsonl",)),
    ],
)
def test_an_assignment_becomes_a_value_of_the_fields_type(
    config: FinetuneConfig, assignment: str, key: str, value: object
) -> None:
    changed = config.with_overrides([assignment])
    assert changed.get(key) == value
    assert type(changed.get(key)) is type(value)


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        ("learning_rat=1", "unknown key 'learning_rat'. Did you mean 'learning_rate'?"),
        ("zzz=1", "unknown key 'zzz'. Known: "),
        ("batch_size=many", "batch_size must be an integer of at least 1; got 'many'"),
        ("batch_size=2.5", "batch_size must be an integer of at least 1; got '2.5'"),
        ("length_grouping=3", "length_grouping must be true or false; got '3'"),
        ("learning_rate", "has no '='"),
        ("learning_rate=-1", "invalid setting: learning_rate=-1.0"),
        (
            "schedule=spiral",
            "It must be one of linear, cosine, constant_with_warmup.",
        ),
        ("seed=-1", "invalid setting: seed=-1"),
        ("seed=4294967296", "invalid setting: seed=4294967296"),
        ("text_column=[abca", "--set 'text_column=[abca' is not valid YAML: "),
        ("batch_size=null", "batch_size must be an integer of at least 1; got 'null'"),
    ],
)
def test_a_wrong_assignment_is_one_clear_line(config: FinetuneConfig, assignment: str, message: str) -> None:
    with pytest.raises(UserError) as caught:
        config.with_overrides([assignment])
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_later_sources_win_over_earlier_ones(tmp_path: Path) -> None:
    file = tmp_path / "run.yaml"
    file.write_text("learning_rate: 1e-4\nepochs: 7\nbatch_size: 8\n", encoding="utf-8")
    resolved = resolve(
        "mnli", model="xsmall", given={"seed": 3}, config_file=read_settings(file), overrides=["epochs=1"]
    )
    assert (
        resolved.optimizer.learning_rate,
        resolved.loop.epochs,
        resolved.loop.batch_size,
        resolved.seed,
    ) == (1e-4, 1.0, 8, 3)
    assert resolved.optimizer.warmup_steps == 1000  # what nobody changed is the recipe's


@pytest.mark.parametrize("content", ["- 1\n", "a: [", "learning_rat: 1"])
def test_a_bad_yaml_file_is_refused(tmp_path: Path, content: str) -> None:
    file = tmp_path / "run.yaml"
    file.write_text(content, encoding="utf-8")
    with pytest.raises(UserError, match="--config"):
        resolve("nli", model="nano", given={}, config_file=read_settings(file))


@pytest.mark.parametrize(
    ("model", "learning_rate", "warmup_steps", "epochs", "dropout"),
    [
        ("microsoft/deberta-v3-xsmall", 4.5e-5, 1000, 3, 0.1),
        ("microsoft/deberta-v3-small", 4.5e-5, 1500, 3, 0.2),
        ("microsoft/deberta-v3-base", 1.5e-5, 1000, 3, 0.1),
        ("microsoft/deberta-v3-large", 7e-6, 500, 2, 0.3),
    ],
)
def test_the_mnli_recipe_is_the_published_one(
    model: str, learning_rate: float, warmup_steps: int, epochs: int, dropout: float
) -> None:
    resolved = resolve("mnli", model=model, given={})
    assert (resolved.loop.batch_size, resolved.data.max_length) == (64, 256)
    assert resolved.optimizer.learning_rate == learning_rate
    assert resolved.optimizer.warmup_steps == warmup_steps
    assert resolved.loop.epochs == epochs
    assert resolved.regularization.classifier_dropout == dropout


def test_an_unknown_task_suggests_the_nearest() -> None:
    with pytest.raises(UserError, match="Did you mean 'mnli'"):
        resolve("mnly", model="nano", given={})


@pytest.mark.parametrize(
    ("model", "weight", "learning_rate", "epochs", "warmup_steps"),
    [("xsmall", 3.0, 5e-5, 10, 1500), ("small", 5.0, 3.5e-5, 6, 1000), ("base", 5.0, 1.5e-5, 6, 1000)],
)
@pytest.mark.parametrize("how", [{"given": {"sift": True}}, {"given": {}, "overrides": ["sift=true"]}])
def test_sift_has_its_own_published_recipe(
    model: str, weight: float, learning_rate: float, epochs: int, warmup_steps: int, how: dict[str, Any]
) -> None:
    resolved = resolve("mnli", model=model, **how)
    assert (resolved.sift.enabled, resolved.sift.weight, resolved.sift.step_size) == (True, weight, 1e-4)
    assert (resolved.optimizer.learning_rate, resolved.loop.epochs, resolved.optimizer.warmup_steps) == (
        learning_rate,
        epochs,
        warmup_steps,
    )


def test_every_recipe_is_a_possible_run() -> None:
    for (size, task), _ in [*RECIPES.items(), *SIFT_RECIPES.items()]:
        resolve(task, model=size, given={})


def test_a_local_checkpoint_has_the_recipe_of_its_size(nano: Path) -> None:
    assert (
        resolve("nli", model=str(nano), given={}).optimizer.learning_rate
        == resolve("nli", model="nano", given={}).optimizer.learning_rate
    )
    assert resolve("cola", model=str(nano), given={}).optimizer.learning_rate == 3e-4


@pytest.mark.parametrize(
    ("model", "size"),
    [
        ("microsoft/deberta-v3-base", "base"),
        ("microsoft/mdeberta-v3-base", "mdeberta-base"),
        ("microsoft/deberta-v2-xlarge", "v2-xlarge"),
        ("microsoft/deberta-v2-xxlarge", "v2-xxlarge"),
        ("cross-encoder/nli-deberta-v3-xsmall", "xsmall"),
        ("someone/mDeBERTa-v3-base", "mdeberta-base"),
        ("FacebookAI/roberta-large", None),
        ("microsoft/deberta-base", None),
        ("google/electra-small", None),
    ],
)
def test_a_recipe_goes_to_models_of_its_own_family(model: str, size: str | None) -> None:
    assert size_of(model) == size


@pytest.mark.parametrize(
    ("rows", "size"),
    [(128100, "base"), (32000, "base"), (251000, "mdeberta-base"), (250112, "mdeberta-base")],
)
def test_a_folder_has_the_size_with_the_nearest_vocabulary(tmp_path: Path, rows: int, size: str) -> None:
    (tmp_path / "config.json").write_text(json.dumps(raw_config("base", vocab_size=rows)), encoding="utf-8")
    assert size_of(str(tmp_path)) == size


def test_a_public_task_needs_no_files() -> None:
    config = resolve("mnli", model="xsmall", given={})
    assert config.data.train == ("datasets:nyu-mll/glue:mnli",)
    assert [source.split(":")[-1] for source in config.data.dev] == [
        "validation_matched",
        "validation_mismatched",
    ]
    own = resolve("mnli", model="xsmall", given={"train": ["mine.jsonl"]})
    assert (own.data.train, own.data.dev) == (("mine.jsonl",), ())
    assert set(PUBLIC_SOURCES) <= set(TASKS)


@pytest.mark.parametrize(
    ("task", "row", "setting", "message"),
    [
        ("sst2", {"sentence": "a b", "label": 1}, "label_kind=number", "--label-kind is for task custom"),
        ("sst2", {"sentence": "a b", "label": 1}, "early_stopping_patience=2", "needs a dev set"),
        (
            "stsb",
            {"sentence1": "a", "sentence2": "b", "label": 1.5},
            "balance_classes=true",
            "balance_classes",
        ),
        (
            "stsb",
            {"sentence1": "a", "sentence2": "b", "label": 1.5},
            "label_smoothing=0.1",
            "label_smoothing",
        ),
        (
            "custom",
            {"text": "a b", "label": ["x", "y"]},
            "label_smoothing=0.1",
            "with several-labels answers",
        ),
    ],
)
def test_a_setting_that_would_be_passed_over_is_refused(
    tmp_path: Path, task: str, row: dict[str, Any], setting: str, message: str
) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_text(json.dumps(row) + "\n", encoding="utf-8")
    config = resolve(task, model="nano", given={"train": [str(file)]}, overrides=[setting])
    with pytest.raises(UserError, match=message):
        read_data(config)
