"""The maths of the papers. Imports torch only."""
