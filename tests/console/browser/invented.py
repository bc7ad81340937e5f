"""An invented installation for the page to show: every state there is, and as many accounts as one likes."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

from agent.console import shapes

RESOURCES = {
    "octorate": ("booking", "property"),
    "ipro": ("availability", "booking", "enquiry", "property"),
    "carbontrack": ("customer", "device", "measurement"),
    "powerpro": ("course", "enrolment", "student"),
}
NAMED = ("hotel-roma", "cottages", "solar-fleet", "college", "lakeside", "old-mill", "harbour", "dairy")
ID = "50a07736-3fb3-5e5f-ae28-a8dd6a51413a"


def ago(seconds: float) -> datetime:
    return datetime.now(UTC) - timedelta(seconds=seconds)


class World:
    """`accounts` of them: the second is refused, the third is late, the fourth paused, all others well."""

    def __init__(self, accounts: int) -> None:
        vendors = list(RESOURCES)
        self.accounts = [self._account(place, vendors[place % 4]) for place in range(accounts)]
        self.accounts.sort(key=lambda each: each.status == "ok" and not each.worst)
        self.pending = 1840

    def _account(self, place: int, vendor: str) -> shapes.AccountView:
        refused, late, paused = place == 1, place == 2, place == 3
        token = shapes.TokenView(
            healthy=not refused,
            in_words="the vendor refuses them" if refused else "accepted, for 41 min",
            expires_at=None if refused else ago(-2460),
        )
        return shapes.AccountView(
            vendor=vendor,
            account=NAMED[place] if place < len(NAMED) else f"account-{place:05}",
            status="degraded" if refused else "ok",
            reason="unauthorized" if refused else None,
            worst="the credentials: the vendor refuses them" if refused else "not read for 9 min" if late else "",
            stale=late,
            paused=shapes.Paused(since=ago(1200), until=ago(-6000), by="session 3f2a") if paused else None,
            token=token,
            resources=[
                self._resource(name, place + at, refused=refused, late=late)
                for at, name in enumerate(RESOURCES[vendor])
            ],
        )

    def _resource(self, name: str, place: int, *, refused: bool, late: bool) -> shapes.ResourceView:
        interval = (60.0, 3600.0, 15.0, 300.0)[place % 4]
        age = interval * 12 if late or refused else interval * ((place * 37) % 100) / 100
        failed = [1 if refused and slot > 18 else 0 for slot in range(30)]
        return shapes.ResourceView(
            resource=name,
            interval=interval,
            last_success=ago(age),
            age=age,
            outcome="unauthorized" if refused else "changed" if place % 3 == 0 else "unchanged",
            said="the vendor refuses the credentials" if refused else "read; nothing has changed",
            next_poll=ago(age - interval if age < interval else -20),
            records=place * 137 % 9000,
            held=14 if late and name == "device" else 0,
            quarantined=2 if place == 5 else 0,
            changes_last_hour=place * 7 % 40,
            spark=[1 + (slot * place) % 3 for slot in range(30)],
            spark_failed=failed,
        )

    def overview(self, offset: int, limit: int, q: str = "", state: str = "") -> shapes.Overview:
        fit = [each for each in self.accounts if q in each.account or q in each.vendor]
        if state == "bad":
            fit = [each for each in fit if each.worst]
        if state == "paused":
            fit = [each for each in fit if each.paused]
        return shapes.Overview(
            at=ago(0),
            as_of=ago(0),
            counts=self._counts(),
            troubles=self._troubles(),
            accounts_total=len(fit),
            accounts=fit[offset : offset + limit],
            routes=self._routes(),
            bus=shapes.BusView(connected=True, server="nats-0", version="2.14.3", streams=self._streams()),
            agents=[_agent("7f3c9a", "agent-0"), _agent("b81e02", "agent-1")],
        )

    def _counts(self) -> shapes.Counts:
        return shapes.Counts(
            accounts=len(self.accounts),
            degraded=1,
            stale=1,
            paused=1,
            routes=3,
            events_last_hour=1284,
            records=48_213,
            held=14,
            quarantined=2,
            pending=self.pending,
            dead=3,
        )

    def _troubles(self) -> list[shapes.Trouble]:
        credentials = "the credentials: the vendor refuses them"
        role = "See that an agent runs with the role poll, and what its log says of this account."
        receiver = "See to the receiver; deliveries go on by themselves once it answers."
        vanished = "Look at the vendor whether they are gone, then approve them."
        return [
            _trouble("bad", "ipro cottages", credentials, "Check the credentials.", "#/accounts/cottages"),
            _trouble("bad", "solar-fleet device", "not read for 9 min", role, "#/accounts/solar-fleet"),
            _trouble("warn", "route crm", "its receiver fails: answered 503", receiver, "#/routes/crm"),
            _trouble("warn", "solar-fleet device", "14 deletes held", vanished, "#/deletes"),
        ]

    def _routes(self) -> list[shapes.RouteView]:
        return [
            shapes.RouteView(
                route="crm",
                to="crm.example.com",
                pending=1840,
                in_flight=9,
                circuit="open",
                dead=3,
                lag_p50=41.0,
                lag_p99=310.0,
                success_rate=0.62,
                since=ago(340),
                last_success=ago(350),
                last_error="answered 503",
            ),
            shapes.RouteView(
                route="energy",
                to="energy.example.org",
                pending=0,
                in_flight=1,
                circuit="closed",
                dead=0,
                lag_p50=0.006,
                lag_p99=0.041,
                success_rate=1.0,
                last_success=ago(2),
            ),
            shapes.RouteView(
                route="ops",
                to="ops.alerts",
                pending=0,
                in_flight=0,
                circuit="closed",
                dead=0,
                lag_p50=0.002,
                lag_p99=0.009,
                success_rate=1.0,
                last_success=ago(700),
            ),
        ]

    def _streams(self) -> list[shapes.StreamView]:
        sizes = {
            "VENDORWIRE": 734_003_200,
            "VENDORWIRE_POLLS": 41_200,
            "VENDORWIRE_DEAD": 9_700,
            "VENDORWIRE_HISTORY": 2_400_000,
        }
        return [
            shapes.StreamView(
                stream=name, bytes=size, messages=size // 620, limit=1_000_000_000 if name == "VENDORWIRE" else None
            )
            for name, size in sizes.items()
        ]

    def history(self, of: str) -> shapes.HistoryView:
        def wave(base: int, every: int) -> list[float | None]:
            return [float(base + (slot * slot // 7) % every) for slot in range(360)]

        values: dict[str, list[tuple[str, Sequence[float | None]]]] = {
            "polls": [("polls", wave(22, 9)), ("failed", [0.0] * 300 + [4.0] * 60)],
            "changes": [("changes", wave(3, 31))],
            "deliveries": [
                ("delivered", wave(4, 25)),
                ("retried", [0.0] * 290 + [6.0] * 70),
                ("dead", [0.0] * 350 + [1.0] * 10),
            ],
            "lag": [
                ("p50", [0.006] * 300 + [30.0 + slot for slot in range(60)]),
                ("p99", [0.04] * 300 + [80.0 + 4 * slot for slot in range(60)]),
            ],
            "requests": [("2xx", wave(30, 12)), ("429", [0.0] * 330 + [3.0] * 30)],
        }
        series = [shapes.Series(name, list(numbers)) for name, numbers in values[of]]
        return shapes.HistoryView(slot=60, from_=ago(6 * 3600), series=series)

    def events(self) -> shapes.Events:
        return shapes.Events([change(seq) for seq in range(115, 103, -1)])

    def story(self) -> shapes.Story:
        tries = [
            shapes.Tried(
                attempt=number,
                outcome="dead" if number == 3 else "retried",
                status="503",
                seconds=0.006,
                ended_at=ago(60 - number),
                next_at=None if number == 3 else ago(59 - number),
                replay=False,
            )
            for number in (1, 2, 3)
        ]
        fine = shapes.Tried(
            attempt=1, outcome="delivered", status="200", seconds=0.003, ended_at=ago(61), next_at=None, replay=False
        )
        buried = shapes.Buried(id="17", reason="answered 503", status="503", attempts=3, failed_at=ago(57))
        return shapes.Story(
            id=ID,
            sequence=106,
            published_at=ago(62),
            event=change(106).event,
            routes=[
                shapes.Routed(
                    route="crm", state="dead", detail="a dead letter: answered 503", attempts=tries, dead=buried
                ),
                shapes.Routed(route="audit", state="delivered", detail="delivered", attempts=[fine], dead=None),
                shapes.Routed(
                    route="pms", state="unmatched", detail="the route does not take this event", attempts=[], dead=None
                ),
            ],
        )

    def letters(self) -> shapes.Letters:
        return shapes.Letters(3, [self._letter(str(number)) for number in (19, 18, 17)])

    def _letter(self, number: str) -> shapes.Letter:
        return shapes.Letter(**self._of_letter(number))

    def _of_letter(self, number: str) -> dict[str, Any]:
        head = shapes.Summary(
            type="booking.cancelled", vendor="octorate", account="hotel-roma", subject="92180839", time=ago(300)
        )
        return {
            "id": number,
            "event_id": ID,
            "route": "crm",
            "at": ago(57),
            "attempts": 10,
            "status": "503",
            "reason": "answered 503",
            "record": "octorate/hotel-roma/booking/92180839",
            "event": head,
        }

    def letter(self) -> shapes.WholeLetter:
        return shapes.WholeLetter(**self._of_letter("17"), body=change(106).event)

    def deletes(self) -> shapes.Deletes:
        keys = [f"87{number:08}" for number in range(14)]
        held = shapes.Held(
            vendor="carbontrack", account="solar-fleet", resource="device", count=14, keys=keys, since=ago(1900)
        )
        return shapes.Deletes([held])

    def quarantine(self) -> shapes.Quarantine:
        path = "$.arrival: invalid date"
        return shapes.Quarantine(
            [
                shapes.UnreadView(vendor="ipro", account="cottages", resource="booking", key=key, path=path, at=ago(90))
                for key in ("7781", "7790")
            ]
        )

    def audit(self) -> shapes.Acts:
        return shapes.Acts(
            [
                shapes.Act(
                    at=ago(60),
                    who="session 3f2a",
                    from_="127.0.0.1",
                    act="pause",
                    target="college",
                    outcome="done",
                    detail="paused for 2h",
                ),
                shapes.Act(
                    at=ago(4000),
                    who="anna@ops-1",
                    from_="ops-1",
                    act="dead replay",
                    target="crm",
                    outcome="done",
                    detail="3 handed over",
                ),
            ]
        )


def change(seq: int) -> shapes.EventView:
    """A booking that was cancelled, with as many signs of trouble as a text can hold."""
    kind = ("cancelled", "modified", "created")[seq % 3]
    changes = {
        "cancelled": {
            "status": {"before": "confirmed", "after": "cancelled"},
            "total": {"before": {"amount": "1204.63", "currency": "GBP"}},
        },
        "modified": {
            "guest": {"before": {"name": "•••"}, "after": {"name": "•••"}},
            "notes": {"before": "late", "after": "<img src=x onerror=alert(1)>"},
        },
    }.get(kind)
    record = {
        "id": str(92180000 + seq),
        "status": "cancelled",
        "arrival": "2026-12-04",
        "guest": {"name": "•••", "email": "•••"},
        "notes": "<b>bold?</b>",
    }
    event = {
        "specversion": "1.0",
        "id": ID if seq == 106 else f"{ID[:-4]}{seq:04}",
        "source": "/octorate/hotel-roma",
        "type": f"booking.{kind}",
        "subject": record["id"],
        "time": ago(600 - seq).isoformat(),
        "observedat": ago(599.2 - seq).isoformat(),
        "vendor": "octorate",
        "account": "hotel-roma",
        "version": 4,
        "pollid": "ee0416c0b4fa5071",
        "data": {"record": record, **({"changes": changes} if changes else {})},
    }
    return shapes.EventView(seq, event)


def _agent(name: str, host: str) -> shapes.AgentView:
    return shapes.AgentView(
        agent=name, host=host, version="0.1.0", roles=["poll", "route"], since=ago(90_000), seen=ago(2)
    )


def _trouble(severity: Literal["bad", "warn"], where: str, what: str, do: str, link: str) -> shapes.Trouble:
    return shapes.Trouble(severity=severity, where=where, what=what, do=do, link=link)
