"""Handlers for payloads that nobody meant: quick, harmless, and soon at an end."""

from meshd import Discard, current_task, task


@task("echo")
def echo(value=None):
    return value


@task("takes.limit")
def takes_limit(limit, *, deep=False):
    return limit


@task("takes.anything")
def takes_anything(*values, **members):
    return [values, members]


@task("fails")
def fails(value=None):
    """Twice at the most, however many attempts a payload asks for."""
    if current_task().attempt < 3:
        raise ValueError(value)


@task("discards")
def discards(value=None):
    raise Discard(str(value))
