"""One path from an ASGI request to its answer, which all routes with a body share.

Plain ASGI: what stands between a small model and its client here costs as much as the model.
"""

import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from starlette.types import Receive, Scope, Send

from .dispatch import Operation, choose_operation, validated
from .exchange import CLOSE, Exchange, exchange_of
from .interruption import Interruption
from .keys import Keys
from .limits import check_declared, check_size, parse_body, read_body
from .metrics import Answered
from .refusals import ErrorBody, Refusal
from .request_log import request_id
from .service import STOPPING, Call, Service

logger = logging.getLogger(__name__)

_ENCODER = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"))


class Answer(NamedTuple):
    """What a client gets."""

    status: int
    body: bytes
    headers: list[tuple[bytes, bytes]]

    async def send(self, send: Send, exchange: Exchange | None = None) -> None:
        """Send it whole, over an exchange if there is one."""
        headers = [(b"content-length", b"%d" % len(self.body)), *self.headers]
        if exchange is not None and exchange.answer(self.status, headers, self.body):
            return
        await send({"type": "http.response.start", "status": self.status, "headers": headers})
        await send({"type": "http.response.body", "body": self.body})


def json_answer(content: object, headers: Sequence[tuple[bytes, bytes]] = (), *, status: int = 200) -> Answer:
    """An answer in JSON: compact, and UTF-8 as it is."""
    return Answer(
        status, _ENCODER.encode(content).encode(), [(b"content-type", b"application/json"), *headers]
    )


def refused(refusal: Refusal, error: ErrorBody) -> Answer:
    """The answer to a refused request."""
    if refusal.kind == "unauthorized":
        return Answer(401, b"", [(b"www-authenticate", b"Bearer")])
    headers = []
    if refusal.retry_after is not None:
        headers.append((b"retry-after", b"%d" % max(1, round(refusal.retry_after))))
    if refusal.kind in ("too_large", "too_slow", "stopping"):
        headers.append(CLOSE)  # the rest of the body is not read, or nothing more is taken
    return json_answer(error(refusal), headers, status=refusal.status)


@dataclass(frozen=True)
class Endpoint:
    """Answers the requests of one path: an ASGI application.

    Args:
        service: the models.
        keys: who may ask.
        operations: what the path takes.
        path: as the log shows it, without what a client writes into it.
    """

    service: Service
    keys: Keys
    operations: Sequence[Operation]
    path: str

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request; what goes wrong has the status and the form of its dialect."""
        service = self.service
        headers = dict(scope["headers"])
        call = Call(service, id=request_id(headers.get(b"x-request-id", b"").decode("latin-1")))
        operation, content, exchange = self.operations[-1], None, exchange_of(scope)
        service.num_active += 1
        try:
            self.keys.check(headers)
            size = check_declared(headers, service.limits)
            if service.is_started:
                service.check_room(size)  # before the body is read, so that refusing costs little
            else:  # mounted in another application, which starts nothing
                await service.start()
            if not service.is_ready:
                raise Refusal("stopping", STOPPING)
            raw = exchange.whole_body() if exchange is not None else None
            if raw is None:
                raw = await read_body(receive, service.limits)
            check_size(len(raw), service.limits)
            content, call.characters = parse_body(raw, service.limits)
            operation = choose_operation(self.operations, content)
            places = scope.get("path_params")
            call.model_name = (places.get("name") if places else None) or content.get("model")
            body = validated(operation, content)
            with Interruption(scope, receive, deadlines=service.deadlines):
                found = await operation.answer(call, body)
            answer = json_answer(found, _times(call))
            service.metrics.success(
                Answered(
                    call.lengths if call.truncated else [],
                    call.total_seconds,
                    call.tokenization_seconds,
                    call.queue_seconds,
                    call.inference_seconds,
                )
            )
        except Refusal as refusal:
            answer = refused(refusal, operation.error)
            service.metrics.failure(refusal.kind, num_texts=len(call.lengths))
        except Exception:
            logger.exception("request %s failed", call.id)
            answer = refused(Refusal("internal", "the server failed; its log says why."), operation.error)
            service.metrics.failure("internal", num_texts=len(call.lengths))
        finally:
            service.num_active -= 1
        answer.headers.append((b"x-request-id", call.id.encode()))
        if service.is_stopping and CLOSE not in answer.headers:
            answer.headers.append(CLOSE)
        service.log.write(
            id=call.id,
            route=self.path,
            dialect=operation.dialect,
            status=answer.status,
            texts=len(call.lengths),
            tokens=call.num_tokens,
            queue_ms=round(1000 * call.queue_seconds, 2),
            compute_ms=round(1000 * call.inference_seconds, 2),
            total_ms=round(1000 * call.total_seconds, 2),
            body=content,
        )
        await answer.send(send, exchange)


def _times(call: Call) -> list[tuple[bytes, bytes]]:
    """TEI's headers, in milliseconds."""
    total = b"%d" % round(1000 * call.total_seconds)
    return [
        (b"x-compute-type", b"cpu" if call.model is None else call.model.compute_type),
        (b"x-compute-time", total),
        (b"x-compute-characters", b"%d" % call.characters),
        (b"x-compute-tokens", b"%d" % call.num_tokens),
        (b"x-total-time", total),
        (b"x-tokenization-time", b"%d" % round(1000 * call.tokenization_seconds)),
        (b"x-queue-time", b"%d" % round(1000 * call.queue_seconds)),
        (b"x-inference-time", b"%d" % round(1000 * call.inference_seconds)),
    ]
