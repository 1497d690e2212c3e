"""Where a server listens: at one address, or on IPv6 and IPv4 as far as the machine has them."""

import socket
from collections.abc import Callable

OpenSocket = Callable[[socket.AddressFamily, socket.SocketKind], socket.socket]


def listen_addresses(
    port: int, host: str | None = None, open_socket: OpenSocket = socket.socket
) -> list[str]:
    """Name `host`, or all addresses of this machine, as gunicorn's `bind` takes them."""
    if host is not None:
        return [f"[{host}]:{port}" if ":" in host else f"{host}:{port}"]
    try:
        with open_socket(socket.AF_INET6, socket.SOCK_STREAM) as probe:
            ipv6_only = probe.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY)
            probe.bind(("::", 0))
    except OSError:  # no IPv6 here, or none that is switched on
        return [f"0.0.0.0:{port}"]
    # A socket of IPv6 takes IPv4's connections too, where the system's default lets it.
    return [f"[::]:{port}", f"0.0.0.0:{port}"] if ipv6_only else [f"[::]:{port}"]
