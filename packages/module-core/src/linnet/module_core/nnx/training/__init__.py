"""Training utilities: optimizers, parameter averages and metrics."""
