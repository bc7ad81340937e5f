"""The configuration file: where it is, and how it is read. All its faults are reported at once.

Paths in it (`data`, `credentials`, `tls`) are relative to the folder the agent is started in, like any path given to a
command. Faults name keys and places; they show neither a secret nor what a reference stands for.
"""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args

from agent import crosschecks
from agent.config import Config
from agent.faults import ConfigError, Fault, Faults
from agent.yamlcheck import Reader
from agent.yamltree import BROKEN, parse
from connectors.base import Connector
from connectors.every import Every
from events import routes
from schemas.settings import Secret

VENDORS: Sequence[type[Connector]] = get_args(Every) or (Every,)
_LARGEST = 1 << 20  # bytes


def find(explicit: str | None = None) -> Path:
    """The file to read: as given, else `$VENDORWIRE_CONFIG`, else `vendorwire.yaml`. Raises ConfigError if not there."""
    path = Path(explicit or os.environ.get("VENDORWIRE_CONFIG") or "vendorwire.yaml")
    if not path.exists():
        message = "there is no such file: `vendorwire init` writes one to start from, `--config` names another"
        raise ConfigError([Fault(str(path), None, "", message)])
    return path


def load(path: Path, connectors: Sequence[type[Connector]] = VENDORS) -> Config:
    """Read and check a configuration. Raises ConfigError with every fault of the file."""
    faults = Faults(str(path))
    tree = parse(_content(path), faults)
    reader = Reader(faults, variants={Connector: connectors}, lists={routes.Secrets: Secret}, hook=_hook)
    config = reader.read(Config, tree, "")
    crosschecks.check(reader.seen, faults, connectors)
    if faults or config is BROKEN:
        raise faults.error()
    return config  # type: ignore[no-any-return] # read() gives what it was asked for


def _content(path: Path) -> str:
    try:
        with path.open("rb") as file:
            content = file.read(_LARGEST + 1)
        if len(content) > _LARGEST:
            raise ConfigError([Fault(str(path), None, "", "is too large: at most 1 MiB")])
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise ConfigError([Fault(str(path), line, "", "is not UTF-8 text")]) from None
    except OSError as error:
        raise ConfigError([Fault(str(path), None, "", f"cannot be read: {error.strerror}")]) from None


def _hook(kind: type, value: Any) -> Any:
    if kind is Path:
        if not isinstance(value, str) or not value:
            raise ValueError("a path is a text, and not empty")
        return Path(value)
    return routes.decode_hook(kind, value)
