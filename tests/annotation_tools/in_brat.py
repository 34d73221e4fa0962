"""pybrat reads the folder of brat that we wrote: texts, types, offsets, and what the offsets point at."""

import sys

from pybrat.parser import BratParser

WANTED = [
    ("Anna met Bob in Rome.", ["Anna PER", "Bob PER", "Rome LOC"]),
    ("It rained \U0001f600 in Köln, Anna's town.", ["Köln LOC", "Anna PER"]),
    ("Nothing here.", []),
]

found = []
for example in sorted(BratParser(error="raise").parse(sys.argv[1]), key=lambda one: one.id):
    entities = sorted(example.entities, key=lambda one: one.start)
    for one in entities:
        assert example.text[one.start : one.end] == one.mention, one
    found.append((example.text, [f"{one.mention} {one.type}" for one in entities]))
assert found == WANTED, found
