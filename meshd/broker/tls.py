"""TLS for a connection to Redis, by the members of a rediss:// URL. Only who needs it imports it:
the library behind it is large.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Mapping

_VERIFY = {
    "none": ssl.CERT_NONE,
    "optional": ssl.CERT_OPTIONAL,
    "required": ssl.CERT_REQUIRED,
}


class TlsSocket(ssl.SSLSocket):
    """A socket that says in the words of a plain one that nothing has come."""

    def recv(self, buflen: int = 1024, flags: int = 0) -> bytes:
        try:
            return super().recv(buflen, flags)
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError) as error:
            raise BlockingIOError from error


def secured(plain: socket.socket, host: str, members: Mapping[str, str]) -> socket.socket:
    """The socket with TLS on top, after its handshake. Raises OSError, also for files that cannot
    be read and for a server that shows the wrong certificate.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.sslsocket_class = TlsSocket
    verify = _VERIFY[members.get("ssl_cert_reqs", "required")]
    context.check_hostname = verify is not ssl.CERT_NONE
    context.verify_mode = verify
    if verify is not ssl.CERT_NONE:
        context.load_default_certs()
    if "ssl_ca_certs" in members or "ssl_ca_path" in members:
        context.load_verify_locations(members.get("ssl_ca_certs"), members.get("ssl_ca_path"))
    if "ssl_certfile" in members:
        context.load_cert_chain(members["ssl_certfile"], members.get("ssl_keyfile"))
    return context.wrap_socket(plain, server_hostname=host)
