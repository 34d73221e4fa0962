"""Labelled rows: read, labelled and scored in one way for training, prediction and evaluation."""
