"""`glue-pool submit --check`: every fault of anybody's zip, with file and line, and nothing of a good one."""

import subprocess
import sys
import zipfile
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from glue_pool.errors import UserError
from glue_pool.submission import check
from glue_pool.submission.lines import look
from glue_pool.submission.official import FILES


@cache
def good(name: str) -> bytes:
    """What a file holds in a sound submission: each value now and then."""
    file = FILES[name]
    values = list(file.values.values()) or ["0.000", "2.5", "5", "1e-1"]
    return "".join(["index\tprediction\n", *(f"{i}\t{values[i % len(values)]}\n" for i in range(file.rows))]).encode()


def packed(zip_file: Path, files: dict[str, bytes | None], method: int = zipfile.ZIP_DEFLATED) -> Path:
    """A sound submission but for some files, which are others, or missing for None."""
    with zipfile.ZipFile(zip_file, "w", method) as archive:
        for name, content in ({name: good(name) for name in FILES} | files).items():
            if content is not None:
                archive.writestr(name, content)
    return zip_file


def faults(zip_file: Path, capsys: pytest.CaptureFixture[str]) -> list[str]:
    """The faults that are printed; how many lines that are is in the error."""
    with pytest.raises(UserError, match="not as GLUE's sample submission has it") as refused:
        check(zip_file)
    said = capsys.readouterr().out.splitlines()
    above = "line above says" if len(said) == 1 else f"{len(said)} lines above say"
    assert str(refused.value).endswith(f"; the {above} why")
    return said


def test_a_sound_zip_says_so_with_a_line_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    checked = check(packed(tmp_path / "good.zip", {}))
    first, *lines = capsys.readouterr().out.splitlines()
    assert first.endswith("as GLUE's sample submission has it")
    assert [line.split()[0] for line in lines] == list(FILES)
    assert lines[3].split(maxsplit=3)[3] == "scores from 0.000 to 5.000"
    counts = checked.files["RTE.tsv"].values
    assert f"entailment {counts['entailment'] / 3000:.1%}, not_entailment" in lines[8]


def change(name: str, how: Callable[[list[str]], list[str]]) -> dict[str, bytes | None]:
    """A file whose lines are changed; the header is line 1, index 0 line 2."""
    return {name: "".join(f"{line}\n" for line in how(good(name).decode().splitlines())).encode()}


def values(name: str, *new: str) -> dict[str, bytes | None]:
    """A file whose first predictions are others."""
    return change(name, lambda lines: [lines[0], *(f"{i}\t{v}" for i, v in enumerate(new)), *lines[1 + len(new) :]])


ROWS: dict[str, tuple[dict[str, bytes | None], list[str]]] = {
    "numbers for names": (
        change("MNLI-m.tsv", lambda lines: [lines[0], *(f"{i}\t{i % 3}" for i in range(9796))]),
        ["MNLI-m.tsv, lines 2 to 9797: a number instead of a label's name: entailment, neutral or contradiction"],
    ),
    "names for numbers": (
        values("CoLA.tsv", "acceptable", "1", "unacceptable"),
        [
            "CoLA.tsv, line 2: a label's name instead of its number: 0 or 1 ('acceptable')",
            "CoLA.tsv, line 4: a label's name instead of its number: 0 or 1 ('unacceptable')",
        ],
    ),
    "no such labels": (values("RTE.tsv", "Entailment", "neutral"), ["RTE.tsv, lines 2 to 3: the prediction is not"]),
    "blanks": (values("RTE.tsv", "entailment "), ["RTE.tsv, line 2: blanks around the prediction"]),
    "no prediction": (values("RTE.tsv", ""), ["RTE.tsv, line 2: the prediction is not"]),
    "scores": (
        values("STS-B.tsv", "nan", "inf", "5.001", "-0.1", "", "1_0", "1,5"),
        [
            "STS-B.tsv, lines 2 to 3: the prediction is no number from 0 to 5 ('nan' in the first)",
            "STS-B.tsv, lines 4 to 5: the prediction is outside 0 to 5",
            "STS-B.tsv, lines 6 to 8: the prediction is no number",
        ],
    ),
    "byte order mark": ({"RTE.tsv": b"\xef\xbb\xbf" + good("RTE.tsv")}, ["RTE.tsv, line 1: a byte order mark"]),
    "CRLF": (
        {"WNLI.tsv": good("WNLI.tsv").replace(b"\n", b"\r\n")},
        ["WNLI.tsv, lines 1 to 147: has a carriage return; lines end with a line feed alone"],
    ),
    "CR": (
        {"WNLI.tsv": good("WNLI.tsv").replace(b"\n", b"\r")},
        [
            "WNLI.tsv, line 1: has a carriage return", "WNLI.tsv, line 1: the header is not", "WNLI.tsv: 0 rows",
            "WNLI.tsv: indices 0 to 145",
        ],
    ),
    "UTF-16": (
        {"WNLI.tsv": good("WNLI.tsv").decode().encode("utf-16")},
        [
            "WNLI.tsv, line 1: no UTF-8", "WNLI.tsv, lines 2 to 147: the prediction",
            "WNLI.tsv, lines 2 to 148: the index", "WNLI.tsv, line 148: 1 column", "WNLI.tsv: 147 rows",
            "WNLI.tsv: indices 0 to 145",
        ],
    ),
    "no UTF-8": (
        {"WNLI.tsv": good("WNLI.tsv").replace(b"\n7\t", b"\n7\xff\t")},
        ["WNLI.tsv, line 9: no UTF-8", "WNLI.tsv: index 7 is missing"],
    ),
    "another header": (
        change("WNLI.tsv", lambda lines: ["id\tlabel", *lines[1:]]),
        ["WNLI.tsv, line 1: the header is not index and prediction with a tab between them ('id\\tlabel')"],
    ),
    "no header": (change("WNLI.tsv", lambda lines: lines[1:]), ["WNLI.tsv, line 1: the header is not"]),
    "rows missing": (
        change("WNLI.tsv", lambda lines: [*lines[:3], *lines[6:]]),
        ["WNLI.tsv: 143 rows, GLUE's test split has 146", "WNLI.tsv: indices 2 to 4 are missing"],
    ),
    "a row twice": (
        change("WNLI.tsv", lambda lines: [*lines[:3], lines[2], *lines[3:]]),
        ["WNLI.tsv, line 4: the index was there before ('1')", "WNLI.tsv: 147 rows, GLUE's test split has 146"],
    ),
    "order": (
        change("WNLI.tsv", lambda lines: [*lines[:2], lines[3], lines[2], *lines[4:]]),
        ["WNLI.tsv, line 4: the index is out of order ('1')"],
    ),
    "index from 1": (
        change("WNLI.tsv", lambda lines: [lines[0], *(f"{i}\t0" for i in range(1, 147))]),
        ["WNLI.tsv, line 147: the index is outside 0 to 145 ('146')", "WNLI.tsv: index 0 is missing"],
    ),
    "no index": (
        change("WNLI.tsv", lambda lines: [lines[0], "00\t0", "1.0\t1", *lines[3:]]),
        ["WNLI.tsv, lines 2 to 3: the index is no whole number", "WNLI.tsv: indices 0 to 1 are missing"],
    ),
    "a blank line": (
        change("WNLI.tsv", lambda lines: [*lines[:5], "", *lines[5:], " "]),
        ["WNLI.tsv, line 6: blank", "WNLI.tsv, line 149: blank"],
    ),
    "columns": (
        change("WNLI.tsv", lambda lines: [lines[0], "0", "1\t1\t1", *lines[3:]]),
        ["WNLI.tsv, line 2: 1 column instead of 2", "WNLI.tsv, line 3: 3 columns instead of 2"],
    ),
    "empty": (
        {"WNLI.tsv": b""},
        ["WNLI.tsv, line 1: the header", "WNLI.tsv: 0 rows", "WNLI.tsv: indices 0 to 145 are missing"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", ROWS)
def test_faults_of_rows_are_named_with_their_lines(case: str) -> None:
    changed, expected = ROWS[case]
    ((name, content),) = changed.items()
    assert content is not None
    found = [f"{name}{fault}" for fault in look(content, FILES[name]).faults]
    assert len(found) == len(expected)
    assert all(said.startswith(begin) for said, begin in zip(found, expected, strict=True))
    assert not look(good(name).removesuffix(b"\n"), FILES[name]).faults


def test_faults_of_the_zip_are_named_among_those_of_the_files(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wrong = values("RTE.tsv", "1") | {
        "AX.tsv": None, "sub/AX.tsv": good("AX.tsv"), "Cola.tsv": b"", "QQP.tsv": None, "sub/": b"",
        "SST-2.tsv": b"\0" * (17 << 20),
    }  # fmt: skip
    found = packed(tmp_path / "odd.zip", wrong)
    with zipfile.ZipFile(found, "a") as archive, pytest.warns(UserWarning, match="Duplicate"):
        archive.writestr("WNLI.tsv", good("WNLI.tsv"))
    assert faults(found, capsys) == [
        "WNLI.tsv: 2 files have this name",
        "sub/AX.tsv: in a folder; the files have to be at the top of the zip",
        "Cola.tsv: none of GLUE's files; did you mean 'CoLA.tsv'?",
        "sub/: a folder; GLUE's files are in none",
        "SST-2.tsv: more than 16 MB unpacked, so it wasn't looked at",
        "QQP.tsv: missing",
        "RTE.tsv, line 2: a number instead of a label's name: entailment or not_entailment ('1')",
    ]


def test_what_cannot_be_unpacked_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    nothing = dict.fromkeys(FILES) | {"WNLI.tsv": good("WNLI.tsv")}
    whole = packed(tmp_path / "whole.zip", nothing).read_bytes()
    at = whole.index(b"WNLI.tsv") + 30
    entry = whole.index(b"PK\x01\x02")
    damaged = {
        "can't be unpacked": whole[:at] + bytes(b ^ 255 for b in whole[at : at + 20]) + whole[at + 20 :],
        "encrypted": whole[: entry + 8] + b"\x01" + whole[entry + 9 :],
        "packed in another way": packed(tmp_path / "bz2.zip", nothing, zipfile.ZIP_BZIP2).read_bytes(),
        "no zip that can be read": b"index\tprediction\n",
    }
    for said, content in damaged.items():
        (tmp_path / "odd.zip").write_bytes(content)
        assert any(said in fault for fault in faults(tmp_path / "odd.zip", capsys))
    with pytest.raises(UserError, match=r"nowhere.zip: there is no such file"):
        check(tmp_path / "nowhere.zip")


@settings(max_examples=150, derandomize=True, database=None)
@given(st.data())
def test_any_change_of_a_file_is_a_fault_or_another_valid_prediction(data: st.DataObject) -> None:
    lines = good("WNLI.tsv").split(b"\n")
    place = data.draw(st.integers(0, len(lines) - 2))
    before, lines[place] = lines[place], data.draw(st.binary(max_size=6) | st.sampled_from([*lines[:3], b"\t", b"0\t"]))
    other = lines[place] in (before, before[:-1] + b"0", before[:-1] + b"1") and (place > 0 or lines[place] == before)
    assert (not look(b"\n".join(lines), FILES["WNLI.tsv"]).faults) == other


def test_checking_imports_no_torch(tmp_path: Path) -> None:
    code = "import sys; from glue_pool.commands import submit; from glue_pool.submission import check; "
    code += "assert not {'torch', 'transformers', 'pyarrow'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=tmp_path)
