"""Pin the packages of the image with their hashes: ``python deploy/lock.py`` rewrites requirements/*.txt.

Each list names every package (they are installed without their dependencies), for Linux on x86-64 and on Arm.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
PYTHON = "3.11"
PLATFORMS = ("x86_64", "aarch64")


def resolved(source: Path, platform: str, folder: str) -> dict[str, str]:
    """The newest versions that the constraints allow, as ``name==version``, each with its hash."""
    report = Path(folder) / f"{source.stem}-{platform}.json"
    command = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--dry-run",
        "--ignore-installed",
        "--no-deps",
    ]
    command += ["--target", folder, "--only-binary=:all:", "--python-version", PYTHON]
    for glibc in (17, 26, 27, 28, 31, 34, 35):
        command += ["--platform", f"manylinux_2_{glibc}_{platform}"]
    command += ["--platform", f"manylinux2014_{platform}", "--report", str(report)]
    command += ["-c", str(HERE.parent / "constraints.txt"), "-r", str(source)]
    subprocess.run(command, check=True)
    found = {}
    for one in json.loads(report.read_text(encoding="utf-8"))["install"]:
        about, archive = one["metadata"], one["download_info"]["archive_info"]
        found[f"{about['name'].lower()}=={about['version']}"] = archive["hashes"]["sha256"]
    return found


def main() -> None:
    """Rewrite every list."""
    for source in sorted((HERE / "requirements").glob("*.in")):
        hashes: dict[str, set[str]] = {}
        with tempfile.TemporaryDirectory() as folder:
            for platform in PLATFORMS:
                for name, digest in resolved(source, platform, folder).items():
                    hashes.setdefault(name, set()).add(digest)
        names = [name.partition("==")[0] for name in hashes]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            sys.exit(f"{source.name}: {', '.join(twice)} have no version for all of {', '.join(PLATFORMS)}")
        lines = [
            " ".join([name, *(f"--hash=sha256:{one}" for one in sorted(digests))])
            for name, digests in sorted(hashes.items())
        ]
        source.with_suffix(".txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
        print(f"{source.stem}: {len(lines)} packages")


if __name__ == "__main__":
    main()
