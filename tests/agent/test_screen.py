"""The demo's screen, drawn without a terminal: what it shows, and that it fits."""

import io
from datetime import UTC, datetime, timedelta

import pytest
from rich.console import Console

from agent.screen import Acted, Board, plain, render
from schemas.changes import Scope
from schemas.facts import (
    BusState,
    Delivered,
    DeliveryOutcome,
    Fact,
    Fresh,
    Polled,
    PollOutcome,
    Published,
    Quarantined,
    RouteState,
    Scheduled,
    TokenState,
    VendorAnswered,
)

NOW = datetime(2026, 5, 20, 8, 0, 30, tzinfo=UTC)
BOOKINGS = Scope("octorate", "hotel-roma", "booking")
NOTES = ("receiver 3 webhooks", "metrics  http://127.0.0.1:40000/metrics", "vendorwire --config demo.yaml watch")


def published(number: int = 1, change: str = "cancelled", age: float | None = 2.1) -> Published:
    return Published(scope=BOOKINGS, change=change, key=f"9218{number:04}", event_id=f"e{number}", age=age)


def delivered(
    number: int = 1, outcome: DeliveryOutcome = DeliveryOutcome.DELIVERED, status: str = "204", attempt: int = 1
) -> Delivered:
    return Delivered(
        route="crm",
        outcome=outcome,
        event_id=f"e{number}",
        kind="booking.cancelled",
        attempt=attempt,
        seconds=0.012,
        status=status,
        lag=0.05 if outcome is DeliveryOutcome.DELIVERED else None,
    )


def polled(scope: Scope = BOOKINGS, outcome: PollOutcome = PollOutcome.CHANGED, detail: str = "") -> Polled:
    return Polled(scope=scope, outcome=outcome, seconds=0.1, records=2, detail=detail)


def board_after(*facts: Fact) -> Board:
    board = Board()
    for fact in facts:
        board.observe(fact, NOW)
    return board


def drawn(board: Board, width: int = 80, height: int = 24, notes: tuple[str, ...] = NOTES) -> list[str]:
    console = Console(file=io.StringIO(), width=width, height=height, color_system=None)
    console.print(render(board, notes, NOW, width, height))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue().splitlines()


def line_with(text: str, lines: list[str]) -> str:
    return next(line for line in lines if text in line)


BUSY = (
    BusState(connected=True),
    Scheduled(scope=BOOKINGS, interval=1.0),
    TokenState(vendor="octorate", account="hotel-roma", healthy=True, renewal="renewed"),
    Fresh(scope=BOOKINGS, at=NOW - timedelta(seconds=2), records=12, held=0),
    polled(),
    *(fact for number in range(300) for fact in (published(number), delivered(number))),
    RouteState(route="crm", pending=7, dead=0),
    Acted(text="booking 92180299 cancelled at Sample Palace"),
)


@pytest.mark.parametrize(("width", "height"), [(80, 24), (80, 40), (132, 24), (200, 60)])
@pytest.mark.parametrize("facts", [(), BUSY], ids=["nothing yet", "busy"])
def test_the_screen_fills_the_terminal_and_never_more(width: int, height: int, facts: tuple[Fact, ...]) -> None:
    lines = drawn(board_after(*facts), width, height)
    assert len(lines) == height
    assert max(map(len, lines)) == width


def test_a_larger_terminal_shows_more() -> None:
    board = board_after(*BUSY)
    shown = [sum("booking.cancelled" in line for line in drawn(board, 80, height)) for height in (24, 40)]
    assert shown[0] >= 8
    assert shown[1] == shown[0] + 16


def test_an_account_is_shown_with_its_freshness_interval_records_outcome_and_token() -> None:
    line = line_with("octorate/hotel-roma", drawn(board_after(*BUSY)))
    assert line.strip("│ ").split() == ["octorate/hotel-roma", "booking", "2", "s", "1", "s", "12", "changed", "ok"]


def test_an_account_not_read_yet_says_so() -> None:
    assert "not yet" in line_with("booking", drawn(board_after(Scheduled(scope=BOOKINGS, interval=60))))


def test_a_refused_token_and_a_failing_poll_are_shown() -> None:
    refused = TokenState(vendor="octorate", account="hotel-roma", healthy=False)
    line = line_with("hotel-roma", drawn(board_after(refused, polled(outcome=PollOutcome.UNAUTHORIZED))))
    assert "unauthorized" in line
    assert "refused" in line


def test_accounts_in_trouble_come_first_and_the_rest_is_counted_when_there_is_no_room() -> None:
    scopes = [Scope("octorate", f"hotel-{number:02}", "booking") for number in range(30)]
    board = board_after(*map(polled, scopes), polled(scopes[25], PollOutcome.UNAVAILABLE))
    lines = drawn(board)
    assert len(lines) == 24
    assert "hotel-25" in lines[2]
    shown = sum("hotel-" in line for line in lines)
    assert f"and {30 - shown} more" in "".join(lines)


def test_changes_and_deliveries_are_shown_newest_first() -> None:
    lines = drawn(board_after(published(1), published(2, "confirmed", age=None), delivered(1), delivered(2)))
    first, second = (line.strip("│ ").split() for line in lines[5:7])
    assert first == ["08:00:30", "booking.confirmed", "92180002", "octorate/hotel-roma"]
    assert second == ["08:00:30", "booking.cancelled", "92180001", "octorate/hotel-roma", "age", "2.1", "s"]
    newest = next(line for line in lines if "try 1" in line)
    assert newest.strip("│ ").split() == (
        ["08:00:30", "crm", "booking.cancelled", "92180002", "try", "1", "204", "12", "ms", "lag", "50", "ms"]
    )


def test_the_foot_counts_and_tells_how_to_look_further() -> None:
    retried = delivered(2, DeliveryOutcome.RETRIED, "503")
    lines = drawn(board_after(*BUSY, retried))
    assert lines[-5].split("   ") == (["bus up", "changes 300", "pending 7", "delivered 300", "retried 1"])
    assert lines[-4] == "vendor   booking 92180299 cancelled at Sample Palace"
    assert lines[-3:] == list(NOTES)


def test_what_could_not_be_delivered_is_counted_where_there_is_any() -> None:
    board = board_after(*BUSY, delivered(2, DeliveryOutcome.DEAD, "500", 6))
    assert line_with("bus up", drawn(board)).endswith("retried 0   dead 1")


def test_a_note_too_long_for_a_line_is_folded_and_the_screen_still_fits() -> None:
    lines = drawn(board_after(*BUSY), notes=("x" * 170,))
    assert len(lines) == 24
    assert "".join(lines).count("x") == 170


def test_a_lost_bus_is_seen() -> None:
    board = board_after(BusState(connected=True), BusState(connected=False, detail="the connection was lost"))
    assert any(line.startswith("bus down") for line in drawn(board))


def test_an_older_word_about_freshness_does_not_turn_the_clock_back() -> None:
    board = board_after(
        *(Fresh(scope=BOOKINGS, at=NOW - timedelta(seconds=age), records=12, held=0) for age in (1, 30))
    )
    assert board.rows[BOOKINGS].age(NOW) == 1


@pytest.mark.parametrize(
    ("fact", "line"),
    [
        (
            published(),
            "08:00:30 change    octorate/hotel-roma booking.cancelled 92180001, 2.1 s after the vendor's own time",
        ),
        (
            delivered(),
            "08:00:30 delivery  crm booking.cancelled 92180001 delivered: 204 in 12 ms, attempt 1, 50 ms after its commit",
        ),
        (
            delivered(1, DeliveryOutcome.RETRIED, "connection refused", 2),
            "08:00:30 delivery  crm booking.cancelled 92180001 retried: connection refused in 12 ms, attempt 2",
        ),
        (BusState(connected=True), "08:00:30 bus       connected"),
        (BusState(connected=False, detail="gone"), "08:00:30 bus       lost: gone"),
        (
            polled(outcome=PollOutcome.UNAVAILABLE, detail="503"),
            "08:00:30 poll      octorate/hotel-roma/booking unavailable: 503",
        ),
        (
            Quarantined(scope=BOOKINGS, path="$.status"),
            "08:00:30 poll      octorate/hotel-roma/booking quarantined a record: $.status",
        ),
        (Acted(text="booking 1 made"), "08:00:30 vendor    booking 1 made"),
        (polled(), None),
        (VendorAnswered(vendor="octorate", account="hotel-roma", status="200"), None),
    ],
)
def test_elsewhere_each_piece_of_news_is_a_line(fact: Fact, line: str | None) -> None:
    assert plain(board_after(published(), fact), fact, NOW) == line


def test_what_a_vendor_wrote_cannot_steer_the_terminal() -> None:
    nasty = Published(scope=BOOKINGS, change="created", key="\x1b[2J\x07\n", event_id="e")
    board = board_after(nasty)
    assert (plain(board, nasty, NOW) or "").isprintable()
    assert all(line.isprintable() for line in drawn(board))


def test_a_long_run_keeps_only_what_a_terminal_can_show() -> None:
    board = board_after(*BUSY)
    assert len(board.changes) == len(board.deliveries) == 200
    assert board.totals == "300 changes published, 300 delivered, 0 retried"
