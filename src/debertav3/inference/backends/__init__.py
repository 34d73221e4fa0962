"""What computes logits: a protocol, a module for each runtime, exported folders, and the choice."""
