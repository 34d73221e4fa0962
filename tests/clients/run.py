"""Unmodified clients of other servers against ours: ``make test-clients``.

Their versions clash, so there are three environments in ``build/clients``, made from the lists ``a.txt``,
``b.txt`` and ``c.txt``, which pin every package with its hash. ``--lock`` renews the lists from ``a.in`` and
so on. Nothing here is a dependency of the package, and the default tests do not run it.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

HERE = Path(__file__).resolve().parent
REPOSITORY = HERE.parents[1]
PLACE = REPOSITORY / "build" / "clients"
ENVIRONMENTS = ("a", "b", "c")

HEADS = {
    "ner": ("DebertaV2ForTokenClassification", {0: "O", 1: "B-PER", 2: "I-PER"}),
    "qa": ("DebertaV2ForQuestionAnswering", {0: "start", 1: "end"}),
    "mlm": ("DebertaV2ForMaskedLM", None),
    "ranker": ("DebertaV2ForSequenceClassification", {0: "score"}),
    "guard": ("DebertaV2ForSequenceClassification", {0: "SAFE", 1: "INJECTION"}),
}
"""Heads that models/nano has not: tiny random models."""


def environment(name: str, *, lock: bool) -> Path:
    """Make an environment and return its Python; what is installed already is kept."""
    folder = PLACE / name
    python = folder / "bin" / "python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    pip = [python, "-m", "pip", "install", "--quiet"]
    if lock:
        report = PLACE / f"{name}.json"
        subprocess.run(
            [*pip, "--dry-run", "--ignore-installed", "--report", report, "-r", HERE / f"{name}.in"],
            check=True,
        )
        lines = []
        for one in json.loads(report.read_text())["install"]:
            about, hashes = one["metadata"], one["download_info"]["archive_info"]["hashes"]
            lines.append(f"{about['name']}=={about['version']} --hash=sha256:{hashes['sha256']}\n")
        (HERE / f"{name}.txt").write_text("".join(sorted(lines, key=str.lower)))
    subprocess.run([*pip, "--require-hashes", "-r", HERE / f"{name}.txt"], check=True)
    return python


def tiny_models(folder: Path, heads: dict[str, tuple[str, dict[int, str] | None]] = HEADS) -> dict[str, Path]:
    """Save the tiny models; their folders by name."""
    sys.path[:0] = [str(REPOSITORY / "tests"), str(REPOSITORY / "src")]
    import debertav3
    from debertav3 import DebertaV3Tokenizer
    from tiny_models import save, tiny_model

    tokenizer = DebertaV3Tokenizer.from_pretrained(REPOSITORY / "models" / "nano")
    folders = {}
    for name, (kind, labels) in heads.items():
        settings: dict[str, object] = {"max_position_embeddings": 512}
        if labels is not None:
            settings["id2label"] = labels
        model = tiny_model(getattr(debertav3, kind), tokenizer, **settings)
        folders[name] = save(model, tokenizer, folder / name)
    return folders


@contextmanager
def serving(url: str, models: dict[str, Path]) -> Iterator[None]:
    """A server process, ready to answer; its log is in ``build/clients``."""
    port = url.rpartition(":")[2]
    options = [part for name, path in models.items() for part in ("--model", f"{name}={path}")]
    with open(PLACE / f"server-{port}.log", "wb") as log:
        server = subprocess.Popen(
            [sys.executable, "-m", "debertav3", "serve", "--port", port, *options], stderr=log
        )
        try:
            for _ in range(600):
                if server.poll() is not None:
                    raise SystemExit(f"the server ended with {server.returncode}: see {log.name}")
                try:
                    urllib.request.urlopen(f"{url}/ready", timeout=1)
                    break
                except OSError:
                    time.sleep(0.2)
            else:
                raise SystemExit("the server was not ready within two minutes")
            yield
        finally:
            server.terminate()
            server.wait(30)


def clean_environment() -> dict[str, str]:
    """The environment of this process without what points at our own packages."""
    ours = ("PYTHONPATH", "HF_HUB_OFFLINE")
    return {key: value for key, value in os.environ.items() if key not in ours}


def main() -> None:
    """Make the environments, start the server, run the clients."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lock", action="store_true")
    parser.add_argument("--port", type=int, default=8765)
    parser.add_argument("environments", nargs="*", default=ENVIRONMENTS)
    asked = parser.parse_args()
    PLACE.mkdir(parents=True, exist_ok=True)
    pythons = {name: environment(name, lock=asked.lock) for name in asked.environments}
    url, ranker = (f"http://127.0.0.1:{asked.port + number}" for number in range(2))
    failed = 0
    with tempfile.TemporaryDirectory() as place, ExitStack() as stack:
        tiny = tiny_models(Path(place))
        served = {name: option for name, option in tiny.items() if name != "ranker"}
        stack.enter_context(serving(url, {"nli": REPOSITORY / "models" / "nano", **served}))
        stack.enter_context(serving(ranker, {"ranker": tiny["ranker"]}))
        for name, python in pythons.items():
            command = [python, HERE / "against.py", url, ranker, name]
            failed += subprocess.run(command, check=False, env=clean_environment()).returncode
    print(f"{failed} failed" if failed else "all clients work")
    sys.exit(bool(failed))


if __name__ == "__main__":
    main()
