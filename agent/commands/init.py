"""`vendorwire init`: a configuration to start from."""

import os
import shlex
from pathlib import Path

from agent.commands import output
from agent.commands.failures import DONE, Failed
from agent.starter import STARTER


def main(config: str | None, *, force: bool, json: bool) -> int:
    """Write the starter to the file the other commands will read."""
    path = Path(config or os.environ.get("VENDORWIRE_CONFIG") or "vendorwire.yaml")
    try:
        with path.open("w" if force else "x", encoding="utf-8") as file:
            file.write(STARTER)
    except FileExistsError:
        raise Failed(f"{path} is there already: `--force` replaces it, `--config` names another") from None
    if json:
        output.json({"file": str(path)})
    else:
        named = f" --config {shlex.quote(config)}" if config else ""
        output.line(f"{path} is written. Fill in your accounts and routes, then: vendorwire{named} check")
    return DONE
