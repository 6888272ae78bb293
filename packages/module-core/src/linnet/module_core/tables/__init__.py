"""Tables that summarize models: their cells, their layout, and the cost of programs.

The `tabulate` of both styles uses this package, which doesn't depend on modules.
"""
