"""The backend that runs an exported graph on ONNX Runtime, without torch and without transformers."""

import contextlib
import logging
import sys
from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Self

from ...cpu.kernel.threads import num_threads
from ...errors import UserError
from .exported import DOES_NOT_RUN, ONNX, Exported, require_runtime, runtime_errors
from .protocol import INT8, Batch, Logits

if TYPE_CHECKING:
    import onnxruntime

logger = logging.getLogger(__name__)

_RUNTIME = "ONNX Runtime"
_PROVIDER = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}
_BATCH_TOKENS = {"cpu": 1024, "cuda": 32768}


class OnnxBackend:
    """An exported graph in a session of ONNX Runtime: see `Backend`.

    Args:
        exported: the folder.
        session: the graph, as ONNX Runtime opened it.
        device: ``cpu`` or ``cuda``.
    """

    name = ONNX

    def __init__(self, exported: Exported, session: "onnxruntime.InferenceSession", *, device: str) -> None:
        self.exported = exported
        self.head = exported.manifest.head
        self.config: Mapping[str, object] = exported.config
        self.device = device
        self.dtype = INT8 if exported.manifest.weights == INT8 else "fp32"
        self.batch_tokens = _BATCH_TOKENS[device]
        self._session = session
        self._names = [output.name for output in session.get_outputs()]

    @classmethod
    def open(cls, exported: Exported, *, device: str, dtype: str) -> Self:
        """Open a folder's graph.

        Args:
            exported: the folder.
            device: ``auto``, ``cpu``, or ``cuda`` where ONNX Runtime was built for it.
            dtype: ``fp32``; the graph itself says what is stored in less.

        Raises:
            UserError: if the runtime is not installed, the device is not there, or the graph cannot be read.
        """
        require_runtime(ONNX)
        if dtype != "fp32":
            raise UserError(
                f"backend onnx computes in fp32; got dtype {dtype!r}. Export with --fp16 or --int8 instead."
            )
        import onnxruntime

        there = [
            name for name, provider in _PROVIDER.items() if provider in onnxruntime.get_available_providers()
        ]
        chosen = there[-1] if device == "auto" else device
        if chosen not in there:
            raise UserError(f"device {device!r} cannot be used: this ONNX Runtime has {', '.join(there)}.")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = num_threads()  # its own default is all cores of the machine
        options.log_severity_level = 3

        def open_on(name: str) -> onnxruntime.InferenceSession:
            # Where a provider does not work, ONNX Runtime prints that it takes the CPU, and takes it.
            with (
                runtime_errors(_RUNTIME, f"read {exported.graph}", advice="Export it again."),
                contextlib.redirect_stdout(sys.stderr),
            ):
                return onnxruntime.InferenceSession(str(exported.graph), options, providers=[_PROVIDER[name]])

        session = open_on(chosen)
        if _PROVIDER[chosen] not in session.get_providers():
            if device != "auto":
                raise UserError(
                    f"device {device!r} cannot be used: ONNX Runtime was built for it, and finds no such "
                    "device or not its libraries. Use cpu, or auto."
                )
            logger.warning("ONNX Runtime cannot use %s here and takes the CPU", chosen)
            chosen = "cpu"
        return cls(exported, session, device=chosen)

    def __reduce__(self) -> tuple[object, ...]:
        """Copies and pickles open the graph again: a session is neither copied nor written."""
        return partial(self.open, device=self.device, dtype="fp32"), (self.exported,)

    def run(self, batch: Batch) -> Logits:
        """Compute the logits of one batch: see `Backend.run`.

        Raises:
            UserError: for more tokens than the model takes, or if the graph does not run here.
        """
        inputs = self.exported.feed(batch)
        with runtime_errors(_RUNTIME, f"run {self.exported.graph} here", advice=DOES_NOT_RUN):
            outputs = self._session.run(self._names, inputs)
        return dict(zip(self._names, outputs, strict=True))
