"""rediss://: a real server with certificates, the client's own among them, and what goes wrong."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from meshd.broker.connect import connect
from meshd.config import RedisSettings
from meshd.errors import BrokerUnavailable
from tests.processes.conftest import NASTY
from tests.support.daemon import Daemon
from tests.support.ports import free_port
from tests.support.redis_server import RedisServer
from tests.support.site import Site


class Authority:
    """A CA in a folder of its own, and what it has signed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()
        self.certificate = folder / "ca.crt"
        _openssl(
            "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=meshd CA",
            "-keyout", str(folder / "ca.key"), "-out", str(self.certificate),
        )  # fmt: skip

    def sign(self, name: str) -> tuple[Path, Path]:
        """The certificate for 127.0.0.1 and the key of `name`."""
        key, request, certificate = (self.folder / f"{name}.{end}" for end in ("key", "csr", "crt"))
        extension = self.folder / f"{name}.ext"
        extension.write_text("subjectAltName=IP:127.0.0.1\n")
        _openssl(
            "req", "-newkey", "rsa:2048", "-nodes", "-subj", f"/CN={name}",
            "-keyout", str(key), "-out", str(request),
        )  # fmt: skip
        _openssl(
            "x509", "-req", "-days", "2", "-in", str(request), "-CA", str(self.certificate),
            "-CAkey", str(self.folder / "ca.key"), "-CAcreateserial", "-extfile", str(extension),
            "-out", str(certificate),
        )  # fmt: skip
        return certificate, key


class Encrypted:
    """A server that speaks TLS with those only who show a certificate of its CA."""

    def __init__(self, authority: Authority, server: RedisServer, port: int) -> None:
        self.authority = authority
        self.server = server
        self.port = port

    def url(self, host: str = "127.0.0.1", **members: Path | str) -> str:
        query = "&".join(f"ssl_{name}={value}" for name, value in members.items())
        return f"rediss://{host}:{self.port}/0?{query}"

    def url_of_client(self) -> str:
        certificate, key = self.authority.sign("client")
        ca = self.authority.certificate
        return self.url(ca_certs=ca, certfile=certificate, keyfile=key)


@pytest.fixture
def encrypted(tmp_path: Path) -> Iterator[Encrypted]:
    authority = Authority(tmp_path / "authority")
    certificate, key = authority.sign("server")
    port = free_port()
    options = {
        "tls-cert-file": str(certificate), "tls-key-file": str(key),
        "tls-ca-cert-file": str(authority.certificate), "tls-auth-clients": "yes",
    }  # fmt: skip
    with RedisServer((), **{"tls-port": port}, **options) as server:
        yield Encrypted(authority, server, port)


def test_task_is_run_by_a_worker_that_knows_its_redis_by_tls_alone(
    encrypted: Encrypted, tmp_path: Path, spawn: Callable[..., Daemon]
) -> None:
    url = encrypted.url_of_client()
    site = Site(tmp_path, encrypted.server.url, spawn, NASTY)
    worker = site.worker(REDIS_URL=url)
    supervisor = spawn("supervisor", env={**site.environment, "REDIS_URL": url})
    supervisor.wait_log(r"\bready\b")
    submit = spawn("submit", "echo", '{"value": 7}', env={**site.environment, "REDIS_URL": url})
    assert submit.wait(timeout=20) == 0, submit.log
    assert site.settled(submit.stdout.strip())["result"] == 7
    assert (worker.stop(), supervisor.stop()) == (0, 0)
    site.redis.close()


def test_server_of_another_authority_is_not_trusted(encrypted: Encrypted, tmp_path: Path) -> None:
    other = Authority(tmp_path / "other")
    certificate, key = encrypted.authority.sign("client")
    url = encrypted.url(ca_certs=other.certificate, certfile=certificate, keyfile=key)
    assert "certificate verify failed" in refusal(url)


def test_certificate_of_another_host_is_not_trusted_unless_nothing_is_verified(
    encrypted: Encrypted,
) -> None:
    certificate, key = encrypted.authority.sign("client")
    own = {"certfile": certificate, "keyfile": key}
    ca = encrypted.authority.certificate
    assert "certificate verify failed" in refusal(encrypted.url("localhost", ca_certs=ca, **own))
    url = encrypted.url("localhost", cert_reqs="none", **own)
    link = connect(RedisSettings(url=url))
    assert link.call("PING") == b"PONG"
    link.close()


def test_client_without_a_certificate_is_told_that_it_needs_one(encrypted: Encrypted) -> None:
    said = refusal(encrypted.url(ca_certs=encrypted.authority.certificate))
    assert "the server may want a client certificate (ssl_certfile, ssl_keyfile)" in said


def test_nobody_is_told_of_certificates_where_nobody_listens() -> None:
    assert "certificate" not in refusal(f"rediss://127.0.0.1:{free_port()}/0")


def test_client_with_a_certificate_of_another_authority_is_refused(
    encrypted: Encrypted, tmp_path: Path
) -> None:
    certificate, key = Authority(tmp_path / "other").sign("client")
    ca = encrypted.authority.certificate
    said = refusal(encrypted.url(ca_certs=ca, certfile=certificate, keyfile=key))
    assert "the server may not accept the client certificate" in said


def test_authority_whose_file_is_missing_is_a_clear_error(
    encrypted: Encrypted, tmp_path: Path
) -> None:
    said = refusal(encrypted.url(ca_certs=tmp_path / "none.pem"))
    assert "No such file" in said


def refusal(url: str) -> str:
    with pytest.raises(BrokerUnavailable) as caught:
        connect(RedisSettings(url=url))
    return str(caught.value)


def _openssl(*arguments: str) -> None:
    subprocess.run(["openssl", *arguments], check=True, capture_output=True)
