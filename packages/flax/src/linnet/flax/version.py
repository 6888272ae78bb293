"""The version of Flax whose modules and names these are; not that of the package."""

__version__ = "0.12.8"
