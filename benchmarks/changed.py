"""What a poll costs where one booking in a hundred has changed, against one where nothing has."""

from benchmarks.support import Row, emit, median, open_ledger, run, spent
from benchmarks.vendor import Account, Site, accounts, served

PAGES = (100, 1000)
SHARE = 0.01


async def main(smoke: bool) -> None:
    records, rounds = (300, 1) if smoke else (100_000, 3)
    async with served(records) as site, open_ledger() as (bus, ledger), accounts(bus, ledger, site, PAGES) as opened:
        await opened[-1].poll()
        for account, page in zip(opened, PAGES, strict=True):
            emit(await row(site, account, page, rounds))


async def row(site: Site, account: Account, page: int, rounds: int) -> Row:
    await account.poll()
    taken: list[tuple[float, float]] = []
    for turn in range(rounds):
        still = await spent(account.poll)
        await site.change(SHARE, turn)
        moved = await spent(account.poll)
        await account.poll()  # what is remembered of a page that changed comes back with the next reading
        taken.append((still, moved))
    unchanged, changed = (median(each) for each in zip(*taken, strict=True))
    return Row(
        group="1 % changed",
        what=f"{site.records:,} records, pages of {page}: processor time a record",
        figure=f"{changed / site.records * 1e6:.2f} µs",
        limit=f"nothing changed {unchanged / site.records * 1e6:.2f} µs",
        ratio=changed / unchanged,
        bound=2.0,
        at="most",
    )


if __name__ == "__main__":
    run(main)
