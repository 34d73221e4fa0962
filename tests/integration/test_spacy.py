"""The spaCy components write what ``Predictor`` answers, alone, in batches and after a pipeline is saved."""

from pathlib import Path

import pytest

from debertav3 import Predictor, UserError
from tiny_models import ModelFolders

spacy = pytest.importorskip("spacy", reason="needs the extra spacy")

TAGS = {0: "O", 1: "B-PER", 2: "I-PER", 3: "B-LOC", 4: "I-LOC"}
TEXTS = [
    "Anna Bell went to Rome.",
    "",
    "A man, asleep on a bench: nobody woke him until the rain came over the hills.",
    "Two dogs run after a ball in the park by the old station.",
]


@pytest.fixture(scope="module")
def folders(nano: Path, tmp_path_factory: pytest.TempPathFactory) -> ModelFolders:
    return ModelFolders(nano, tmp_path_factory)


@pytest.fixture(scope="module", autouse=True)
def factories() -> None:
    """An editable install made before the entry points were declared does not know them."""
    import debertav3.inference.spacy_components  # noqa: F401


def test_entities_are_the_predictors(folders: ModelFolders) -> None:
    folder = folders("DebertaV2ForTokenClassification", id2label=TAGS)
    nlp = spacy.blank("en")
    nlp.add_pipe("debertav3_ner", config={"model": str(folder)})
    expected = Predictor.from_pretrained(folder).ner([text for text in TEXTS if text])
    docs = list(nlp.pipe(TEXTS, batch_size=3))
    assert [doc.text for doc in docs] == TEXTS
    assert sum(len(doc.ents) for doc in docs) > 2
    for doc, entities in zip([doc for doc in docs if doc.text], expected, strict=True):
        by_span = {(one["start"], one["end"], one["entity_group"]): one["score"] for one in entities}
        group = doc.spans["debertav3"]
        assert list(group) == list(doc.ents)
        for span, score in zip(group, group.attrs["scores"], strict=True):
            key = (span.start_char, span.end_char, span.label_)
            assert by_span[key] == pytest.approx(score, abs=1e-5)
        assert [ent.text for ent in nlp(doc.text).ents] == [ent.text for ent in doc.ents]


def test_min_score_drops_weak_entities(folders: ModelFolders) -> None:
    folder = folders("DebertaV2ForTokenClassification", id2label=TAGS)
    nlp = spacy.blank("en")
    nlp.add_pipe("debertav3_ner", config={"model": str(folder), "min_score": 1.0})
    assert not nlp(TEXTS[0]).ents


def test_categories_are_the_classifiers(folders: ModelFolders) -> None:
    names = {0: "praise", 1: "complaint", 2: "question"}
    folder = folders("DebertaV2ForSequenceClassification", id2label=names)
    nlp = spacy.blank("en")
    nlp.add_pipe("debertav3_textcat", config={"model": str(folder)})
    expected = Predictor.from_pretrained(folder).classify(TEXTS[0])["scores"]
    assert nlp(TEXTS[0]).cats == pytest.approx(expected, abs=1e-5)
    assert nlp("").cats == {}


def test_zero_shot_categories_and_a_saved_pipeline(nano: Path, tmp_path: Path) -> None:
    nlp = spacy.blank("en")
    nlp.add_pipe("debertav3_textcat", config={"model": str(nano), "labels": ["politics", "sports"]})
    text = "The parliament passed the budget."
    ranked = Predictor.from_pretrained(nano).zero_shot(text, ["politics", "sports"])
    expected = dict(zip(ranked["labels"], ranked["scores"], strict=True))
    assert nlp(text).cats == pytest.approx(expected, abs=1e-5)
    nlp.to_disk(tmp_path / "pipeline")
    assert spacy.load(tmp_path / "pipeline")(text).cats == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("overwrite", [False, True])
def test_what_earlier_components_wrote_stays(folders: ModelFolders, overwrite: bool) -> None:
    folder = folders("DebertaV2ForTokenClassification", id2label=TAGS)
    alone = spacy.blank("en")
    alone.add_pipe("debertav3_ner", config={"model": str(folder)})
    own = alone(TEXTS[2])
    taken, free = own.ents[0], next(token for token in own if not token.ent_type_)
    nlp = spacy.blank("en")
    ruler = nlp.add_pipe("entity_ruler")
    ruler.add_patterns(
        [{"label": "RULE", "pattern": span.text} for span in (taken, own[free.i : free.i + 1])]
    )
    nlp.add_pipe("debertav3_ner", config={"model": str(folder), "overwrite": overwrite, "spans_key": "ours"})
    doc = nlp(TEXTS[2])
    label_of = {(span.start, span.end): span.label_ for span in doc.ents}
    assert label_of[taken.start, taken.end] == (taken.label_ if overwrite else "RULE")
    assert label_of[free.i, free.i + 1] == "RULE"
    assert {(span.start, span.end) for span in own.ents} <= set(label_of)
    assert list(doc.spans) == ["ours"] and [span.text for span in doc.spans["ours"]] == [
        span.text for span in own.ents
    ]


def test_spans_and_categories_of_two_components_stand_side_by_side(folders: ModelFolders) -> None:
    nlp = spacy.blank("en")
    nlp.add_pipe("span_ruler", config={"spans_key": "debertav3"}).add_patterns(
        [{"label": "RULE", "pattern": "bench"}]
    )
    for seed, names in enumerate((TAGS, {number: tag.replace("PER", "ORG") for number, tag in TAGS.items()})):
        folder = folders("DebertaV2ForTokenClassification", id2label=names, seed=seed)
        nlp.add_pipe("debertav3_ner", name=f"ner{seed}", config={"model": str(folder)})
        labels = {0: f"a{seed}", 1: f"b{seed}"}
        folder = folders("DebertaV2ForSequenceClassification", id2label=labels)
        nlp.add_pipe("debertav3_textcat", name=f"cats{seed}", config={"model": str(folder)})
    doc = nlp(TEXTS[2])
    assert set(doc.cats) == {"a0", "b0", "a1", "b1"}
    group = doc.spans["debertav3"]
    assert {"RULE", "PER", "ORG"} <= {span.label_ for span in group}
    assert [score is None for score in group.attrs["scores"]] == [span.label_ == "RULE" for span in group]
    assert len(nlp(doc).spans["debertav3"]) == len(group)  # a second pass adds nothing twice


def test_what_cannot_be_is_said_in_one_line(folders: ModelFolders, nano: Path) -> None:
    nlp = spacy.blank("en")
    with pytest.raises(UserError, match="needs a model"):
        nlp.add_pipe("debertav3_ner")
    with pytest.raises(UserError, match=r"token classification|ner"):
        nlp.add_pipe("debertav3_ner", config={"model": str(nano)})
    with pytest.raises(UserError, match="predicts one number"):
        folder = folders("DebertaV2ForSequenceClassification", num_labels=1)
        nlp.add_pipe("debertav3_textcat", config={"model": str(folder)})
