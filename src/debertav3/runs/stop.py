"""SIGTERM or Ctrl-C asks a training to save and stop between two steps."""

import logging
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

logger = logging.getLogger(__name__)


class StopFlag:
    """Set by SIGTERM or Ctrl-C while `listening`. A second Ctrl-C does not wait for the step to end."""

    def __init__(self) -> None:
        self.is_set = False
        self.reason = "another process"
        """What asked: ``SIGTERM`` or ``Ctrl-C``."""

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Listen to the signals within the block, and restore the former handlers after it.

        In another thread than the main one it listens to nothing: Python allows no handler there.
        """
        if threading.current_thread() is not threading.main_thread():
            yield
            return

        def note(number: int, frame: FrameType | None) -> None:
            if number == signal.SIGINT and self.is_set:
                raise KeyboardInterrupt
            self.is_set = True
            self.reason = "Ctrl-C" if number == signal.SIGINT else "SIGTERM"
            logger.warning("%s: saving after this step; Ctrl-C stops at once", self.reason)

        before = {number: signal.signal(number, note) for number in (signal.SIGTERM, signal.SIGINT)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
