"""Layout of linen's variables on a mesh: boxes with axis names, rules, and constraints."""
