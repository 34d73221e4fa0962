"""Texts to logits: what all tasks share between a person's input and the answer.

Its methods are `Steps`: they make the encoder inputs, wait for the logits, and return what belongs to each
text. `Engine.run` computes the logits at once; the server computes those of many requests together.
"""

import logging
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from typing import NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt

from ..errors import UserError, whole_number
from ..tasks.spans import SpanDecoding, decode_spans
from ..tasks.words import Span
from ..tokenization import DebertaV3Tokenizer
from .backends.fastest import Auto
from .backends.protocol import Backend, head_of_task
from .batching import Encoding, run_batches
from .inputs import WHOLE, Cut, InputEncoder, Text
from .token_budget import BIG_INPUT_TOKENS, best_batch_tokens

logger = logging.getLogger(__name__)

FloatArray = npt.NDArray[np.float32]

Outputs = Iterable[tuple[int, dict[str, FloatArray]]]
"""The position of an input and its logits by output name, in any order: see `run_batches`."""

T = TypeVar("T")

Steps = Generator[list[Encoding], Outputs, T]
"""Yields encoder inputs, is sent their outputs, and returns the answers."""

DEFAULT_MAX_LENGTH = 512


class TokenLogits(NamedTuple):
    """What a head for tokens says of one text."""

    text: str
    offsets: list[Span]
    """Characters of every token, without special tokens."""
    logits: FloatArray
    """``(tokens, labels)``, or ``(tokens,)`` for a head with one output."""


class Engine:
    """A tokenizer and a backend that belong together.

    Args:
        tokenizer: the checkpoint's tokenizer.
        backend: what computes the logits.
        max_length: most tokens of one input; None takes the checkpoint's.
        batch_tokens: most tokens of a batch, padding included; None takes the backend's, or measures it
            once for inputs of `BIG_INPUT_TOKENS` and more.
        show_progress: a bar on stderr; None shows one on terminals for many inputs.
        place: what to call the checkpoint in messages.
        temperature: logits of whole texts and pairs are divided by it.
        auto: may change the backend before much work; None keeps it.
    """

    def __init__(
        self,
        *,
        tokenizer: DebertaV3Tokenizer,
        backend: Backend,
        max_length: int | None = None,
        batch_tokens: int | None = None,
        show_progress: bool | None = None,
        place: str = "this checkpoint",
        temperature: float = 1.0,
        auto: Auto | None = None,
    ) -> None:
        if batch_tokens is not None:
            batch_tokens = whole_number(batch_tokens, name="batch_tokens", least=1)
        self.tokenizer = tokenizer
        self.backend = backend
        self.auto = auto
        self.batch_tokens = batch_tokens
        self.show_progress = show_progress
        self.place = place
        if rows := backend.config.get("vocab_size"):
            tokenizer.check_fits(rows, place=place)
        self.temperature = np.float32(temperature)
        known = backend.config.get("max_position_embeddings") or DEFAULT_MAX_LENGTH
        if max_length is None:
            max_length = min(tokenizer.model_max_length, known)
        self.inputs = InputEncoder(tokenizer, max_length=max_length)

    def settle(self, num_tokens: int) -> None:
        """Measure which backend is the fastest, and how many tokens a batch should hold.

        Only what nobody has said, and only if so much work is worth it.

        Args:
            num_tokens: about how many tokens there are to read.
        """
        if num_tokens < BIG_INPUT_TOKENS:
            return
        self.settle_backend()
        if self.batch_tokens is None:
            self.batch_tokens = best_batch_tokens(self.backend)

    def settle_backend(self) -> None:
        """Take the backend that is the fastest here, where ``auto`` was asked for: see `fastest`."""
        if (auto := self.auto) is not None:
            self.auto = None  # first, so that other threads do not measure too
            self.backend = auto.fastest(self.backend)

    def keep_backend(self, name: str) -> None:
        """Take the backend that a run started with, where ``auto`` was asked for.

        Raises:
            UserError: if it cannot run the checkpoint here.
        """
        if (auto := self.auto) is not None:
            self.auto = None
            self.backend = auto.named(name)

    def require(self, task: str) -> None:
        """Refuse a task that needs another head.

        Raises:
            UserError: if it does.
        """
        needed = head_of_task(task)
        if self.backend.head != needed:
            raise UserError(
                f"{task} needs a {needed} head; {self.place} was opened with its {self.backend.head} head. "
                f"Give a checkpoint fine-tuned for {task}."
            )

    def run(self, steps: Steps[T]) -> T:
        """Drive steps to their answers, with batches of their own.

        How many inputs were cut to the length limit is logged.
        """
        try:
            encodings = next(steps)
            while True:
                if num_cut := sum(encoding.is_truncated for encoding in encodings):
                    logger.warning(
                        "%d of %d inputs did not fit into %d tokens and were truncated",
                        num_cut,
                        len(encodings),
                        self.inputs.max_length,
                    )
                encodings = steps.send(self._stream(encodings))
        except StopIteration as stop:
            answer: T = stop.value
            return answer

    def sequences(self, texts: Sequence[Text], *, cut: Cut = WHOLE, raw: bool = False) -> Steps[FloatArray]:
        """Logits of texts and pairs, divided by the temperature unless ``raw``: ``(texts, labels)``."""
        if not texts:
            return np.empty((0, 0), np.float32)
        outputs = yield self.inputs.texts(texts, cut=cut)
        return self.scaled(np.array([one["logits"] for one in _in_order(outputs)], np.float32), raw=raw)

    def scaled(self, logits: FloatArray, *, raw: bool = False) -> FloatArray:
        """Logits divided by the temperature, for probabilities; ``raw`` keeps the head's own."""
        return logits if raw else logits / self.temperature

    def tokens(self, texts: Sequence[str]) -> Steps[list[TokenLogits]]:
        """Logits of every token of texts of any length."""
        windowed = self.inputs.windowed(texts)
        outputs = iter(_in_order((yield [encoding for one in windowed for encoding in one.encodings])))
        return [
            TokenLogits(one.text, one.offsets, one.join([next(outputs)["logits"] for _ in one.encodings]))
            for one in windowed
        ]

    def spans(
        self,
        questions: Sequence[str],
        contexts: Sequence[str],
        *,
        n_best: int,
        max_answer_tokens: int,
        overlap: int,
    ) -> Steps[list[SpanDecoding]]:
        """The best spans for each question in its context, of any length: see `decode_spans`."""
        asked = self.inputs.questions(questions, contexts, overlap=overlap)
        encodings = [
            Encoding(window.input_ids, window.token_type_ids, is_truncated=one.is_cut)
            for one in asked
            for window in one.windows
        ]
        outputs = iter(_in_order((yield encodings)))
        decodings = []
        for one in asked:
            own = [next(outputs) for _ in one.windows]
            decodings.append(
                decode_spans(
                    one.windows,
                    [logits["start_logits"] for logits in own],
                    [logits["end_logits"] for logits in own],
                    offsets=one.offsets,
                    text=one.context,
                    n_best=n_best,
                    max_answer_tokens=max_answer_tokens,
                )
            )
        return decodings

    def masks(
        self, texts: Sequence[str], decode: Callable[[str, Sequence[Span], FloatArray], T]
    ) -> Steps[list[T]]:
        """What ``decode`` makes of each text, its masks and their logits, ``(masks, vocabulary)``.

        Logits are decoded as they come, since those of one mask fill half a megabyte.
        """
        masked = self.inputs.masked(texts)
        decoded: dict[int, T] = {}
        for place, outputs in (yield [one.encoding for one in masked]):
            text, masks, _ = masked[place]
            decoded[place] = decode(text, masks, outputs["logits"])
        return [decoded[place] for place in range(len(masked))]

    def _stream(self, encodings: Sequence[Encoding]) -> Iterator[tuple[int, dict[str, FloatArray]]]:
        self.settle(sum(len(encoding.input_ids) for encoding in encodings))
        return run_batches(
            self.backend,
            encodings,
            pad_id=self.tokenizer.pad_token_id,
            batch_tokens=self.batch_tokens,
            show_progress=self.show_progress,
        )


def _in_order(outputs: Outputs) -> list[dict[str, FloatArray]]:
    """Logits of every input, in the order of the inputs."""
    return [one for _, one in sorted(outputs, key=lambda pair: pair[0])]
