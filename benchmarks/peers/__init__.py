"""Rivals doing the same job, each in a process of its own with its own environment (`make bench-peers`)."""

from pathlib import Path

_ENVIRONMENT = Path(__file__).parents[2] / ".venv-peers"
PYTHON = _ENVIRONMENT / "bin" / "python"
INSTALLED = (_ENVIRONMENT / ".installed").exists()  # whole, not half
