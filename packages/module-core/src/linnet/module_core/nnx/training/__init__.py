"""What training needs beside a model: optimizers, averages of parameters, metrics."""
