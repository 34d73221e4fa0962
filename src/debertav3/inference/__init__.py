"""Text in, answers out, fast."""
