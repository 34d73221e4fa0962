"""The whole model in numpy, and on our C++ kernel where there is one: neither torch nor transformers.

``maths``, ``attention`` and ``plain`` are the papers' forward pass written plainly; ``compiled`` computes
the same in the kernel. ``model.NativeModel`` is the way in.
"""
