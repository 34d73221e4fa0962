"""BERT, RoBERTa, XLNet, ELECTRA and DeBERTa v1 train by the same command, in their own formats."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

from debertav3.errors import UserError
from debertav3.finetuning.baselines import PairLayout
from debertav3.finetuning.config import FinetuneConfig
from debertav3.finetuning.preparation import read_data
from debertav3.finetuning.run import run
from debertav3.finetuning.starting_model import open_model, open_tokenizer
from debertav3.tasks.names import TASKS

TEXTS = ["Somebody sleeps here often.", "Nobody sings in Oslo, says the bird.", "Anna waits and works."]
SMALL = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
FAMILIES: dict[str, tuple[str, dict[str, Any]]] = {
    "bert": ("Bert", SMALL),
    "roberta": ("Roberta", {**SMALL, "type_vocab_size": 1, "max_position_embeddings": 514}),
    "xlnet": ("XLNet", {"d_model": 16, "n_layer": 1, "n_head": 2, "d_inner": 16}),
    "electra": ("Electra", {**SMALL, "embedding_size": 8}),
    "deberta": ("Deberta", {**SMALL, "relative_attention": True, "pos_att_type": ["c2p", "p2c"]}),
}
HEADS = {
    "nli": "ForSequenceClassification",
    "ner": "ForTokenClassification",
    "squad2": "ForQuestionAnswering",
}


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A tiny random model of each family with a vocabulary of its own kind."""
    folders = {}
    for family, (name, shape) in FAMILIES.items():
        folder = folders[family] = tmp_path_factory.mktemp(family)
        tokenizer = getattr(transformers, f"{name}Tokenizer")().train_new_from_iterator(
            TEXTS * 5, vocab_size=300
        )
        tokenizer.save_pretrained(folder)
        torch.manual_seed(0)
        config = getattr(transformers, f"{name}Config")(
            vocab_size=len(tokenizer), pad_token_id=tokenizer.pad_token_id, **shape
        )
        getattr(transformers, f"{name}Model")(config).save_pretrained(folder)
    return folders


def rows_of(task: str, folder: Path) -> str:
    if task == "ner":
        path = folder / "rows.conll"
        path.write_text(
            "Anna\tB-PER\nsings\tO\n\nOslo\tB-LOC\nsleeps\tO\n\nbirds\tO\n\nAnna\tB-PER\n", encoding="utf-8"
        )
        return str(path)
    path = folder / "rows.jsonl"
    labels = ("entailment", "neutral", "contradiction")
    if task == "nli":
        rows = [
            {"premise": TEXTS[i % 3], "hypothesis": f"Bird {i}.", "label": labels[i % 3]} for i in range(6)
        ]
    else:
        context = TEXTS[1] * 6
        answers = {"text": ["Oslo"], "answer_start": [context.index("Oslo")]}
        none: dict[str, Any] = {"text": [], "answer_start": []}
        rows = [
            {
                "id": str(i),
                "question": "Where does nobody sing?",
                "context": context,
                "answers": none if i % 2 else answers,
            }
            for i in range(4)
        ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(path)


@pytest.mark.parametrize("task", HEADS)
@pytest.mark.parametrize("family", FAMILIES)
def test_a_family_trains_and_opens_again(
    checkpoints: dict[str, Path], tmp_path: Path, family: str, task: str
) -> None:
    rows = rows_of(task, tmp_path)
    config = FinetuneConfig.of(
        task=task,
        model=str(checkpoints[family]),
        train=(rows,),
        dev=(rows,),
        batch_size=2,
        max_steps=2,
        max_length=48,
        window_overlap=8,
        learning_rate=1e-3,
    )
    report = run(config, read_data(config), tmp_path / "out")
    assert report is not None
    assert report["train"]["skipped_steps"] == 0
    auto = getattr(transformers, f"AutoModel{HEADS[task]}")
    model = auto.from_pretrained(tmp_path / "out")
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path / "out")
    assert model(**tokenizer("Somebody sings.", return_tensors="pt"))
    if task == "nli":
        assert model.config.id2label == {0: "entailment", 1: "neutral", 2: "contradiction"}


@pytest.mark.parametrize("family", FAMILIES)
def test_windows_are_laid_out_as_the_tokenizer_lays_out_pairs(
    checkpoints: dict[str, Path], family: str
) -> None:
    config = FinetuneConfig.of(task="squad2", model=str(checkpoints[family]))
    tokenizer = open_tokenizer(config, TASKS["squad2"])
    question, context = (tokenizer(text, add_special_tokens=False)["input_ids"] for text in TEXTS[:2])
    layout = PairLayout.of(tokenizer)
    (window,) = layout.windows(question, context, max_length=200, overlap=8)
    pair = tokenizer(*TEXTS[:2])
    assert window.input_ids == pair["input_ids"]
    assert window.token_type_ids == pair.get("token_type_ids", [])
    assert window.input_ids[window.prefix : window.prefix + window.size] == context
    parts = layout.windows(question, context * 9, max_length=64, overlap=8)
    assert len(parts) > 1
    assert all(len(part.input_ids) <= 64 for part in parts)


@pytest.mark.parametrize("name", ["no-such-model", "no-such-owner/no-such-model"])
def test_a_model_that_is_nowhere_is_said_to_be_in_neither_place(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    config = FinetuneConfig.of(task="nli", model=name)
    message = rf"^no (such folder: |local folder is named ){name}"
    with pytest.raises(UserError, match=message):
        open_tokenizer(config, TASKS["nli"])


@pytest.mark.parametrize("family", ["Bert", "Roberta", "Deberta"])
def test_a_folder_without_vocabulary_is_no_tokenizer(family: str, tmp_path: Path) -> None:
    """transformers 5 makes one of it that knows nothing but special tokens."""
    getattr(transformers, f"{family}Config")().save_pretrained(tmp_path)
    config = FinetuneConfig.of(task="nli", model=str(tmp_path))
    with pytest.raises(UserError, match=r"contains no vocabulary, so it has no tokenizer.* --tokenizer X"):
        open_tokenizer(config, TASKS["nli"])


def test_a_family_without_the_head_is_named(checkpoints: dict[str, Path]) -> None:
    config = FinetuneConfig.of(task="arc", model=str(checkpoints["deberta"]))
    task = TASKS["arc"]
    tokenizer = open_tokenizer(config, task)
    message = "the family deberta has no multiple-choice head in transformers, and task arc needs one"
    with pytest.raises(UserError, match=message):
        open_model(config, tokenizer, task, [])


def test_sift_needs_our_embeddings(checkpoints: dict[str, Path], tmp_path: Path) -> None:
    rows = rows_of("nli", tmp_path)
    config = FinetuneConfig.of(task="nli", model=str(checkpoints["bert"]), train=(rows,), sift=True)
    with pytest.raises(UserError, match="SiFT needs a DeBERTa"):
        run(config, read_data(config), tmp_path / "out")


@pytest.mark.parametrize(
    ("family", "places"),
    [("bert", 512), ("roberta", 513)],  # of RoBERTa's 514 the first is that of its padding, number 0 here
)
def test_inputs_longer_than_the_positions_are_refused(
    checkpoints: dict[str, Path], tmp_path: Path, family: str, places: int
) -> None:
    rows = rows_of("nli", tmp_path)
    config = FinetuneConfig.of(
        task="nli", model=str(checkpoints[family]), train=(rows,), max_length=places + 1
    )
    message = f"max_length={places + 1}, but --model .* has {places} positions. Add --set max_length={places}"
    with pytest.raises(UserError, match=message):
        run(config, read_data(config), tmp_path / "out")
    assert not (tmp_path / "out").exists()
