"""Where linen's variables lie on a mesh: boxes with names of axes, rules, and constraints."""
