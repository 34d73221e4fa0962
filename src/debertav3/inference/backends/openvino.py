"""The backend that runs an exported graph on OpenVINO, without torch and without transformers."""

import threading
from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Self

import numpy as np

from ...cpu.kernel.threads import num_threads
from ...errors import UserError
from ..telemetry import without_telemetry
from .exported import DOES_NOT_RUN, OPENVINO, Exported, require_runtime, runtime_errors
from .protocol import INT8, Batch, Logits

if TYPE_CHECKING:
    import openvino

_RUNTIME = "OpenVINO"
_PRECISION = {"fp32": "f32", "bf16": "bf16"}
_BATCH_TOKENS = 1024


class OpenVinoBackend:
    """An exported graph, compiled for a CPU: see `Backend`.

    Args:
        exported: the folder.
        compiled: the graph, as OpenVINO compiled it.
        dtype: in what products compute, but for those of int8 weights.
    """

    name = OPENVINO
    device = "cpu"
    batch_tokens = _BATCH_TOKENS

    def __init__(self, exported: Exported, compiled: "openvino.CompiledModel", *, dtype: str) -> None:
        self.exported = exported
        self.dtype = INT8 if exported.manifest.weights == INT8 else dtype
        self._computes_in = dtype
        self.head = exported.manifest.head
        self.config: Mapping[str, object] = exported.config
        self._request = compiled.create_infer_request()
        self._lock = threading.Lock()
        """The request holds one batch, and other threads run while it computes."""
        self._names = [output.get_any_name() for output in compiled.outputs]

    @classmethod
    def open(cls, exported: Exported, *, device: str, dtype: str) -> Self:
        """Compile a folder's graph.

        Args:
            exported: the folder.
            device: ``auto`` or ``cpu``.
            dtype: ``fp32`` or ``bf16``: in what products are computed.

        Raises:
            UserError: if the runtime is not installed, the device or the dtype is not one of these, or the
                graph cannot be read.
        """
        require_runtime(OPENVINO)
        if device not in ("auto", "cpu"):
            raise UserError(f"backend openvino runs on the CPU; got device {device!r}. Use auto or cpu.")
        if dtype not in _PRECISION:
            raise UserError(f"backend openvino computes in {' or '.join(_PRECISION)}; got dtype {dtype!r}.")
        with without_telemetry():
            import openvino

        options = {
            "INFERENCE_PRECISION_HINT": _PRECISION[dtype],  # its own default is bf16 where a CPU has it
            "INFERENCE_NUM_THREADS": num_threads(),
            "PERFORMANCE_HINT": "LATENCY",
        }
        with runtime_errors(_RUNTIME, f"read {exported.graph}", advice="Export it again."):
            compiled = openvino.Core().compile_model(str(exported.graph), "CPU", options)
        return cls(exported, compiled, dtype=dtype)

    def __reduce__(self) -> tuple[object, ...]:
        """Copies and pickles compile the graph again: a compiled one is neither copied nor written."""
        return partial(self.open, device=self.device, dtype=self._computes_in), (self.exported,)

    def run(self, batch: Batch) -> Logits:
        """Compute the logits of one batch: see `Backend.run`.

        Raises:
            UserError: for more tokens than the model takes, or if the graph does not run here.
        """
        inputs = self.exported.feed(batch)
        with self._lock, runtime_errors(_RUNTIME, f"run {self.exported.graph} here", advice=DOES_NOT_RUN):
            outputs = self._request.infer(inputs, share_inputs=True)
            return {name: np.array(outputs[place]) for place, name in enumerate(self._names)}
