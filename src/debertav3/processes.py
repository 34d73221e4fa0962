"""Several processes of one program: which is the first, and how workers end with their parent."""

import os
import signal
import threading
import time

from .errors import UserError

_POLL_SECONDS = 0.5
_watching: set[int] = set()


def is_first_process() -> bool:
    """Whether this is the process that writes files and messages: torchrun gives each process a number."""
    return os.environ.get("RANK", "0") == "0"


def num_processes() -> int:
    """How many processes torchrun has started."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def need_one_process(command: str) -> None:
    """Refuse a command that torchrun has started several times.

    Raises:
        UserError: if there are several processes.
    """
    if (count := num_processes()) > 1:
        raise UserError(
            f"{command} runs in one process, and torchrun started {count}. Start it without torchrun."
        )


def end_with_parent() -> None:
    """Call it first in a worker process: the process ends when the one that started it has ended.

    A thread waits for the parent's end, whichever way it comes: a pipe that the system closes tells at once
    where ``multiprocessing`` made the process; else the number of the parent is watched, which changes when
    an orphan is adopted. Nothing is cleaned up, as after a kill, so workers must keep no state of their own.
    """
    if os.getpid() in _watching:
        return
    _watching.add(os.getpid())
    threading.Thread(target=_watch, args=(os.getppid(),), name="end-with-parent", daemon=True).start()


def _watch(parent: int) -> None:
    from multiprocessing import connection, parent_process  # only in workers: --help needs none of it

    process = parent_process()
    if process is not None:
        connection.wait([process.sentinel])
    else:
        while os.getppid() == parent:
            time.sleep(_POLL_SECONDS)
    os._exit(1)  # sys.exit would end this thread alone


def leave_signals_to_parent(worker: int = 0) -> None:
    """For workers that load data: Ctrl-C reaches every process of a terminal, and the first one decides.

    Args:
        worker: its number, as a DataLoader gives it.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
