"""What a training leaves: its settings, and the record of a run."""
