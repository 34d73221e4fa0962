"""Prodigy's documented form: spans with the numbers of their tokens, which spaCy puts together again."""

import json
import sys
from pathlib import Path

import spacy
from spacy.tokens import Doc

nlp = spacy.blank("en")
for line in Path(sys.argv[1]).read_text(encoding="utf-8").splitlines():
    row = json.loads(line)
    assert {"text", "tokens", "spans"} <= row.keys()
    assert all({"text", "start", "end", "id"} <= token.keys() for token in row["tokens"])
    assert [token["id"] for token in row["tokens"]] == list(range(len(row["tokens"])))
    words = [token["text"] for token in row["tokens"]]
    doc = Doc(nlp.vocab, words=words, spaces=[token["ws"] for token in row["tokens"]])
    assert doc.text == row["text"], (doc.text, row["text"])
    for one in row["spans"]:
        span = doc.char_span(one["start"], one["end"], label=one["label"])
        assert span is not None and (span.start, span.end - 1) == (one["token_start"], one["token_end"]), one
