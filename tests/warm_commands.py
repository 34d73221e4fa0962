"""Commands run in forks of one process that has torch loaded already, with a limit or a signal for each.

A fresh process for every command would spend its time importing torch, and a signal would meet the imports.
"""

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

_LEADER = """
import contextlib, json, os, pathlib, resource, signal, sys, threading, time, traceback
import torch, transformers
import debertav3.finetuning.run, debertav3.pretrain.run, debertav3.inference.export.run
from debertav3 import cli

with contextlib.suppress(SystemExit), contextlib.redirect_stdout(None):
    sys.argv = ["debertav3", "--version"]  # imports every command
    cli.main()

def child(case):
    os.setsid()
    os.chdir(case["folder"])
    has_begun = threading.Event()
    sys.argv = ["debertav3", *case["arguments"]]
    if case["limit"] is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (case["limit"], resource.RLIM_INFINITY))
    if case["signal"] is not None:
        def stop():
            has_begun.wait()
            started = time.monotonic()
            while time.monotonic() - started < case["after"]:
                time.sleep(0.005)
            os.kill(os.getpid(), case["signal"])
        threading.Thread(target=stop, daemon=True).start()
    code = 0
    has_begun.set()
    try:
        cli.main()
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
        code = 99
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)

for line in sys.stdin:
    case = json.loads(line)
    pipes = {1: os.pipe(), 2: os.pipe()}  # not files: those would be limited as well
    process = os.fork()
    if not process:
        for number, (_, end) in pipes.items():
            os.dup2(end, number)
        child(case)
    for _, end in pipes.values():
        os.close(end)
    files = {number: open(end, encoding="utf-8", errors="replace") for number, (end, _) in pipes.items()}
    texts = {}
    readers = [
        threading.Thread(target=lambda number, file: texts.update({number: file.read()}), args=item)
        for item in files.items()
    ]
    for reader in readers:
        reader.start()
    for reader in readers:
        reader.join()
    code = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
    for file in files.values():
        file.close()
    print(json.dumps({"code": code, "out": texts[1], "err": texts[2]}), flush=True)
"""


@dataclass(frozen=True, kw_only=True)
class Ended:
    """What came of a command."""

    code: int
    out: str
    err: str

    @property
    def lines(self) -> list[str]:
        """The lines of stderr that are not bars."""
        return [line for line in self.err.splitlines() if line.startswith("debertav3: ")]


class WarmCommands:
    """Runs commands one after the other. Close it at the end."""

    def __init__(self) -> None:
        self._leader = subprocess.Popen(
            [sys.executable, "-c", _LEADER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def __call__(
        self,
        *arguments: object,
        folder: Path,
        limit: int | None = None,
        signal: int | None = None,
        after: float = 0.0,
    ) -> Ended:
        """Run a command in ``folder``.

        Args:
            arguments: of the command.
            folder: where it runs.
            limit: bytes that any file may have: writing more fails as on a full disk.
            signal: to send to the command.
            after: seconds from its start to the signal.
        """
        case = {
            "arguments": [str(argument) for argument in arguments],
            "folder": str(folder),
            "limit": limit,
            "signal": signal,
            "after": after,
        }
        assert self._leader.stdin is not None
        assert self._leader.stdout is not None
        self._leader.stdin.write(json.dumps(case) + "\n")
        self._leader.stdin.flush()
        return Ended(**json.loads(self._leader.stdout.readline()))

    def close(self) -> None:
        """End the process that the commands are forked from."""
        assert self._leader.stdin is not None
        self._leader.stdin.close()
        self._leader.wait(timeout=60)
