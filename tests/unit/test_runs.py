"""Both reports share one page that escapes every text; SIGTERM is noted, and its handler given back."""

import os
import signal
import threading

import pytest

from debertav3.runs import page
from debertav3.runs.stop import StopFlag

pytest.importorskip("jinja2")
EVIL = '<script>alert("x")</script> & <b>'
SAFE = "&lt;script&gt;alert("


def test_every_text_is_escaped() -> None:
    parts = [
        page.heading(EVIL),
        page.paragraph(EVIL, is_warning=True),
        page.numbers([(EVIL, EVIL)]),
        page.table([EVIL, EVIL], [[EVIL, EVIL]], text_columns=(1,), as_cards=True),
        page.figure("<svg></svg>", EVIL, title=EVIL),
    ]
    whole = page.page(EVIL, parts)
    assert "<script" not in whole
    assert whole.count(SAFE) == 2 + 1 + 1 + 2 + 6 + 2
    assert "<svg></svg>" in whole and '<p class="warning">' in whole
    assert page.table([], [["a", "b"]], text_columns=(1,)).count('class="text"') == 1


def test_a_stop_is_noted_within_the_block_only() -> None:
    before = signal.getsignal(signal.SIGTERM)
    flag = StopFlag()
    with flag.listening():
        assert not flag.is_set
        os.kill(os.getpid(), signal.SIGTERM)
        assert flag.is_set
    assert signal.getsignal(signal.SIGTERM) is before


def test_another_thread_listens_to_nothing() -> None:
    flag, done = StopFlag(), []

    def work() -> None:
        with flag.listening():
            done.append(True)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert done == [True]
