"""What a poll costs where nothing has changed, against fetching the same pages and throwing them away."""

from benchmarks.support import Row, emit, medians, open_ledger, run
from benchmarks.vendor import Account, Site, accounts, fetching, served

GROUP = "Unchanged poll"
PAGES = (100, 1000)
SIZES = {10_000: 15, 100_000: 7}  # records → rounds
BOUND = 1.5


async def main(smoke: bool) -> None:
    for records, rounds in ({300: 1} if smoke else SIZES).items():
        async with (
            served(records) as site,
            open_ledger() as (bus, ledger),
            accounts(bus, ledger, site, PAGES) as opened,
        ):
            await opened[-1].poll()
            for account, page in zip(opened, PAGES, strict=True):
                emit(await row(site, account, page, rounds))


async def row(site: Site, account: Account, page: int, rounds: int) -> Row:
    await account.poll()
    await site.asked()
    await account.poll()
    async with fetching(site, await site.asked()) as bare:
        await bare.fetch()
        polled, fetched = await medians(rounds, account.poll, bare.fetch)
    return Row(
        group=GROUP,
        what=f"{site.records:,} records, pages of {page}: processor time a record",
        figure=f"{polled / site.records * 1e6:.2f} µs",
        limit=f"fetching the same pages {fetched / site.records * 1e6:.2f} µs",
        ratio=polled / fetched,
        bound=BOUND,
        at="most",
    )


if __name__ == "__main__":
    run(main)
