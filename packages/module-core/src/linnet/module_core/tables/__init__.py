"""Tables of models: what is in their cells, how they are drawn, what a program costs.

For `tabulate` of both styles; nothing here knows a module.
"""
