"""``register_auto_classes``: pipeline, CrossEncoder and GLiNER's encoder run on our classes, and back."""

import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
import transformers
from transformers.models.auto import modeling_auto

import debertav3
from debertav3 import models
from debertav3.models.auto_classes import AUTO_CLASSES, IMPORT_BY_NAME
from helpers import random_batch, tiny_config
from tiny_models import ModelFolders

STOCK = {auto: getattr(transformers, name) for auto, name in AUTO_CLASSES.items()}
PAIRS = [("A man sleeps.", "Nobody is awake in this quiet place."), ("It rains.", "The street is wet.")]


@pytest.fixture(scope="module")
def folder(nano: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folders = ModelFolders(nano, tmp_path_factory)
    names = {0: "contradiction", 1: "entailment", 2: "neutral"}
    return folders("DebertaV2ForSequenceClassification", id2label=names)


def built_by(auto_name: str) -> type:
    return type(getattr(transformers, auto_name).from_config(tiny_config()))


@pytest.mark.parametrize("auto_name", AUTO_CLASSES)
def test_auto_classes_build_ours_inside_and_stock_outside(auto_name: str) -> None:
    assert built_by(auto_name) is STOCK[auto_name]
    with debertav3.register_auto_classes():
        assert built_by(auto_name) is getattr(models, AUTO_CLASSES[auto_name])
    assert built_by(auto_name) is STOCK[auto_name]


def test_every_auto_class_that_transformers_has_for_deberta_is_covered() -> None:
    having = {
        name
        for name, auto in vars(modeling_auto).items()
        if name.startswith("AutoModel") and "deberta-v2" in getattr(auto, "_model_mapping", {})._model_mapping
    }
    assert having == set(AUTO_CLASSES)


class DeafMapping(dict[Any, Any]):
    """Auto classes' table of a transformers that ignores what is registered, as 5.14 to 5.18 do."""

    def __init__(self, stock: type) -> None:
        super().__init__({transformers.DebertaV2Config: stock})
        self._extra_content: dict[Any, Any] = {}

    def register(self, *args: Any, **kwargs: Any) -> None:
        return


def test_a_registration_that_has_no_effect_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    name = "AutoModelForTokenClassification"
    monkeypatch.setattr(getattr(transformers, name), "_model_mapping", DeafMapping(STOCK[name]))
    with pytest.raises(debertav3.UserError, match=f"still builds its own class for {name}\\."):
        debertav3.register_auto_classes()
    assert built_by("AutoModel") is STOCK["AutoModel"]
    assert transformers.DebertaV2Model is STOCK["AutoModel"]


def test_a_call_lasts_until_it_is_undone_and_calls_may_be_nested() -> None:
    outer = debertav3.register_auto_classes()
    with debertav3.register_auto_classes():
        assert built_by("AutoModel") is models.DebertaV2Model
    assert built_by("AutoModel") is models.DebertaV2Model
    outer.undo()
    outer.undo()
    assert built_by("AutoModel") is STOCK["AutoModel"]
    assert type(gliner_encoder(tiny_config())) is STOCK["AutoModel"]


@pytest.mark.parametrize("order", [(0, 1, 2), (1, 0, 2), (2, 0, 1)])
def test_registrations_may_end_in_any_order(order: tuple[int, ...]) -> None:
    registrations = [debertav3.register_auto_classes() for _ in order]
    found = []
    for number in order:  # no assertion before all have ended
        importable = sys.modules["transformers"].DebertaV2Model  # 5.5 replaces its own module
        found.append((built_by("AutoModel"), importable))
        registrations[number].undo()
        registrations[number].undo()
    assert found == [(models.DebertaV2Model, models.DebertaV2Model)] * len(order)
    assert {auto: built_by(auto) for auto in AUTO_CLASSES} == STOCK
    assert sys.modules["transformers"].DebertaV2Model is STOCK["AutoModel"]


def test_an_error_inside_undoes_it_too() -> None:
    with pytest.raises(RuntimeError, match="inside"), debertav3.register_auto_classes():
        raise RuntimeError("inside")
    assert built_by("AutoModel") is STOCK["AutoModel"]


def test_other_model_types_are_left_alone() -> None:
    bert = transformers.BertConfig(hidden_size=8, num_hidden_layers=1, num_attention_heads=2)
    with debertav3.register_auto_classes():
        assert type(transformers.AutoModel.from_config(bert)) is transformers.BertModel


def test_a_stock_pipeline_answers_the_same(folder: Path) -> None:
    def answers() -> tuple[type, list[Any]]:
        pipe = transformers.pipeline("text-classification", model=str(folder), device="cpu")
        pairs = [{"text": first, "text_pair": second} for first, second in PAIRS]
        return type(pipe.model), pipe(pairs, top_k=None, batch_size=2)

    stock_class, want = answers()
    with debertav3.register_auto_classes():
        own_class, got = answers()
    assert (stock_class, own_class) == (
        STOCK["AutoModelForSequenceClassification"],
        models.DebertaV2ForSequenceClassification,
    )
    for one, other in zip(got, want, strict=True):
        assert [entry["label"] for entry in one] == [entry["label"] for entry in other]
        assert [entry["score"] for entry in one] == pytest.approx(
            [entry["score"] for entry in other], abs=1e-6
        )


def test_a_cross_encoder_scores_the_same(folder: Path) -> None:
    sentence_transformers = pytest.importorskip("sentence_transformers")
    want = sentence_transformers.CrossEncoder(str(folder), device="cpu").predict(PAIRS)
    with debertav3.register_auto_classes():
        encoder = sentence_transformers.CrossEncoder(str(folder), device="cpu")
        got = encoder.predict(PAIRS)
    classes = {type(module) for module in encoder.modules()}
    assert models.DebertaV2ForSequenceClassification in classes
    assert got == pytest.approx(want, abs=1e-5)


def gliner_encoder(config: transformers.DebertaV2Config) -> Any:
    """What ``gliner.modeling.encoder.Transformer`` of GLiNER 0.2.29 does with a DeBERTa configuration."""
    from transformers import DebertaV2Model

    model = DebertaV2Model(config)
    model.resize_token_embeddings(config.vocab_size + 2, mean_resizing=False)
    return model.eval()


def test_code_that_imports_the_class_by_name_gets_ours() -> None:
    theirs = gliner_encoder(tiny_config())
    with debertav3.register_auto_classes():
        ours = gliner_encoder(tiny_config())
    assert (type(theirs), type(ours)) == (STOCK["AutoModel"], models.DebertaV2Model)
    ours.load_state_dict(theirs.state_dict(), strict=True)
    batch = random_batch([7, 4])
    real = batch["attention_mask"].bool()
    with torch.no_grad():
        got, want = (model(**batch, return_dict=True, output_attentions=False)[0] for model in (ours, theirs))
    torch.testing.assert_close(got[real], want[real], atol=2e-5, rtol=1e-5)


@pytest.mark.parametrize("imported", ["before", "during"])
def test_a_module_that_keeps_the_name_is_followed(monkeypatch: pytest.MonkeyPatch, imported: str) -> None:
    module = ModuleType(IMPORT_BY_NAME[0])

    def load() -> None:
        from transformers import DebertaV2Model

        module.DebertaV2Model = DebertaV2Model  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, IMPORT_BY_NAME[0], module)

    if imported == "before":
        load()
    with debertav3.register_auto_classes():
        if imported == "during":
            load()
        assert module.DebertaV2Model is models.DebertaV2Model
    assert module.DebertaV2Model is STOCK["AutoModel"]
