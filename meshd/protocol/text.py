"""JSON as the wire has it: strict UTF-8 in, compact ASCII out, a code for each mistake."""

from __future__ import annotations

import json
from typing import Any, NoReturn, Optional

from meshd.errors import BadInput, ProtocolError
from meshd.protocol.codes import BAD_INPUT

_encode_compact = json.JSONEncoder(separators=(",", ":"), allow_nan=False).encode


def loads(payload: bytes) -> Any:
    """Strict JSON from strict UTF-8. Raises BadInput with the code that says what is wrong."""
    if not payload:
        refuse("empty")
    try:
        text = payload.decode()
        try:
            # What `decode` does besides is to look for blanks around the value: seldom, and slowly.
            value, end = _scan(text, 0)
            if end == len(text):
                return value
        except StopIteration:
            pass
        return _decoder.decode(text)
    except UnicodeDecodeError as error:
        refuse("not_utf8", f"byte {error.start}: {error.reason}")
    except RecursionError:
        refuse("too_deep")
    except ValueError as error:
        refuse("not_json", str(error))


def dumps(value: Any) -> bytes:
    """Compact ASCII JSON. Raises ProtocolError for what JSON cannot hold (NaN, sets, cycles)."""
    try:
        return _encode_compact(value).encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise ProtocolError(f"not JSON: {error or 'nested too deeply'}") from None


def refuse(
    code: str, detail: str = "", *, task_id: Optional[str] = None, task_type: Any = None
) -> NoReturn:
    """Raise the BadInput for `code`."""
    message = BAD_INPUT[code] + (f": {detail}" if detail else "")
    raise BadInput(
        code,
        message,
        task_id=task_id,
        task_type=task_type if isinstance(task_type, str) else None,
    ) from None


def _no_constant(name: str) -> NoReturn:
    refuse("not_finite", name)


_decoder = json.JSONDecoder(parse_constant=_no_constant)
_scan = _decoder.scan_once  # type: ignore[attr-defined]  # typeshed leaves it out
