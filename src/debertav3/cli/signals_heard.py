"""Ctrl-C and SIGTERM end a command, also where Python drops the exception that they raise."""

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sys import UnraisableHookArgs

_SECONDS = 0.05
"""Until a signal whose exception was dropped is sent again; the callback that dropped it is over then."""


@contextmanager
def signals_heard() -> Iterator[None]:
    """Let SIGTERM unwind as Ctrl-C does, so that temporary files go and what is answered is kept.

    Python drops an exception that a signal raises inside a finalizer or an extension's callback ("Exception
    ignored in ..."): the signal is then sent again, until it is heard. Fine-tuning and pre-training take both
    signals over while they train.
    """
    if threading.current_thread() is not threading.main_thread():  # Python allows handlers nowhere else
        yield
        return
    owner = os.getpid()

    def stop(number: int, _: FrameType | None) -> None:
        if os.getpid() != owner:  # a forked worker: it owns nothing that must be cleaned up
            os._exit(128 + number)
        sys.exit(128 + number)

    def resend(dropped: "UnraisableHookArgs") -> None:
        number = _signal_of(dropped.exc_value)
        if number is None or sys.is_finalizing():
            hook(dropped)
            return
        timer = threading.Timer(_SECONDS, signal.raise_signal, (number,))
        timer.daemon = True
        timer.start()

    hook, before = sys.unraisablehook, signal.signal(signal.SIGTERM, stop)
    sys.unraisablehook = resend
    try:
        yield
    finally:
        sys.unraisablehook = hook
        signal.signal(signal.SIGTERM, before)


def signal_behind(error: BaseException | None) -> signal.Signals | None:
    """The signal during whose handling an error came, at any depth; None if there was none."""
    while error is not None:
        if (number := _signal_of(error)) is not None:
            return number
        error = error.__context__
    return None


def _signal_of(error: BaseException | None) -> signal.Signals | None:
    """The signal that has raised an exception; None if none has."""
    if isinstance(error, KeyboardInterrupt):
        return signal.SIGINT
    if isinstance(error, SystemExit) and error.code == 128 + signal.SIGTERM:
        return signal.SIGTERM
    return None
