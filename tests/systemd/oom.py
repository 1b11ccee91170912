"""`python -m tests.systemd.oom`: the kernel's out-of-memory killer against a runner and a worker,
in a virtual machine, because a container need not have a memory controller. It is `make test-oom`.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from tests.support.machine import RELEASES, tree
from tests.systemd.conftest import TOP

KERNEL = ("linux-image-cloud-amd64", "initramfs-tools")
INSIDE = Path(__file__).with_name("oom_inside.py")
LONGEST_SECONDS = 900
UNIT = """[Unit]
After=multi-user.target meshd.target redis-server.service
[Service]
Type=oneshot
ExecStart=/usr/bin/dpkg -i /root/meshd.deb
ExecStart=/usr/bin/systemctl start meshd.service
ExecStart=/usr/bin/python3 /root/oom.py
ExecStopPost=/usr/bin/systemctl poweroff --no-block
StandardOutput=journal+console
StandardError=journal+console
"""


def main() -> int:
    """Boot, wait, and judge; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.systemd.oom", description=__doc__)
    parser.add_argument("release", nargs="?", choices=RELEASES, default="bookworm")
    options = parser.parse_args()
    if shutil.which("qemu-system-x86_64") is None:
        parser.error("needs qemu-system-x86_64 (apt install qemu-system-x86)")
    with tempfile.TemporaryDirectory(prefix="meshd-oom-") as folder:
        console = boot(image(options.release, Path(folder)), Path(folder))
    told = [line.partition("OOM ")[2] for line in console.splitlines() if "OOM {" in line]
    if not told:
        sys.stdout.write(console)
        sys.exit("the machine has ended without an answer")
    said = json.loads(told[-1])
    sys.stdout.write(json.dumps(said, indent=2) + "\n")
    return judge(said)


def image(release: str, folder: Path) -> Path:
    """A disk with the release, a kernel, the package of this tree and what is to be run."""
    subprocess.run([TOP / "packaging/build-deb", folder], check=True, capture_output=True)
    (package,) = folder.glob("*.deb")
    root = folder / "root"
    subprocess.run(["cp", "-a", "--reflink=auto", tree(release, KERNEL), root], check=True)
    shutil.copy(package, root / "root/meshd.deb")
    shutil.copy(INSIDE, root / "root/oom.py")
    (root / "etc/systemd/system/oom.service").write_text(UNIT)
    wants = root / "etc/systemd/system/multi-user.target.wants"
    wants.mkdir(exist_ok=True)
    (wants / "oom.service").symlink_to("/etc/systemd/system/oom.service")
    disk = folder / "disk"
    subprocess.run(["mke2fs", "-q", "-t", "ext4", "-d", root, disk, "3G"], check=True)
    return disk


def boot(disk: Path, folder: Path) -> str:
    """What the machine says until it is off, or LONGEST_SECONDS are over."""
    (kernel,) = (folder / "root/boot").glob("vmlinuz-*")
    (initrd,) = (folder / "root/boot").glob("initrd.img-*")
    console = folder / "console"
    command = [
        "qemu-system-x86_64", "-accel", "tcg,thread=multi", "-cpu", "max", "-smp", "2",
        "-m", "1024", "-display", "none", "-serial", f"file:{console}", "-no-reboot",
        "-nic", "none", "-kernel", str(kernel), "-initrd", str(initrd),
        "-append", "root=/dev/vda rw console=ttyS0 systemd.mask=serial-getty@ttyS0.service",
        "-drive", f"file={disk},format=raw,if=virtio",
    ]  # fmt: skip
    with contextlib.suppress(subprocess.TimeoutExpired):
        subprocess.run(command, stdin=subprocess.DEVNULL, timeout=LONGEST_SECONDS, check=False)
    return console.read_text(errors="replace")


def judge(said: dict[str, Any]) -> int:
    """0 when both ends were counted, named and made good, and no more died than had to. With
    OOMPolicy=continue systemd names the end of the worker by its signal alone.
    """
    runner, worker = said["runner"], said["worker"]
    wrong = [
        name
        for name, right in {
            "the worker outlives its runner": runner["same worker"] and not runner["restarts"],
            "the runner's task is run again": runner["result"] == "spared",
            "the unit is started again": not worker["same worker"] and worker["restarts"] == 1,
            "the worker's task is run again": worker["result"] == "spared",
            "the runner's task is charged": runner["counted"] == ["crash"],
            "nobody is charged for the worker": worker["counted"] == ["death"],
            "the cause is named": any("by SIGKILL" in line for line in worker["said"]),
        }.items()
        if not right
    ]
    for name in wrong:
        sys.stdout.write(f"not so: {name}\n")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
