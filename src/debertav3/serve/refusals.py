"""Why a request gets no answer: one exception, with a status that every dialect shares."""

from collections.abc import Callable
from typing import Literal

Kind = Literal[
    "malformed",
    "too_large",
    "too_slow",
    "unauthorized",
    "unknown_model",
    "unknown_route",
    "wrong_method",
    "invalid",
    "empty",
    "wrong_head",
    "failed",
    "overloaded",
    "stopping",
    "deadline",
    "disconnected",
    "internal",
]

STATUS: dict[Kind, int] = {
    "malformed": 400,
    "empty": 400,
    "unauthorized": 401,
    "unknown_model": 404,
    "unknown_route": 404,
    "wrong_method": 405,
    "too_slow": 408,
    "too_large": 413,
    "invalid": 422,
    "wrong_head": 424,
    "failed": 424,
    "overloaded": 429,
    "disconnected": 499,
    "internal": 500,
    "stopping": 503,
    "deadline": 504,
}
"""The HTTP status of each kind, the same in every dialect; 499 only reaches the log."""

_TEI: dict[Kind, str] = {
    "empty": "Empty",
    "wrong_head": "Backend",
    "failed": "Backend",
    "internal": "Backend",
    "deadline": "Overloaded",
    "overloaded": "Overloaded",
    "stopping": "Unhealthy",
}

_OPENAI: dict[Kind, str] = {
    "unauthorized": "authentication_error",
    "unknown_model": "NotFoundError",
    "unknown_route": "NotFoundError",
    "overloaded": "rate_limit_error",
    "failed": "InternalServerError",
    "internal": "InternalServerError",
    "stopping": "ServiceUnavailableError",
    "deadline": "APITimeoutError",
}


class Refusal(Exception):
    """A request that gets no answer.

    Args:
        kind: what is wrong.
        message: what was got and what is needed, in one line.
        retry_after: seconds after which the client should try again.
    """

    def __init__(self, kind: Kind, message: str, *, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.kind = kind
        self.message = " ".join(message.split())
        self.retry_after = retry_after

    @property
    def status(self) -> int:
        """The HTTP status."""
        return STATUS[self.kind]


ErrorBody = Callable[[Refusal], dict[str, object]]
"""How a dialect writes a refusal."""


def tei_error(refusal: Refusal) -> dict[str, object]:
    """As text-embeddings-inference, and our own routes, say it."""
    return {"error": refusal.message, "error_type": _TEI.get(refusal.kind, "Validation")}


def openai_error(refusal: Refusal) -> dict[str, object]:
    """As OpenAI, vLLM and infinity say it."""
    kind = _OPENAI.get(refusal.kind, "BadRequestError")
    return {"error": {"message": refusal.message, "type": kind, "param": None, "code": refusal.status}}


def rerank_error(refusal: Refusal) -> dict[str, object]:
    """For bodies with ``documents``: Cohere's, Jina's and vLLM's clients find the message where they look."""
    return {"message": refusal.message, "detail": refusal.message, **openai_error(refusal)}


def hub_error(refusal: Refusal) -> dict[str, object]:
    """As Hugging Face's task API says it."""
    return {"error": refusal.message}
