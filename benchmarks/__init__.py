"""What the product costs, each figure against a limit measured in the same run: `python -m benchmarks`."""
