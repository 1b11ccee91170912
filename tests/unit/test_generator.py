"""The generator of wants and drop-ins, run over every kind of nonsense."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

GENERATOR = Path(__file__).parents[2] / "packaging/systemd/meshd-generator"
TEMPLATE = "/usr/lib/systemd/system/meshd-worker@.service"
# dash is what /bin/sh is on Debian; bash is it elsewhere.
SHELLS = [shell for shell in ("sh", "dash", "bash") if shutil.which(shell)]
A_LONG_LINE = b"a " + b"9" * 100_000


class Generated:
    """What one run of the generator made of a folder /etc/meshd."""

    def __init__(self, out: Path, said: list[str], status: int, errors: str) -> None:
        self.out = out
        self.said = said
        self.status = status
        self.errors = errors

    @property
    def wanted(self) -> set[str]:
        links = (self.out / "meshd.target.wants").glob("meshd-worker@*")
        return {link.name.removeprefix("meshd-worker@").removesuffix(".service") for link in links}

    def dropin(self, instance: str) -> Path | None:
        link = self.out / f"meshd-worker@{instance}.service.d/50-kind.conf"
        return link.readlink() if link.is_symlink() else None


Generate = Callable[..., Generated]


@pytest.fixture
def etc(tmp_path: Path) -> Path:
    folder = tmp_path / "etc"
    folder.mkdir()
    return folder


@pytest.fixture(params=SHELLS)
def generate(request: pytest.FixtureRequest, tmp_path: Path, etc: Path) -> Generate:
    def run(workers: bytes | None = None, *prefix: str, kmsg: Path | None = None) -> Generated:
        if workers is not None:
            (etc / "workers.conf").write_bytes(workers)
        out, log = tmp_path / "out", kmsg or tmp_path / "kmsg"
        out.mkdir(exist_ok=True)
        done = subprocess.run(
            [*prefix, request.param, GENERATOR, out, tmp_path / "early", tmp_path / "late"],
            env={"PATH": os.environ["PATH"], "MESHD_ETC": str(etc), "MESHD_KMSG": str(log)},
            capture_output=True, text=True, timeout=30, check=False,
        )  # fmt: skip
        said = log.read_text(errors="strict").splitlines() if log.is_file() else []
        return Generated(out, said, done.returncode, done.stdout + done.stderr)

    return run


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        (b"", set()),
        (b"\n\n   \n\t\n", set()),
        (b"# a 2\n", set()),
        (b"a 2\nb 1\n", {"a1", "a2", "b1"}),
        (b"a 2", {"a1", "a2"}),
        (b"  a\t2   # two of them\n", {"a1", "a2"}),
        (b"a 0\n", set()),
        (b"a 08\n", {f"a{n}" for n in range(1, 9)}),
        (b"a 1\na 3\na 2\n", {"a1", "a2", "a3"}),
        (b"a 2\n" * 10_000, {"a1", "a2"}),
        (b"verylongkind 1\n", {"verylongkind1"}),
    ],
)
def test_right_line_becomes_wants_without_a_word(
    generate: Generate, text: bytes, wanted: set[str]
) -> None:
    made = generate(text)
    assert (made.status, made.said, made.errors) == (0, [], "")
    assert made.wanted == wanted


@pytest.mark.parametrize(
    "line",
    [
        b"A 2", b"../x 1", b"a1 2", b"a-b 2", b"\xc3\xa4 2", b"\xe4 2", b"* 2", b"? 1", b"[a-z] 1",
        b"a", b"a 2 3", b"a b", b"a -1", b"a +1", b"a 1.5", b"a 1001", b"a 99999", b"a 0x10",
        b"a 99999999999999999999999999", b"a $(reboot)", b"a 2;", b"$HOME 2", b"`reboot` 2",
        b"a *", b"a 2\r", b"\r", b"\xff\xfe\x01\x02 \x80", b"a\\n<0>panic 2", b"\\c 2",
        b"%s%n 2", b"-n 2", b"-e 1", A_LONG_LINE, b"x" * 5000 + b" 1\xff", b"z" * 250 + b" 1",
    ],
)  # fmt: skip
def test_mistake_is_one_line_and_the_lines_around_it_count(generate: Generate, line: bytes) -> None:
    made = generate(b"a 2\n" + line + b"\nb 1\n")
    assert (made.status, made.errors) == (0, "")
    assert made.wanted == {"a1", "a2", "b1"}
    assert len(made.said) == 1
    assert made.said[0].startswith("<4>meshd-generator: ")
    assert made.said[0].isprintable()
    assert len(made.said[0]) < 700


def test_mistake_names_its_line(generate: Generate) -> None:
    assert generate(b"a 2\n\nb two\n").said == [
        "<4>meshd-generator: workers.conf:3: expected a kind and a number up to 1000, such as: a 2"
    ]
    assert "workers.conf:1: 'A' is no kind" in generate(b"A 2\n").said[-1]


def test_ten_thousand_mistakes_are_as_many_lines_and_end_soon(generate: Generate) -> None:
    before = time.monotonic()
    made = generate(b"A 2\n" * 9_999 + b"b 1")
    assert (made.status, len(made.said), made.wanted) == (0, 9_999, {"b1"})
    assert time.monotonic() - before < 5


def test_bytes_of_every_value_are_survived(generate: Generate) -> None:
    made = generate(bytes(range(256)) * 200 + b"\nb 1\n")
    assert (made.status, made.wanted) == (0, {"b1"})
    assert made.said
    assert all(line.isprintable() for line in made.said)


def test_so_many_workers_that_they_would_hinder_the_boot_are_refused(generate: Generate) -> None:
    made = generate(b"".join(b"%c%c 900\n" % (x, y) for x in b"abcd" for y in b"abcd"))
    assert (made.status, len(made.said), len(made.wanted)) == (0, 1, 900)
    assert "more than 1000 workers; none of kind ab and those after it" in made.said[0]


def test_host_without_the_file_has_no_workers_and_no_mistake(generate: Generate) -> None:
    made = generate()
    assert (made.status, made.said, made.wanted) == (0, [], set())


@pytest.mark.parametrize("make", ["directory", "fifo", "dangling", "device"])
def test_what_is_no_file_is_said_and_never_waited_for(
    generate: Generate, etc: Path, make: str
) -> None:
    for name in ("workers.conf", "worker-a.conf"):
        path = etc / name
        if make == "directory":
            path.mkdir()
        elif make == "fifo":
            os.mkfifo(path)
        else:
            path.symlink_to("/dev/zero" if make == "device" else "nowhere")
    made = generate()
    assert (made.status, made.wanted, made.dropin("a1")) == (0, set(), None)
    assert [line.split(": ")[1] for line in made.said] == ["workers.conf", "worker-a.conf"]


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to become somebody who may not read")
def test_what_cannot_be_read_is_said(generate: Generate, etc: Path, tmp_path: Path) -> None:
    for name in ("workers.conf", "worker-a.conf"):
        (etc / name).write_text("a 2\n")
        (etc / name).chmod(0)
    (tmp_path / "out").mkdir()
    # Root without the right to read everything, as seen from a file that is another's.
    made = generate(
        None, "setpriv", "--bounding-set=-all", "--inh-caps=-all", "--securebits=+noroot"
    )
    assert (made.status, made.wanted, made.dropin("a1")) == (0, set(), None)
    assert [line.split(": ")[1] for line in made.said] == ["workers.conf", "worker-a.conf"]


def test_log_or_folder_that_cannot_be_written_fails_nothing(
    generate: Generate, tmp_path: Path
) -> None:
    made = generate(b"A 2\na 1\n", kmsg=tmp_path / "no/such/folder")
    assert (made.wanted, made.status, made.errors) == ({"a1"}, 0, "")
    (tmp_path / "out/meshd.target.wants").rename(tmp_path / "gone")
    (tmp_path / "out/meshd.target.wants").write_text("in the way")
    made = generate(b"a 1\n")
    assert made.status == 0
    assert "Not a directory" in made.said[0]


def test_mistakes_are_told_by_a_unit_where_the_log_of_the_kernel_cannot_be_written(
    generate: Generate, tmp_path: Path
) -> None:
    made = generate(b"A 2\na 1\n", kmsg=tmp_path / "no/such/folder")
    told = made.out / "meshd-generator.txt"
    assert "workers.conf:1: 'A' is no kind" in told.read_text()
    assert (made.out / "meshd.target.wants/meshd-generator.service").is_symlink()
    unit = (made.out / "meshd-generator.service").read_text()
    assert f"ExecStart=/bin/cat {told}\n" in unit


def test_dropin_of_a_kind_is_one_of_each_of_its_instances(generate: Generate, etc: Path) -> None:
    (etc / "worker-a.conf").write_text("[Service]\nMemoryMax=1G\n")
    made = generate(b"a 100\nb 1\n")
    assert (made.status, made.said) == (0, [])
    for instance in ("a", "a1", "a64", "a65", "a100"):
        assert made.dropin(instance) == etc / "worker-a.conf"
    for instance in ("a101", "b", "b1"):
        assert made.dropin(instance) is None
    (link,) = {link.readlink() for link in (made.out / "meshd.target.wants").iterdir()}
    assert str(link) == TEMPLATE


def test_dropin_of_a_kind_that_is_not_listed_waits_for_those_started_by_hand(
    generate: Generate, etc: Path
) -> None:
    (etc / "worker-c.conf").write_text("")
    made = generate(b"a 1\n")
    assert made.dropin("c") == made.dropin("c64") == etc / "worker-c.conf"


def test_dropins_by_impossible_names_are_mistakes(generate: Generate, etc: Path) -> None:
    for name in (
        "worker-A.conf",
        "worker-.conf",
        "worker-a b.conf",
        "worker-*.conf",
        "worker-\n.conf",
    ):
        (etc / name).write_text("")
    for name in ("worker-b.conf.dpkg-dist", "worker-b.conf~", "workerb.conf", "worker-b"):
        (etc / name).write_text("")
    made = generate(b"b 1\n")
    assert (made.status, len(made.said), made.wanted) == (0, 5, {"b1"})
    assert [path.name for path in made.out.iterdir()] == ["meshd.target.wants"]


def test_eight_workers_and_two_dropins_take_no_longer_than_a_few_processes(
    generate: Generate, etc: Path, tmp_path: Path
) -> None:
    for kind in "ab":
        (etc / f"worker-{kind}.conf").write_text("")

    def generated() -> None:
        shutil.rmtree(tmp_path / "out", ignore_errors=True)
        assert len(generate(b"a 4\nb 4\n").wanted) == 8

    def started() -> None:
        subprocess.run(["perl", "-e", "1"], check=True)

    # An ln for each link would be a hundred of them.
    assert _shortest(generated) < 60 * _shortest(started)


def _shortest(action: Callable[[], None]) -> float:
    """Seconds, of five times."""
    took = []
    for _ in range(5):
        before = time.monotonic()
        action()
        took.append(time.monotonic() - before)
    return min(took)


@pytest.mark.skipif(shutil.which("shellcheck") is None, reason="needs shellcheck")
@pytest.mark.parametrize(
    "script",
    [
        "packaging/systemd/meshd-generator", "packaging/build-deb", "packaging/debian/tests/smoke",
        *(f"packaging/debian/meshd.{name}" for name in ("preinst", "postinst", "postrm", "prerm")),
    ],
)  # fmt: skip
def test_shellcheck_has_nothing_to_say(script: str) -> None:
    done = subprocess.run(
        ["shellcheck", "--shell=sh", GENERATOR.parents[2] / script],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (0, "")
