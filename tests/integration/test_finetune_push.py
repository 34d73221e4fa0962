"""``debertav3 push`` sends a finished folder to the Hub in one commit; the Hub is a small server here."""

import base64
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from debertav3.errors import UserError
from debertav3.finetuning.push import files_of, others_in, push


class Hub(ThreadingHTTPServer):
    """Takes repositories and commits of small files, as huggingface.co does."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answers)
        self.repositories: list[dict[str, object]] = []
        self.files: dict[str, bytes] = {}

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Answers(BaseHTTPRequestHandler):
    server: Hub

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        if self.headers.get("Authorization") != "Bearer hf_right":
            self.answer(401, {"error": "Invalid username or password."})
        elif self.path == "/api/repos/create":
            self.server.repositories.append(json.loads(body))
            self.answer(200, {"url": f"{self.server.address}/me/mine"})
        elif self.path.endswith("/preupload/main"):
            asked = json.loads(body)["files"]
            self.answer(
                200, {"files": [{**one, "uploadMode": "regular", "shouldIgnore": False} for one in asked]}
            )
        elif self.path.endswith("/commit/main"):
            for line in map(json.loads, body.splitlines()):
                if line["key"] == "file":
                    self.server.files[line["value"]["path"]] = base64.b64decode(line["value"]["content"])
            url = f"{self.server.address}/me/mine/commit/{'0' * 40}"
            self.answer(200, {"success": True, "commitOid": "0" * 40, "commitUrl": url})
        else:
            self.answer(200, {})

    def answer(self, status: int, content: object) -> None:
        data = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: object) -> None:
        pass


OF_THE_USER = ("customers.bin", "patients.xml", "vectors.safetensors", "word2vec.model")
"""Names that end like those of a model's files."""


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    server = Hub()
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    for module in ("huggingface_hub.constants", "huggingface_hub.hf_api"):
        monkeypatch.setattr(f"{module}.ENDPOINT", server.address, raising=False)
    monkeypatch.setenv("HF_TOKEN", "hf_right")
    monkeypatch.setenv("HF_HUB_DISABLE_XET", "1")
    yield server
    server.shutdown()
    thread.join()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("config.json", "model.safetensors", "README.md", "metrics.json", "spm.model"):
        (tmp_path / name).write_bytes(f"content of {name}".encode())
    for name in (".hidden", "train.csv", "out_of_fold.jsonl", "notes.txt", *OF_THE_USER):
        (tmp_path / name).write_text("not sent")
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "optimizer.pt").write_text("not sent")
    return tmp_path


def test_the_files_arrive_in_a_private_repository(hub: Hub, folder: Path) -> None:
    assert push(folder, "me/mine", private=True) == f"{hub.address}/me/mine"
    assert hub.files == {path.name: path.read_bytes() for path in files_of(folder)}
    assert set(hub.files) == {"config.json", "model.safetensors", "README.md", "metrics.json", "spm.model"}
    others = {path.name for path in others_in(folder)}
    assert others == {"notes.txt", "out_of_fold.jsonl", "train.csv", *OF_THE_USER}
    (made,) = hub.repositories
    assert (made["name"], made["organization"]) == ("mine", "me")
    assert made.get("private") is True or made.get("visibility") == "private"


def test_the_card_that_is_sent_names_the_repository(hub: Hub, folder: Path) -> None:
    card = '# my-nli\n\n## How to use it\n\npredictor = Predictor.from_pretrained("my-nli")\n'
    (folder / "README.md").write_text(f"---\ntags: []\n---\n\n{card}", encoding="utf-8")
    (folder / "run.json").write_text(json.dumps({"out": "my-nli"}), encoding="utf-8")
    push(folder, "mine")
    sent = hub.files["README.md"].decode()
    assert sent == f"---\ntags: []\n---\n\n{card}".replace('"my-nli"', '"me/mine"').replace("my-nli", "mine")
    assert card in (folder / "README.md").read_text(encoding="utf-8")  # the folder's own stays


def test_what_goes_wrong_is_one_line(hub: Hub, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match="was not uploaded to the Hub"):
        push(folder, "a/b/c")
    monkeypatch.setenv("HF_TOKEN", "hf_wrong")
    with pytest.raises(UserError, match="401") as caught:
        push(folder, "me/mine")
    assert "\n" not in str(caught.value)
    (folder / "README.md").unlink()
    with pytest.raises(UserError, match=r"has no README\.md"):
        push(folder, "me/mine")
    assert not hub.files
