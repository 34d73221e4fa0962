"""The version, apart from the package's face, which stands above all rooms."""

__version__ = "0.1.0"
