"""Nodes: kinds of values, attributes and their marks, trace levels, and representations."""
