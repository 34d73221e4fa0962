"""A local folder comes before a size or a Hub repository of its name; an unreachable Hub costs one try."""

import os
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from debertav3.errors import UserError
from debertav3.files.model_folder import ModelFolder
from debertav3.sizes import is_size


def copy_of(nano: Path, folder: Path) -> Path:
    folder.mkdir(parents=True)
    for path in nano.iterdir():
        (folder / path.name).symlink_to(path)
    return folder


def test_a_folder_comes_before_a_size(
    nano: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from debertav3.cli.info import describe
    from debertav3.finetuning.preparation import size_of

    assert is_size("xsmall")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "xsmall").mkdir()
    (tmp_path / "xsmall" / "config.json").write_text((nano / "config.json").read_text())
    assert not is_size("xsmall")
    assert describe("xsmall", length=128)["size"] == "nano"
    assert size_of("xsmall") != "xsmall"


def test_a_folder_comes_before_a_repository(
    nano: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    name = "microsoft/deberta-v3-base"
    copy_of(nano, tmp_path / name)
    assert ModelFolder.find(name).path == Path(name)


def test_a_near_name_is_suggested(nano: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from debertav3.finetuning.config import FinetuneConfig
    from debertav3.finetuning.start import find_start

    monkeypatch.chdir(nano.parents[1])
    with pytest.raises(UserError, match="Did you mean models/nano"):
        ModelFolder.find("nanoo")
    with pytest.raises(UserError, match="Did you mean xsmall"):
        find_start(FinetuneConfig(task="nli", model="xsmal"))


def test_a_hub_that_does_not_answer_is_asked_once(tmp_path: Path) -> None:
    """A server that takes connections and closes them at once, counted."""
    server = socket.create_server(("127.0.0.1", 0))
    connections: list[int] = []

    def serve() -> None:
        while True:
            try:
                connection, _ = server.accept()
            except OSError:
                return
            connections.append(1)
            connection.close()

    threading.Thread(target=serve, daemon=True).start()
    code = (
        "from debertav3.files.model_folder import ModelFolder\n"
        "from debertav3.errors import UserError\n"
        "try:\n    ModelFolder.find('owner/name')\nexcept UserError as error:\n    print(error)"
    )
    environment = os.environ | {
        "HF_ENDPOINT": f"http://127.0.0.1:{server.getsockname()[1]}",
        "HF_HUB_OFFLINE": "0",
        "HF_HOME": str(tmp_path),
        "NO_PROXY": "127.0.0.1",
    }
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True, timeout=120
    )
    server.close()
    assert "cannot be reached" in done.stdout and done.stdout.count("\n") == 1
    assert len(connections) == 1
