"""Text to ids, exactly as the released DeBERTaV3 checkpoints were trained: sentencepiece is the engine.

Imports neither torch nor transformers, so that light inference backends stay light.
"""

from .tokenizer import DebertaV3Tokenizer
from .unigram_training import VocabularyConfig, VocabularyReport, train_vocabulary

__all__ = ["DebertaV3Tokenizer", "VocabularyConfig", "VocabularyReport", "train_vocabulary"]
