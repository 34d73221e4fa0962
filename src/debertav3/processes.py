"""How processes end: workers with the process that started them, trainings between two steps when asked."""

import logging
import os
import signal
import threading
import time
from multiprocessing import connection, parent_process
from types import FrameType
from typing import Any

logger = logging.getLogger(__name__)

_POLL_SECONDS = 0.5
_watching: set[int] = set()


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
    process = parent_process()
    if process is not None:
        connection.wait([process.sentinel])
    else:
        while os.getppid() == parent:
            time.sleep(_POLL_SECONDS)
    os._exit(1)  # sys.exit would end this thread alone


class StopRequest:
    """SIGTERM or Ctrl-C asks a training to save and stop after the step that it is at.

    A second Ctrl-C does not wait: it raises KeyboardInterrupt.
    """

    def __init__(self) -> None:
        self.is_set = False
        self.reason = ""
        """What asked: ``SIGTERM`` or ``Ctrl-C``."""
        self._before: dict[int, Any] = {}

    def listen(self) -> None:
        """Take the signals over. Outside the main thread, where Python allows no handlers, do nothing."""
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGTERM, signal.SIGINT):
                self._before[number] = signal.signal(number, self._note)

    def give_back(self) -> None:
        """Restore the handlers that were there before."""
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before.clear()

    def _note(self, number: int, frame: FrameType | None) -> None:
        if number == signal.SIGINT and self.is_set:
            raise KeyboardInterrupt
        self.is_set = True
        self.reason = "Ctrl-C" if number == signal.SIGINT else "SIGTERM"
        logger.warning("%s: saving after this step; Ctrl-C stops at once", self.reason)


def leave_signals_to_parent(worker: int = 0) -> None:
    """For workers that load data: Ctrl-C reaches every process of a terminal, and the first one decides.

    Args:
        worker: its number, as a DataLoader gives it.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
