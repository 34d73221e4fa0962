"""``Classifier``: fine-tuning with scikit-learn's interface, for its pipelines and searches."""

import os
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Self

import numpy as np
import numpy.typing as npt

from ..errors import MissingExtraError, UserError
from ..files import Output, hold_outputs, replacing_folder
from ..files.model_content import obsolete_names
from ..inference.predictor import Predictor
from ..json_types import JsonMapping, JsonObject
from ..tasks.labels import label_text
from ..tasks.rows import is_missing, structured
from .classifier_inputs import Text, labels_in, texts_in
from .training import finetune

try:
    from sklearn.base import BaseEstimator, ClassifierMixin
    from sklearn.utils.validation import check_is_fitted
except ImportError as error:
    raise MissingExtraError(feature="Classifier", package="scikit-learn", extra="train") from error


class TemporaryModel:
    """A trained model in a temporary folder that lives as long as this object; pickled with its files."""

    def __init__(self, files: Mapping[str, bytes]) -> None:
        self._temporary = tempfile.TemporaryDirectory(prefix="debertav3-")
        self._opened: dict[tuple[str, int | None], Predictor] = {}
        self.path = Path(self._temporary.name) / "model"
        self.path.mkdir()
        for name, content in files.items():
            (self.path / os.path.basename(name)).write_bytes(content)

    @classmethod
    def of(cls, folder: Path) -> Self:
        """Copy the files of a trained folder, without its rows and checkpoints."""
        return cls({path.name: path.read_bytes() for path in _files(folder)})

    def predictor(self, *, device: str, max_length: int | None) -> Predictor:
        """Open the model, once for each way of opening it."""
        key = (device, max_length)
        if key not in self._opened:
            self._opened[key] = Predictor.from_pretrained(self.path, device=device, max_length=max_length)
        return self._opened[key]

    def copy_to(self, out: Path) -> None:
        """Copy all files to an existing folder."""
        for path in _files(self.path):
            shutil.copyfile(path, out / path.name)

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), ({path.name: path.read_bytes() for path in _files(self.path)},)


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_file() and not path.name.startswith("."))


class Classifier(ClassifierMixin, BaseEstimator):
    """A text classifier for scikit-learn: one label for each text or pair of texts.

    The trained model is in a temporary folder, which is deleted with the object; `save` keeps it. A pickle
    contains the model's files.

    Args:
        model: a size (from scratch), a local folder or a Hub name.
        epochs: passes over the training data.
        learning_rate: the peak; None, here and in the next two, means the default for the model.
        batch_size: examples per optimizer step.
        max_length: maximum tokens per text, in training and in prediction.
        seed: random seed of new weights, data order and dropout.
        dev_split: hold out this share of the training data to select the best epoch and fit the temperature.
        text_columns: for a DataFrame: the column with the text, or two for pairs; None: all its columns.
        device: for predictions, ``auto`` or as in `Predictor`; training uses an accelerator
            if there is one.
        settings: other settings of `finetune` by name, such as ``{"max_steps": 100, "train_limit": 16}``.

    Attributes:
        classes_: the labels, sorted; the columns of `predict_proba`.
        metrics_: with ``dev_split``, the scores on the held-out rows.
    """

    def __init__(
        self,
        model: str | Path = "models/nano",
        *,
        epochs: float = 3,
        learning_rate: float | None = None,
        batch_size: int | None = None,
        max_length: int | None = None,
        seed: int = 1,
        dev_split: float | None = None,
        text_columns: str | Sequence[str] | None = None,
        device: str = "auto",
        settings: Mapping[str, object] | None = None,
    ) -> None:
        self.model = model
        self.epochs = epochs
        self.learning_rate = learning_rate
        self.batch_size = batch_size
        self.max_length = max_length
        self.seed = seed
        self.dev_split = dev_split
        self.text_columns = text_columns
        self.device = device
        self.settings = settings

    def fit(self, X: object, y: object) -> Self:
        """Train.

        Args:
            X: texts, or pairs of texts: a list, a numpy array, a Series, a DataFrame.
            y: their labels, of any hashable type that has a readable string.

        Raises:
            UserError: for other shapes, an empty text, fewer than two labels, or invalid settings.
        """
        texts = texts_in(X, columns=self.text_columns)
        classes, codes = labels_in(y, count=len(texts))
        names = _names(classes)
        is_pair = bool(texts) and not isinstance(texts[0], str)
        rows = [
            {**_fields(text), "label": names[code]} for text, code in zip(texts, codes.tolist(), strict=True)
        ]
        trained = finetune(
            "custom",
            self.model,
            rows,
            epochs=self.epochs,
            learning_rate=self.learning_rate,
            batch_size=self.batch_size,
            max_length=self.max_length,
            seed=self.seed,
            dev_split=self.dev_split,
            text_column="text",
            pair_column="pair" if is_pair else None,
            label_column="label",
            label_kind="one-label",
            **_further(self.settings),
        )
        self.classes_ = classes
        self.metrics_: dict[str, object] = next(iter(trained.metrics.values()), {})
        self._names = names
        self._is_pair = is_pair
        self._folder = TemporaryModel.of(trained.out)
        return self

    def predict(self, X: object) -> npt.NDArray[np.generic]:
        """Return the most likely label of each text.

        Args:
            X: as in `fit`.
        """
        probabilities = self.predict_proba(X)
        return self.classes_[probabilities.argmax(axis=1)]

    def predict_proba(self, X: object) -> npt.NDArray[np.float64]:
        """Return the probability of each label, in the order of ``classes_``, (texts, labels).

        Args:
            X: as in `fit`.
        """
        check_is_fitted(self)
        texts = texts_in(X, columns=self.text_columns)
        for number, text in enumerate(texts):
            if isinstance(text, str) == self._is_pair:
                needed = "pairs of texts" if self._is_pair else "single texts"
                raise UserError(
                    f"X[{number}]: this Classifier was trained on {needed}; give the same kind here."
                )
        predictor = self._folder.predictor(device=self.device, max_length=self.max_length)
        found = [answer["scores"] for answer in predictor.classify(texts)] if texts else []
        return np.array([[scores[name] for name in self._names] for scores in found]).reshape(
            len(texts), len(self._names)
        )

    def save(self, out: str | Path, *, overwrite: bool = False) -> None:
        """Save the model to a folder that `Predictor`, the command line and transformers can load.

        Labels are stored as the strings of ``classes_``, or as ``class_0``, ``class_1``, ... if two strings
        are equal.

        Args:
            out: a folder.
            overwrite: replace what is in it.

        Raises:
            UserError: if it is not empty and ``overwrite`` is not set, or if it cannot be written.
        """
        check_is_fitted(self)
        output = Output(option="out", path=out, is_folder=True)
        inputs = {"model": self.model, "the Classifier": self._folder.path}
        with (
            hold_outputs([output], inputs=inputs, overwrite=overwrite),
            replacing_folder(out, obsolete=obsolete_names(out)) as partial,
        ):
            self._folder.copy_to(partial)

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "_folder")

    def __sklearn_tags__(self) -> object:
        tags = super().__sklearn_tags__()
        tags.input_tags.string = tags.input_tags.one_d_array = True
        tags.input_tags.two_d_array = False
        return tags


def _fields(text: Text) -> dict[str, str]:
    return {"text": text} if isinstance(text, str) else {"text": text[0], "pair": text[1]}


def _names(classes: npt.NDArray[np.generic]) -> list[str]:
    """The labels in the model's folder: their texts, if each has one that a label column keeps."""
    names = [label_text(label) for label in classes.tolist()]
    if len(set(names)) == len(names) and all(
        not is_missing(name) and structured(name) == name for name in names
    ):
        return names
    return [f"class_{number}" for number in range(len(names))]


def _further(settings: JsonMapping | None) -> JsonObject:
    """The other settings; those that a Classifier sets itself are refused."""
    if settings is not None and not isinstance(settings, Mapping):
        raise UserError(f"settings must be a dict such as {{'max_steps': 100}}; got {settings!r}.")
    own = {
        *("task", "model", "train", "dev", "out", "resume", "folds", "fold", "group_column"),
        *("text_column", "pair_column", "label_column", "label_kind"),
        *("epochs", "learning_rate", "batch_size", "max_length", "seed", "dev_split"),
    }
    taken = sorted(name for name in settings or {} if name.rpartition(".")[2] in own)
    if taken:
        raise UserError(
            f"settings: {taken[0]} is an argument of Classifier itself, or has no meaning there. "
            "Leave it out."
        )
    return dict(settings or {})
