"""Entities go to whole words and back without loss; what is changed or left out is counted and said."""

import json
import logging
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from debertav3.errors import UserError
from debertav3.tasks.annotations.format import Marked
from debertav3.tasks.annotations.marks import Mark, locate, tag_text, whole_words
from debertav3.tasks.metrics import tag_entities
from debertav3.tasks.names import TASKS
from debertav3.tasks.notes import Notes
from debertav3.tasks.preannotations import TOOLS, Tool
from debertav3.tasks.read_options import ReadOptions
from debertav3.tasks.tables import read_table
from debertav3.tasks.tagging import is_marked_text
from debertav3.tasks.words import join_words, split_words


def entities_in(words: list[tuple[int, int]], tags: list[str]) -> list[Mark]:
    return [Mark(words[first][0], words[stop - 1][1], kind) for first, stop, kind in tag_entities(tags)]


@pytest.mark.parametrize(
    ("marks", "kept", "said"),
    [
        (
            [(0, 3, "LOC")],
            [(0, 9, "LOC")],
            r"inside a word and were widened to whole words \(1\): 'Rom' to 'Rom-Reise'",
        ),
        ([(0, 10, "X")], [(0, 9, "X")], None),  # white space at an end says nothing
        (
            [(10, 13, "A"), (10, 23, "B")],
            [(10, 23, "B")],
            r"left out: .* 'von' \(A\) in 'von Anna Berg' \(B\)",
        ),
        ([(14, 18, "A"), (14, 18, "B")], [(14, 18, "A")], r"'Anna' \(B\) in 'Anna' \(A\)"),
        ([(14, 18, "A"), (14, 18, "A")], [(14, 18, "A")], None),  # said twice
        ([(9, 10, "A")], [], "hold only white space and were left out"),
    ],
    ids=["cut", "space", "overlap", "same", "twice", "empty"],
)
def test_entities_become_whole_words(marks: list[Any], kept: list[Any], said: str | None) -> None:
    notes = Notes()
    text = "Rom-Reise von Anna Berg."
    found = whole_words([Mark(*one) for one in marks], text, place="line 1", notes=notes)
    assert found == [Mark(*one) for one in kept]
    assert bool(notes.lines()) == (said is not None)
    if said is not None:
        (line,) = notes.lines()
        assert re.search(said, line), line


@pytest.mark.parametrize(
    ("text", "offsets", "surface", "wanted"),
    [
        ("😀 Anna sings.", (3, 7), "Anna", (2, 6)),
        ("😀 Anna sings.", (2, 6), "Anna", (2, 6)),
        ("One.\r\nAnna sings.", (5, 9), "Anna", (6, 10)),
        ("Anna  Berg sings.", (0, 10), "Anna Berg", (0, 10)),
    ],
    ids=["utf-16", "characters", "line ends", "spaces"],
)
def test_the_text_of_an_entity_decides_how_its_tool_counts(
    text: str, offsets: tuple[int, int], surface: str, wanted: tuple[int, int]
) -> None:
    notes = Notes()
    found = locate(Mark(*offsets, "PER"), text, surface=surface, place="line 1", notes=notes)
    assert (found.start, found.end) == wanted
    assert not notes.counts


def test_an_offset_that_is_nearly_right_is_repaired_and_said() -> None:
    notes = Notes()
    found = locate(Mark(0, 4, "PER"), "“Anna” sings.", surface="Anna", place="line 1", notes=notes)
    assert (found.start, found.end) == (1, 5)
    assert notes.lines()[0].startswith("entities were not where their offsets say")


@pytest.mark.parametrize(
    ("mark", "surface", "message"),
    [
        ((0, 99, "PER"), None, r"line 1: entity 0 to 99 \(PER\) is not in its text of 11 characters"),
        ((3, 3, "PER"), None, "is not in its text"),
        ((0, 4, "PER"), "Berta", r"characters 0 to 4 are 'Anna', not 'Berta'"),
    ],
)
def test_an_entity_that_is_not_in_its_text_is_refused(mark: Any, surface: str | None, message: str) -> None:
    with pytest.raises(UserError, match=message):
        locate(Mark(*mark), "Anna sings.", surface=surface, place="line 1", notes=Notes())


def test_what_was_changed_is_said_once_with_examples(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "a.jsonl"
    rows = [{"text": f"Rom-Reise {n}", "label": [[0, 3, "LOC"]]} for n in range(5)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    with caplog.at_level(logging.WARNING):
        TASKS["ner"].read(str(path))
    (line,) = [record.getMessage() for record in caplog.records]
    assert line.startswith(
        f"{path}: entities begin or end inside a word and were widened to whole words (5): "
    )
    assert line.count("Rom-Reise") == 3 and line.endswith("; ...") and "(line 1)" in line


TEXTS = st.text(
    st.characters(exclude_categories=("Cs",), exclude_characters="\0"), min_size=1, max_size=40
) | st.lists(st.sampled_from(["Anna", "(Rome)", "U.S.", "Paris's,", "😀", "é", "#1", "\r\n", "\n"])).map(
    " ".join
)


@st.composite
def marked_texts(draw: st.DrawFn) -> Marked:
    text = draw(TEXTS.filter(split_words))
    ends = st.tuples(
        st.integers(0, len(text) - 1), st.integers(1, len(text)), st.sampled_from(["PER", "LOC"])
    )
    drawn = [Mark(*one) for one in draw(st.lists(ends, max_size=4)) if one[0] < one[1]]
    marks = whole_words(drawn, text, place="", notes=Notes())
    return Marked(text, marks, [0.5] * len(marks), split_words(text), {})


@given(marked_texts())
def test_whole_words_lose_nothing_as_tags(marked: Marked) -> None:
    words, tags = tag_text(marked.text, marked.marks)
    assert entities_in(words, tags) == list(marked.marks)
    notes = Notes()
    assert whole_words(marked.marks, marked.text, place="", notes=notes) == list(marked.marks)
    assert not notes.counts


@pytest.mark.parametrize("tool", TOOLS, ids=lambda tool: tool.name)
@given(texts=st.lists(marked_texts(), min_size=1, max_size=4))
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_what_is_written_for_a_tool_reads_back(
    tmp_path_factory: pytest.TempPathFactory, tool: Tool, texts: list[Marked]
) -> None:
    sure = Marked("Anna sings.", [Mark(0, 4, "PER")], [0.9], split_words("Anna sings."), {})
    texts = [*texts, sure]  # a file without any entity could be a file of classes
    path = tmp_path_factory.mktemp("out") / f"x{(*tool.endings, '')[0]}"
    with tool.open(path) as write:
        write(texts)
    rows = list(read_table(path))
    if tool.name == "conll":
        found = [(row.fields["tokens"], row.fields["label"]) for row in rows]
        cut = [[text[a:b] for a, b in words] for text, _, _, words, _ in texts]
        assert found == list(zip(cut, [tag_text(one.text, one.marks)[1] for one in texts], strict=True))
        return
    assert all(map(is_marked_text, rows))
    assert [row.fields["text"] for row in rows] == [one.text for one in texts]
    assert [[Mark(**one) for one in row.fields["entities"]] for row in rows] == [
        list(one.marks) for one in texts
    ]


@pytest.mark.parametrize("ending", [".jsonl", ".json"])
def test_doccano_need_not_guess_how_a_file_is_encoded(tmp_path: Path, ending: str) -> None:
    """Its own guess takes short files in UTF-8 for Latin-1, and then all offsets are wrong."""
    path = tmp_path / f"x{ending}"
    text = "It rained \U0001f600 in Köln."
    (doccano,) = (tool for tool in TOOLS if tool.name == "doccano")
    with doccano.open(path) as write:
        write([Marked(text, [Mark(15, 19, "LOC")], [0.9], split_words(text), {})])
    assert path.read_bytes().isascii()
    (row,) = read_table(path)
    assert (row.fields["text"], row.fields["entities"]) == (text, [{"start": 15, "end": 19, "label": "LOC"}])


SETS = (
    "bc5cdr_dev",
    "bc5cdr_train",
    "btc_dev",
    "btc_test",
    "btc_train",
    "uner_ewt_dev",
    "uner_ewt_train",
    "wikigold",
    "wnut17_dev",
    "wnut17_train",
)


def tight(words: Sequence[str]) -> tuple[str, list[tuple[int, int]]]:
    """Words as people write them: no white space before closing punctuation, nor after opening."""
    text, spans = "", []
    for word in words:
        is_glued = (
            word in (".", ",", ";", ":", "!", "?", ")", "]", "'s", "n't", "%", "''") or text[-1:] in "(["
        )
        text += "" if is_glued or not text else " "
        spans.append((len(text), len(text) + len(word)))
        text += word
    return text, spans


@pytest.mark.parametrize(
    "join",
    [pytest.param(join_words, id="spaces"), pytest.param(tight, id="as written", marks=pytest.mark.slow)],
)
@pytest.mark.parametrize("name", SETS)
def test_real_entities_go_to_words_and_back(data_folder: Path, name: str, join: Callable[..., Any]) -> None:
    """Every text of the corpora: nothing is lost, and where a span cuts a word that is said."""
    num_cut = num_entities = 0
    for example in TASKS["ner"].read(str(data_folder / "ner" / f"{name}.conll")):
        text, words = join(example.texts)
        marks = entities_in(words, list(example.label))
        notes = Notes()
        whole = whole_words(marks, text, place="", notes=notes)
        assert entities_in(*tag_text(text, whole)) == whole
        assert (whole == marks) == (not notes.counts), text
        num_entities += len(marks)
        num_cut += len(set(marks) - set(whole))
    assert num_cut <= (0 if join is join_words else 0.03 * num_entities)


@pytest.mark.slow
@pytest.mark.parametrize("tool", [tool for tool in TOOLS if tool.name != "brat"], ids=lambda tool: tool.name)
@pytest.mark.parametrize("name", SETS)
def test_real_texts_go_through_every_tool(data_folder: Path, tmp_path: Path, name: str, tool: Tool) -> None:
    texts = []
    for example in TASKS["ner"].read(str(data_folder / "ner" / f"{name}.conll")):
        text, words = join_words(example.texts)
        marks = entities_in(words, list(example.label))
        texts.append(Marked(text, marks, [1.0] * len(marks), split_words(text), {}))
    target = tmp_path / f"x{tool.endings[-1]}"
    with tool.open(target) as write:
        write(texts)
    back = TASKS["ner"].read(str(target))
    assert [list(one.label) for one in back] == [tag_text(one.text, one.marks)[1] for one in texts]


def write(path: Path, content: str) -> str:
    path.write_text(content, encoding="utf-8")
    return str(path)


def test_columns_of_conll_may_be_said(tmp_path: Path) -> None:
    path = write(tmp_path / "a.conll", "1 x Anna B-PER O\n2 y rows O B-VERB\n\n")
    (found,) = TASKS["ner"].read(path)
    assert found.label == ("B-PER", "O")
    (found,) = TASKS["ner"].read(path, ReadOptions(word_column="2", tag_column="5"))
    assert (found.texts, found.label) == (("x", "y"), ("O", "B-VERB"))
    with pytest.raises(UserError, match=r"--tag-column 6: .*a.conll has the columns 1 to 5"):
        TASKS["ner"].read(path, ReadOptions(tag_column="6"))


@pytest.mark.parametrize(
    "row", [{"text": "Anna.", "label": [[0, 4, "PER"]]}, {"tokens": ["a"], "tags": ["O"]}]
)
def test_columns_of_words_mean_nothing_where_rows_have_names(tmp_path: Path, row: dict[str, Any]) -> None:
    path = write(tmp_path / "a.jsonl", json.dumps(row) + "\n")
    with pytest.raises(UserError, match="--tag-column are for files with one word per line"):
        TASKS["ner"].read(path, ReadOptions(tag_column="2"))


def test_lists_as_numpy_prints_them_are_lists(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", "tokens,ner_tags\n\"['Oslo' 'shines']\",\"['B-LOC' 'O']\"\n")
    (found,) = TASKS["ner"].read(path)
    assert (found.texts, found.label) == (("Oslo", "shines"), ("B-LOC", "O"))


def test_two_columns_of_tags_are_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = write(tmp_path / "a.conll", "Anna\tB-PER\tO\nBerg\tI-PER\tB-LOC\n\n")
    (found,) = TASKS["ner"].read(path)
    assert found.label == ("B-PER", "I-PER")
    assert "tags are read from column 2; column 3 has tags, too" in caplog.text


def test_tags_as_numbers_get_their_names(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", '{"tokens": ["Oslo", "shines"], "ner_tags": [1, 0]}\n')
    (found,) = TASKS["ner"].read(path, ReadOptions(tag_names=("O", "B-LOC")))
    assert found.label == ("B-LOC", "O")
    with pytest.raises(UserError, match="tag 1 is not one of the 1 that --tag-names names"):
        TASKS["ner"].read(path, ReadOptions(tag_names=("O",)))
    named = write(tmp_path / "b.jsonl", '{"tokens": ["Ann", "sleeps"], "ner_tags": ["B-PER", "O"]}\n')
    (found,) = TASKS["ner"].read(named, ReadOptions(tag_names=("O", "B-PER")))
    assert found.label == ("B-PER", "O")
    with pytest.raises(UserError, match="tag 'B-PER' is not in --tag-names; leave that option out"):
        TASKS["ner"].read(named, ReadOptions(tag_names=("O", "B-LOC")))
    info = {"features": {"ner_tags": {"feature": {"names": ["O", "B-LOC"], "_type": "ClassLabel"}}}}
    write(tmp_path / "dataset_info.json", json.dumps(info))
    (found,) = TASKS["ner"].read(path)
    assert found.label == ("B-LOC", "O")


def test_parquet_of_the_hub_has_the_names_of_its_classes(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    feature = {"feature": {"names": ["O", "B-LOC"], "_type": "ClassLabel"}, "_type": "Sequence"}
    metadata = {"huggingface": json.dumps({"info": {"features": {"ner_tags": feature}}})}
    table = pyarrow.table({"tokens": [["Oslo", "shines"]], "ner_tags": [[1, 0]]})
    parquet.write_table(table.replace_schema_metadata(metadata), tmp_path / "a.parquet")
    (found,) = TASKS["ner"].read(str(tmp_path / "a.parquet"))
    assert found.label == ("B-LOC", "O")


def test_the_answer_of_the_hubs_viewer_is_read(tmp_path: Path) -> None:
    content = {
        "features": [
            {"name": "tokens", "type": {"feature": {"dtype": "string"}}},
            {"name": "ner_tags", "type": {"feature": {"names": ["O", "B-LOC"], "_type": "ClassLabel"}}},
        ],
        "rows": [{"row_idx": 0, "row": {"tokens": ["Oslo", "shines"], "ner_tags": [1, 0]}}],
    }
    (found,) = TASKS["ner"].read(write(tmp_path / "a.json", json.dumps(content)))
    assert found.label == ("B-LOC", "O")


def test_a_folder_of_brat_is_read(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "b.txt").write_bytes(b"Anna met\r\nBob and his son.")
    write(
        tmp_path / "b.ann", "T1\tPER 0 4\tAnna\nR1\tknows Arg1:T1 Arg2:T2\nT2\tPER 10 13;18 25\tBob his son\n"
    )
    write(tmp_path / "a.txt", "It rained.")
    write(tmp_path / "a.ann", "")
    write(tmp_path / "c.txt", "Nobody has looked at this.")
    first, second = TASKS["ner"].read(str(tmp_path))
    assert first.texts == ("It", "rained", ".") and set(first.label) == {"O"}
    assert second.label == ("B-PER", "O", "B-PER", "I-PER", "I-PER", "I-PER", "O")
    assert (
        "entities have gaps and are read from their first to their last character (1)" in caplog.text
        and "1 rows without a gold label" in caplog.text
    )
    write(tmp_path / "d.ann", "T1\tPER 0 4\tAnna\n")
    with pytest.raises(UserError, match=r"d\.ann has no d\.txt next to it"):
        TASKS["ner"].read(str(tmp_path))


def test_a_docbin_of_spacy_is_read(tmp_path: Path) -> None:
    spacy = pytest.importorskip("spacy")
    from spacy.tokens import DocBin

    nlp = spacy.blank("en")
    entities, classes = nlp("Anna sings."), nlp("It rained.")
    entities.ents = [entities.char_span(0, 4, label="PER")]
    DocBin(docs=[entities]).to_disk(tmp_path / "a.spacy")
    (found,) = TASKS["ner"].read(str(tmp_path / "a.spacy"))
    assert (found.texts, found.label) == (("Anna", "sings", "."), ("B-PER", "O", "O"))
    classes.cats = {"dry": 0.0, "wet": 1.0}
    DocBin(docs=[classes], store_user_data=True, attrs=["ORTH"]).to_disk(tmp_path / "b.spacy")
    (row,) = read_table(tmp_path / "b.spacy")
    assert row.fields["text"] == "It rained." and row.fields["label"] == {"dry": 0.0, "wet": 1.0}
    with pytest.raises(UserError, match="cannot be read as a spaCy DocBin"):
        TASKS["ner"].read(write(tmp_path / "c.spacy", "something else"))


def choices(name: str, *chosen: str) -> dict[str, Any]:
    return {"from_name": name, "to_name": "text", "type": "choices", "value": {"choices": list(chosen)}}


@pytest.mark.parametrize(
    ("content", "rows"),
    [
        (
            [{"id": 1, "data": {"text": "Fine."}, "annotations": [{"result": [choices("mood", "good")]}]}],
            [{"text": "Fine.", "id": 1, "label": "good"}],
        ),
        (
            [
                {
                    "data": {"premise": "A sleeps.", "hypothesis": "A is awake."},
                    "annotations": [{"result": [choices("nli", "contradiction")]}],
                }
            ],
            [{"premise": "A sleeps.", "hypothesis": "A is awake.", "label": "contradiction"}],
        ),
        (
            [
                {
                    "data": {"text": "Hm."},
                    "annotations": [{"result": [choices("a", "x"), choices("b", "y", "z")]}],
                }
            ],
            [{"text": "Hm.", "a": "x", "b": ["y", "z"]}],
        ),
        (
            [{"text": "Fine.", "id": 1, "annotator": 1, "lead_time": 2, "mood": {"choices": ["a", "b"]}}],
            [{"text": "Fine.", "id": 1, "mood": ["a", "b"]}],
        ),
        (
            [{"text": "Fine.", "options": [{"id": "a"}, {"id": "b"}], "accept": ["a"], "answer": "accept"}],
            [{"text": "Fine.", "label": "a"}],
        ),
        (
            [{"text": "Fine.", "label": "POS", "answer": "accept", "_input_hash": 1}],
            [{"text": "Fine.", "label": "POS"}],
        ),
    ],
    ids=["studio", "pair", "two controls", "short", "prodigy choice", "prodigy binary"],
)
def test_classes_of_whole_texts_are_labels(tmp_path: Path, content: Any, rows: list[dict[str, Any]]) -> None:
    path = write(tmp_path / "a.json", json.dumps(content))
    assert [row.fields for row in read_table(path)] == rows


def test_what_several_annotators_did_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    def result(label: str) -> list[dict[str, Any]]:
        return [{"type": "labels", "value": {"start": 0, "end": 4, "text": "Anna", "labels": [label]}}]

    task = {
        "data": {"text": "Anna sings."},
        "annotations": [{"result": result("LOC")}, {"result": result("PER"), "ground_truth": True}],
    }
    (found,) = TASKS["ner"].read(write(tmp_path / "a.json", json.dumps([task])))
    assert found.label == ("B-PER", "O", "O")
    assert (
        "texts have annotations that differ; one of them is kept (1): the one marked as ground truth"
        in caplog.text
    )


def test_html_regions_are_refused_with_the_way_out(tmp_path: Path) -> None:
    value = {"start": "/div[1]/text()[1]", "end": "/div[1]/text()[1]", "hypertextlabels": ["PER"]}
    task = {
        "data": {"text": "<div>Anna</div>"},
        "annotations": [{"result": [{"type": "hypertextlabels", "value": value}]}],
    }
    with pytest.raises(UserError, match=r"row 1: a region begins at '/div.*Annotate plain text"):
        TASKS["ner"].read(write(tmp_path / "a.json", json.dumps([task])))


def test_entities_are_never_classes(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", '{"text": "Anna sings.", "label": [[0, 4, "PER"]]}\n')
    with pytest.raises(UserError, match="A file that marks entities in texts is for task ner"):
        TASKS["sst2"].read(path)
