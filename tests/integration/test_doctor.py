"""Contract: ``doctor`` says what a checkpoint is and names every planted fault; ``info`` is as published."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from click.testing import CliRunner
from safetensors.torch import load_file, save_file

from debertav3 import models
from debertav3.checkpoint import save_model
from debertav3.checkpoint.doctor import examine
from debertav3.cli import app
from debertav3.cli.doctor import render
from debertav3.sizes import config_for, raw_config

NAMES = {0: "entailment", 1: "neutral", 2: "contradiction"}
WORDS = "deberta.embeddings.word_embeddings"


def command(*arguments: str) -> Any:
    return CliRunner().invoke(app, list(arguments))


def as_if_trained(model: torch.nn.Module) -> torch.nn.Module:
    """Move every number, each row of a matrix by an amount of its own, as training does."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in model.parameters():
            rows = torch.rand(weight.shape[0], *[1] * (weight.dim() - 1), generator=generator)
            weight += 0.1 * rows * torch.randn(weight.shape, generator=generator)
    return model


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory, v3_tokenizer_folder: Path) -> Path:
    """A checkpoint without faults, with the real V3 tokenizer."""
    folder = tmp_path_factory.mktemp("sound") / "model"
    config = config_for(
        "nano",
        vocab_size=128100,
        hidden_size=24,
        num_attention_heads=2,
        intermediate_size=24,
        num_hidden_layers=2,
        id2label=NAMES,
    )
    torch.manual_seed(0)
    save_model(as_if_trained(models.DebertaV2ForSequenceClassification(config)), folder)
    for name in ("spm.model", "tokenizer_config.json", "added_tokens.json"):
        shutil.copy(v3_tokenizer_folder / name, folder)
    return folder


@pytest.fixture
def folder(sound: Path, tmp_path: Path) -> Path:
    """A copy to spoil."""
    return Path(shutil.copytree(sound, tmp_path / "model"))


def spoil_weights(folder: Path, change: Any) -> None:
    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


def spoil_config(folder: Path, **changes: Any) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def faults(folder: Path) -> str:
    diagnosis = examine(folder)
    assert not diagnosis.is_ok
    assert all(fault.remedy for fault in diagnosis.faults)
    return "\n".join(fault.what for fault in diagnosis.faults)


def test_sound_checkpoint_is_ok(sound: Path) -> None:
    result = command("doctor", str(sound))
    assert result.exit_code == 0
    assert result.stdout.splitlines()[-1] == "OK"
    assert "DeBERTaV3" in result.stdout and "0 entailment, 1 neutral, 2 contradiction" in result.stdout
    assert "spm.model, 128,001 ids" in result.stdout


def test_json_says_everything(sound: Path) -> None:
    found = json.loads(command("doctor", str(sound), "--json").stdout)
    assert found["ok"] is True and found["faults"] == []
    assert found["heads"] == ["sequence-classification"]
    assert found["labels"] == list(NAMES.values())
    assert found["dtypes"] == {"F32": found["parameters"]}
    assert found["embeddings"]["rows"] == 128100 and found["embeddings"]["looks_random"] is False
    assert found["tokenizer_size"] == 128001


def test_number_formats_have_their_usual_names(sound: Path) -> None:
    found = examine(sound)
    found.dtypes = {"F32": 3, "I8": 4, "BF16": 1}
    assert " as fp32, int8, bf16\n" in render(found)


def test_faults_are_numbered_and_the_exit_code_is_1(folder: Path) -> None:
    spoil_config(folder, id2label={"0": "LABEL_0", "1": "LABEL_1", "2": "LABEL_2"}, label2id=None)
    (folder / "spm.model").unlink()
    result = command("doctor", str(folder))
    assert result.exit_code == 1
    assert "2 faults" in result.stdout
    assert "  1. the 3 classes have no names" in result.stdout and "  2. no usable tokenizer" in result.stdout


def test_missing_and_unexpected_tensors(folder: Path) -> None:
    def change(tensors: dict[str, torch.Tensor]) -> None:
        del tensors["deberta.encoder.layer.1.output.dense.bias"]
        tensors["extra.weight"] = torch.ones(2)

    spoil_weights(folder, change)
    found = faults(folder)
    assert "1 tensors are missing: deberta.encoder.layer.1.output.dense.bias" in found
    assert "1 tensors are unexpected: extra.weight" in found


def test_fewer_layers_than_configured(folder: Path) -> None:
    spoil_config(folder, num_hidden_layers=16_000_000)
    assert "num_hidden_layers = 16000000, the weights have 2" in faults(folder)


def test_other_shape_than_configured(folder: Path) -> None:
    spoil_config(folder, intermediate_size=23)
    assert "intermediate.dense.weight has shape [24, 24], and config.json makes it [23, 24]" in faults(folder)


def test_absolute_positions_that_the_input_needs_are_missing(folder: Path) -> None:
    spoil_config(folder, position_biased_input=True)
    assert "1 tensors are missing: deberta.embeddings.position_embeddings.weight" in faults(folder)


def test_stale_embeddings_are_a_note(folder: Path) -> None:
    spoil_weights(
        folder, lambda t: t.update({f"{WORDS}._weight": 0.01 * torch.ones_like(t[f"{WORDS}.weight"])})
    )
    diagnosis = examine(folder)
    assert diagnosis.is_ok and diagnosis.stale == [f"{WORDS}.weight"]
    assert "one training step older" in "\n".join(diagnosis.notes)


def test_embeddings_as_delta_only(folder: Path) -> None:
    spoil_weights(folder, lambda t: t.update({f"{WORDS}._weight": t.pop(f"{WORDS}.weight")}))
    assert "only the difference" in faults(folder)


def test_random_embeddings(folder: Path) -> None:
    torch.manual_seed(0)
    spoil_weights(folder, lambda t: t.update({f"{WORDS}.weight": 0.02 * torch.randn(128100, 24)}))
    assert "the word embeddings look random" in faults(folder)


def test_zero_embeddings(folder: Path) -> None:
    spoil_weights(folder, lambda t: t[f"{WORDS}.weight"][20000:].zero_())
    assert "108,100 of 128,100 word embeddings are all zero" in faults(folder)


def test_not_a_number(folder: Path) -> None:
    spoil_weights(folder, lambda t: t["pooler.dense.weight"][0, 0].fill_(float("nan")))
    assert "NaN or infinite numbers in 1 tensors: pooler.dense.weight" in faults(folder)


def test_untrained_head(folder: Path) -> None:
    fresh = models.DebertaV2ForSequenceClassification(transformers.DebertaV2Config.from_pretrained(folder))
    head = {k: v for k, v in fresh.state_dict().items() if k.startswith(("pooler.", "classifier."))}
    spoil_weights(folder, lambda t: t.update(head))
    assert examine(folder).untrained == ["classifier", "pooler"]


def test_head_named_in_the_config_and_absent(folder: Path) -> None:
    spoil_config(folder, architectures=["DebertaV2ForQuestionAnswering"])
    assert "config.json says the head is question-answering, and the weights have none" in faults(folder)


def test_half_precision_is_a_note(folder: Path) -> None:
    spoil_weights(folder, lambda t: t.update({name: tensor.half() for name, tensor in t.items()}))
    diagnosis = examine(folder)
    assert diagnosis.is_ok and diagnosis.dtypes.keys() == {"F16"}
    assert "stored in half precision" in "\n".join(diagnosis.notes)


def test_tokenizer_of_another_model(folder: Path) -> None:
    spoil_config(folder, vocab_size=128000)
    spoil_weights(folder, lambda t: t.update({f"{WORDS}.weight": t[f"{WORDS}.weight"][:128000].clone()}))
    assert "the tokenizer has 128,001 ids and the model 128,000 embeddings" in faults(folder)


def test_official_discriminator_has_both_heads_named(tmp_path: Path) -> None:
    raw = raw_config("nano", vocab_size=99, hidden_size=24, num_attention_heads=2, num_hidden_layers=2)
    config = transformers.DebertaV2Config(**raw)
    state = {
        **as_if_trained(models.DebertaV2ForMaskedLM(config)).state_dict(),
        **as_if_trained(models.DebertaV2ForReplacedTokenDetection(config)).state_dict(),
    }
    (tmp_path / "config.json").write_text(json.dumps(raw))
    torch.save(state, tmp_path / "pytorch_model.bin")
    diagnosis = examine(tmp_path)
    assert diagnosis.heads == ["masked-lm", "replaced-token-detection"]
    assert diagnosis.missing == [] and diagnosis.unexpected == [] and diagnosis.labels is None


def test_version_1_is_named_and_not_opened(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "deberta", "hidden_size": 768}))
    diagnosis = examine(tmp_path)
    assert diagnosis.family == "DeBERTa v1" and not diagnosis.is_ok


def test_unreadable_folder_is_one_line_and_exit_code_2(folder: Path) -> None:
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-8])
    done = subprocess.run(
        [sys.executable, "-m", "debertav3", "doctor", str(folder)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2 and done.stdout == ""
    assert len(done.stderr.strip().splitlines()) == 1 and "damaged or truncated" in done.stderr


def test_info_of_xsmall_is_as_published() -> None:
    found = json.loads(command("info", "xsmall", "--json").stdout)
    assert found["published_millions"]["backbone"] == 22 and found["published_millions"]["embedding"] == 48
    assert found["parameters"]["embedding"] == 49_190_400
    assert "22M backbone + 48M embedding" in command("info", "xsmall").stdout


def test_info_of_a_folder_counts_its_own_head(sound: Path) -> None:
    found = json.loads(command("info", str(sound), "--json").stdout)
    stored = sum(tensor.numel() for tensor in load_file(sound / "model.safetensors").values())
    assert found["head"] == "sequence-classification"
    assert found["parameters"]["total"] == stored
    assert found["bytes"]["fp32"] == 4 * stored
