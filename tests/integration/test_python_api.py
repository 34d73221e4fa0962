"""Training from Python is the command: equal weights, rows in memory as in files; and scikit-learn's ways."""

import datetime
import inspect
import json
import os
import pickle
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas
import pytest
import transformers
from datasets import ClassLabel, Dataset, DatasetDict, Features, Value
from safetensors.torch import load_file
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.utils.estimator_checks import check_estimator

import debertav3
from debertav3 import Classifier, Predictor, UserError
from debertav3.tasks.memory_rows import write_rows
from debertav3.tasks.tables import read_table

ROWS: list[dict[str, Any]] = [
    {"id": number, "text": f"The {noun} is {'good' if number % 2 else 'bad'}.", "label": number % 2}
    for number, noun in enumerate(["film", "book", "play", "song", "dish", "hotel", "room", "road"])
]
TEXTS = [row["text"] for row in ROWS]
LABELS = [("bad", "good")[row["label"]] for row in ROWS]
SHORT: dict[str, Any] = {"max_steps": 2, "batch_size": 4, "check_data": False}


@pytest.fixture(scope="module")
def classifier(nano: Path) -> Classifier:
    """Trained on eight texts for two steps."""
    return short(nano).fit(TEXTS, LABELS)


def short(nano: Path, **arguments: Any) -> Classifier:
    return Classifier(nano, batch_size=4, settings={"max_steps": 2, "check_data": False}, **arguments)


def weights_of(folder: Path) -> dict[str, Any]:
    return load_file(folder / "model.safetensors")


def are_equal(one: Path, other: Path) -> bool:
    first, second = weights_of(one), weights_of(other)
    return first.keys() == second.keys() and all(bool((first[name] == second[name]).all()) for name in first)


# --------------------------------------------------------------------------------------------- finetune(...)


def test_the_function_and_the_command_leave_equal_weights(nano: Path, tmp_path: Path) -> None:
    train = tmp_path / "train.jsonl"
    train.write_text("".join(json.dumps(row) + "\n" for row in ROWS), encoding="utf-8")
    command = [
        *("finetune", "custom", "--model", str(nano), "--train", str(train), "--dev", str(train)),
        *("--out", str(tmp_path / "command"), "--batch-size", "4", "--learning-rate", "1e-4", "--seed", "5"),
        *("--set", "max_steps=2", "--set", "check_data=false", "--set", "weight_decay=0.1"),
    ]
    subprocess.run([sys.executable, "-m", "debertav3", *command], check=True, timeout=300)
    chosen: dict[str, Any] = {"learning_rate": 1e-4, "seed": 5, "optimizer.weight_decay": 0.1, **SHORT}
    path = debertav3.finetune("custom", nano, train, [train], tmp_path / "path", **chosen)
    assert are_equal(tmp_path / "command", path.out)
    assert path.metrics == json.loads((tmp_path / "command" / "metrics.json").read_text())["dev"]
    rows = debertav3.finetune("custom", nano, ROWS, ROWS, tmp_path / "rows", **chosen)
    assert are_equal(tmp_path / "command", rows.out)
    assert rows.metrics.keys() == {str(tmp_path / "rows" / "rows" / "dev.jsonl")}
    scores = rows.predictor(calibrated=False).classify(TEXTS)
    assert scores == Predictor.from_pretrained(tmp_path / "command", calibrated=False).classify(TEXTS)


def test_a_temporary_folder_lives_as_long_as_the_result(nano: Path) -> None:
    trained = debertav3.finetune("custom", nano, pandas.DataFrame(ROWS), **SHORT)
    folder = trained.out
    assert (folder / "run.json").is_file() and not trained.metrics
    del trained
    assert not folder.exists()


def test_cross_validation_gives_the_mean_of_each_score(nano: Path, tmp_path: Path) -> None:
    trained = debertav3.finetune("custom", nano, ROWS, out=tmp_path / "out", folds=2, **SHORT)
    assert len(trained.metrics["accuracy"]["values"]) == 2
    with pytest.raises(UserError, match="2 models, one for each fold"):
        trained.predictor()


def same_cells(rows: Any, folder: Path) -> list[dict[str, Any]]:
    """What a task reads of rows in memory."""
    folder.mkdir()
    write_rows(rows, folder / "rows.jsonl", name="train")
    return [row.fields for row in read_table(folder / "rows.jsonl")]


def test_rows_in_memory_are_those_of_a_file(tmp_path: Path) -> None:
    named = [{**row, "label": ("bad", "good")[row["label"]]} for row in ROWS]
    assert same_cells(ROWS, tmp_path / "dicts") == ROWS
    assert same_cells(pandas.DataFrame(ROWS), tmp_path / "frame") == ROWS
    features = Features(
        {"id": Value("int64"), "text": Value("string"), "label": ClassLabel(names=["bad", "good"])}
    )
    loaded = Dataset.from_list(ROWS, features=features)
    assert same_cells(loaded, tmp_path / "dataset") == named
    assert same_cells(loaded.to_iterable_dataset(), tmp_path / "iterable") == named


def test_each_cell_in_memory_is_read_as_in_a_file(tmp_path: Path) -> None:
    frame = pandas.DataFrame(
        {
            0: ["ä", np.str_("b")],
            "gap": [1, None],
            "none": pandas.array([True, pandas.NA]),
            "day": [datetime.date(2024, 1, 2), pandas.NaT],
            "list": [np.array([1, 2]), ("a", np.float32(0.5))],
        }
    )
    assert same_cells(frame, tmp_path / "frame") == [
        {"0": "ä", "gap": 1.0, "none": True, "day": "2024-01-02", "list": [1, 2]},
        {"0": "b", "gap": None, "none": None, "day": None, "list": ["a", 0.5]},
    ]
    rows = [{"text": "a\u2028b", "label": {"a": np.float64(0.5)}}, {"text": "c\n", "label": np.int64(1)}]
    assert same_cells(rows, tmp_path / "dicts") == rows
    with pytest.raises(UserError, match="half of a surrogate pair"):
        same_cells([{"text": "\ud800"}], tmp_path / "half")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"train": {"text": ["a"]}}, "train must be a path, a list of dicts"),
        ({"train": 5}, "train must be .*got a int"),
        ({"train": ["a", {"text": "b"}]}, "train row 1 must be a dict, got 'a'"),
        ({"train": []}, "no training data"),
        ({"train": pandas.DataFrame({"text": []})}, "train has no rows"),
        ({"train": [{"text": "a", "label": float("inf")}]}, "train row 1: label is an infinite number"),
        ({"train": [{"text": "a", "label": b"x"}]}, "train row 1: label holds a bytes"),
        ({"train": [{"1": "a", 1: "b"}]}, "two columns have one name"),
        ({"train": DatasetDict(a=Dataset.from_list(ROWS))}, "train is a DatasetDict with the splits 'a'"),
        ({"train": ROWS, "epoch": 1}, r"finetune\(\): unknown key 'epoch'.*'epochs'"),
        ({"train": ROWS, "epochs": "many"}, "epochs must be a number"),
        ({"train": ROWS, "epochs": 1, "loop.epochs": 2}, "are one setting"),
        ({"train": ROWS, "resume": True}, "give out=FOLDER"),
        ({"train": ROWS, "label_column": "verdict"}, "has no column 'verdict'"),
        ({"train": "nowhere.jsonl"}, "nowhere.jsonl"),
    ],
)
def test_wrong_inputs_are_refused_in_one_line(nano: Path, given: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message) as told:
        debertav3.finetune("custom", nano, **given)
    assert "\n" not in str(told.value)


def test_a_failed_call_leaves_the_folder_as_it_was(nano: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    with pytest.raises(UserError, match="has no column"):
        debertav3.finetune("custom", nano, ROWS, out=out, text_column="body", **SHORT)
    assert not out.exists()
    out.mkdir()
    (out / "config.json").write_text("{}")
    with pytest.raises(UserError, match="does not come from a run"):
        debertav3.finetune("custom", nano, ROWS, out=out, **SHORT)
    assert [path.name for path in out.iterdir()] == ["config.json"]


def test_neither_model_nor_data_are_written_over(nano: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is the input of --model"):
        debertav3.finetune("custom", nano, ROWS, out=nano, **SHORT)
    train = tmp_path / "README.md"
    train.write_text(json.dumps(ROWS), encoding="utf-8")
    with pytest.raises(UserError, match="which --train reads"):
        debertav3.finetune("custom", nano, train, out=tmp_path, **SHORT)


def test_rows_of_a_resumed_run_must_be_the_same(nano: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    (out / "rows").mkdir(parents=True)
    (out / "rows" / "train.jsonl").write_text('{"text": "other", "label": 1}\n')
    with pytest.raises(UserError, match="contains other rows"):
        debertav3.finetune("custom", nano, ROWS, out=out, resume=True, **SHORT)
    assert (out / "rows" / "train.jsonl").read_text() == '{"text": "other", "label": 1}\n'


def test_several_processes_cannot_share_memory(nano: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(UserError, match="several processes"):
        debertav3.finetune("custom", nano, ROWS, **SHORT)


def test_the_name_is_a_function_whatever_was_imported(repository: Path) -> None:
    code = """
import sys, debertav3
assert callable(debertav3.finetune) and "finetune" in dir(debertav3)
import debertav3.finetuning.config
from debertav3 import finetune
assert callable(finetune) and debertav3.finetuning.config.FinetuneConfig
heavy = {"torch", "transformers", "sklearn", "pandas", "datasets"} & set(sys.modules)
assert not heavy, heavy
"""
    environment = {**os.environ, "PYTHONPATH": str(repository / "src")}
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120, env=environment)
    assert "learning_rate" in inspect.signature(debertav3.finetune).parameters


# --------------------------------------------------------------------------------------------- Classifier


def test_probabilities_follow_the_classes(classifier: Classifier) -> None:
    assert classifier.classes_.tolist() == ["bad", "good"]
    found = classifier.predict_proba(TEXTS)
    assert found.shape == (8, 2)
    np.testing.assert_allclose(found.sum(1), 1, atol=1e-6)
    assert (classifier.predict(TEXTS) == classifier.classes_[found.argmax(1)]).all()
    assert classifier.score(TEXTS, LABELS) == np.mean(classifier.predict(TEXTS) == np.array(LABELS))
    assert classifier.predict_proba([]).shape == (0, 2)


def test_every_holder_of_texts_gives_the_same(classifier: Classifier) -> None:
    expected = classifier.predict_proba(TEXTS)
    frame = pandas.DataFrame({"id": range(8), "body": TEXTS})
    holders = [tuple(TEXTS), np.array(TEXTS), np.array(TEXTS)[:, None], frame["body"], frame[["body"]]]
    for texts in holders:
        assert (classifier.predict_proba(texts) == expected).all()
    by_name = pickle.loads(pickle.dumps(classifier)).set_params(text_columns="body")
    assert (by_name.predict_proba(frame) == expected).all()


def test_training_is_that_of_finetune(classifier: Classifier, nano: Path, tmp_path: Path) -> None:
    rows = [{"text": text, "label": label} for text, label in zip(TEXTS, LABELS, strict=True)]
    trained = debertav3.finetune("custom", nano, rows, epochs=3, seed=1, label_kind="one-label", **SHORT)
    classifier.save(tmp_path / "saved")
    assert are_equal(tmp_path / "saved", trained.out)


def test_a_saved_folder_is_opened_by_all(classifier: Classifier, tmp_path: Path) -> None:
    classifier.save(tmp_path / "saved")
    with pytest.raises(UserError, match="already"):
        classifier.save(tmp_path / "saved")
    (tmp_path / "saved" / "probabilities.json").write_text('{"temperature": 9}')  # of an older model
    classifier.save(tmp_path / "saved", overwrite=True)
    assert not (tmp_path / "saved" / "probabilities.json").exists()
    assert not (tmp_path / "saved" / "rows").exists()
    answers = Predictor.from_pretrained(tmp_path / "saved").classify(TEXTS)
    expected = classifier.predict_proba(TEXTS)
    assert [list(answer["scores"].values()) for answer in answers] == expected.tolist()
    model = transformers.AutoModelForSequenceClassification.from_pretrained(tmp_path / "saved")
    assert model.config.id2label == {0: "bad", 1: "good"}


def test_pickle_and_clone(classifier: Classifier) -> None:
    again = pickle.loads(pickle.dumps(classifier))
    assert again._folder.path != classifier._folder.path
    assert (again.predict_proba(TEXTS) == classifier.predict_proba(TEXTS)).all()
    fresh = clone(classifier)
    assert fresh.get_params() == classifier.get_params()
    with pytest.raises(ValueError, match="not fitted"):
        fresh.predict(TEXTS)


@pytest.mark.parametrize(
    ("labels", "names"),
    [
        ([1, 0], ["0", "1"]),
        ([True, False], ["false", "true"]),
        ([-1, "-"], ["-1", "-"]),
        ([("b", 1), ("a", 2)], ["class_0", "class_1"]),  # a tuple in a cell is read as several labels
        ([1, "1"], ["class_0", "class_1"]),
        (['["x"]', "a|b"], ["class_0", "class_1"]),
    ],
    ids=str,
)
def test_labels_of_any_kind_come_back(
    nano: Path, tmp_path: Path, labels: list[Any], names: list[str]
) -> None:
    given = labels * 2
    fitted = short(nano).fit(TEXTS[:4], given)
    assert set(fitted.classes_.tolist()) == set(labels)
    assert {type(label) for label in fitted.predict(TEXTS).tolist()} <= {type(label) for label in labels}
    fitted.save(tmp_path / "saved")
    known = json.loads((tmp_path / "saved" / "config.json").read_text())["label2id"]
    assert sorted(known) == sorted(names)


def test_pairs_from_tuples_arrays_and_tables(nano: Path) -> None:
    pairs = [(text, "Is it?") for text in TEXTS]
    fitted = short(nano).fit(pairs, LABELS)
    expected = fitted.predict_proba(pairs)
    for given in (np.array(pairs), pandas.DataFrame(pairs)):
        assert (fitted.predict_proba(given) == expected).all()
    with pytest.raises(UserError, match=r"X\[0\]: .* pairs"):
        fitted.predict(TEXTS)


def test_held_out_rows_give_scores(nano: Path) -> None:
    assert short(nano, dev_split=0.25).fit(TEXTS, LABELS).metrics_["examples"] == 2


def test_train_limit_counts_all_labels_together(nano: Path) -> None:
    further = {"max_steps": 1, "check_data": False, "train_limit": 4}
    fitted = Classifier(nano, settings=further).fit(TEXTS, LABELS)
    report = json.loads((fitted._folder.path / "metrics.json").read_text())
    assert report["train"]["examples"] == 4


def test_pipeline_cross_validation_and_search(nano: Path) -> None:
    piped = make_pipeline(FunctionTransformer(lambda texts: [text.lower() for text in texts]), short(nano))
    assert piped.fit(TEXTS, LABELS).predict_proba(TEXTS).shape == (8, 2)
    scores = cross_val_score(short(nano), TEXTS, LABELS, cv=2, error_score="raise")
    assert len(scores) == 2
    search = GridSearchCV(short(nano), {"learning_rate": np.array([1e-5, 1e-3])}, cv=2, error_score="raise")
    search.fit(np.array(TEXTS), np.array(LABELS))
    assert search.best_params_["learning_rate"] in (1e-5, 1e-3)
    assert search.predict(TEXTS).shape == (8,)


def test_the_checks_of_scikit_learn(nano: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # those for tables of numbers are left out, and it says so
        check_estimator(short(nano))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda: ("a text", ["a"]), "X must be a list"),
        (lambda: (TEXTS, LABELS[:3]), "X has 8 texts and y 3 labels"),
        (lambda: (["a", ""], ["a", "b"]), r"X\[1\] is empty"),
        (lambda: ([1, 2], ["a", "b"]), r"X\[0\] must be a text, got int"),
        (lambda: (["a", ("b", "c")], ["a", "b"]), "single texts and pairs"),
        (lambda: ([("a", "b", "c")] * 2, ["a", "b"]), r"X\[0\] must be two texts"),
        (lambda: (["a", "b"], ["a", None]), r"y\[1\] is None"),
        (lambda: (["a", "b"], ["a", float("nan")]), r"y\[1\] is nan"),
        (lambda: (["a", "b"], [["a"], ["b"]]), r"y\[0\] must be one label"),
        (lambda: (["a", "b"], [0.5, 1.5]), "continuous"),
        (lambda: (["a", "b"], ["a", "a"]), "Need two labels or more"),
        (lambda: (pandas.DataFrame(ROWS), LABELS), "Name them with text_columns"),
        (lambda: ({"text": TEXTS}, LABELS), "X must be a list"),
    ],
)
def test_wrong_shapes_are_refused_in_one_line(
    nano: Path, change: Callable[[], tuple[Any, Any]], message: str
) -> None:
    with pytest.raises(UserError, match=message) as told:
        short(nano).fit(*change())
    assert "\n" not in str(told.value)


def test_settings_of_its_own_are_refused(nano: Path) -> None:
    for settings in ({"epochs": 1}, {"loop.epochs": 1}, {"out": "x"}, {"data.label_kind": "number"}):
        with pytest.raises(UserError, match="argument of Classifier itself"):
            Classifier(nano, settings=settings).fit(TEXTS, LABELS)
    with pytest.raises(UserError, match="must be a dict"):
        Classifier(nano, settings="max_steps=1").fit(TEXTS, LABELS)  # type: ignore[arg-type]
    with pytest.raises(UserError, match="has no column 'body'"):
        Classifier(nano, text_columns=["body"]).fit(pandas.DataFrame(ROWS), LABELS)
