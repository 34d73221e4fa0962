"""pytest plugin for transformers' own tests: our classes take the place of its DeBERTa-v2 ones.

``test_transformers_suite.py`` loads it; by hand: ``pytest -p transformers_suite_plugin ...`` with this
folder and the transformers checkout on ``PYTHONPATH``.
"""

import importlib

import transformers
from transformers.models.deberta_v2 import modeling_deberta_v2

import debertav3.models as ours

PLACES = (transformers, importlib.import_module("transformers.models.deberta_v2"), modeling_deberta_v2)

for name in modeling_deberta_v2.__all__:
    for place in PLACES:
        setattr(place, name, getattr(ours, name))
