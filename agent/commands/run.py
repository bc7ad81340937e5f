"""`vendorwire run`: the agent."""

from agent import loop
from agent.app import App, stopped_by_signals
from agent.commands.failures import DONE
from agent.commands.reaching import Settings
from agent.vault import Vault


def main(settings: Settings, roles: tuple[str, ...]) -> int:
    """Work until Ctrl-C or SIGTERM."""
    loop.run(_run, App(settings.load(), roles, vault=Vault.from_environment()))
    return DONE


async def _run(app: App) -> None:
    async with stopped_by_signals(app):
        await app.run()
