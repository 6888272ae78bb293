"""Variables: their types, metadata, arithmetic, and how their values lie on a mesh."""
