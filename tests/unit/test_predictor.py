"""The predictor's answers are the plain model's, one input at a time, under the right names."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import debertav3
from debertav3 import DebertaV3Tokenizer, Predictor, UserError
from debertav3.inference.torch_backend import DEVICES, choose_device
from tiny_models import save, tiny_model

NLI = {0: "contradiction", 1: "neutral", 2: "entailment"}
TAGS = {0: "O", 1: "B-PER", 2: "I-PER", 3: "B-LOC", 4: "I-LOC"}
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

Opener = Callable[..., Predictor]


@pytest.fixture(scope="module")
def tokenizer(nano: Path) -> DebertaV3Tokenizer:
    return DebertaV3Tokenizer.from_pretrained(nano)


@pytest.fixture(scope="module")
def folders(tokenizer: DebertaV3Tokenizer, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Saves a tiny random model of a class and returns its folder, the same one for the same settings."""
    made: dict[str, Path] = {}

    def folder(class_name: str, **config: Any) -> Path:
        key = f"{class_name} {sorted(config.items())}"
        if key not in made:
            model = tiny_model(getattr(debertav3, class_name), tokenizer, **config)
            made[key] = save(model, tokenizer, tmp_path_factory.mktemp("model"))
        return made[key]

    return folder


@pytest.fixture(scope="module")
def nli_folder(folders: Callable[..., Path]) -> Path:
    return folders("DebertaV2ForSequenceClassification", id2label=NLI)


@pytest.fixture(scope="module")
def nli(nli_folder: Path) -> Predictor:
    return Predictor.from_pretrained(nli_folder, device="cpu")


def plain(predictor: Predictor, *texts: str, name: str = "logits") -> np.ndarray:
    """The model called on one input, laid out by the tokenizer itself."""
    backend: Any = predictor.engine.backend
    inputs = predictor.engine.tokenizer(*texts, truncation=True, max_length=64, return_tensors="np")
    with torch.inference_mode():
        output = backend.model(**{key: torch.from_numpy(value) for key, value in inputs.items()})
    return getattr(output, name)[0].numpy()


def softmax(logits: np.ndarray) -> np.ndarray:
    return np.exp(logits.astype(np.float64)) / np.exp(logits.astype(np.float64)).sum(axis=-1, keepdims=True)


def assert_same(first: Any, second: Any) -> None:
    """Equal keys, texts and places, numbers within 1e-6."""
    if isinstance(first, dict):
        assert list(first) == list(second)
        for key in first:
            assert_same(first[key], second[key])
    elif isinstance(first, list):
        assert len(first) == len(second)
        for one, other in zip(first, second, strict=True):
            assert_same(one, other)
    elif isinstance(first, float):
        assert first == pytest.approx(second, abs=1e-6)
    else:
        assert first == second


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
    nli: Predictor, tokenizer: DebertaV3Tokenizer, tmp_path: Path, order: tuple[str, ...]
) -> None:
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
    folders: Callable[..., Path], nli: Predictor
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


def test_rerank_by_entailment_and_by_a_trained_ranker(nli: Predictor, folders: Callable[..., Path]) -> None:
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


def test_classify_takes_texts_and_pairs(nli: Predictor, folders: Callable[..., Path]) -> None:
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


@pytest.fixture(scope="module")
def ner(folders: Callable[..., Path]) -> Predictor:
    return Predictor.from_pretrained(folders("DebertaV2ForTokenClassification", id2label=TAGS))


def test_tokens_of_short_texts_have_the_plain_models_logits(ner: Predictor) -> None:
    for pair in PAIRS:
        (found,) = ner.engine.tokens([pair[0]])
        np.testing.assert_allclose(found.logits, plain(ner, pair[0])[1:-1], atol=1e-5)
        assert len(found.offsets) == len(found.logits)


def test_tokens_of_long_texts_come_from_the_window_that_sees_most(ner: Predictor) -> None:
    (found,) = ner.engine.tokens([LONG])
    ids, offsets = ner.engine.tokenizer.encode_with_offsets(LONG)
    assert found.offsets == offsets
    assert len(found.logits) == len(ids) > 300
    backend: Any = ner.engine.backend
    size, step = 62, 31  # max_length without [CLS] and [SEP]; half of it is shared
    middle = [1, *ids[2 * step : 2 * step + size], 2]
    with torch.inference_mode():
        logits = backend.model(input_ids=torch.tensor([middle])).logits[0, 1:-1].numpy()
    quarter = slice(step // 2 + 1, size - step // 2 - 1)
    np.testing.assert_allclose(found.logits[2 * step : 2 * step + size][quarter], logits[quarter], atol=1e-5)


def test_entities_stand_where_they_say(ner: Predictor) -> None:
    texts = [LONG, PAIRS[0][0], "Anna Bell went to Rome."]
    found = ner.ner(texts)
    assert sum(map(len, found)) > 0
    for text, entities in zip(texts, found, strict=True):
        assert all(text[entity["start"] : entity["end"]] == entity["word"] for entity in entities)
        assert [entity["start"] for entity in entities] == sorted(entity["start"] for entity in entities)
    assert_same([ner.ner(text) for text in texts], found)
    with pytest.raises(UserError, match="unknown aggregation"):
        ner.ner("a", aggregation="none")


def test_given_words_get_the_tag_of_their_first_token(ner: Predictor) -> None:
    words = ["Anna", "Bell", "went", "to", "Constantinople", "."]
    (tags,) = ner.tag([words])
    logits = plain(ner, " ".join(words))[1:-1]
    offsets = ner.engine.tokenizer.encode_with_offsets(" ".join(words))[1]
    for word, tag in zip(words, tags, strict=True):
        first = min(place for place, (start, _) in enumerate(offsets) if start == " ".join(words).index(word))
        assert (tag["word"], tag["entity"]) == (word, TAGS[int(logits[first].argmax())])


@pytest.fixture(scope="module")
def qa(folders: Callable[..., Path]) -> Predictor:
    return Predictor.from_pretrained(folders("DebertaV2ForQuestionAnswering"))


def test_answers_of_a_short_context_equal_a_plain_search(qa: Predictor) -> None:
    question, context = "Who sleeps?", "A man sleeps on a bench. Two dogs run."
    starts, ends = (
        plain(qa, question, context, name="start_logits"),
        plain(qa, question, context, name="end_logits"),
    )
    prefix = len(qa.engine.tokenizer.encode(question)) + 2
    offsets = qa.engine.tokenizer.encode_with_offsets(context)[1]
    spans = {
        (left, right): float(starts[prefix + left] + ends[prefix + right])
        for left in range(len(offsets))
        for right in range(left, len(offsets))
    }
    (left, right), best = max(spans.items(), key=lambda item: item[1])
    null = float(starts[0] + ends[0])
    total = np.exp(null) + sum(map(np.exp, spans.values()))
    found = qa.qa(question, context, null_threshold=None)
    assert found["answer"] == context[offsets[left][0] : offsets[right][1]]
    assert (found["start"], found["end"]) == (offsets[left][0], offsets[right][1])
    assert found["score"] == pytest.approx(np.exp(best) / total, abs=1e-6)
    assert found["no_answer_score"] == pytest.approx(np.exp(null) / total, abs=1e-6)
    lead = null - best
    assert qa.qa(question, context, null_threshold=lead - 0.01)["answer"] == ""
    assert qa.qa(question, context, null_threshold=lead + 0.01)["answer"] == found["answer"]


def test_answers_of_long_contexts_are_found_beyond_the_first_window(qa: Predictor) -> None:
    questions = ["How many mills?", "Which town?", "When?"]
    found = qa.qa(questions, LONG, n_best=5, null_threshold=None, overlap=20)
    assert any(one["start"] > 500 for answer in found for one in answer["candidates"])
    for question, answer in zip(questions, found, strict=True):
        assert len(answer["candidates"]) == 5
        assert all(LONG[one["start"] : one["end"]] == one["answer"] for one in answer["candidates"])
        assert_same(qa.qa(question, LONG, n_best=5, null_threshold=None, overlap=20), answer)
    with pytest.raises(UserError, match="2 questions and 1 contexts"):
        qa.qa(["a", "b"], ["c"])
    with pytest.raises(UserError, match="n_best"):
        qa.qa("a", "b", n_best=0)


@pytest.fixture(scope="module")
def masked(folders: Callable[..., Path]) -> Predictor:
    return Predictor.from_pretrained(folders("DebertaV2ForMaskedLM"), task="fill-mask")


def test_masks_are_filled_from_the_plain_models_logits(masked: Predictor) -> None:
    tokenizer, backend = masked.engine.tokenizer, masked.engine.backend
    text = "A man is [MASK] on a [MASK]."
    left, middle, right = (tokenizer.encode(part) for part in ("A man is", "on a", "."))
    assert tokenizer.convert_ids_to_tokens(right) == ["\u2581", "."]
    right = tokenizer.convert_tokens_to_ids(["."])  # no word mark: the mask is the word
    mask = tokenizer.mask_token_id
    ids = [1, *left, mask, *middle, mask, *right, 2]
    with torch.inference_mode():
        model: Any = backend
        logits = model.model(input_ids=torch.tensor([ids])).logits[0].numpy()
    places = [place for place, number in enumerate(ids) if number == mask]
    found = masked.fill_mask(text, top_k=3)
    assert len(found) == 2
    for place, candidates in zip(places, found, strict=True):
        allowed = logits[place, : len(tokenizer)].copy()
        allowed[sorted(tokenizer.specials.ids.values())] = -np.inf
        shares = softmax(allowed)
        assert [one["token"] for one in candidates] == np.argsort(-shares)[:3].tolist()
        assert [one["score"] for one in candidates] == pytest.approx(
            np.sort(shares)[::-1][:3].tolist(), abs=1e-6
        )
    assert all("[MASK]" in one["sequence"] for one in found[0])
    others = masked.fill_mask(
        ["[MASK] a much longer text of many words, which is padded around", text], top_k=3
    )
    assert_same(others[1], found)


def test_texts_without_mask_or_too_long_are_refused(masked: Predictor) -> None:
    with pytest.raises(UserError, match=r"no \[MASK\] in 'plain'"):
        masked.fill_mask(["[MASK]", "plain"])
    with pytest.raises(UserError, match="tokens; need at most 62"):
        masked.fill_mask("[MASK] " + LONG)


def test_replaced_words_have_the_highest_probability_of_their_tokens(folders: Callable[..., Path]) -> None:
    predictor = Predictor.from_pretrained(folders("DebertaV2ForReplacedTokenDetection"), task="rtd")
    text = "The uncharacteristically late committee ate."
    probabilities = 1 / (1 + np.exp(-plain(predictor, text)[1:-1]))
    offsets = predictor.engine.tokenizer.encode_with_offsets(text)[1]
    words = predictor.rtd(text)
    assert [word["word"] for word in words] == [
        "The",
        "uncharacteristically",
        "late",
        "committee",
        "ate",
        ".",
    ]
    for word in words:
        inside = [
            p
            for p, (start, _) in zip(probabilities, offsets, strict=True)
            if word["start"] <= start < word["end"]
        ]
        assert word["score"] == pytest.approx(max(inside), abs=1e-6)
    assert_same(predictor.rtd([LONG, text])[1], words)


@pytest.mark.parametrize("dtype", ["bf16", "fp16"])
def test_half_precision_answers_nearly_the_same(nli: Predictor, nli_folder: Path, dtype: str) -> None:
    half = Predictor.from_pretrained(nli_folder, device="cpu", dtype=dtype)
    for one, other in zip(half.nli(PAIRS), nli.nli(PAIRS), strict=True):
        assert one == pytest.approx(other, abs=0.1)


def test_long_inputs_are_cut_and_the_cut_is_logged(nli: Predictor, caplog: pytest.LogCaptureFixture) -> None:
    found = nli.nli([PAIRS[0], (LONG, "Bergen had mills.")])
    assert "1 of 2 inputs had more than 64 tokens and were cut" in caplog.text
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
    ],
)
def test_bad_input_is_named(nli: Predictor, ask: Callable[[Predictor], Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        ask(nli)


def test_empty_lists_are_answered_with_empty_lists(nli: Predictor, ner: Predictor, qa: Predictor) -> None:
    assert nli.nli([]) == nli.classify([]) == nli.zero_shot([], ["a"]) == nli.rerank([], []) == []
    assert ner.ner([]) == ner.tag([]) == qa.qa([], []) == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"task": "ner"}, "needs a token-classification head"),
        ({"task": "translate"}, "unknown task"),
        ({"device": "tpu"}, "unknown device"),
        ({"device": "cuda:99"}, "cannot be used"),
        ({"dtype": "int8"}, "unknown dtype"),
        ({"backend": "tensorrt"}, "unknown backend"),
        ({"max_length": 4}, "max_length"),
        ({"batch_tokens": 0}, "batch_tokens"),
    ],
)
def test_a_checkpoint_is_not_opened_as_what_it_is_not(nli_folder: Path, options: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        Predictor.from_pretrained(nli_folder, **options)


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
    modules = "predictor, answers, batching, backends, files, file_tasks, rows, scoring, default_model"
    code = (
        f"import sys\nfrom debertav3.inference import {modules}\nimport debertav3.data.spans\n"
        "print(*{'torch', 'transformers', 'datasets', 'sklearn', 'scipy'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
