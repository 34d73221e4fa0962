"""Files appear whole or not at all and are known by content; no output replaces an input or what exists."""

import errno
import gzip
import os
import resource
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from debertav3 import files
from debertav3.errors import UserError
from debertav3.files import Output, check_outputs
from debertav3.files.model_content import model_content


def output(path: Path | str, **more: object) -> list[Output]:
    return [Output(option="--output", path=path, **more)]  # type: ignore[arg-type]


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


# ------------------------------------------------------------------------------------------------ writing


def test_a_name_of_the_greatest_length_can_be_written(tmp_path: Path) -> None:
    path = tmp_path / ("é" * 127)  # 254 bytes of the 255 that a name may have
    files.write_text(path, "text")
    assert names_in(tmp_path) == [path.name]


def test_text_to_gz_is_compressed_and_equal_content_gives_equal_bytes(tmp_path: Path) -> None:
    for name in ("a.gz", "b.gz"):
        with files.replacing_text(tmp_path / name) as stream:
            stream.write("line\n")
        time.sleep(0.01)
    assert gzip.decompress((tmp_path / "a.gz").read_bytes()) == b"line\n"
    assert (tmp_path / "a.gz").read_bytes() == (tmp_path / "b.gz").read_bytes()


@pytest.mark.parametrize("name", ["out.txt", "out.txt.gz"])
def test_a_full_disk_keeps_the_old_file(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(b"old")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 16, hard))
    try:
        with pytest.raises(UserError, match="cannot be written"), files.replacing_text(path) as stream:
            for _ in range(200):
                stream.write(os.urandom(4096).hex())
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert path.read_bytes() == b"old"
    assert names_in(tmp_path) == [name]


def test_an_existing_file_keeps_its_permissions(tmp_path: Path) -> None:
    path = tmp_path / "private"
    path.touch()
    path.chmod(0o600)
    files.write_text(path, "secret")
    assert path.stat().st_mode & 0o777 == 0o600


def test_json_has_no_nan(tmp_path: Path) -> None:
    files.write_json(tmp_path / "a.json", {"loss": float("nan"), "rows": [float("inf"), 1.5], "x": "\ud800"})
    assert files.read_json(tmp_path / "a.json") == {"loss": None, "rows": [None, 1.5], "x": "\ud800"}


def test_names_that_are_not_utf_8_can_be_written_about(tmp_path: Path) -> None:
    name = os.fsdecode(b"caf\xe9.csv")
    files.write_text(tmp_path / "a.md", name)
    with files.replacing_text(tmp_path / "b.md") as file:
        file.write(name)
    assert (tmp_path / "a.md").read_text() == (tmp_path / "b.md").read_text() == "caf\\udce9.csv"


def test_a_new_folder_appears_whole_and_an_existing_one_keeps_other_files(tmp_path: Path) -> None:
    target = tmp_path / "model"
    with pytest.raises(RuntimeError), files.replacing_folder(target) as part:
        (part / "config.json").touch()
        raise RuntimeError
    assert names_in(tmp_path) == []
    for content in ("first", "second"):
        with files.replacing_folder(target) as part:
            (part / "config.json").write_text(content)
            assert not (target / "config.json").exists() or content == "second"
        (target / "notes").write_text("mine")
    assert names_in(target) == ["config.json", "notes"]
    assert (target / "config.json").read_text() == "second"


def test_a_published_folder_replaces_the_older_one_as_a_whole(tmp_path: Path) -> None:
    for name in ("a", "b"):
        staged = tmp_path / ".staging"
        staged.mkdir()
        (staged / name).touch()
        files.publish_folder(staged, tmp_path / "target")
    assert names_in(tmp_path) == ["target"]
    assert names_in(tmp_path / "target") == ["b"]


def test_only_our_own_leftovers_are_removed(tmp_path: Path) -> None:
    for name in (".mine", "a.partial", ".tmp-step-1", ".a.partial", "trial-1"):
        (tmp_path / name).touch()
    files.temporary_path(tmp_path / "step-1").mkdir()
    files.temporary_path(tmp_path / "other").touch()
    files.remove_leftovers(tmp_path, r"step-\d+")
    assert len(names_in(tmp_path)) == 6
    files.remove_leftovers(tmp_path)
    assert names_in(tmp_path) == [".a.partial", ".mine", ".tmp-step-1", "a.partial", "trial-1"]


# ------------------------------------------------------------------------------------------------ reading


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not valid JSON"),
        (b"{", "not valid JSON"),
        (b'{"a": NaN}', "NaN"),
        (b'{"a": -Infinity}', "Infinity"),
        (b'{"a": 1, "a": 2}', "'a' occurs twice"),
        (b'"\xff"', "not UTF-8"),
        (b"[" * 100_000, "nested too deeply"),
        (b'{"a": ' + b"9" * 5000 + b"}", "not valid JSON"),
    ],
)
def test_what_is_not_strict_json_is_refused_in_one_line(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(content)
    with pytest.raises(UserError, match=message) as caught:
        files.read_json(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_byte_order_mark_is_no_part_of_json(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_bytes(b'\xef\xbb\xbf{"a": 1}')
    assert files.read_json_object(tmp_path / "a.json") == {"a": 1}


# ------------------------------------------------------------------------------------------------ content


def test_a_fingerprint_follows_content_and_names_alone(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text("{}")
        os.utime(tmp_path / name / "config.json", (1, len(name)))
    first, second = tmp_path / "one", tmp_path / "two"
    (second / "README.md").write_text("prose")
    assert files.fingerprint(first) == files.fingerprint(second)
    (second / "config.json").write_text("[]")
    assert files.fingerprint(first) != files.fingerprint(second)
    (second / "config.json").write_text("{}")
    (second / "config.json").rename(second / "other.json")
    assert files.fingerprint(first) != files.fingerprint(second)


def test_a_manifest_tells_every_kind_of_damage(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "weights").write_bytes(b"abcd")
    files.write_manifest(tmp_path)
    assert files.damage_of(tmp_path) is None
    (tmp_path / "sub" / "weights").write_bytes(b"abcc")
    assert "SHA-256" in str(files.damage_of(tmp_path))
    (tmp_path / "sub" / "weights").write_bytes(b"abc")
    assert "size" in str(files.damage_of(tmp_path))
    (tmp_path / "sub" / "weights").unlink()
    assert "missing" in str(files.damage_of(tmp_path))
    for nothing in ("{}", "[]", "null", "", "\x00"):
        (tmp_path / "manifest.json").write_text(nothing)
        assert files.damage_of(tmp_path) is not None


# ------------------------------------------------------------------------------------------------ guard


def spell_again(tmp_path: Path, source: Path, how: str) -> Path:
    """The path of ``source`` in another form."""
    if how == "dots":
        return tmp_path / "sub" / ".." / source.name
    if how == "relative":
        return Path(os.path.relpath(source))
    other = tmp_path / "other"
    if how == "symlink":
        other.symlink_to(source)
    elif how == "hard link":
        os.link(source, other)
    elif how == "linked folder":
        other.symlink_to(tmp_path)
        return other / source.name
    return other if how != "same" else source


@pytest.mark.parametrize("how", ["same", "dots", "relative", "symlink", "hard link", "linked folder"])
@pytest.mark.parametrize("overwrite", [False, True])
def test_no_output_is_an_input(tmp_path: Path, how: str, overwrite: bool) -> None:
    source = tmp_path / "rows.jsonl"
    source.write_text("{}")
    (tmp_path / "sub").mkdir()
    target = spell_again(tmp_path, source, how)
    with pytest.raises(UserError, match=r"--output .* is the input of --input"):
        check_outputs(output(target), inputs={"--input": [source]}, overwrite=overwrite)
    assert source.read_text() == "{}"


def test_no_output_replaces_a_file_of_an_input_folder(tmp_path: Path) -> None:
    model = tmp_path / "model"
    model.mkdir()
    (model / "config.json").write_text("{}")
    (tmp_path / "blob").write_text("weights")
    (model / "linked").symlink_to(tmp_path / "blob")
    for target in (model / "config.json", tmp_path / "blob"):
        with pytest.raises(UserError, match="would replace"):
            check_outputs(output(target), inputs={"--model": model}, overwrite=True)
    check_outputs(output(model / "new.json"), inputs={"--model": model})
    for folder in (model, tmp_path / "model" / "." / ""):
        with pytest.raises(UserError, match="is the input of --model"):
            check_outputs(output(folder, is_folder=True), inputs={"--model": model}, overwrite=True)


def test_a_model_named_from_the_home_is_an_input(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text("{}")
    mine = output(tmp_path / "model", is_folder=True)
    with pytest.raises(UserError, match="is the input of --model"):
        check_outputs(mine, inputs={"--model": "~/model"}, overwrite=True)
    assert model_content("~/model") == model_content(str(tmp_path / "model")) != {}
    check_outputs(output(tmp_path / "new"), inputs={"--model": "~nobody-of-this-name/model"})


def test_no_folder_output_replaces_an_input(tmp_path: Path) -> None:
    out = tmp_path / "out"
    (out / "encoder").mkdir(parents=True)
    (out / "encoder" / "config.json").write_text("{}")
    (out / "metrics.json").write_text("{}")
    mine = output(out, is_folder=True, writes=("encoder", "metrics*.json"), may_exist=True)
    for source in (out / "metrics.json", out / "encoder", out / "encoder" / "config.json"):
        with pytest.raises(UserError, match="would replace"):
            check_outputs(mine, inputs={"--from": source}, overwrite=True)
    (out / "train.jsonl").write_text("{}")
    check_outputs(mine, inputs={"--train": [out / "train.jsonl"]})


def test_what_exists_is_refused_without_overwrite(tmp_path: Path) -> None:
    existing = tmp_path / "answers.jsonl"
    existing.write_text("answers")
    with pytest.raises(UserError, match=r"already exists.*--overwrite"):
        check_outputs(output(existing), inputs={})
    check_outputs(output(existing), inputs={}, overwrite=True)
    with pytest.raises(UserError, match=r"already contains answers\.jsonl"):
        check_outputs(output(tmp_path, is_folder=True), inputs={})
    check_outputs(output(tmp_path, is_folder=True, writes=("spm.model",)), inputs={})
    (tmp_path / "empty").touch()
    check_outputs(output(tmp_path / "empty"), inputs={})


def test_two_outputs_are_two_files(tmp_path: Path) -> None:
    two = [*output(tmp_path / "a"), Output(option="--metrics", path=tmp_path / "." / "a")]
    with pytest.raises(UserError, match="--output and --metrics are the same"):
        check_outputs(two, inputs={})


@pytest.mark.parametrize(
    ("name", "is_folder", "message"),
    [
        ("folder", False, "is a folder"),
        ("new/", False, "names a folder"),
        ("file", True, "is a file"),
        ("file/below", False, "Not a directory"),
        ("file/below/that", True, "Not a directory"),
        ("x" * 300, False, "name too long"),
        ("new/" + "x" * 300, True, "name too long"),
        ("nul\0byte", False, "cannot be written"),
    ],
)
def test_an_output_that_cannot_be_written_is_refused_at_once(
    tmp_path: Path, name: str, is_folder: bool, message: str
) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=message) as caught:
        check_outputs(output(f"{tmp_path}/{name}", is_folder=is_folder), inputs={}, overwrite=True)
    assert "\n" not in str(caught.value)
    assert names_in(tmp_path) == ["file", "folder"]


def test_a_folder_whose_path_is_not_utf_8_is_refused(tmp_path: Path) -> None:
    """The library that writes weights would fail on it after the training."""
    path = tmp_path / os.fsdecode(b"caf\xe9")
    with pytest.raises(UserError, match="the path is not UTF-8, which safetensors needs"):
        check_outputs(output(path, is_folder=True), inputs={})
    check_outputs(output(path), inputs={})


def test_a_folder_without_permission_is_refused(tmp_path: Path) -> None:
    closed = Path("/proc/sys") if os.geteuid() == 0 else tmp_path / "closed"
    if os.geteuid():
        closed.mkdir(mode=0o500)
    elif not closed.is_dir():
        pytest.skip("needs a folder in which nothing can be made, and root may write everywhere")
    with pytest.raises(UserError, match="cannot be written"):
        check_outputs(output(closed / "new"), inputs={})


def test_hub_names_and_missing_inputs_are_no_files(tmp_path: Path) -> None:
    check_outputs(
        output(tmp_path / "a"),
        inputs={"--model": "microsoft/deberta-v3-base", "--dev": None, "--train": ["datasets:x", "y" * 999]},
    )
    assert names_in(tmp_path) == []


def test_an_error_tells_what_to_do() -> None:
    full = OSError(errno.ENOSPC, "No space left on device")
    assert str(files.cannot_write("out", full)) == (
        "out cannot be written: No space left on device. Free some space and run the same command again."
    )


# ------------------------------------------------------------------------------------------------ locks

HOLD = """
import sys, time
from debertav3.files import lock
with lock(sys.argv[1]):
    print("held", flush=True)
    time.sleep(600)
"""


def test_a_lock_keeps_out_a_second_command_and_ends_with_its_process(tmp_path: Path) -> None:
    target = tmp_path / "out.jsonl"
    (tmp_path / "link").symlink_to(target)
    holder = subprocess.Popen([sys.executable, "-c", HOLD, str(target)], stdout=subprocess.PIPE, text=True)
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        for name in (target, tmp_path / "link", tmp_path / "." / "out.jsonl"):
            with pytest.raises(UserError, match="written by another debertav3 command"), files.lock(name):
                pass
        with files.lock(tmp_path / "other"):
            pass
        holder.send_signal(signal.SIGKILL)
        holder.wait()
        with files.lock(target):
            pass
    finally:
        holder.kill()
        holder.wait()
        holder.stdout and holder.stdout.close()
    assert names_in(tmp_path) == ["link"]


def take(path: Path) -> None:
    with files.lock(path):
        pass


def test_locks_of_long_names_that_begin_alike_are_different(tmp_path: Path) -> None:
    name = "deberta-v3-base-mnli-lr2e-5-bs32-warmup500-epochs3-seed"
    with files.lock(tmp_path / f"{name}1"), ThreadPoolExecutor(1) as pool:
        assert pool.submit(take, tmp_path / f"{name}2").exception() is None
        assert isinstance(pool.submit(take, tmp_path / f"{name}1").exception(), UserError)
    with files.lock(tmp_path / ("x" * 255)):
        pass


def test_a_lock_works_on_folders_and_again_in_its_own_thread_alone(tmp_path: Path) -> None:
    for _ in range(2):
        run = tmp_path / "new" / "run"
        with files.lock(run), files.lock(run), ThreadPoolExecutor(1) as pool:
            assert isinstance(pool.submit(take, run).exception(), UserError)
    assert names_in(tmp_path) == []


@pytest.mark.parametrize(("source", "beside"), [("a.ann", "a.txt"), ("train.jsonl", "train-labels.lst")])
def test_what_is_read_along_with_an_input_is_an_input(tmp_path: Path, source: str, beside: str) -> None:
    for name in (source, beside):
        (tmp_path / name).write_text("x")
    output = Output(option="--out", path=tmp_path / beside)
    with pytest.raises(UserError, match="is the input of --data"):
        check_outputs([output], inputs={"--data": tmp_path / source}, overwrite=True)
