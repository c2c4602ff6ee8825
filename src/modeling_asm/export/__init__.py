"""Trained classifiers as files for other runtimes, and the pipeline on such a file.

A new format is one file here with a `Format`, and one entry of `FORMATS` in write.py.
"""

from .write import export


__all__ = ["export"]
