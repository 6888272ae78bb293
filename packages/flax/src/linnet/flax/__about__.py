"""The version of this package; `hatch version` reads and writes it here."""

__version__ = "0.1.0"
