"""Compares the cost of Linnet with that of Flax and of plain JAX.

Each case measures the same work done by Linnet, by Flax (0.12.8, installed only for this) and,
where that makes sense, by hand-written JAX, alternately and in one process. Times depend on the
machine and its load; their ratios hardly do, so ratios are printed and bounded.

README.md in this folder explains how to read the table and how to add a case.
"""
