"""Takes the server's port. The supervising process holds it, so that a restart of the server loses no connection."""

import errno
import socket

from db.environment import SetupError

BACKLOG = 2048


class PortError(SetupError):
    """The address cannot be listened on. The message says why and what to set instead."""


def listen(host: str, port: int) -> socket.socket:
    """Listen on the address; port 0 takes any free one. Raises PortError."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except socket.gaierror as error:
        raise PortError(
            f"SERVER_HOST={host!r} is no name or address that this machine knows ({error.strerror})."
        ) from None
    listener = socket.socket(family, kind, protocol)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        raise PortError(_explain(host, port, error)) from None
    return listener


def url_of(listener: socket.socket, host: str) -> str:
    """The address to open in a browser: one that answers, also where every address is listened on."""
    port = listener.getsockname()[1]
    if host in {"0.0.0.0", "::", ""}:  # noqa: S104 - compared, not bound
        host = "localhost"
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _explain(host: str, port: int, error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return (
            f"Port {port} on {host} is taken by another program. Set SERVER_PORT to another, or to 0 for any free one."
        )
    if error.errno in {errno.EACCES, errno.EPERM}:
        return f"This user may not listen on port {port}. Set SERVER_PORT to 1024 or more, or to 0 for any free one."
    if error.errno == errno.EADDRNOTAVAIL:
        return (
            f"SERVER_HOST={host!r} is no address of this machine. Set it to 127.0.0.1, or to 0.0.0.0 for all of them."
        )
    return f"Cannot listen on {host}:{port}: {error.strerror}."
