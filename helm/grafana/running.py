"""What is delivered, and what it all runs on: routes, bus and streams, agents."""

from helm.grafana.panels import BAD, GOOD, WATCH, Panel, bars, graph
from helm.grafana.queries import (
    ACCOUNTS,
    AGENTS,
    DEAD,
    FILLED,
    IN_FLIGHT,
    OURS,
    PENDING,
    RATE,
    RESTING,
    ROUTES,
    STORAGE,
    STORED,
    hourly,
    process,
    quantiles,
    rate,
)


def routes() -> list[Panel]:
    delivered = rate("deliveries", f'{ROUTES}, outcome="delivered"', "route")
    return [
        graph(
            "Events waiting",
            "In flight is what is being delivered or waits for its retry. A line that only grows has a receiver that fails "
            "or is too slow: see its share delivered, and how long attempts take.",
            "short",
            (PENDING, "{{route}}"),
            (IN_FLIGHT, "{{route}} in flight"),
            least=0,
        ),
        graph(
            "From commit to delivery",
            "What a subscriber feels. After a receiver was down it stays high until what waited is delivered.",
            "s",
            *quantiles("delivery_lag", ROUTES, "route"),
            least=0,
        ),
        graph(
            "Share of attempts delivered",
            "No line: nothing was tried. `vendorwire routes` tells the last error of a route, `vendorwire explain` each attempt.",
            "percentunit",
            (f"{delivered} / {rate('deliveries', ROUTES, 'route')}", "{{route}}"),
            least=0,
            most=1,
        ),
        graph(
            "Attempts by outcome",
            "Retried: it comes again. Dead: tried to the end. Refused: the receiver is gone for good (410), the route stops.",
            "reqps",
            (rate("deliveries", ROUTES, "outcome"), "{{outcome}}"),
            stacked=True,
        ),
        graph(
            "How long attempts take",
            "The receivers' time to answer. Near the route's `timeout` they fail: have the receiver answer first, work later.",
            "s",
            *quantiles("delivery_duration", ROUTES, "route"),
            least=0,
        ),
        graph(
            "Dead letters",
            "They stay until somebody replays or drops them: `vendorwire dead list`.",
            "short",
            (DEAD, "{{route}}"),
            least=0,
        ),
        bars(
            "Circuits",
            "At rest: the receiver failed ten times in a row, or is gone. One event is tried now and then, and the route goes on "
            "by itself; `vendorwire resume` does not wait for it.",
            {0: ("closed", GOOD), 1: ("at rest or stopped", BAD)},
            (RESTING, "{{route}}"),
            span=24,
            height=5,
        ),
    ]


def bus() -> list[Panel]:
    remade = hourly("streams_remade", OURS, "stream")
    replanned = hourly("polls_replanned", ACCOUNTS, "account")
    return [
        bars(
            "Connection of each agent",
            "One agent lost: its node's network. All: the servers. Nothing is lost meanwhile.",
            {0: ("lost", BAD), 1: ("connected", GOOD)},
            (f"vendorwire_bus_connected{{{OURS}}}", "{{instance}}"),
            span=6,
        ),
        graph(
            "Streams against their limits",
            "A stream that is full refuses. The ledger: raise `bus.max_bytes`, or shorten `keep_events`.",
            "percentunit",
            (FILLED, "{{stream}}"),
            (STORAGE, "all the account may store"),
            span=6,
            least=0,
            steps=((None, GOOD), (0.8, WATCH), (0.95, BAD)),
        ),
        graph(
            "Streams",
            "What they take on disk, of one replica. Plan disks by how the ledger grows within `keep_events`.",
            "bytes",
            (STORED, "{{stream}}"),
            span=6,
            least=0,
        ),
        graph(
            "Put right, in the hour before",
            "A stream that was gone was made anew, empty: restore it from a backup where its events matter. A poll that was lost "
            "was planned anew: nothing to do, unless it goes on.",
            "none",
            (f"{remade} > 0", "remade {{stream}}"),
            (replanned, "replanned {{account}}"),
            span=6,
            least=0,
        ),
    ]


def agents() -> list[Panel]:
    return [
        graph(
            "Memory",
            "Some 100 MB, and 70 bytes for each record polled there. One that only grows: report it with the log.",
            "bytes",
            (process(f"process_resident_memory_bytes{{{OURS}}}"), "{{instance}}"),
            span=6,
            least=0,
        ),
        graph(
            "Processor",
            "Cores in use. At the limit of its container an agent grows late: give it more, or run more agents.",
            "none",
            (process(f"rate(process_cpu_seconds_total{{{OURS}}}[{RATE}])"), "{{instance}}"),
            span=6,
            least=0,
        ),
        graph(
            "Open files",
            "Connections, above all. An agent at its limit cannot open another.",
            "percentunit",
            (process(f"process_open_fds{{{OURS}}} / process_max_fds{{{OURS}}}"), "{{instance}}"),
            span=6,
            least=0,
            most=1,
        ),
        graph(
            "Agents by version",
            "Two versions for longer than a rollout: it is stuck. They may work side by side.",
            "none",
            (f"count by (version) ({AGENTS})", "{{version}}"),
            span=6,
            least=0,
            stacked=True,
        ),
    ]
