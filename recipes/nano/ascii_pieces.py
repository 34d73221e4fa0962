"""Give every printable ASCII character a piece of its own, in the places of the least likely longer pieces.

Characters that were too rare in the vocabulary's training text ("<", "@", "#") are spelled in bytes, and
readers of ``spm.model`` that do not know bytes make them unknown. A new piece gets the embedding of the byte
that has spelled it until now, so the model's answers on such text do not change. A vocabulary
that has all characters is left as it is.

Run: python recipes/nano/ascii_pieces.py runs/nano/final/seed-1 runs/nano/model/spelled
"""

import argparse
import struct
from collections.abc import Mapping
from pathlib import Path

import torch

from debertav3 import DebertaV2ForSequenceClassification, DebertaV3Tokenizer
from debertav3.checkpoint import open_model, save_model
from debertav3.tokenization.alignment import WORD_MARK
from debertav3.tokenization.engines import SentencePieceEngine
from debertav3.tokenization.unigram_training import PRINTABLE_ASCII


def new_pieces(engine: SentencePieceEngine) -> dict[int, str]:
    """For each place that is given up, the character that gets it."""
    known = set(engine.pieces)
    missing = [character for character in PRINTABLE_ASCII if character not in known]
    longer = [
        (score, number)
        for number, (piece, score) in enumerate(engine.scored_pieces())
        if score < 0 and len(piece.removeprefix(WORD_MARK)) > 1
    ]
    return {number: character for (_, number), character in zip(sorted(longer), missing, strict=False)}


def byte_piece(character: str) -> str:
    """The byte that an ASCII character is, as a piece."""
    return f"<0x{ord(character):02X}>"


def renamed(engine: SentencePieceEngine, names: Mapping[int, str]) -> bytes:
    """``spm.model`` with other texts for some pieces; each keeps its score.

    Field 1 of the file is a piece: in it, field 1 is the text and field 2 the score.
    """
    model = engine.model
    for number, name in names.items():
        old, score = engine.scored_pieces()[number]
        before, after = (piece_message(text, score) for text in (old, name))
        if model.count(before) != 1:
            raise ValueError(f"piece {old!r} is not there once")
        model = model.replace(before, after)
    return model


def piece_message(text: str, score: float) -> bytes:
    """One piece as protobuf writes it; a piece has fewer than 100 bytes, so each length is one byte."""
    encoded = text.encode()
    inner = b"\x0a" + bytes([len(encoded)]) + encoded + b"\x15" + struct.pack("<f", score)
    return b"\x0a" + bytes([len(inner)]) + inner


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("out", type=Path)
    arguments = parser.parse_args()
    tokenizer = DebertaV3Tokenizer.from_pretrained(arguments.model)
    model = open_model(arguments.model, head=DebertaV2ForSequenceClassification).model
    engine = tokenizer.engine
    assert isinstance(engine, SentencePieceEngine)
    names = new_pieces(engine)
    rows = model.deberta.embeddings.word_embeddings.weight
    with torch.no_grad():
        for number, character in names.items():
            rows[number] = rows[engine.pieces.index(byte_piece(character))]
    spm = renamed(engine, names)
    changed = DebertaV3Tokenizer(
        SentencePieceEngine(spm), tokenizer.specials, model=spm, model_max_length=tokenizer.model_max_length
    )
    save_model(model, arguments.out, changed)
    print(f"{len(names)} characters: {' '.join(names.values())}")
    print("in the places of: " + " ".join(engine.pieces[number] for number in names))


if __name__ == "__main__":
    main()
