"""Tables of models: the contents of their cells, their layout, and the cost of programs.

Both styles' `tabulate` use it; nothing here depends on modules.
"""
