"""Inference on a CPU: modules that take the place of those of ``layers/`` and are faster there.

``pack.pack_for_inference`` is the way in. What it makes keeps weights and tables laid out for what multiplies
them, and refuses to be changed; a model that can change keeps nothing.
"""
