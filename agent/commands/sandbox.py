"""`vendorwire sandbox`: a fake vendor on this machine, with controls to make things happen."""

import json as jsonlib

import anyio

from agent.commands import output
from agent.commands.failures import DONE, WrongUsage
from agent.commands.reaching import finish
from connectors.sandbox.every import FAKES, Fake
from connectors.sandbox.serve import serve

SEED = 12


def main(vendor: str, *, port: int, seed: int | None, live: float | None, json: bool) -> int:
    """Serve until Ctrl-C or SIGTERM."""
    fake = _fake(vendor, SEED if seed is None else seed)

    async def work() -> int:
        async with serve(fake.sandbox, port=port) as url:
            _introduce(vendor, url, fake, json=json)
            while live is not None:
                await anyio.sleep(live)
                done = fake.sandbox.step()
                if json:
                    output.json({"did": done})
                else:
                    output.line(done)
            await anyio.sleep_forever()
        return DONE

    try:
        return finish(work)
    except KeyboardInterrupt:
        return DONE


def _fake(vendor: str, seed: int) -> Fake:
    if vendor not in FAKES:
        raise WrongUsage(f"there is no sandbox of {vendor!r}; there are: {', '.join(FAKES)}")
    return FAKES[vendor](seed, lively=False)


def _introduce(vendor: str, url: str, fake: Fake, *, json: bool) -> None:
    account = {"vendor": vendor, "name": "sandbox", **fake.account, "base_url": url + fake.account["base_url"]}
    if json:
        output.json({"url": url, "account": account, "controls": sorted(fake.sandbox.controls())})
        return
    output.line(f"{vendor} sandbox at {url}; Ctrl-C ends it")
    output.line("as an account in vendorwire.yaml:")
    output.line(f"  - {jsonlib.dumps(account)}")
    output.line(f"controls: {', '.join(sorted(fake.sandbox.controls()))}")
    output.line(f"such as: curl -d '{jsonlib.dumps(fake.body)}' {url}/_sandbox/{fake.control}")
    output.line(f"what it holds: curl {url}/_sandbox/state")
