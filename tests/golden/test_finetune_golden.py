"""Twenty fine-tuning steps of a toy model on CPU give the recorded losses.

If a change of the maths is intended, record again with ``python tests/golden/test_finetune_golden.py``.
"""

import json
import tempfile
from pathlib import Path

import pytest
import torch

from debertav3 import DebertaV2ForSequenceClassification, DebertaV3Tokenizer
from debertav3.finetuning.config import FinetuneConfig
from debertav3.finetuning.preparation import read_data
from debertav3.finetuning.run import run
from debertav3.sizes import config_for

RECORD = Path(__file__).with_name("finetune_losses.json")
NANO = Path(__file__).resolve().parents[2] / "models" / "nano"
FORMS = {"entailment": "Somebody {}.", "neutral": "Somebody {} often.", "contradiction": "Nobody {}."}


def losses_of_twenty_steps(folder: Path) -> list[float]:
    verbs = ("sleeps", "sings", "runs", "reads", "waits", "works", "walks", "laughs")
    rows = [
        {"premise": f"A person {verb} in room {number}.", "hypothesis": form.format(verb), "label": label}
        for number, verb in enumerate(verbs)
        for label, form in FORMS.items()
    ]
    data = folder / "train.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    tokenizer = DebertaV3Tokenizer.from_pretrained(NANO)
    torch.manual_seed(0)
    shape = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
    model = config_for("nano", vocab_size=len(tokenizer), initializer_range=0.2, **shape)
    DebertaV2ForSequenceClassification(model).save_pretrained(folder / "model")
    tokenizer.save_pretrained(folder / "model")
    config = FinetuneConfig.of(
        task="nli",
        model=str(folder / "model"),
        train=(str(data),),
        batch_size=6,
        max_steps=20,
        learning_rate=1e-3,
        warmup_steps=5,
        label_smoothing=0.05,
        log_every_steps=1,
        seed=3,
    )
    report = run(config, read_data(config), folder / "out")
    assert report is not None
    return [entry["loss"] for entry in report["history"] if "loss" in entry]


def test_losses_are_the_recorded_ones(tmp_path: Path) -> None:
    recorded = json.loads(RECORD.read_text(encoding="utf-8"))
    # Another release of torch may draw other dropout masks.
    if recorded["torch"].split("+")[0] != torch.__version__.split("+")[0]:
        pytest.skip(f"recorded with torch {recorded['torch']}, this is {torch.__version__}")
    assert losses_of_twenty_steps(tmp_path) == pytest.approx(recorded["losses"], abs=2e-4)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as name:
        content = {"torch": torch.__version__, "losses": losses_of_twenty_steps(Path(name))}
    RECORD.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
