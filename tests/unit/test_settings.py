"""Contract: --set, YAML and run.json have one reader; type, choices, range and meaning are said once."""

import dataclasses
import json
from pathlib import Path
from typing import Annotated, Any

import pytest

from debertav3.errors import UserError
from debertav3.finetuning.config import FinetuneConfig, LabelKind, OptimizerConfig
from debertav3.pretrain.provenance import pinned_settings
from debertav3.pretrain.settings import PretrainConfig, recipe
from debertav3.runs.assignments import as_assigned, read_settings, recorded_run
from debertav3.runs.settings import Settings, all_settings, current_names, settings_of
from debertav3.runs.values import Former

CLASSES = (FinetuneConfig, PretrainConfig)
GROUP = OptimizerConfig()


@pytest.fixture
def config() -> FinetuneConfig:
    return FinetuneConfig(task="nli", model="nano")


@pytest.mark.parametrize("key", ["learning_rate", "optimizer.learning_rate"])
@pytest.mark.parametrize("settings", [FinetuneConfig(task="nli", model="nano"), recipe("nano")])
def test_a_setting_has_a_full_and_a_short_name(settings: Settings, key: str) -> None:
    for changed in (
        settings.with_overrides([f"{key}=1e-5"]),
        settings.with_values({key: 1e-5}, source="test"),
        settings.with_values({"optimizer": {"learning_rate": "1e-5"}}, source="test"),
    ):
        assert changed.get("learning_rate") == 1e-5
    assert settings.get("learning_rate") != 1e-5


@pytest.mark.parametrize(
    ("text", "short", "value"),
    [
        ("learning_rate=1e-5", "learning_rate", 1e-5),
        ("epochs=2", "epochs", 2.0),
        ("max_steps=1e3", "max_steps", 1000),
        *[(f"keep_best={word}", "keep_best", False) for word in ("no", "off", "false", "No", "FALSE")],
        *[(f"check_data={word}", "check_data", True) for word in ("yes", "on", "true", "On")],
        *[(f"max_steps={word}", "max_steps", None) for word in ("null", "none", "None", "~", "")],
        *[(f"label_column={word}", "label_column", word) for word in ("no", "on", "5", "1e-5", "a #1", "#x")],
        ("label_column='none'", "label_column", "none"),
        ("label_column='a: b'", "label_column", "a: b"),
        ("train=", "train", ()),
        ("train=[a.csv, 'b, c.csv']", "train", ("a.csv", "b, c.csv")),
        ("report_to=[no, 5]", "report_to", ("no", "5")),
        ("sift=true", "sift", True),
        ("sift.enabled=true", "sift", True),
        ("sift.weight=3", "sift_weight", 3.0),
    ],
)
def test_a_text_means_what_the_type_of_the_setting_says(
    config: FinetuneConfig, tmp_path: Path, text: str, short: str, value: object
) -> None:
    assigned = config.with_overrides([text]).get(short)
    assert assigned == value
    assert isinstance(assigned, type(value))
    if "#" in text:  # a comment in a YAML file
        return
    key, _, written = text.partition("=")
    file = tmp_path / "settings.yaml"
    file.write_text(f"{key}: {written}\n", encoding="utf-8")
    assert config.with_values(read_settings(file), source="--config").get(short) == value


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("keep_best=0", "--set: keep_best must be true or false; got '0'."),
        ("batch_size=yes", "--set: batch_size must be an integer of at least 1; got 'yes'."),
        ("batch_size=2.5", "--set: batch_size must be an integer of at least 1; got '2.5'."),
        ("batch_size=", "--set: batch_size must be an integer of at least 1; got ''."),
        (
            "batch_size=0",
            "batch_size=0. It must be an integer of at least 1. Change it with --set batch_size",
        ),
        ("learning_rate=nan", "learning_rate=nan. It must be a number above 0."),
        ("learning_rate=1e999", "learning_rate=inf. It must be a number above 0."),
        ("layer_decay=1.5", "layer_decay=1.5. It must be a number above 0 and at most 1."),
        ("precision=no", "precision='no'. It must be one of auto, fp32, bf16, fp16."),
        ("lerning_rate=1", "--set: unknown key 'lerning_rate'. Did you mean 'learning_rate'?"),
        ("optimizer.lerning_rate=1", "Did you mean 'optimizer.learning_rate'?"),
        ("loop=1", "unknown key 'loop'. It is a group: loop.epochs, "),
        ("loop.learning_rate=1", "unknown key 'loop.learning_rate'."),
        ("zzz=1", "unknown key 'zzz'. Known: task, model, "),
        ("label_column=[a", "is not valid YAML"),
        ("learning_rate", "has no '='"),
    ],
)
def test_what_is_not_understood_is_refused_in_one_line(
    config: FinetuneConfig, text: str, message: str
) -> None:
    with pytest.raises(UserError) as caught:
        config.with_overrides([text])
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_groups_check_themselves() -> None:
    with pytest.raises(UserError, match="learning_rate=-1"):
        OptimizerConfig(learning_rate=-1)


@pytest.mark.parametrize("settings", CLASSES)
def test_every_setting_has_a_meaning_and_a_name_of_its_own(settings: type[Settings]) -> None:
    found = all_settings(settings)
    assert [one.path for one in found if not one.meaning.endswith(".")] == []
    assert len({one.short for one in found}) == len(found)


def test_choices_are_those_of_the_type() -> None:
    assert settings_of(FinetuneConfig)["label_kind"].choices == LabelKind.__args__  # type: ignore[attr-defined]
    assert settings_of(PretrainConfig)["masking"].choices == ("windowed", "unbiased", "whole-word", "ngram")


@pytest.mark.parametrize(
    "value", [None, True, 3, 1e-5, "a", "no", "none", "", " a", "a: b", "a #1", ["a", "b"]]
)
def test_a_written_value_is_read_back(config: FinetuneConfig, value: Any) -> None:
    """What `run.json` notes as a command repeats the run."""
    name = {bool: "lora", int: "seed", float: "learning_rate", list: "report_to"}.get(
        type(value), "text_column"
    )
    changed = config.with_overrides([f"{name}={as_assigned(value)}"]).get(name)
    assert changed == (tuple(value) if isinstance(value, list) else value)


FLAT_FINETUNE = {
    "task": "nli", "model": "nano", "tokenizer": None, "train": ["a.jsonl"], "dev": ["b.jsonl"], "seed": 3,
    "learning_rate": 0.0003, "batch_size": 16, "micro_batch_size": None, "epochs": 2.0, "max_steps": None,
    "warmup_steps": 0.05, "schedule": "linear", "weight_decay": 0.01, "adam_beta1": 0.9, "adam_beta2": 0.999,
    "adam_epsilon": 1e-06, "max_grad_norm": 1.0, "label_smoothing": 0.0, "max_length": 128,
    "text_column": None, "pair_column": None, "label_column": None, "label_kind": "auto",
    "window_overlap": 128, "balance_classes": False, "classifier_dropout": 0.1, "hidden_dropout": None,
    "attention_dropout": None, "initializer_range": None, "layer_decay": 1.0, "freeze_embeddings": False,
    "freeze_layers": 0, "lora": False, "lora_rank": 8, "lora_dropout": 0.0, "sift": True, "sift_weight": 3.0,
    "sift_step_size": 0.0001, "sift_initial_size": 0.01, "precision": "auto", "length_grouping": True,
    "gradient_checkpointing": False, "eval_batch_size": 64, "eval_every_steps": None,
    "save_every_steps": None, "keep_best": True, "keep_checkpoints": False, "early_stopping_patience": None,
    "train_limit": None, "check_data": True, "log_every_steps": 20, "report_to": [],
}  # fmt: skip
"""The settings in a run.json of before there were groups."""
FLAT_PRETRAIN = {
    "size": "nano", "objective": "rtd", "sharing": "gdes", "mode": "two-phase", "generator_layers": None,
    "steps": 20000, "global_batch": 32, "micro_batch": 32, "length": 128, "packing": "stream",
    "masking": "unbiased", "mask_prob": 0.15, "temperature": 1.0, "rtd_weight": 50.0, "learning_rate": 0.001,
    "discriminator_learning_rate": None, "warmup_steps": 400, "beta1": 0.9, "beta2": 0.98, "epsilon": 1e-06,
    "weight_decay": 0.01, "max_gradient_norm": 1.0, "dropout": 0.0, "precision": "auto", "compile": False,
    "gradient_checkpointing": False, "shard_weights": False, "seed": 0, "loader_workers": 0,
    "log_every_steps": 20, "validate_every_steps": 500, "validation_windows": 256, "save_every_steps": 200,
    "keep_checkpoints": 2, "max_skipped_steps": 10, "exchange_timeout_seconds": 1800,
}  # fmt: skip


@pytest.mark.parametrize(
    ("flat", "settings"), [(FLAT_FINETUNE, FinetuneConfig), (FLAT_PRETRAIN, PretrainConfig)]
)
def test_a_record_of_before_the_groups_opens(
    tmp_path: Path, flat: dict[str, Any], settings: type[Settings]
) -> None:
    file = tmp_path / "run.json"
    file.write_text(json.dumps({"config": flat, "data": {}}), encoding="utf-8")
    assert recorded_run(file) == {"config": flat, "data": {}}
    read = settings.of(**read_settings(file))
    now = current_names(settings, flat)
    assert {name: read.to_dict()[name] for name in now} == now
    assert settings.of(**read.to_dict()) == read


def test_a_pretraining_of_before_the_groups_has_the_same_identity() -> None:
    """A checkpoint pins it, and resuming compares it."""
    identity = PretrainConfig.of(**FLAT_PRETRAIN).identity()
    assert identity == recipe("nano").identity()
    pinned = pinned_settings(FLAT_PRETRAIN)
    assert {name: pinned[name] for name in identity} == identity


def test_one_thing_has_one_name_in_both_trainings() -> None:
    names = [{one.path: one for one in all_settings(cls)} for cls in (FinetuneConfig, PretrainConfig)]
    shorts = [{one.short: one for one in found.values()} for found in names]
    for short in shorts[0].keys() & shorts[1].keys():
        assert shorts[0][short].kind is shorts[1][short].kind, short
    meanings = [{one.meaning: one.short for one in found.values()} for found in names]
    for meaning in meanings[0].keys() & meanings[1].keys():
        assert meanings[0][meaning] == meanings[1][meaning]
    for name in (
        "adam_beta1",
        "adam_beta2",
        "adam_epsilon",
        "max_grad_norm",
        "weight_decay",
        "learning_rate",
    ):
        assert f"optimizer.{name}" in names[0] and f"optimizer.{name}" in names[1]
    for name in (
        "batch_size",
        "micro_batch_size",
        "max_steps",
        "max_length",
        "eval_every_steps",
        "precision",
    ):
        assert name in shorts[0] and name in shorts[1]


@pytest.mark.parametrize("name", ["beta1", "optimizer.beta1", "adam_beta1", "optimizer.adam_beta1"])
def test_a_former_name_is_read_and_never_shown(name: str) -> None:
    config = recipe("nano").with_overrides([f"{name}=0.5"])
    assert config.optimizer.adam_beta1 == 0.5
    assert "beta1" not in config.to_dict() and config.to_dict()["adam_beta1"] == 0.5
    assert config.with_values({"optimizer": {"beta1": 0.6}}, source="a file").optimizer.adam_beta1 == 0.6
    with pytest.raises(UserError, match="Did you mean 'adam_beta1'"):
        config.with_overrides(["adm_beta1=0.5"])
    with pytest.raises(UserError, match="adam_beta1 must be a number"):
        config.with_overrides([f"{name}=much"])


def test_a_former_name_of_another_setting_is_a_mistake_of_the_programmer() -> None:
    @dataclasses.dataclass(frozen=True, kw_only=True)
    class Twice(Settings):
        rate: float = 1.0
        speed: Annotated[float, Former("rate")] = 1.0

    with pytest.raises(TypeError, match="a former name of speed"):
        settings_of(Twice)


@pytest.mark.parametrize("text", ["- 1\n", "a: [", "a: &b [*b]\n", "hello"])
def test_a_file_that_is_no_mapping_is_refused(tmp_path: Path, text: str) -> None:
    file = tmp_path / "run.yaml"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(UserError, match="--config"):
        FinetuneConfig(task="nli", model="nano").with_values(read_settings(file), source="--config")


def test_two_settings_of_one_name_are_a_mistake_of_the_programmer() -> None:
    @dataclasses.dataclass(frozen=True, kw_only=True)
    class Twice(Settings):
        learning_rate: float = 1.0
        optimizer: OptimizerConfig = GROUP

    with pytest.raises(TypeError, match="two settings called learning_rate"):
        all_settings(Twice)
