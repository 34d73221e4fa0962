"""What takes the place of modules of ``layers/`` on a GPU."""
