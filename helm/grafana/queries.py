"""The words of the dashboard's queries.

Every agent tells how fresh each resource is, how each account's token and each route stands: of these the worst that any agent
tells is asked for, and of times the latest. What only one agent does, such as a poll, is counted there: of these the sum.
"""

RATE = "$__rate_interval"
OURS = 'job="$job"'
ACCOUNTS = f'{OURS}, account=~"$account"'
ROUTES = f'{OURS}, route=~"$route"'
RESOURCES = f'{ACCOUNTS}, resource!="account"'  # nobody polls that one: it holds how an account stands
FAILED = 'outcome=~"throttled|unavailable|unauthorized|forbidden|unreadable"'
ALERTS = 'alertname=~"Vendorwire.+", job=~"$job|", account=~"$account|", route=~"$route|"'
RESOURCE = "vendor, account, resource"


def shared(function: str, by: str, metric: str, only: str) -> str:
    """What each agent tells of what all of them know; one that has lost the bus knows nothing new."""
    here = f"vendorwire_{metric}{{{only}}} and on (job, instance) vendorwire_bus_connected{{{OURS}}} == 1"
    return f"{function} by ({by}) ({here})"


FRESH = f"max by ({RESOURCE}) (vendorwire_poll_last_success_timestamp_seconds{{{RESOURCES}}})"
INTERVAL = f"max by ({RESOURCE}) (vendorwire_poll_interval_seconds{{{ACCOUNTS}}})"
AGE = f"(time() - ({FRESH} > 0))"  # 0: never read
HELD = shared("max", RESOURCE, "deletes_held", ACCOUNTS)
RECORDS = shared("max", RESOURCE, "snapshot_records", RESOURCES)
HEALTHY = shared("min", "vendor, account", "token_healthy", ACCOUNTS)
PENDING = shared("max", "route", "route_pending", ROUTES)
IN_FLIGHT = shared("max", "route", "route_in_flight", ROUTES)
RESTING = shared("max", "route", "route_circuit_open", ROUTES)
DEAD = shared("max", "route", "dead_letters", ROUTES)
STORED = f"max by (stream) (vendorwire_stream_bytes{{{OURS}}})"
# The record of attempts is always full: it forgets its oldest.
FILLED = (
    f'max by (stream) (vendorwire_stream_bytes{{{OURS}, stream!="attempts"}})'
    f" / max by (stream) (vendorwire_stream_limit_bytes{{{OURS}}})"
)
STORAGE = f"max(vendorwire_bus_storage_bytes{{{OURS}}}) / max(vendorwire_bus_storage_limit_bytes{{{OURS}}})"
AGENTS = f"vendorwire_build_info{{{OURS}}}"


def rate(metric: str, only: str, by: str) -> str:
    """How often a second."""
    return f"sum by ({by}) (rate(vendorwire_{metric}_total{{{only}}}[{RATE}]))"


def hourly(metric: str, only: str, by: str) -> str:
    """How many in the hour before."""
    return f"sum by ({by}) (increase(vendorwire_{metric}_total{{{only}}}[1h]))"


def quantiles(metric: str, only: str, by: str) -> list[tuple[str, str]]:
    """What half of all, and all but one of a hundred, stay below."""
    buckets = f"sum by ({by}, le) (rate(vendorwire_{metric}_seconds_bucket{{{only}}}[{RATE}]))"
    return [(f"histogram_quantile({q / 100:g}, {buckets})", f"p{q} {{{{{by}}}}}") for q in (50, 99)]


def process(metric: str) -> str:
    """What an agent's process tells, and no other process of the same job."""
    return f"{metric} and on (job, instance) {AGENTS}"
