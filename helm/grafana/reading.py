"""What is read from vendors: how fresh it is, polls, changes, requests, tokens."""

from helm.grafana.panels import BAD, GOOD, WATCH, Panel, bars, columns, graph
from helm.grafana.queries import ACCOUNTS, AGE, FAILED, HEALTHY, HELD, INTERVAL, OURS, RECORDS, hourly, quantiles, rate


def freshness() -> list[Panel]:
    return [
        columns(
            "Every resource, the stalest first",
            "How long ago each was read to the end, also in its own intervals: at 3 and a minute an alert fires. No age: never.",
            (f"{AGE} / {INTERVAL}", "Intervals"),
            (AGE, "Age"),
            (INTERVAL, "Interval"),
            (RECORDS, "Records"),
            (HELD, "Deletes held"),
            units={"Intervals": "none", "Age": "s", "Interval": "s"},
            steps={"Intervals": ((None, GOOD), (3, WATCH), (4, BAD)), "Deletes held": ((None, GOOD), (1, BAD))},
        ),
        graph(
            "The twenty stalest, in intervals",
            "Age against interval. Between 0 and 1 is well. Many accounts of one vendor rising together: the vendor, or the way "
            "to it. All of all vendors: the agents or the bus.",
            "none",
            (f"topk(20, {AGE} / {INTERVAL})", "{{account}} {{resource}}"),
            span=12,
            least=0,
            steps=((None, GOOD), (3, BAD)),
        ),
        graph(
            "Records stored",
            "What the snapshots hold. A sudden drop is a vendor that forgets; deletes of many records at once are held.",
            "short",
            (f"sum by (vendor, resource) ({RECORDS})", "{{vendor}} {{resource}}"),
            span=12,
            least=0,
        ),
    ]


def polls() -> list[Panel]:
    return [
        graph(
            "Polls by outcome",
            "Changed and unchanged are well. A conflict is one of two agents that polled the same thing, and costs nothing.",
            "cpm",
            (f"60 * {rate('polls', ACCOUNTS, 'outcome')}", "{{outcome}}"),
            stacked=True,
        ),
        graph(
            "Polls that failed, in the hour before",
            "Which account, and why. Unavailable: the vendor is down. Unauthorized: its credentials. Forbidden: a grant lacks. "
            "Throttled: its quota. Unreadable: a whole reply.",
            "none",
            (f"{hourly('polls', f'{ACCOUNTS}, {FAILED}', 'account, outcome')} > 0", "{{account}} {{outcome}}"),
            least=0,
        ),
        graph(
            "How long polls take",
            "A vendor that grows slow shows here first. Beyond the interval of a resource, raise `every`.",
            "s",
            *quantiles("poll_duration", ACCOUNTS, "vendor"),
            least=0,
        ),
    ]


def changes() -> list[Panel]:
    return [
        graph(
            "Changes in the hour before",
            "Events told. None from a vendor that usually has some, while its polls succeed: look at what the vendor shows.",
            "none",
            (hourly("events_published", ACCOUNTS, "vendor, resource"), "{{vendor}} {{resource}}"),
            least=0,
            stacked=True,
        ),
        graph(
            "From the vendor's change to our event",
            "By the vendor's own time, where it tells one. It is about an interval; `every` makes it shorter, within the quota.",
            "s",
            *quantiles("event_age", OURS, "vendor"),
            least=0,
        ),
        graph(
            "Records that could not be read, in the hour before",
            "Each keeps the state it had. The log of the agents names record and field; when all of a resource come, the vendor "
            "has changed its format.",
            "none",
            (f"{hourly('records_quarantined', ACCOUNTS, 'account, resource')} > 0", "{{account}} {{resource}}"),
            least=0,
        ),
    ]


def vendors() -> list[Panel]:
    return [
        graph(
            "Requests by status",
            "`error` is no answer at all: a time-out, a name, a connection. 401 once in a while is a token that is renewed.",
            "reqps",
            (rate("vendor_requests", ACCOUNTS, "status"), "{{status}}"),
            stacked=True,
        ),
        graph(
            "Requests left, the twenty lowest",
            "What is left of each account's pace. Near 0 polls wait: raise `every`, or `budget` where the vendor allows more.",
            "none",
            (f"bottomk(20, min by (account) (vendorwire_vendor_budget_remaining{{{ACCOUNTS}}}))", "{{account}}"),
            least=0,
        ),
        graph(
            "Polls put off by a quota, in the hour before",
            "The vendor throttles us. Raise `every`, or lower `budget`; see who else uses these credentials.",
            "none",
            (hourly("polls", f'{ACCOUNTS}, outcome="throttled"', "account"), "{{account}}"),
            least=0,
        ),
    ]


def tokens() -> list[Panel]:
    expires = f"max by (account) (vendorwire_token_expires_timestamp_seconds{{{ACCOUNTS}}})"
    return [
        graph(
            "Life left of tokens, the twenty shortest",
            "A saw: each is renewed at about four fifths of its life. One that goes on falling is not renewed: see its renewals.",
            "dtdurations",
            (f"bottomk(20, {expires} - time())", "{{account}}"),
            steps=((None, GOOD), (0, BAD)),
        ),
        bars(
            "Credentials",
            "Refused: correct them, or have the user consent again with `vendorwire authorize`. It goes on within a minute.",
            {0: ("refused", BAD), 1: ("accepted", GOOD)},
            (HEALTHY, "{{account}}"),
        ),
        graph(
            "Renewals in the hour before",
            "Refused: the vendor does not want these credentials. Failed: it could not be asked, and is asked again.",
            "none",
            (hourly("token_renewals", ACCOUNTS, "outcome"), "{{outcome}}"),
            least=0,
            stacked=True,
        ),
    ]
