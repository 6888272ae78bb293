"""Variables: their types, metadata, arithmetic, and layout on a mesh."""
