"""Is this server fit for us, and what does a failed attempt to connect mean? Pure."""

import os
import ssl

from nats import errors

from events.jetstream.errors import ApiError, BusError, BusRefused, BusUnavailable

_LEAST_PAYLOAD = 1024 * 1024  # nats-server's default; an event of 512 KiB beside its snapshot needs room
_NO_JETSTREAM = {10035, 10039, 10076}  # no such account, not enabled for the account, not enabled


def refuse_unfit(version: tuple[int, int, int], max_payload: int, where: str) -> None:
    """Raise BusRefused for a server too old for atomic batches and message schedules without their known faults."""
    if version < (2, 12, 12) or (2, 13, 0) <= version < (2, 14, 3):
        number = ".".join(map(str, version))
        raise BusRefused(
            f"the NATS server at {where} is version {number}: install 2.14.3 or newer (or, within 2.12, 2.12.12 or newer)"
        )
    if max_payload < _LEAST_PAYLOAD:
        raise BusRefused(
            f"the NATS server at {where} takes only {max_payload} bytes: set its max_payload to 1MB or more"
        )


def without_jetstream(where: str) -> BusRefused:
    return BusRefused(
        f"the NATS server at {where} has no JetStream for this account: "
        "add a jetstream block to the server's configuration, or enable JetStream for the account"
    )


def explain_api(error: ApiError, where: str) -> BusError:
    """What a refused `$JS.API.INFO` means."""
    if error.err_code in _NO_JETSTREAM:
        return without_jetstream(where)
    return BusUnavailable(f"JetStream at {where} is not ready: {error.description}")


def explain(error: Exception, where: str) -> BusError:
    """What an error of nats-py's `connect` means: BusRefused where no retry helps, else BusUnavailable."""
    text = str(error).lower()
    if isinstance(error, errors.AuthorizationError) or "authorization violation" in text or "authentication" in text:
        return BusRefused(
            f"NATS at {where} refused the credentials: "
            "check bus.credentials, bus.nkey, bus.token, or bus.user and bus.password"
        )
    if isinstance(error, ssl.SSLCertVerificationError):
        return BusRefused(
            f"the certificate of NATS at {where} is not trusted ({error.verify_message}): check bus.tls.ca"
        )
    if isinstance(error, errors.SecureConnWantedError):
        return BusRefused(f"NATS at {where} offers no TLS: enable it there, or leave out bus.tls and write nats://")
    if "connect url" in text:
        return BusRefused(f"bus.url: {where} is not an address of a NATS server")
    return BusUnavailable(f"NATS at {where} cannot be reached: {_short(error)}")


def _short(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return "it does not answer"
    if isinstance(error, OSError):
        named = error.errno is not None and error.errno > 0  # a failed name look-up has numbers of its own
        return (os.strerror(error.errno or 0) if named else error.strerror) or type(error).__name__
    return str(error).removeprefix("nats: ") or type(error).__name__
