"""``python -m debertav3`` is the ``debertav3`` command (what ``torchrun -m debertav3`` needs)."""

from .cli import main

if __name__ == "__main__":
    main()
