"""From a configuration or a dump of PM2 to the files of meshd: values in, a `Plan` out.

Nothing here reads a file, writes one or starts anything; whoever asks does that. Every mistake in
what was read is a ConfigError that names file and key.

reading       JSON, and the apps in it
options       what PM2 knows, and why some of it has no equivalent
environment   variables: which are kept, which are secret, how systemd reads them
address       the one Redis that all of them meant
kinds         which app becomes which kind of worker
files, plan   what has to stand in /etc/meshd, and what is left for a person
"""

from __future__ import annotations

from meshd.pm2.files import File
from meshd.pm2.kinds import Host
from meshd.pm2.plan import Became, Left, Plan, plan
from meshd.pm2.reading import App, Source, apps_in, parsed

__all__ = [
    "App",
    "Became",
    "File",
    "Host",
    "Left",
    "Plan",
    "Source",
    "apps_in",
    "parsed",
    "plan",
]
