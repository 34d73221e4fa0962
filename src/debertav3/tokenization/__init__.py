"""Text to ids, exactly as the released DeBERTaV3 checkpoints were trained: sentencepiece is the engine.

Imports neither torch nor transformers, so that light inference backends stay light.
"""

from .tokenizer import DebertaV3Tokenizer

__all__ = ["DebertaV3Tokenizer"]
