"""pytest plugin for transformers' own test suite: puts our classes in the place of its DeBERTa-v2 ones.

Load it with ``-p transformers_suite_plugin`` in a run over transformers' tests; see
``run_transformers_suite.py``.
"""

import sys

import transformers
from transformers.models.deberta_v2 import modeling_deberta_v2

import debertav3.models as ours

for _name in modeling_deberta_v2.__all__:
    _class = getattr(ours, _name)
    setattr(transformers, _name, _class)
    setattr(modeling_deberta_v2, _name, _class)
    setattr(sys.modules["transformers.models.deberta_v2"], _name, _class)
