"""The same application on Ray Serve: one replica a device, as many as the queued tokens need.

``serve run debertav3.serve.ray_app:build models=my-nli device=cuda max_replicas=8`` starts it. Ray places
replicas, routes, replaces those that die and scales; batches, limits and answers are those of
``debertav3 serve``, in each replica.
"""

import math
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol

from pydantic import BaseModel, ConfigDict, Field

from ..errors import MissingExtraError, UserError
from ..json_types import Json, JsonObject
from .lifecycle import DRAIN_SECONDS, SWITCH_SECONDS
from .limits import Limits

if TYPE_CHECKING:
    from fastapi import FastAPI
    from ray.serve import Application

TARGET_QUEUE_SECONDS = 1.0
"""How fast queued tokens should be worked off: more replicas come when they need longer."""
TARGET_LOAD = 0.8
"""Share of its time that a replica should compute."""
LOOK_BACK_SECONDS = 10.0
"""Over which what replicas record is averaged."""
ONGOING_REQUESTS = 10_000
"""Most requests that Ray gives to a replica: the batcher refuses earlier, and can only batch what it has."""

_RESOURCES: dict[str, JsonObject] = {"cuda": {"num_gpus": 1}, "npu": {"resources": {"NPU": 1}}, "cpu": {}}


class Options(BaseModel):
    """What ``serve run`` and a Serve config file may say."""

    model_config = ConfigDict(extra="forbid")

    models: str | dict[str, str]
    """A folder or Hub name, or several by name. Folders must exist on every machine."""
    device: Literal["cpu", "cuda", "npu"] = "cpu"
    """What a replica has for itself."""
    cpus: float = Field(default=1, gt=0)
    """Cores of a replica."""
    min_replicas: int = Field(default=1, ge=1)
    max_replicas: int = Field(default=1, ge=1)
    """As many as there are devices."""
    scale_up_seconds: float = Field(default=15, ge=0)
    """How long more replicas must be needed before they start."""
    scale_down_seconds: float = Field(default=300, ge=0)
    """How long fewer must suffice before one stops."""
    task: str | None = None
    labels: list[str] | None = None
    dtype: Literal["fp32", "bf16", "fp16"] = "fp32"
    backend: str = "auto"
    calibrated: bool = True
    max_length: int | None = Field(default=None, ge=8)
    batch_tokens: int | None = Field(default=None, ge=1)
    keys: str | None = None
    """File with API keys; more in ``DEBERTAV3_API_KEYS``."""
    origins: list[str] = []
    limits: Limits = Limits()

    def named_models(self) -> dict[str, str]:
        """The models by name."""
        if isinstance(self.models, dict):
            return self.models
        return {Path(self.models.rstrip("/")).name: self.models}


class Autoscaling(Protocol):
    """The part of Ray's ``AutoscalingContext`` that `desired_replicas` reads."""

    current_num_replicas: int
    aggregated_metrics: Mapping[str, Mapping[Json, float]] | None


def desired_replicas(context: Autoscaling) -> tuple[int, JsonObject]:
    """How many replicas the tokens need: those that come, and those that wait.

    Every replica records ``tokens_per_second`` (computed lately), ``queued_tokens`` and ``capacity``
    (tokens a second while it computes). The need is what comes, plus what waits over
    `TARGET_QUEUE_SECONDS`, over `TARGET_LOAD` of a replica's capacity. Ray applies bounds and delays.
    """
    recorded = context.aggregated_metrics or {}
    capacities = [value for value in recorded.get("capacity", {}).values() if value > 0]
    if not capacities:  # replicas have just started
        return context.current_num_replicas, {}
    queued = sum(recorded.get("queued_tokens", {}).values())
    coming = sum(recorded.get("tokens_per_second", {}).values())
    capacity = TARGET_LOAD * sum(capacities) / len(capacities)
    return max(1, math.ceil((coming + queued / TARGET_QUEUE_SECONDS) / capacity)), {}


class Replica:
    """One process with the models; Ray serves its application."""

    def __init__(self, options: Options) -> None:
        self.options = options
        self.served: FastAPI | None = None
        self._computed, self._since = 0.0, 0.0

    def __serve_build_asgi_app__(self) -> "FastAPI":
        """The application, with models loaded; called once (the name is Ray's)."""
        from ..inference.predictor import Predictor
        from .app import create_app
        from .keys import Keys

        sys.setswitchinterval(SWITCH_SECONDS)
        asked = self.options
        predictors = {
            name: Predictor.from_pretrained(
                path,
                task=asked.task,
                device=asked.device,
                dtype=asked.dtype,
                backend=asked.backend,
                labels=asked.labels,
                max_length=asked.max_length,
                batch_tokens=asked.batch_tokens,
                calibrated=asked.calibrated,
            )
            for name, path in asked.named_models().items()
        }
        self.served = create_app(
            predictors,
            limits=asked.limits,
            keys=Keys.read(Path(asked.keys) if asked.keys else None),
            origins=asked.origins,
        )
        return self.served

    async def record_autoscaling_stats(self) -> dict[str, float]:
        """What `desired_replicas` reads; Ray calls it every few seconds."""
        batcher = None if self.served is None else self.served.state.service.batcher
        if batcher is None:
            return {}
        return {
            "queued_tokens": float(batcher.waiting_tokens),
            "tokens_per_second": self._tokens_per_second(),
            "capacity": batcher.rate,
        }

    def _tokens_per_second(self) -> float:
        """Tokens computed since the last call."""
        assert self.served is not None
        computed = self.served.state.service.metrics.registry.get_sample_value("te_batch_tokens_total") or 0.0
        now = time.monotonic()
        rate = (computed - self._computed) / (now - self._since) if self._since else 0.0
        self._computed, self._since = computed, now
        return rate


def build(options: Options) -> "Application":
    """Make the Ray Serve application; ``ray.serve.run(build(Options(...)))`` deploys it.

    Raises:
        MissingExtraError: without Ray Serve.
        UserError: if there are more replicas at least than at most.
    """
    try:
        from ray import serve
        from ray.serve.config import AutoscalingConfig, AutoscalingPolicy
    except ImportError:
        raise MissingExtraError(feature="Ray Serve", package="ray[serve]", extra="ray") from None

    if options.min_replicas > options.max_replicas:
        raise UserError(
            f"min_replicas is {options.min_replicas} and max_replicas {options.max_replicas}; "
            "need at most as many."
        )
    deployment = serve.deployment(
        serve.ingress()(Replica),
        name="debertav3",
        max_ongoing_requests=ONGOING_REQUESTS,
        graceful_shutdown_timeout_s=DRAIN_SECONDS,
        ray_actor_options={"num_cpus": options.cpus, **_RESOURCES[options.device]},
        autoscaling_config=AutoscalingConfig(
            min_replicas=options.min_replicas,
            max_replicas=options.max_replicas,
            upscale_delay_s=options.scale_up_seconds,
            downscale_delay_s=options.scale_down_seconds,
            look_back_period_s=LOOK_BACK_SECONDS,
            policy=AutoscalingPolicy(policy_function=f"{__name__}:{desired_replicas.__name__}"),
        ),
    )
    application: Application = deployment.bind(options)
    return application
