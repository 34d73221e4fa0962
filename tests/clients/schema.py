"""Random requests by the server's own OpenAPI document: ``make test-serve-schema``.

All of schemathesis' checks: no answer of class 5xx, statuses and bodies as the document describes them, what
fits the document accepted and what does not refused. It runs in an environment of its own in
``build/clients/schema``, against one server with a model for every head. ``schema.toml`` beside this file
says where a fitting request may be refused all the same, and why. A traceback in the server's log fails, too.
Making the requests takes most of the time, in Python, so the paths are shared by as many processes as cores.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from run import HEADS, HERE, PLACE, REPOSITORY, clean_environment, serving, tiny_models

from debertav3.serve.app import openapi_document

VERSION = "4.32.0"
HEADS_TOO = {
    "choice": ("DebertaV2ForMultipleChoice", None),
    "rtd": ("DebertaV2ForReplacedTokenDetection", None),
}
"""Heads that no client asks for."""


def main() -> None:
    """Install schemathesis, start the server, run the checks."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--examples", type=int, default=1000, help="for each route")
    parser.add_argument(
        "--jobs", type=int, default=os.cpu_count() or 1, help="processes: one makes 9 a second"
    )
    parser.add_argument("--paths", nargs="+", help="only these")
    parser.add_argument("--port", type=int, default=8775)
    asked = parser.parse_args()
    folder = PLACE / "schema"
    if not (folder / "bin" / "schemathesis").exists():
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        pip = [folder / "bin" / "pip", "install", "--quiet", f"schemathesis=={VERSION}"]
        subprocess.run(pip, check=True)
    url = f"http://127.0.0.1:{asked.port}"
    command = [folder / "bin" / "schemathesis", "--config-file", HERE / "schema.toml"]
    command += ["run", f"{url}/openapi.json", "--continue-on-failure", "--checks", "all"]
    command += ["--max-examples", str(asked.examples), "--phases", "examples,coverage,fuzzing"]
    with tempfile.TemporaryDirectory() as place:
        tiny = tiny_models(Path(place), {**HEADS, **HEADS_TOO})
        with serving(url, {"nli": REPOSITORY / "models" / "nano", **tiny}):
            codes = run_all([[*command, *only] for only in parts(asked.paths, asked.jobs)])
    log = (PLACE / f"server-{asked.port}.log").read_text(errors="replace")
    print(f"{log.count('Traceback')} tracebacks and {log.count(chr(10))} lines in the server's log")
    sys.exit(any(codes) or "Traceback" in log)


def parts(paths: list[str] | None, jobs: int) -> list[list[str]]:
    """The options that select each job's share of some paths, or of all."""
    paths = sorted(paths or openapi_document()["paths"])  # type: ignore[call-overload]
    shares = [paths[job::jobs] for job in range(min(jobs, len(paths)))]
    return [[option for path in share for option in ("--include-path", path)] for share in shares]


def run_all(commands: list[list[str | Path]]) -> list[int]:
    """Run the jobs beside each other and print what each says; their exit codes."""
    started = [
        subprocess.Popen(
            command,
            env=clean_environment(),
            cwd=PLACE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for command in commands
    ]
    with ThreadPoolExecutor(len(started)) as readers:
        for said, _ in readers.map(subprocess.Popen.communicate, started):
            print(said, flush=True)
    return [job.returncode for job in started]


if __name__ == "__main__":
    main()
