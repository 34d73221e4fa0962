"""The predictor's answers are the plain model's, one input at a time, under the right names."""

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import debertav3
from debertav3 import Predictor, UserError
from debertav3.data.probabilities import Probabilities
from debertav3.inference.backends.protocol import DEVICES
from debertav3.inference.backends.torch import choose_device
from tiny_models import ModelFolders, assert_same, plain, save, softmax, tiny_model

NLI = {0: "contradiction", 1: "neutral", 2: "entailment"}
PAIRS = [
    ("A man is asleep on a bench.", "Nobody is awake."),
    ("Rain.", "The street is wet because it has been raining since the early morning."),
    ("Two dogs run after a ball in the park near the old station.", "Animals play."),
    ("She reads.", "She sleeps."),
    ("The committee, which had met twice before, postponed the vote again.", "There was no vote."),
]
LONG = " ".join(
    f"In the year {1900 + n} the town of Bergen had {n} mills and {2 * n} ships." for n in range(30)
)


@pytest.fixture(scope="module")
def folders(nano: Path, tmp_path_factory: pytest.TempPathFactory) -> ModelFolders:
    return ModelFolders(nano, tmp_path_factory)


@pytest.fixture(scope="module")
def nli_folder(folders: ModelFolders) -> Path:
    return folders("DebertaV2ForSequenceClassification", id2label=NLI)


@pytest.fixture(scope="module")
def nli(nli_folder: Path) -> Predictor:
    return Predictor.from_pretrained(nli_folder, device="cpu")


def test_nli_equals_the_model_called_plainly(nli: Predictor) -> None:
    for pair, found in zip(PAIRS, nli.nli(PAIRS), strict=True):
        shares = softmax(plain(nli, *pair))
        want = {"entailment": shares[2], "neutral": shares[1], "contradiction": shares[0]}
        assert list(found) == list(want)
        assert found == pytest.approx(want, abs=1e-6)


def test_order_company_and_padding_change_nothing(nli: Predictor, nli_folder: Path) -> None:
    together = nli.nli(PAIRS)
    assert_same([nli.nli(pair) for pair in PAIRS], together)
    assert_same(nli.nli(PAIRS[::-1])[::-1], together)
    for batch_tokens in (1, 40, 10_000):
        other = Predictor.from_pretrained(nli_folder, device="cpu", batch_tokens=batch_tokens)
        assert_same(other.nli(PAIRS), together)


@pytest.mark.parametrize(
    "order",
    [
        ("entailment", "neutral", "contradiction"),
        ("contradiction", "entailment", "neutral"),
        ("CONTRADICTION", "Neutral", "Entailment"),
    ],
    ids=lambda order: order[0] + "-first",
)
def test_the_three_orders_in_the_wild_give_one_answer(
    nli: Predictor, folders: ModelFolders, tmp_path: Path, order: tuple[str, ...]
) -> None:
    tokenizer = folders.tokenizer
    model = tiny_model(debertav3.DebertaV2ForSequenceClassification, tokenizer, id2label=NLI)
    rows = [list(NLI.values()).index(name.lower()) for name in order]
    with torch.no_grad():
        model.classifier.weight.copy_(model.classifier.weight[rows].clone())
        model.classifier.bias.copy_(model.classifier.bias[rows].clone())
    model.config.id2label = dict(enumerate(order))
    model.config.label2id = {name: number for number, name in enumerate(order)}
    predictor = Predictor.from_pretrained(save(model, tokenizer, tmp_path))
    assert_same(predictor.nli(PAIRS), nli.nli(PAIRS))
    assert_same(
        predictor.zero_shot(PAIRS[0][0], ["rest", "work"]), nli.zero_shot(PAIRS[0][0], ["rest", "work"])
    )
    assert_same(predictor.rerank("Who?", ["a man", "a dog"]), nli.rerank("Who?", ["a man", "a dog"]))


def test_a_head_without_names_answers_only_when_told_what_is_what(
    folders: ModelFolders, nli: Predictor
) -> None:
    folder = folders("DebertaV2ForSequenceClassification", num_labels=3)  # the same seed, the same weights
    unnamed = Predictor.from_pretrained(folder)
    for ask in (
        lambda: unnamed.nli(PAIRS),
        lambda: unnamed.zero_shot("a text", ["b"]),
        lambda: unnamed.rerank("a", ["b", "c"]),
    ):
        with pytest.raises(UserError, match="does not name its labels: got LABEL_0, LABEL_1, LABEL_2"):
            ask()
    named = Predictor.from_pretrained(folder, labels=list(NLI.values()))
    assert_same(named.nli(PAIRS), nli.nli(PAIRS))
    with pytest.raises(UserError, match="got 2 labels"):
        Predictor.from_pretrained(folder, labels=["entailment", "contradiction"])


def test_zero_shot_equals_a_hand_written_loop(nli: Predictor) -> None:
    texts = ["The match ended two to one.", "Shares fell sharply on Monday."]
    candidates = [["sport", "finance", "food"], ["finance", "weather"]]
    found = nli.zero_shot(texts, candidates, template="It is about {}.")
    for text, own, one in zip(texts, candidates, found, strict=True):
        logits = np.stack([plain(nli, text, f"It is about {label}.") for label in own])
        want = dict(zip(own, softmax(logits[:, 2]), strict=True))
        assert one["sequence"] == text
        assert one["labels"] == sorted(own, key=lambda label, want=want: -want[label])
        assert dict(zip(one["labels"], one["scores"], strict=True)) == pytest.approx(want, abs=1e-6)
    several = nli.zero_shot(texts[0], candidates[0], multi_label=True)
    for label, score in zip(several["labels"], several["scores"], strict=True):
        contradiction, _, entailment = plain(nli, texts[0], f"This example is {label}.")
        assert score == pytest.approx(1 / (1 + np.exp(contradiction - entailment)), abs=1e-6)
    assert_same(nli.zero_shot(texts, ["a", "b"])[1], nli.zero_shot(texts[1], ["a", "b"]))


@pytest.mark.parametrize(
    ("labels", "options", "message"),
    [
        ([], {}, "labels must be"),
        ([["a"]], {}, "labels must be"),
        (["a", " "], {}, "label 1 is empty"),
        (["a"], {"template": "no place"}, "template"),
    ],
)
def test_zero_shot_refuses_what_it_cannot_ask(
    nli: Predictor, labels: Any, options: dict, message: str
) -> None:
    with pytest.raises(UserError, match=message):
        nli.zero_shot(["one text", "two texts"], labels, **options)


def test_rerank_by_entailment_and_by_a_trained_ranker(nli: Predictor, folders: ModelFolders) -> None:
    query, texts = "Where do people rest?", ["On a bench.", "The vote was postponed.", "At home."]
    shares = [softmax(plain(nli, text, query))[2] for text in texts]
    found = nli.rerank(query, texts)
    assert [one["index"] for one in found] == np.argsort(-np.array(shares)).tolist()
    assert [one["score"] for one in found] == pytest.approx(sorted(shares, reverse=True), abs=1e-6)
    assert [one["text"] for one in found] == [texts[one["index"]] for one in found]
    ranker = Predictor.from_pretrained(folders("DebertaV2ForSequenceClassification", id2label={0: "score"}))
    scores = [1 / (1 + np.exp(-plain(ranker, query, text)[0])) for text in texts]
    assert [one["score"] for one in ranker.rerank(query, texts)] == pytest.approx(
        sorted(scores, reverse=True), abs=1e-6
    )
    assert_same(ranker.rerank([query, "b"], [texts, ["c"]])[0], ranker.rerank(query, texts))
    assert nli.rerank([query], [[]]) == [[]]


def test_classify_takes_texts_and_pairs(nli: Predictor, folders: ModelFolders) -> None:
    mixed = ["one text", ("one", "pair"), "another text"]
    found = nli.classify(mixed)
    for text, one in zip(mixed, found, strict=True):
        shares = softmax(plain(nli, *([text] if isinstance(text, str) else text)))
        assert one["scores"] == pytest.approx(dict(zip(NLI.values(), shares, strict=True)), abs=1e-6)
        assert one["label"] == NLI[int(shares.argmax())]
        assert one["score"] == max(one["scores"].values())
    assert_same(nli.classify(("one", "pair")), found[1])
    several = Predictor.from_pretrained(
        folders("DebertaV2ForSequenceClassification", id2label=NLI, problem_type="multi_label_classification")
    )
    logits = plain(several, "one text")
    assert list(several.classify("one text")["scores"].values()) == pytest.approx(
        (1 / (1 + np.exp(-logits))).tolist(), abs=1e-6
    )


def test_an_output_keeps_its_threshold_under_another_name(folders: ModelFolders, tmp_path: Path) -> None:
    names = {0: "LABEL_0", 1: "LABEL_1"}
    made = folders(
        "DebertaV2ForSequenceClassification", id2label=names, problem_type="multi_label_classification"
    )
    shutil.copytree(made, tmp_path / "fitted")
    Probabilities(temperature=1.5, thresholds={"LABEL_0": 0.2, "LABEL_1": 0.9}).write(tmp_path / "fitted")
    own = Predictor.from_pretrained(tmp_path / "fitted", device="cpu")
    assert own.probabilities.thresholds == {"LABEL_0": 0.2, "LABEL_1": 0.9}
    renamed = Predictor.from_pretrained(tmp_path / "fitted", device="cpu", labels=["LABEL_1", "toxic"])
    assert renamed.probabilities.thresholds == {"LABEL_1": 0.2, "toxic": 0.9}
    assert renamed.probabilities.temperature == 1.5


@pytest.mark.parametrize("backend", ["native", "torch"])
def test_several_numbers_of_a_regression_head_are_no_shares(folders: ModelFolders, backend: str) -> None:
    folder = folders("DebertaV2ForSequenceClassification", id2label=NLI, problem_type="regression")
    found = Predictor.from_pretrained(folder, device="cpu", backend=backend)
    numbers = dict(zip(NLI.values(), map(float, plain(found, "one text")), strict=True))
    best = max(numbers, key=lambda name: numbers[name])
    answer = found.classify("one text")
    assert answer["scores"] == pytest.approx(numbers, abs=1e-5)
    assert (answer["label"], answer["score"]) == (best, answer["scores"][best])


def test_outputs_of_one_name_are_not_taken_for_one(folders: ModelFolders) -> None:
    folder = folders("DebertaV2ForSequenceClassification", id2label={0: "bad", 1: "bad", 2: "good"})
    with pytest.raises(UserError, match="several of its 3 outputs 'bad'"):
        Predictor.from_pretrained(folder).classify("one text")
    named = Predictor.from_pretrained(folder, labels=["awful", "bad", "good"])
    assert sum(named.classify("one text")["scores"].values()) == pytest.approx(1)


@pytest.mark.parametrize("dtype", ["bf16", "fp16"])
def test_half_precision_answers_nearly_the_same(nli: Predictor, nli_folder: Path, dtype: str) -> None:
    half = Predictor.from_pretrained(nli_folder, device="cpu", dtype=dtype)
    for one, other in zip(half.nli(PAIRS), nli.nli(PAIRS), strict=True):
        assert one == pytest.approx(other, abs=0.1)


def test_long_inputs_are_cut_and_the_cut_is_logged(nli: Predictor, caplog: pytest.LogCaptureFixture) -> None:
    found = nli.nli([PAIRS[0], (LONG, "Bergen had mills.")])
    assert "1 of 2 inputs did not fit into 64 tokens and were truncated" in caplog.text
    shares = softmax(plain(nli, LONG, "Bergen had mills."))
    assert found[1]["entailment"] == pytest.approx(shares[2], abs=1e-6)


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (lambda p: p.nli(("a", " ")), "second text of pair 0 is empty"),
        (lambda p: p.nli([("a", "b"), ("a",)]), "pair 1 must be two texts"),
        (lambda p: p.nli([("a", 3)]), "must be a text, got int"),
        (lambda p: p.classify(["a", None]), "text 1 must be a text"),
        (lambda p: p.rerank(["a", "b"], [["c"]]), "one list of texts for each of the 2 queries"),
        (lambda p: p.rerank("a", "bc"), "one list of texts"),
        (lambda p: p.ner("a"), "ner needs a token-classification head"),
        (lambda p: p.zero_shot("a", ["b"], template=None), "template must contain"),
    ],
)
def test_bad_input_is_named(nli: Predictor, ask: Callable[[Predictor], Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        ask(nli)


def test_empty_lists_are_answered_with_empty_lists(nli: Predictor) -> None:
    assert nli.nli([]) == nli.classify([]) == nli.zero_shot([], ["a"]) == nli.rerank([], []) == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"task": "ner"}, "needs a token-classification head"),
        ({"task": "translate"}, "unknown task"),
        ({"device": "tpu"}, "unknown device"),
        ({"device": "cuda:99"}, "cannot be used"),
        ({"dtype": "int8"}, "unknown dtype"),
        ({"backend": "tensorrt"}, "unknown backend"),
        ({"device": 0}, "unknown device '0'"),
        ({"device": None}, "unknown device 'None'"),
        ({"max_length": 4}, "max_length must be a whole number, at least 8; got 4"),
        ({"max_length": 0}, "max_length must be a whole number"),
        ({"max_length": "64"}, "got '64'"),
        ({"batch_tokens": 0}, "batch_tokens must be a whole number"),
        ({"batch_tokens": 64.0}, "got 64.0"),
        ({"labels": [0, 1, 2]}, "labels must be a list of names"),
        ({"labels": "a,b,c"}, "labels must be a list of names"),
        ({"labels": NLI}, "labels must be a list of names"),
    ],
)
def test_a_checkpoint_is_not_opened_as_what_it_is_not(nli_folder: Path, options: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        Predictor.from_pretrained(nli_folder, **options)


@pytest.mark.parametrize("given", [None, 5, b"folder", "", tiny_model])
def test_what_names_no_checkpoint_is_refused(given: Any) -> None:
    with pytest.raises(UserError, match="need a checkpoint folder, or a Hub name"):
        Predictor.from_pretrained(given)


def test_a_device_of_torch_is_a_device(nli: Predictor, nli_folder: Path) -> None:
    on_cpu = Predictor.from_pretrained(nli_folder, device=torch.device("cpu"))
    assert_same(on_cpu.nli(PAIRS), nli.nli(PAIRS))


def test_auto_takes_the_first_device_that_is_there() -> None:
    chosen = choose_device("auto").type
    for kind in DEVICES[: DEVICES.index(chosen)]:
        with pytest.raises(UserError, match="cannot be used"):
            choose_device(kind)
    assert choose_device(chosen).type == chosen


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_the_gpu_answers_as_the_cpu(nli: Predictor, nli_folder: Path) -> None:
    on_gpu = Predictor.from_pretrained(nli_folder, device="cuda")
    for one, other in zip(on_gpu.nli(PAIRS), nli.nli(PAIRS), strict=True):
        assert one == pytest.approx(other, abs=1e-4)


def test_the_predictor_and_its_parts_import_neither_torch_nor_transformers() -> None:
    code = (
        "import sys\nfrom debertav3.inference import predictor, answers, batching, default_model\n"
        "from debertav3.inference.backends import choose, exported, protocol\n"
        "from debertav3.inference.files import input, predict, row_answers, workers\n"
        "import debertav3.checkpoint.folder, debertav3.tasks.spans\n"
        "print(*{'torch', 'transformers', 'datasets', 'sklearn', 'scipy'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
