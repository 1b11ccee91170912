"""A column of a table: type, missing, distinct, against known values and bad arguments."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from meshd import tasks
from meshd.tasks import analysis
from meshd.tasks.analysis import profile
from meshd.tasks.columns import type_of

SAMPLE = Path(tasks.__file__).parent / "sample"


def column(text: str, index: int = 0) -> dict[str, Any]:
    columns: list[dict[str, Any]] = profile(text=text)["columns"]
    return columns[index]


@pytest.mark.parametrize(
    ("cells", "kind", "least", "greatest", "mean"),
    [
        (["3", "-1", "+10"], "integer", -1, 10, 4),
        (["1", "2.5", ".5"], "number", 0.5, 2.5, 4 / 3),
        (["1e3", "-2E-1"], "number", -0.2, 1000, 499.9),
        (
            ["123456789012345678901", "1"],
            "number",
            1,
            123456789012345678901.0,
            61728394506172839451,
        ),
        (["007", "010"], "text", "007", "010", None),
        (["1,5", "2,5"], "text", "1,5", "2,5", None),
        (["1", "x"], "text", "1", "x", None),
        (["1", "2025-03-04"], "text", "1", "2025-03-04", None),
        (["true", "No"], "boolean", "No", "true", None),
        (["2025-03-04", "2024-12-31"], "date", "2024-12-31", "2025-03-04", None),
        (
            ["2025-03-04T05:06Z", "2024-12-31 05:06:07.5+01:00"],
            "datetime",
            "2024-12-31 05:06:07.5+01:00",
            "2025-03-04T05:06Z",
            None,
        ),
        (["2025-03-04", "2025-03-04 05:06"], "datetime", "2025-03-04", "2025-03-04 05:06", None),
        (["1e999", "inf"], "text", "1e999", "inf", None),
        (["1e308", "1e308"], "number", 1e308, 1e308, None),
        (["1\u0661", "1\u0662"], "text", "1\u0661", "1\u0662", None),  # Arabic digits
        (["", "NA"], "empty", None, None, None),
    ],
)
def test_column_has_the_narrowest_type_that_fits_all_cells(
    cells: list[str], kind: str, least: object, greatest: object, mean: float | None
) -> None:
    table = "name;other\n" + "".join(f"{cell};x\n" for cell in cells)
    found = column(table)
    assert found["type"] == kind
    assert (found["min"], found["max"]) == (least, greatest)
    assert found["mean"] == (mean if mean is None else pytest.approx(mean))


@pytest.mark.parametrize("cell", ["", "  ", "NA", "n/a", "NaN", "null", "None"])
def test_cell_without_a_value_is_missing(cell: str) -> None:
    assert type_of(cell.strip()) == "missing"
    found = column(f"a,b\n1,x\n{cell},y\n3,z\n")
    assert (found["missing"], found["type"], found["mean"], found["distinct"]) == (
        1,
        "integer",
        2,
        2,
    )


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_delimiter_is_recognized(delimiter: str) -> None:
    table = "\n".join(delimiter.join(row) for row in (["a", "b", "c"], ["1", "2", "3"]) * 2)
    answer = profile(text=table)
    assert answer["delimiter"] == delimiter
    assert len(answer["columns"]) == 3


@pytest.mark.parametrize("text", ["a\n1\n2\n", "one word\nanother\n", "x"])
def test_single_column_falls_back_to_the_comma(text: str) -> None:
    answer = profile(text=text)
    assert answer["delimiter"] == ","
    assert len(answer["columns"]) == 1


def test_table_without_header_gets_numbered_columns_and_counts_every_row() -> None:
    answer = profile(text="1,a\n2,b\n3,c\n")
    assert (answer["header"], answer["rows"]) == (False, 3)
    assert [found["name"] for found in answer["columns"]] == ["column_1", "column_2"]
    assert answer["columns"][0]["mean"] == 2


@pytest.mark.parametrize("first", ["a,a", "a,", "a,1", "a,2025-03-04"])
def test_first_row_names_the_columns_only_if_all_cells_are_text_and_differ(first: str) -> None:
    assert profile(text=f"{first}\nx,y\n")["header"] is False


def test_ragged_rows_are_counted_filled_up_and_cut_off() -> None:
    answer = profile(text="a,b\n1,2\n3\n4,5,6\n\n7,8\n")
    assert (answer["rows"], answer["ragged"]) == (4, 2)
    assert [found["missing"] for found in answer["columns"]] == [0, 1]
    assert answer["columns"][1]["max"] == 8


def test_quoted_cells_keep_delimiters_quotes_and_line_ends() -> None:
    rows = "".join(f"{i},plain\n" for i in range(1000))
    answer = profile(text=f'a,b\n{rows}1,"x, ""y""\nz"\n')
    assert (answer["rows"], answer["ragged"]) == (1001, 0)
    assert answer["columns"][1]["max"] == 'x, "y"\nz'


def test_distinct_cells_are_counted_up_to_a_bound_that_is_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(analysis, "_DIFFERENT_CELLS_PER_COLUMN", 3)
    answer = profile(text="a,b\n" + "".join(f"{i},{i % 2}\n" for i in range(10)))
    assert [(found["distinct"], found["distinct_capped"]) for found in answer["columns"]] == [
        (3, True),
        (2, False),
    ]


def test_long_names_and_cells_are_shown_cut() -> None:
    found = column("n" * 500 + ",b\n" + "c" * 500 + ",d\n")
    assert (len(found["name"]), len(found["min"]), len(found["max"])) == (100, 100, 100)


def test_empty_table_has_no_columns() -> None:
    assert profile(text="") == {
        "rows": 0,
        "delimiter": ",",
        "header": False,
        "ragged": 0,
        "columns": [],
    }


def test_table_with_byte_order_mark_and_foreign_bytes_is_read(tmp_path: Path) -> None:
    file = tmp_path / "table.csv"
    file.write_bytes(b"\xef\xbb\xbfname,town\r\n1,Malm\xf6\r\n2,\r\n")
    answer = profile(path=str(file))
    assert [found["name"] for found in answer["columns"]] == ["name", "town"]
    assert answer["columns"][1]["min"] == "Malm\ufffd"
    assert answer["rows"] == 2


def test_line_ends_inside_quotes_are_kept_as_the_file_has_them(tmp_path: Path) -> None:
    file = tmp_path / "table.csv"
    file.write_bytes(b'name,town\r\n1,"x\r\ny"\r\n')
    assert profile(path=str(file))["columns"][1]["max"] == "x\r\ny"


def test_table_of_the_widest_kind_has_a_result_below_one_mebibyte() -> None:
    row = ",".join(f"{'w' * 200}{i}" for i in range(500))
    assert len(json.dumps(profile(text=f"{row}\n{row}\n"))) < 2**20


def test_shipped_table_is_profiled() -> None:
    answer = profile(path=str(SAMPLE / "tides.csv"))
    assert (answer["rows"], answer["header"], answer["ragged"]) == (240, True, 0)
    assert {found["name"]: found["type"] for found in answer["columns"]} == {
        "station": "text",
        "measured_at": "datetime",
        "height_m": "number",
        "water_c": "number",
        "wind_bft": "integer",
        "calibrated": "boolean",
        "remark": "text",
    }
