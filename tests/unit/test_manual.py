"""The man pages: every command, option, setting and variable is there, and they can be rendered."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from meshd.cli import COMMANDS
from meshd.cli.exits import Exit
from meshd.config.schema import KindSettings, Settings, keys_of
from tests.support.parsers import actions_of, all_options_of, parser_of

PAGES = Path(__file__).parents[2] / "packaging/man"
COMMAND = (PAGES / "meshd.1.scd").read_text()
SETTINGS = (PAGES / "meshd.toml.5.scd").read_text()
WORKER = (PAGES / "meshd-worker.8.scd").read_text()
MENTIONED = re.compile(r"\*(--[a-z-]+)\*")
ENTRY = re.compile(r"^\*(\w+)\*(?: = (.+)| \(no default\))$", re.MULTILINE)


def parts_of(page: str, mark: str) -> dict[str, str]:
    """Heading -> what stands below it, up to the next heading of this rank or a higher one."""
    found = re.findall(rf"^{mark} (.+)\n((?:(?!#{{1,{len(mark)}}} ).*\n)*)", page, re.MULTILINE)
    return dict(found)


def test_every_command_has_a_part_of_its_own_and_no_other_has() -> None:
    assert set(parts_of(COMMAND, "##")) == set(COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_part_of_a_command_names_exactly_its_options_and_actions(command: str) -> None:
    part = parts_of(COMMAND, "##")[command]
    assert set(MENTIONED.findall(part)) == all_options_of(command)
    for action in actions_of(parser_of(command)) or ("",):
        assert f"*meshd {command} {action}".rstrip() + "*" in part


def test_part_of_submit_names_its_data() -> None:
    assert "_TYPE_ [_DATA_]" in parts_of(COMMAND, "##")["submit"]


@pytest.mark.parametrize("page", [COMMAND, WORKER], ids=["command", "worker"])
def test_exit_codes_are_those_of_the_code(page: str) -> None:
    said = {int(code) for code in re.findall(r"^\*(\d+)\*$", page, re.MULTILINE)}
    assert said <= {each.value for each in Exit}
    if page is COMMAND:
        assert said == {each.value for each in Exit}


def sections() -> dict[str, dict[str, str]]:
    """Section of the file -> key -> default as it is written, '' where there is none."""
    headings = parts_of(SETTINGS, "#")
    return {
        heading.strip("[]"): dict(ENTRY.findall(part))
        for heading, part in headings.items()
        if heading.startswith("[") or heading == "SETTINGS WITHOUT A SECTION"
    }


def test_every_setting_is_there_with_its_default_and_no_other_is() -> None:
    expected: dict[str, dict[str, str]] = {}
    for key, setting, default in keys_of(Settings):
        if not setting.elsewhere:
            section, _, name = key.rpartition(".")
            shown = setting.form.show(default)
            expected.setdefault(section or "SETTINGS WITHOUT A SECTION", {})[name] = shown
    for key, setting, default in keys_of(KindSettings):
        section, _, name = f"kinds.NAME.{key}".rpartition(".")
        has_none = default is None or key == "handlers"
        shown = "" if has_none else setting.form.show(default)
        expected.setdefault(section, {})[name] = shown
    assert sections() == expected


def test_every_variable_is_there() -> None:
    said = set(re.findall(r"\*([A-Z_]+)\*", parts_of(SETTINGS, "#")["ENVIRONMENT"]))
    read = {setting.variable for _, setting, _ in keys_of(Settings) if setting.variable}
    assert said == read | {"MESHD_CONFIG", "REDIS_HOST", "REDIS_PORT"}


@pytest.mark.parametrize("page", sorted(PAGES.glob("*.scd")), ids=lambda page: page.name)
def test_page_is_rendered_without_a_warning(page: Path, tmp_path: Path) -> None:
    for program in ("scdoc", "man"):
        if shutil.which(program) is None:
            pytest.skip(f"needs {program} (apt install scdoc man-db)")
    roff = tmp_path / page.name.removesuffix(".scd")
    made = subprocess.run(["scdoc"], input=page.read_bytes(), capture_output=True, check=True)
    roff.write_bytes(made.stdout)
    shown = subprocess.run(
        ["man", "--warnings", "--local-file", roff], capture_output=True, text=True, check=True
    )
    assert shown.stderr == ""
    assert "SEE ALSO" in shown.stdout
