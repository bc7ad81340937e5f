"""What a poll costs where one booking in a hundred has changed, against one where nothing has."""

from benchmarks.support import Row, emit, median, open_ledger, run, spent
from benchmarks.vendor import Account, Fetching, Site, accounts, fetching, served

# At pages of 1000 what did not change costs so little that the changes outweigh it: each is compared, stored and published.
BOUNDS = {100: 2.0, 1000: 5.0}  # page → times the unchanged poll
PAGES = tuple(BOUNDS)
SHARE = 0.01
NEWEST = (0.1, 1.0)  # bookings change while they are new; or all of them do


async def main(smoke: bool) -> None:
    records, rounds = (300, 1) if smoke else (100_000, 5)
    async with served(records) as site, open_ledger() as (bus, ledger), accounts(bus, ledger, site, PAGES) as opened:
        await opened[-1].poll()
        for account, page in zip(opened, PAGES, strict=True):
            await account.poll()
            await site.asked()
            await account.poll()
            async with fetching(site, await site.asked()) as bare:
                for newest in NEWEST:
                    emit(await row(site, account, bare, page, newest, rounds))


async def row(site: Site, account: Account, bare: Fetching, page: int, newest: float, rounds: int) -> Row:
    taken: list[tuple[float, float]] = []
    for turn in range(rounds):
        still = await spent(account.poll)
        await site.change(SHARE, turn, newest)
        await bare.fetch()  # so that the vendor has its pages ready, as before
        moved = await spent(account.poll)
        taken.append((still, moved))
    unchanged, changed = (median(each) for each in zip(*taken, strict=True))
    where = "spread over all pages" if newest == 1 else f"among the newest {newest:.0%}"
    return Row(
        group="1 % changed",
        what=f"{site.records:,} records, pages of {page}, changes {where}: processor time a record",
        figure=f"{changed / site.records * 1e6:.2f} µs",
        limit=f"nothing changed {unchanged / site.records * 1e6:.2f} µs",
        ratio=changed / unchanged,
        bound=BOUNDS[page],
        at="most",
    )


if __name__ == "__main__":
    run(main)
