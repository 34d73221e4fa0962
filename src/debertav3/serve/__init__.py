"""HTTP: one process that clients of text-embeddings-inference, vLLM, Cohere, Jina and others speak to.

``queue`` and ``batcher`` share batches between requests, ``service`` takes a request through them, one
module a family of dialects reads bodies and writes answers, ``dispatch`` chooses among them.
"""

from .app import create_app
from .keys import Keys
from .limits import Limits

__all__ = ["Keys", "Limits", "create_app"]
