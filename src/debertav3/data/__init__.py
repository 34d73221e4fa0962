"""Text to batches. No model."""
