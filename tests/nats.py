"""A real, throw-away nats-server for a test, with ways to hurt it.

    with start_nats(tmp_path) as nats:
        ...  # nats.url

Blocking on purpose: starting takes some 50 ms, and it works in plain and in async tests alike.
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

BINARY = Path(sys.executable).with_name("nats-server")
DEADLINE = 10.0  # seconds within which whatever a test waits for must have come


class NatsServer:
    """A nats-server on 127.0.0.1 with JetStream in `folder`. Its port and data stay the same over `restart`."""

    def __init__(self, folder: Path, port: int, config_extra: str, jetstream: bool, within: Sequence[str] = ()) -> None:
        self._folder = folder
        self._within = within
        self._config_extra = config_extra
        self._jetstream = jetstream
        self.port = port
        self._process: subprocess.Popen[bytes] | None = None
        folder.mkdir(parents=True, exist_ok=True)

    @property
    def url(self) -> str:
        return f"nats://127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        assert self._process is not None, "the server has not been started"
        return self._process.pid

    def start(self) -> None:
        """Start it and wait until it listens."""
        lines = [f'listen: "127.0.0.1:{self.port or -1}"', f"ports_file_dir: {json.dumps(str(self._folder))}"]
        if self._jetstream:
            lines.append(
                f"jetstream {{ store_dir: {json.dumps(str(self._folder / 'jetstream'))}, sync_interval: always }}"
            )
        conf = self._folder / "nats.conf"
        conf.write_text("\n".join([*lines, self._config_extra, ""]))
        with (self._folder / "nats.log").open("ab") as log:
            self._process = subprocess.Popen(
                [*self._within, BINARY, "-c", conf], stdout=log, stderr=log, stdin=subprocess.DEVNULL
            )
        self.port = self._listening()

    def _listening(self) -> int:
        """The port, from the file the server writes once it listens: no two tests can pick the same."""
        assert self._process is not None
        file = self._folder / f"{BINARY.name}_{self._process.pid}.ports"
        deadline = time.monotonic() + DEADLINE
        while time.monotonic() < deadline and self._process.poll() is None:
            if file.exists() and (text := file.read_text()).strip().endswith("}"):
                return int(json.loads(text)["nats"][0].rpartition(":")[2])
            time.sleep(0.01)
        raise AssertionError("nats-server does not start:\n" + (self._folder / "nats.log").read_text())

    def kill(self) -> None:
        """SIGKILL, as by a power cut of the process."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """SIGTERM, and wait for its end."""
        self._end(signal.SIGTERM)

    def _end(self, number: signal.Signals) -> None:
        if self._process is not None:
            self._process.send_signal(number)  # does nothing to one that has ended
            self._process.wait(DEADLINE)

    def restart(self) -> None:
        """Start it again on the same port and data; killed first where it still runs."""
        self.kill()
        self.start()

    def pause(self) -> None:
        """SIGSTOP: it hangs; connections stay open and nothing is answered."""
        os.kill(self.pid, signal.SIGSTOP)
        os.waitpid(self.pid, os.WUNTRACED)  # returns once it has stopped, which takes a moment

    def resume(self) -> None:
        """SIGCONT: it goes on after `pause`."""
        os.kill(self.pid, signal.SIGCONT)

    def reload(self, config_extra: str) -> None:
        """SIGHUP with another configuration, as an operator changes users and permissions."""
        conf = self._folder / "nats.conf"
        conf.write_text(conf.read_text().replace(self._config_extra, config_extra))
        self._config_extra = config_extra
        os.kill(self.pid, signal.SIGHUP)

    def __enter__(self) -> "NatsServer":
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()


def start_nats(
    folder: Path, *, port: int = 0, config_extra: str = "", jetstream: bool = True, within: Sequence[str] = ()
) -> NatsServer:
    """A running server. `port` 0 takes a free one; `config_extra` is added to its configuration file; `within` is a command
    that becomes the one that follows it, such as `nsenter`."""
    server = NatsServer(folder, port, config_extra, jetstream, within)
    server.start()
    return server
