"""Random requests by the server's own OpenAPI document: ``make test-serve-schema``.

No answer may be of class 5xx, and every one must have a status and a body that the document describes.
schemathesis runs in an environment of its own in ``build/clients/schema``.
"""

import argparse
import subprocess
import sys

from run import PLACE, REPOSITORY, clean_environment, serving

VERSION = "4.32.0"
CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
)


def main() -> None:
    """Install schemathesis, start the server, run the checks."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--examples", type=int, default=1000, help="for each route")
    parser.add_argument("--port", type=int, default=8775)
    asked = parser.parse_args()
    folder = PLACE / "schema"
    if not (folder / "bin" / "schemathesis").exists():
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        pip = [folder / "bin" / "pip", "install", "--quiet", f"schemathesis=={VERSION}"]
        subprocess.run(pip, check=True)
    url = f"http://127.0.0.1:{asked.port}"
    command = [folder / "bin" / "schemathesis", "run", f"{url}/openapi.json", "--continue-on-failure"]
    options = ["--max-examples", str(asked.examples), "--phases", "examples,coverage,fuzzing"]
    with serving(url, {"nli": REPOSITORY / "models" / "nano"}):
        done = subprocess.run(
            [*command, *options, "--checks", ",".join(CHECKS)],
            check=False,
            env=clean_environment(),
            cwd=PLACE,
        )
    sys.exit(done.returncode)


if __name__ == "__main__":
    main()
