"""A small C++ kernel for inference in fp32 on x86 processors: see README.md in this folder."""
