"""What an import from PM2 makes of some apps, put in place and read by those who will read it."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path, PurePosixPath
from typing import Any

from meshd.config import Settings, load
from meshd.pm2 import Host, Plan, Source, apps_in, plan

GENERATOR = Path(__file__).parents[2] / "packaging/systemd/meshd-generator"
SOURCE = Source("ecosystem.json", PurePosixPath("/srv/app"))


def planned(*apps: Any, host: Host | None = None) -> Plan:
    """The plan for apps as an ecosystem file has them."""
    return plan(apps_in({"apps": list(apps)}, SOURCE), host or Host(processors=4))


def text_of(made: Plan, path: str) -> str:
    """What a file of the plan says; KeyError when there is none of that path."""
    return {file.path: file.text for file in made.files}[path]


def why(made: Plan, option: str) -> str:
    """The one reason why an option was left."""
    [reason] = {left.why for left in made.left if left.option == option}
    return reason


def put(made: Plan, folder: Path) -> Path:
    """A folder like /etc/meshd with all files of a plan in it."""
    shutil.rmtree(folder, ignore_errors=True)
    for file in made.files:
        path = folder / file.path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(file.text, encoding="utf-8")
    return folder


def settings_in(folder: Path) -> Settings:
    """The configuration in it, as the daemons read it. Raises ConfigError."""
    (folder / "meshd.toml").touch()
    credentials = folder / "credentials.d"
    env = {"CREDENTIALS_DIRECTORY": str(credentials)} if credentials.exists() else {}
    return load(folder / "meshd.toml", env)


def wanted_by(folder: Path) -> tuple[set[str], str]:
    """The workers that the generator makes of a folder, and what it complains about."""
    out, log = folder / "generated", folder / "kmsg"
    out.mkdir()
    env = {"PATH": os.environ["PATH"], "MESHD_ETC": str(folder), "MESHD_KMSG": str(log)}
    subprocess.run(["sh", GENERATOR, out], env=env, check=True, timeout=30)
    links = (out / "meshd.target.wants").glob("meshd-worker@*.service")
    said = log.read_text() if log.exists() else ""
    return {link.name[len("meshd-worker@") : -len(".service")] for link in links}, said
