"""What commands write to stderr: log lines that do not run into progress bars, and the closing line."""

import io
import logging
import os
import select
import sys
from pathlib import Path

from ..errors import UserError
from ..processes import is_first_process


class BarHandler(logging.StreamHandler):
    """Writes to stderr; a progress bar that is being drawn is cleared first and drawn again after."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write one line."""
        if "tqdm" not in sys.modules:  # nobody draws a bar
            super().emit(record)
            return
        from tqdm import tqdm

        with tqdm.external_write_mode(file=self.stream):
            super().emit(record)


def close_bars() -> None:
    """Remove progress bars that an exception has left open, so that the last line has a line of its own."""
    if "tqdm" not in sys.modules:
        return
    from tqdm import tqdm

    for bar in list(getattr(tqdm, "_instances", ())):
        bar.leave = False
        bar.close()


def log_to_stderr(*, level: int | None = logging.INFO) -> None:
    """Show the messages of the package on stderr; of several processes, the first one's.

    Args:
        level: from which level on; None leaves it as it is, which shows warnings.
    """
    handler = BarHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("debertav3: %(message)s"))
    logger = logging.getLogger("debertav3")
    logger.handlers = [handler]
    root = logging.getLogger()
    if not root.handlers:  # else the first library that sets it up repeats all our lines
        others = BarHandler(sys.stderr)
        others.setLevel(logging.WARNING)
        others.addFilter(lambda record: not record.name.startswith("debertav3"))
        root.addHandler(others)
    if level is not None:
        logger.setLevel(level if is_first_process() else logging.ERROR)


def let_stdout_take_all() -> None:
    """Let every character and file name be printed: after hours of work none may end a command.

    What is read by programs is UTF-8, as JSON is; a terminal of another encoding shows escapes. Bytes of a
    file name that are not UTF-8 are written as they are.
    """
    stdout = sys.stdout
    if not isinstance(stdout, io.TextIOWrapper):
        return
    if stdout.isatty() or "PYTHONIOENCODING" in os.environ:
        is_wide = stdout.encoding.lower().startswith("utf")
        stdout.reconfigure(errors="surrogateescape" if is_wide else "backslashreplace")
    else:
        stdout.reconfigure(encoding="utf-8", errors="surrogateescape")


def leave_broken_stdout() -> bool:
    """Send what is left for stdout nowhere if it takes no more: its reader has left, or the disk is full.

    Else Python tries once more at its very end, and fails with two lines of its own and exit code 120.

    Returns:
        Whether it was so.
    """
    try:
        handle = sys.stdout.fileno()
    except (AttributeError, OSError, ValueError):  # started without one, or a test holds it
        return False
    try:
        sys.stdout.flush()
        is_broken = _has_no_reader(handle)
    except OSError:
        is_broken = True
    if is_broken:
        os.dup2(os.open(os.devnull, os.O_WRONLY), handle)
    return is_broken


def _has_no_reader(handle: int) -> bool:
    """Whether nobody reads a pipe any more; False where the system does not tell."""
    if not hasattr(select, "poll"):  # Windows
        return False
    poll = select.poll()
    poll.register(handle, 0)
    return any(event & (select.POLLERR | select.POLLHUP) for _, event in poll.poll(0))


LOG_LEVELS = ("debug", "info", "warning", "error")


def show_log() -> None:
    """Show this package's log on stderr from the level on that ``DEBERTAV3_LOG`` names, else warnings."""
    level = os.environ.get("DEBERTAV3_LOG", "").lower()
    if not level:
        log_to_stderr(level=None)
        return
    if level not in LOG_LEVELS:
        raise UserError(f"DEBERTAV3_LOG is {level!r}; need one of: {', '.join(LOG_LEVELS)}.")
    log_to_stderr()
    logging.getLogger("debertav3").setLevel(level.upper())


def show_understanding() -> None:
    """Show on stderr what was understood of the files that are read, whatever the log level."""
    logging.getLogger("debertav3.tasks.understanding").setLevel(
        logging.INFO if is_first_process() else logging.ERROR
    )


def wrote(*paths: Path | str | None, by: str = "") -> None:
    """Say in one closing line what a command has written, and with what it was computed."""
    named = [str(path) for path in paths if path is not None]
    if named and is_first_process():
        print(f"debertav3: wrote {', '.join(named)}{by and f' ({by})'}", file=sys.stderr)
