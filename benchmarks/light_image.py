"""The image without torch, made and started on this machine: how large it is, and how soon it is ready.

Makes the Python environment of ``deploy/Dockerfile`` with the same script and the same pinned packages,
starts ``debertav3 serve`` from it again and again, and compares an answer with this environment's. Seconds
are from the start of the process to the first 200 of ``/ready``; megabytes are of the files, 10**6 bytes.

Run with Python 3.11: python benchmarks/light_image.py --rounds 9
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import Any

from debertav3 import Predictor
from side_by_side import print_json

REPOSITORY = Path(__file__).resolve().parents[1]
NANO = REPOSITORY / "models" / "nano"
PAIR = ["A man is playing a guitar on stage.", "Somebody makes music."]
ABSENT = ("torch", "transformers")


def make_environment(folder: Path, runtime: str) -> Path:
    """Build the wheel and install it with the image's packages; returns the environment."""
    wheel = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--quiet",
        "--no-deps",
        "--wheel-dir",
        str(folder),
        str(REPOSITORY),
    ]
    subprocess.run(wheel, check=True)
    (built,) = folder.glob("*.whl")
    command = [
        "sh",
        str(REPOSITORY / "deploy" / "make_environment.sh"),
        str(folder / runtime),
        str(built),
        runtime,
    ]
    subprocess.run(command, check=True, env={**os.environ, "PYTHON": sys.executable})
    return folder / runtime


def megabytes(folder: Path) -> float:
    """Of the files below a folder, links not followed."""
    return (
        sum(path.lstat().st_size for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
        / 1e6
    )


def get(url: str, body: object = None) -> bytes:
    data = None if body is None else json.dumps(body).encode()
    with urllib.request.urlopen(urllib.request.Request(url, data=data), timeout=30) as answer:
        content: bytes = answer.read()
    return content


def start_once(environment: Path, model: Path, port: int, options: list[str]) -> dict[str, Any]:
    """Start a server, wait until it is ready, ask it once, and stop it."""
    url = f"http://127.0.0.1:{port}"
    variables = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    started = time.perf_counter()
    process = subprocess.Popen(
        [environment / "bin" / "debertav3", "serve", "--model", f"m={model}", "--port", str(port), *options],
        env={**variables, "HF_HUB_OFFLINE": "1", "PYTHONDONTWRITEBYTECODE": "1"},
        stderr=subprocess.PIPE,
    )
    try:
        while True:
            try:
                get(f"{url}/ready")
                break
            except OSError:
                if process.poll() is not None:
                    assert process.stderr is not None
                    sys.exit(process.stderr.read().decode())
                time.sleep(0.005)
        ready = time.perf_counter() - started
        scores = json.loads(get(f"{url}/nli", {"pairs": [PAIR]}))["results"][0]["scores"]
        pages = int(Path(f"/proc/{process.pid}/statm").read_text().split()[1])
        return {"seconds": ready, "scores": scores, "memory": pages * os.sysconf("SC_PAGE_SIZE") / 1e6}
    finally:
        process.terminate()
        process.communicate(timeout=40)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--runtime", choices=("native", "onnx", "openvino"), default="native")
    parser.add_argument("--model", type=Path, help="nano; for onnx and openvino a folder of debertav3 export")
    parser.add_argument("--environment", type=Path, help="one that an earlier --keep left")
    parser.add_argument("--keep", type=Path, help="folder for the environment")
    parser.add_argument("--port", type=int, default=8990)
    parser.add_argument("options", nargs="*", help="more options of serve, after --")
    asked = parser.parse_args()
    if asked.model is None and asked.runtime != "native":
        parser.error(f"--runtime {asked.runtime} needs --model, a folder of debertav3 export")
    model = (asked.model or NANO).resolve()
    with tempfile.TemporaryDirectory() as scratch:
        environment = asked.environment or make_environment(asked.keep or Path(scratch), asked.runtime)
        packages = sorted((environment / "lib").rglob("*.dist-info"))
        names = [path.name.partition("-")[0] for path in packages]
        assert not set(ABSENT) & set(names), names
        found = [start_once(environment, model, asked.port, asked.options) for _ in range(asked.rounds + 1)]
        size = megabytes(environment)
    expected = Predictor.from_pretrained(NANO, device="cpu").nli((PAIR[0], PAIR[1]))
    difference = max(abs(one["scores"][label] - expected[label]) for one in found for label in expected)
    if asked.model is None:
        assert difference <= 1e-5, difference
    seconds = sorted(one["seconds"] for one in found[1:])  # the first reads the files from the disk
    print(
        f"{asked.runtime}: {size:.0f} MB, {len(names)} packages, ready in {statistics.median(seconds):.2f} s"
    )
    print_json(
        "light image",
        runtime=asked.runtime,
        megabytes=round(size, 1),
        packages=len(names),
        ready_seconds=round(statistics.median(seconds), 3),
        ready_seconds_least_and_most=[round(seconds[0], 3), round(seconds[-1], 3)],
        first_ready_seconds=round(found[0]["seconds"], 3),
        resident_megabytes=round(max(one["memory"] for one in found), 1),
        largest_difference_of_scores=difference,
    )


if __name__ == "__main__":
    main()
