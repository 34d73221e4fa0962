"""Pre-annotations of ``predict ner --as`` through the tools' own code: ``make test-annotation-tools``.

Each tool has an environment of its own in ``build/annotation-tools``; nothing here is a dependency of the
package. Label Studio's SDK checks predictions and converts them to CoNLL, doccano's import writes them into
its database, pybrat reads the folder of brat, and spaCy, whose tokens Prodigy takes, aligns Prodigy's spans.
brat and Prodigy themselves are not run: brat is no Python package, and Prodigy is sold. Names on the command
line run some of them only.
"""

import subprocess
import sys
from pathlib import Path

from debertav3.tasks.annotations.format import Marked
from debertav3.tasks.annotations.marks import Mark
from debertav3.tasks.preannotations import tool_named
from debertav3.tasks.words import split_words

HERE = Path(__file__).resolve().parent
PLACE = HERE.parents[1] / "build" / "annotation-tools"
PACKAGES = {
    "label_studio": ("label-studio-sdk==2.1.2",),
    "doccano": (
        "doccano==1.8.4",
        "model_mommy==2.0.0",
        "marshmallow<4",
        "setuptools<80",
        "numpy==1.26.4",
        "pandas==2.2.3",
        "scipy<1.15",
    ),
    "brat": ("pybrat==0.1.7",),
    "prodigy": ("spacy>=3.8",),
}
"""What each script needs; of doccano's own choice of numpy and pandas one is too new for the other."""
FILES = {
    "label_studio": "pre.json",
    "doccano": "pre.jsonl",
    "brat": "brat-folder",
    "prodigy": "prodigy.jsonl",
}
TEXTS = [
    ("Anna met Bob in Rome.", [Mark(0, 4, "PER"), Mark(9, 12, "PER"), Mark(16, 20, "LOC")]),
    ("It rained \U0001f600 in Köln, Anna's town.", [Mark(15, 19, "LOC"), Mark(21, 25, "PER")]),
    ("Nothing here.", []),
]


def python_of(name: str) -> Path:
    """The interpreter of an environment; what is installed already is kept."""
    python = PLACE / name / "bin" / "python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", python.parents[1]], check=True)
        first, *others = PACKAGES[name]
        subprocess.run([python, "-m", "pip", "install", "--quiet", first], check=True)
        if others:
            subprocess.run([python, "-m", "pip", "install", "--quiet", "--no-deps", *others], check=True)
    return python


def main() -> None:
    names = sys.argv[1:] or [*FILES]
    PLACE.mkdir(parents=True, exist_ok=True)
    texts = [Marked(text, marks, [0.9] * len(marks), split_words(text), {}) for text, marks in TEXTS]
    for name in names:
        file = FILES[name]
        with tool_named(name.replace("_", "-")).open(PLACE / file) as write:
            write(texts)
    for name in names:
        subprocess.run([python_of(name), HERE / f"in_{name}.py", PLACE / FILES[name]], check=True)
        print(f"{name}: imported")


if __name__ == "__main__":
    main()
