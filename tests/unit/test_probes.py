"""Contract: probes split by first text, score what they say, and touch no random number and no weight."""

import copy
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from debertav3.errors import UserError
from debertav3.models import DebertaV2ForMaskedLM
from debertav3.pretrain.probe_data import LabelledProbe, PairsProbe, read_probes
from debertav3.pretrain.probes import Probes, logistic_regression, random_numbers_kept
from debertav3.pretrain.settings import ProbeConfig
from debertav3.sizes import config_for
from debertav3.tokenization import DebertaV3Tokenizer

CONFIG = ProbeConfig(rows=300, finetune_steps=6, batch_size=4, max_length=24)


def write(path: Path, rows: list[dict[str, object]]) -> str:
    path.write_text("\n".join(map(json.dumps, rows)) + "\n")
    return str(path)


@pytest.fixture
def labelled(tmp_path: Path) -> str:
    """The first word says the label."""
    rows = [
        {"premise": f"the number {n // 3} is here", "hypothesis": f"{word} it is {n}", "label": word}
        for n in range(120)
        for word in ("yes", "no")
    ]
    return write(tmp_path / "nli.jsonl", rows)


@pytest.fixture
def pairs(tmp_path: Path) -> str:
    rows = [{"sentence_good": f"The dogs {w}.", "sentence_bad": f"The dog {w}."} for w in ("bark", "run")]
    return write(tmp_path / "agreement.jsonl", rows)


@pytest.fixture(scope="module")
def tokenizer(nano: Path) -> DebertaV3Tokenizer:
    return DebertaV3Tokenizer.from_pretrained(nano)


@pytest.fixture(scope="module")
def generator() -> DebertaV2ForMaskedLM:
    torch.manual_seed(0)
    config = config_for("nano", num_hidden_layers=2, hidden_dropout_prob=0.1)
    return DebertaV2ForMaskedLM(config).eval()


def test_rows_with_one_first_text_are_on_one_side(labelled: str) -> None:
    (probe,) = read_probes([labelled], rows=200)
    assert isinstance(probe, LabelledProbe) and probe.name == "nli" and probe.labels == ("no", "yes")
    train, dev = ({example.texts[0] for example in side} for side in (probe.train, probe.dev))
    assert train and dev and not train & dev and len(probe.train) + len(probe.dev) == 200
    assert read_probes([labelled], rows=200) == [probe]
    assert 0.3 < probe.commonest_share < 0.7


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([], "is empty|no rows"),
        ([{"text": "a", "label": "x"}, {"text": "b", "label": "x"}], "need two labels or more"),
        ([{"text": f"{n}", "label": str(n)} for n in range(5)], "Give more rows, with fewer labels"),
        ([{"sentence_good": "a", "sentence_bad": "a"}], "are the same"),
        ([{"text": f"t{n}", "label": n / 7} for n in range(30)], "one label from a few"),
    ],
)
def test_a_file_that_makes_no_probe_is_refused(
    rows: list[dict[str, object]], message: str, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=message):
        read_probes([write(tmp_path / "a.jsonl", rows)], rows=100)


def test_two_files_of_one_name_are_refused(tmp_path: Path, pairs: str) -> None:
    (tmp_path / "b").mkdir()
    other = tmp_path / "b" / "agreement.jsonl"
    other.write_text(Path(pairs).read_text())
    with pytest.raises(UserError, match="two files called agreement"):
        read_probes([pairs, str(other)], rows=10)


def test_the_linear_probe_equals_scikit_learn() -> None:
    sklearn = pytest.importorskip("sklearn.linear_model")
    draw = np.random.default_rng(0)
    features = draw.normal(size=(200, 5))
    targets = (features @ draw.normal(size=(5, 3)) + draw.normal(size=(200, 3))).argmax(-1)
    ours = logistic_regression(torch.from_numpy(features), torch.from_numpy(targets), 3)
    theirs = sklearn.LogisticRegression(C=1 / (200 * 1e-2), tol=1e-10, max_iter=1000).fit(features, targets)
    ours_likely = ours(torch.from_numpy(features)).softmax(-1).detach().numpy()
    np.testing.assert_allclose(ours_likely, theirs.predict_proba(features), atol=1e-4)


def test_figures_repeat_and_nothing_else_changes(
    labelled: str, pairs: str, tokenizer: DebertaV3Tokenizer, generator: DebertaV2ForMaskedLM
) -> None:
    probes = Probes(read_probes([labelled, pairs], rows=60), CONFIG, tokenizer, torch.device("cpu"))
    before = copy.deepcopy(generator.state_dict())
    found = []
    for _ in range(2):
        torch.manual_seed(5)
        with random_numbers_kept(torch.device("cpu")):
            found.append(probes.run({"encoder": generator.deberta, "generator": generator}))
        drawn = torch.rand(3)
        torch.manual_seed(5)
        assert torch.equal(drawn, torch.rand(3))
    assert all(torch.equal(before[key], value) for key, value in generator.state_dict().items())
    seconds = [figures.pop("probe_seconds") for figures in found]
    assert found[0] == found[1] and min(seconds) > 0
    assert set(found[0]) == {
        "probe_commonest_nli", "probe_linear_nli", "probe_finetuned_nli", "probe_pairs_agreement",
    }  # fmt: skip
    assert found[0]["probe_linear_nli"] > 0.9  # a word that says the label is easy to find


def test_a_sentence_is_scored_by_masking_each_token_alone(
    pairs: str, tokenizer: DebertaV3Tokenizer, generator: DebertaV2ForMaskedLM
) -> None:
    (probe,) = read_probes([pairs], rows=10)
    assert isinstance(probe, PairsProbe)
    sentences = [sentence for pair in probe.pairs for sentence in pair]
    probes = Probes([probe], CONFIG, tokenizer, torch.device("cpu"))
    for sentence, score in zip(sentences, probes._scores(generator, sentences), strict=True):
        ids = torch.tensor([tokenizer(sentence)["input_ids"]])
        wanted = 0.0
        for place in range(1, ids.shape[1] - 1):
            masked = ids.clone()
            masked[0, place] = tokenizer.mask_token_id
            with torch.no_grad():
                logits = generator(input_ids=masked).logits[0, place]
            wanted += float(logits.double().log_softmax(-1)[ids[0, place]])
        assert score == pytest.approx(wanted, abs=1e-3)


def test_a_sentence_that_would_be_truncated_is_refused(tmp_path: Path, tokenizer: DebertaV3Tokenizer) -> None:
    rows: list[dict[str, object]] = [{"sentence_good": "good " * 40, "sentence_bad": "bad " * 40}]
    read = read_probes([write(tmp_path / "long.jsonl", rows)], rows=10)
    with pytest.raises(UserError, match="more than 24 tokens: raise probe_max_length"):
        Probes(read, CONFIG, tokenizer, torch.device("cpu"))
