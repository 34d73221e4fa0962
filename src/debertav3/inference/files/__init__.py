"""Whole files through a `Predictor`: rows in, the same rows with answers out, by one process or many."""
