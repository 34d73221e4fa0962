"""What a model card tells to do is done: its lines are taken out of the card and run."""

import contextlib
import io
import json
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

from debertav3 import DebertaV2ForSequenceClassification, DebertaV3Tokenizer
from debertav3.finetuning.config import FinetuneConfig
from debertav3.finetuning.preparation import read_data
from debertav3.finetuning.run import run
from debertav3.sizes import config_for

TEXTS = ["Somebody sleeps here often.", "Nobody sings in Oslo, says the bird.", "Anna waits and works."]
SMALL = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
NLI = ("entailment", "neutral", "contradiction")
NONE: dict[str, Any] = {"text": [], "answer_start": []}
OSLO = {"text": ["Oslo"], "answer_start": [TEXTS[1].index("Oslo")]}
ROWS: dict[str, list[dict[str, Any]]] = {
    "nli": [{"premise": TEXTS[n % 3], "hypothesis": f"Bird {n}.", "label": NLI[n % 3]} for n in range(6)],
    "sst2": [{"sentence": TEXTS[n % 3], "label": n % 2} for n in range(6)],
    "stsb": [{"sentence1": TEXTS[n % 3], "sentence2": "A bird.", "label": n / 2} for n in range(6)],
    "several": [{"text": TEXTS[n % 3], "label": ("red|blue", "blue", "red")[n % 3]} for n in range(6)],
    "ranking": [
        {"query": "Who?", "text": f"{TEXTS[n % 3]} {n}", "relevance": float(n % 2)} for n in range(6)
    ],
    "ner": [{"tokens": ["Anna", "sings"], "ner_tags": ["B-PER", "O"]}] * 4,
    "squad1": [{"question": f"Where {n}?", "context": TEXTS[1], "answers": OSLO} for n in range(6)],
    "squad2": [
        {"question": f"Where {n}?", "context": TEXTS[1], "answers": NONE if n % 2 else OSLO} for n in range(6)
    ],
    "copa": [
        {
            "premise": TEXTS[n % 3],
            "question": "cause",
            "choice1": "A bird.",
            "choice2": "Oslo.",
            "label": n % 2,
        }
        for n in range(6)
    ],
}
CUSTOM = {
    "several": {"label_kind": "several-labels"},
    "ranking": {
        "label_kind": "ranking",
        "text_column": "query",
        "pair_column": "text",
        "label_column": "relevance",
    },
}


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory, nano: Path) -> Path:
    folder = tmp_path_factory.mktemp("ours")
    tokenizer = DebertaV3Tokenizer.from_pretrained(nano)
    torch.manual_seed(0)
    config = config_for("nano", vocab_size=len(tokenizer), initializer_range=0.2, **SMALL)
    DebertaV2ForSequenceClassification(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bert")
    tokenizer: Any = transformers.BertTokenizer()
    tokenizer = tokenizer.train_new_from_iterator(TEXTS * 5, vocab_size=300)
    tokenizer.save_pretrained(folder)
    torch.manual_seed(0)
    config = transformers.BertConfig(vocab_size=len(tokenizer), **SMALL)
    transformers.BertModel(config).save_pretrained(folder)
    return folder


def trained(model: Path, task: str, out: Path, *, rows: list[dict[str, Any]] | None = None) -> dict[str, Any]:
    file = out.parent / f"{out.name}.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows or ROWS[task]), encoding="utf-8")
    config = FinetuneConfig.of(
        task="custom" if task in CUSTOM else task,
        model=str(model),
        train=(str(file),),
        dev=(str(file),),
        batch_size=2,
        max_steps=2,
        max_length=32,
        window_overlap=8,
        **CUSTOM.get(task, {}),
    )
    report = run(config, read_data(config), out)
    assert report is not None
    return report


def snippet(card: str) -> str:
    (code,) = re.findall(r"```python\n(.*?)```", card, re.DOTALL)
    return str(code)


def printed(code: str) -> str:
    with contextlib.redirect_stdout(io.StringIO()) as shown:
        exec(compile(code, "README.md", "exec"), {"__name__": "snippet"})
    return shown.getvalue()


@pytest.mark.parametrize("family", ["ours", "bert"])
@pytest.mark.parametrize("task", ROWS)
def test_the_lines_of_the_card_run(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, family: str, task: str
) -> None:
    trained(request.getfixturevalue(family), task, tmp_path / "my model")
    card = (tmp_path / "my model" / "README.md").read_text(encoding="utf-8")
    assert "\n# my model\n" in card
    code = snippet(card)
    assert 'from_pretrained("my model"' in code
    assert ("Predictor" in code) == (family == "ours")
    assert ("deberta" in card.split("---")[1]) == (family == "ours")
    monkeypatch.chdir(tmp_path)
    shown = printed(code)
    wanted = {
        "nli": "entailment",
        "sst2": "positive",
        "stsb": ".",
        "several": "blue",
        "ranking": TEXTS[0],
        "ner": "[",
        "copa": ".",
    }
    assert wanted.get(task, "\n") in shown


def test_the_card_names_the_repository_that_it_is_sent_to(ours: Path, tmp_path: Path) -> None:
    from debertav3.finetuning.usage import name_repository

    trained(ours, "squad2", tmp_path / "nano")
    card = (tmp_path / "nano" / "README.md").read_text(encoding="utf-8")
    card = card.replace(f"--model {ours}", "--model nano ")  # what it was made from may be called the same
    sent = name_repository(card, folder="nano", repository="me/answers")
    assert "\n# answers\n" in sent
    assert "\n- name: answers\n" in sent
    assert 'from_pretrained("me/answers"' in snippet(sent)
    before, _, usage = sent.partition("## How to use it")
    assert "nano" not in usage
    assert "me/answers" not in before
    assert len(sent.splitlines()) == len(card.splitlines())


def test_the_threshold_of_the_card_has_the_best_f1(
    ours: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of windows cut as in training ``evaluate qa`` finds the F1 that metrics.json calls the best."""
    from click.testing import CliRunner

    from debertav3.cli import app

    context = " ".join(TEXTS)
    place = {"text": ["Oslo"], "answer_start": [context.index("Oslo")]}
    words = ("bird", "Anna", "sleeps", "who", "sings", "waits", "often", "works")
    rows = [
        {"id": str(n), "question": word, "context": context, "answers": NONE if n % 4 == 0 else place}
        for n, word in enumerate(words)
    ]
    report = trained(ours, "squad2", tmp_path / "qa", rows=rows)
    (scores,) = report["dev"].values()
    card = (tmp_path / "qa" / "README.md").read_text(encoding="utf-8")
    assert scores["best_f1"] > scores["f1"], "the test needs a threshold that changes something"
    (line,) = re.findall(r"^debertav3 predict qa .*$", card, re.MULTILINE)
    monkeypatch.chdir(tmp_path)
    args = shlex.split(line)[3:]
    cut = args.index("--data")
    args = ["evaluate", "qa", *args[:cut], "--data", "qa.jsonl", *args[cut + 4 :]]
    done = CliRunner().invoke(app, args)
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["f1"] == pytest.approx(scores["best_f1"], abs=1e-6)


def test_a_fitted_temperature_is_used_and_can_be_left_out(ours: Path, tmp_path: Path) -> None:
    """Without it the probabilities are those of transformers' logits."""
    from debertav3 import Predictor

    rows = [{"sentence": f"{TEXTS[n % 3]} {n}", "label": (n // 2) % 2} for n in range(24)]
    report = trained(ours, "sst2", tmp_path / "model", rows=rows)
    (scores,) = report["dev"].values()
    fitted = json.loads((tmp_path / "model" / "probabilities.json").read_text(encoding="utf-8"))
    assert fitted["temperature"] == scores["probabilities"]["temperature"]
    for name in ("README.md", "report.html"):
        page = (tmp_path / "model" / name).read_text(encoding="utf-8")
        assert f"with the temperature {fitted['temperature']:.3f}" in page
    tokenizer = DebertaV3Tokenizer.from_pretrained(tmp_path / "model")
    model = transformers.AutoModelForSequenceClassification.from_pretrained(tmp_path / "model").eval()
    with torch.inference_mode():
        ids = torch.tensor([tokenizer(TEXTS[0])["input_ids"]])
        logits = model(input_ids=ids).logits[0]
    for calibrated, temperature in ((True, fitted["temperature"]), (False, 1.0)):
        answer = Predictor.from_pretrained(tmp_path / "model", calibrated=calibrated).classify(TEXTS[0])
        wanted = (logits / temperature).softmax(-1).tolist()
        assert list(answer["scores"].values()) == pytest.approx(wanted, abs=1e-5)


def test_the_card_of_a_classifier_shows_a_row_and_the_command_for_a_table(
    ours: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from click.testing import CliRunner

    from debertav3.cli import app

    ticket = 'My invoice isn\'t "right".'
    rows = [{"sentence": ticket if n == 0 else f"{TEXTS[n % 3]} {n}", "label": n % 2} for n in range(6)]
    trained(ours, "sst2", tmp_path / "my model", rows=rows)
    card = (tmp_path / "my model" / "README.md").read_text(encoding="utf-8")
    assert f"predictor.classify({json.dumps(ticket)})" in card
    monkeypatch.chdir(tmp_path)
    assert "positive" in printed(snippet(card))
    (line,) = re.findall(r"^debertav3 predict .*$", card, re.MULTILINE)
    Path("rows.csv").write_text("sentence,label\nA bird sings.,positive\n", encoding="utf-8")
    done = CliRunner().invoke(app, shlex.split(line)[1:])
    assert done.exit_code == 0, done.output
    assert json.loads(Path("metrics.json").read_text(encoding="utf-8"))["labelled"] == 1
    assert "prediction" in Path("answers.csv").read_text(encoding="utf-8")
