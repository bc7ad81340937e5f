"""How fast the first poll of an account, the silent baseline, comes into the ledger."""

from benchmarks.support import Row, emit, median, open_ledger, run, spent
from benchmarks.vendor import accounts, served

PAGE = 1000
REQUIRED = 15_000  # records a processor second


async def main(smoke: bool) -> None:
    records, rounds = (300, 1) if smoke else (20_000, 5)
    rates = []
    async with served(records) as site, open_ledger() as (bus, ledger):
        for number in range(rounds):
            async with accounts(bus, ledger, site, [PAGE], f"agency-{number}") as (account,):
                rates.append(records / await spent(account.poll))
    rate = median(rates)
    emit(
        Row(
            group="First sync",
            what=f"{records:,} records, pages of {PAGE}: records a processor second",
            figure=f"{rate:,.0f}",
            limit=f"required {REQUIRED:,}",
            ratio=rate,
            bound=REQUIRED,
            at="least",
        )
    )


if __name__ == "__main__":
    run(main)
