"""Hugging Face's Trainer, pipelines and AutoModel, PEFT and sentence-transformers take our models as such."""

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from torch import Tensor, nn
from transformers import DataCollatorWithPadding, Trainer, TrainingArguments

from debertav3.models import DebertaV2ForSequenceClassification, DebertaV2ForTokenClassification
from debertav3.tokenization import DebertaV3Tokenizer
from helpers import random_batch, tiny_config

LABELS = {0: "entailment", 1: "neutral", 2: "contradiction"}
PAIRS = [
    ("A man is sleeping.", "He is awake."),
    ("It rains.", "The street is wet, and nobody in this town has an umbrella with them today."),
    ("She plays the piano.", "She plays."),
    ("Two dogs run on a beach near the sea.", "Animals are outside."),
]


@pytest.fixture(scope="module", autouse=True)
def offline() -> Any:
    patch = pytest.MonkeyPatch()
    patch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    yield
    patch.undo()


@pytest.fixture(scope="module")
def tokenizer(nano: Path) -> DebertaV3Tokenizer:
    return DebertaV3Tokenizer.from_pretrained(nano)


def classifier(tokenizer: DebertaV3Tokenizer, **changes: Any) -> DebertaV2ForSequenceClassification:
    torch.manual_seed(0)
    settings = {"id2label": LABELS, "label2id": {name: number for number, name in LABELS.items()}}
    return DebertaV2ForSequenceClassification(
        tiny_config(vocab_size=len(tokenizer), max_position_embeddings=128, **{**settings, **changes})
    )


@pytest.fixture(scope="module")
def folder(tokenizer: DebertaV3Tokenizer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("checkpoint")
    classifier(tokenizer).save_pretrained(path)
    tokenizer.save_pretrained(path)
    return path


def logits(model: nn.Module, tokenizer: DebertaV3Tokenizer, pairs: list[tuple[str, str]] = PAIRS) -> Tensor:
    first, second = map(list, zip(*pairs, strict=True))
    batch = tokenizer(first, second, padding=True, return_tensors="pt")
    with torch.no_grad():
        return model.eval()(**batch).logits


def train(model: nn.Module, folder: Path, tokenizer: DebertaV3Tokenizer, **settings: Any) -> Trainer:
    rows = [
        {**tokenizer(first, second), "labels": number % 3} for number, (first, second) in enumerate(PAIRS)
    ]
    arguments: dict[str, Any] = {
        "output_dir": str(folder),
        "max_steps": 12,
        "learning_rate": 3e-3,
        "per_device_train_batch_size": 4,
        "report_to": "none",
        "disable_tqdm": True,
        "save_strategy": "no",
        "use_cpu": True,
        "lr_scheduler_type": "constant",
        "logging_steps": 1,
    }
    trainer = Trainer(
        model=model,
        args=TrainingArguments(**{**arguments, **settings}),
        train_dataset=rows,
        eval_dataset=rows,
        data_collator=DataCollatorWithPadding(tokenizer),
    )
    trainer.train()
    return trainer


def test_trainer_learns_evaluates_and_saves(tokenizer: DebertaV3Tokenizer, tmp_path: Path) -> None:
    model = classifier(tokenizer)
    trainer = train(model, tmp_path, tokenizer)
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    assert losses[-1] < losses[0] / 4
    assert trainer.evaluate()["eval_loss"] == pytest.approx(losses[-1], rel=1)
    assert logits(model, tokenizer).argmax(-1).tolist() == [0, 1, 2, 0]
    trainer.save_model(str(tmp_path / "saved"))
    reopened = DebertaV2ForSequenceClassification.from_pretrained(tmp_path / "saved")
    torch.testing.assert_close(logits(reopened, tokenizer), logits(model, tokenizer))


def test_trainer_accumulates_the_same_gradient(tokenizer: DebertaV3Tokenizer, tmp_path: Path) -> None:
    """Two batches of two make the step of one batch of four; a Trainer left to guess would double it."""
    whole = classifier(tokenizer)
    parts = copy.deepcopy(whole)
    settings = {"max_steps": 1, "optim": "sgd", "max_grad_norm": 0.0, "learning_rate": 0.1}
    train(whole, tmp_path, tokenizer, **settings)
    train(
        parts, tmp_path, tokenizer, **settings, per_device_train_batch_size=2, gradient_accumulation_steps=2
    )
    for got, want in zip(parts.parameters(), whole.parameters(), strict=True):
        torch.testing.assert_close(got, want, atol=1e-5, rtol=1e-4)


def test_pipeline_classifies_texts(tokenizer: DebertaV3Tokenizer) -> None:
    model = classifier(tokenizer)
    pipe = transformers.pipeline("text-classification", model=model, tokenizer=tokenizer.to_transformers())
    answers = pipe(
        [{"text": first, "text_pair": second} for first, second in PAIRS], top_k=None, batch_size=4
    )
    want = torch.softmax(logits(model, tokenizer), -1)
    for answer, row in zip(answers, want, strict=True):
        scores = {entry["label"]: entry["score"] for entry in answer}
        assert scores == pytest.approx({LABELS[k]: row[k].item() for k in LABELS}, abs=1e-5)


def test_pipeline_labels_tokens(tokenizer: DebertaV3Tokenizer) -> None:
    torch.manual_seed(0)
    model = DebertaV2ForTokenClassification(
        tiny_config(vocab_size=len(tokenizer), id2label={0: "O", 1: "PER"}, label2id={"O": 0, "PER": 1})
    )
    nn.init.zeros_(model.classifier.weight)
    nn.init.constant_(model.classifier.bias[1:], 5.0)  # everything is a person
    pipe = transformers.pipeline(
        "token-classification",
        model=model,
        tokenizer=tokenizer.to_transformers(),
        aggregation_strategy="simple",
    )
    text = "Anna lives in Hamburg."
    (entity,) = pipe(text)
    assert entity["entity_group"] == "PER" and text[entity["start"] : entity["end"]] == text


def test_stock_automodel_opens_our_folder(folder: Path, tokenizer: DebertaV3Tokenizer) -> None:
    ours = DebertaV2ForSequenceClassification.from_pretrained(folder)
    stock = transformers.AutoModelForSequenceClassification.from_pretrained(folder)
    assert type(stock).__module__.startswith("transformers.")
    torch.testing.assert_close(logits(ours, tokenizer), logits(stock, tokenizer), atol=1e-5, rtol=0)


def test_cross_encoder_opens_our_folder(folder: Path, tokenizer: DebertaV3Tokenizer) -> None:
    sentence_transformers = pytest.importorskip("sentence_transformers")
    scores = sentence_transformers.CrossEncoder(str(folder), device="cpu").predict(PAIRS)
    ours = DebertaV2ForSequenceClassification.from_pretrained(folder)
    torch.testing.assert_close(torch.as_tensor(scores), logits(ours, tokenizer), atol=1e-5, rtol=0)


class TestPeft:
    """LoRA on queries, keys and values, which also project the relative table."""

    @pytest.fixture
    def wrapped(self, tokenizer: DebertaV3Tokenizer) -> Any:
        peft = pytest.importorskip("peft")
        config = peft.LoraConfig(
            task_type="SEQ_CLS",
            r=4,
            target_modules=["query_proj", "key_proj", "value_proj"],
            lora_dropout=0.0,
        )
        return peft.get_peft_model(classifier(tokenizer), config)

    def test_only_the_adapter_and_the_head_learn(
        self, wrapped: Any, tokenizer: DebertaV3Tokenizer, tmp_path: Path
    ) -> None:
        before = {name: p.detach().clone() for name, p in wrapped.named_parameters()}
        untrained = logits(wrapped, tokenizer)
        train(wrapped, tmp_path, tokenizer, max_steps=4)
        for name, parameter in wrapped.named_parameters():
            is_free = "lora_" in name or "modules_to_save" in name
            assert parameter.requires_grad == is_free
            if not is_free:
                assert torch.equal(parameter, before[name])
        assert not torch.allclose(logits(wrapped, tokenizer), untrained)

    def test_inference_sees_the_adapter_and_its_merging(
        self, wrapped: Any, tokenizer: DebertaV3Tokenizer
    ) -> None:
        for name, parameter in wrapped.named_parameters():
            if "lora_B" in name:
                nn.init.normal_(parameter, std=0.2)
        batch = random_batch((9, 4))
        wrapped.eval()

        def quick() -> Tensor:
            with torch.no_grad():
                return wrapped(**batch).logits

        adapted = quick()
        torch.testing.assert_close(adapted, wrapped(**batch).logits.detach())
        with wrapped.disable_adapter():
            plain = quick()
            torch.testing.assert_close(plain, wrapped(**batch).logits.detach())
        assert not torch.allclose(plain, adapted)
        torch.testing.assert_close(quick(), adapted)
        wrapped.merge_adapter()
        torch.testing.assert_close(quick(), adapted, atol=1e-5, rtol=1e-5)
        wrapped.unmerge_adapter()
        torch.testing.assert_close(quick(), adapted, atol=1e-5, rtol=1e-5)
        merged = wrapped.merge_and_unload()
        with torch.no_grad():
            torch.testing.assert_close(merged.eval()(**batch).logits, adapted, atol=1e-5, rtol=1e-5)

    def test_adapter_is_saved_and_opened(
        self, wrapped: Any, tokenizer: DebertaV3Tokenizer, tmp_path: Path
    ) -> None:
        from peft import PeftModel

        for name, parameter in wrapped.named_parameters():
            if "lora_B" in name:
                nn.init.normal_(parameter, std=0.2)
        wrapped.save_pretrained(tmp_path)
        opened = PeftModel.from_pretrained(classifier(tokenizer), str(tmp_path))
        torch.testing.assert_close(logits(opened, tokenizer), logits(wrapped, tokenizer))

    def test_gradient_checkpointing_reaches_the_adapter(
        self, wrapped: Any, tokenizer: DebertaV3Tokenizer, tmp_path: Path
    ) -> None:
        before = {name: p.detach().clone() for name, p in wrapped.named_parameters() if "lora_B" in name}
        train(wrapped, tmp_path, tokenizer, max_steps=1, gradient_checkpointing=True)
        after = dict(wrapped.named_parameters())
        assert before and all(not torch.equal(after[name], old) for name, old in before.items())
