"""``debertav3 bench``: how fast this machine answers, with each backend, beside stock transformers."""
