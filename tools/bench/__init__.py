"""What Linnet costs, next to Flax and to plain JAX.

Each case measures the same work done by Linnet, by Flax (0.12.8, installed for this alone) and,
where that makes sense, by hand-written JAX, in alternation and in one process. Times depend on the
machine and on what else it does; their ratios hardly do, so ratios are what is printed and bounded.

How to read the table, and how to add a case: README.md here.
"""
