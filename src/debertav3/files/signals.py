"""Ctrl-C and SIGTERM do not come between making a file and noting that it must be removed."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def signals_delayed() -> Iterator[None]:
    """Let Ctrl-C and SIGTERM act at the end of the block, which must be short.

    Handlers are exchanged and signals not blocked: Python runs handlers in the main thread, whichever thread
    the system chose. In other threads nothing needs to be done.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    arrived: list[int] = []
    before = {}
    try:
        for number in (signal.SIGINT, signal.SIGTERM):
            before[number] = signal.signal(number, lambda number, _: arrived.append(number))
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
        for one in arrived:
            signal.raise_signal(one)
