from __future__ import annotations

import re
from pathlib import Path

import pytest

from harness.errors import StoreError
from harness.record import Record
from harness.report.frame import to_frame
from harness.report.markdown import escaped, write_markdown
from tests.report.conftest import RUN, record


def test_the_report_says_everything(records: list[Record], tmp_path: Path) -> None:
    (tmp_path / "unet.png").write_bytes(b"png")
    path = write_markdown(to_frame(records), tmp_path)
    assert path == tmp_path / "report.md"
    text = path.read_text()
    assert "3 of 5 cells within tolerance of TensorFlow" in text
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    assert headings == [
        "Core ML conversions, compared", "Failures", "Conversions that may differ", "Timings to distrust", "Skipped",
        "Pictures", "unet", "Limitations that apply", "Environment", "Provenance",
    ]  # fmt: skip
    assert re.search(r"!\[unet, native float32 on portable CPU: .*\]\(unet\.png\)", text)
    assert "- Note 1: at compare: output 'image' is 0.0312 off, beyond 0.01\n" in text
    assert "coremltools 9.0, tensorflow 2.21.0" in text
    assert "package SHA-256 cd34cd34cd34cd34" in text


def test_every_line_of_the_table_has_every_column(records: list[Record], tmp_path: Path) -> None:
    text = write_markdown(to_frame(records), tmp_path).read_text()
    table = [line for line in text.splitlines() if line.startswith("|")]
    assert len(table) == 2 + len(records)
    assert {len(re.findall(r"(?<!\\)\|", line)) for line in table} == {16}
    assert table[3].startswith("| unet | native | float16 | portable | CPU | **failed** | 3.1e-02 | 1e-02 | 30.0 |")
    assert table[-1].startswith(r"| \<b\>a\|b\*\</b\> | native |")


def test_headings_without_content_are_left_out(tmp_path: Path) -> None:
    text = write_markdown(to_frame([record(runtime="else")]), tmp_path).read_text()
    for heading in ("Failures", "Timings", "Skipped", "Pictures", "Limitations"):
        assert f"## {heading}" not in text
    assert "\n\n\n" not in text
    empty = write_markdown(to_frame([]), tmp_path).read_text()
    assert empty == "# Core ML conversions, compared\n\nThere are no results yet.\n"


def test_links_to_pictures_in_a_runs_folder(tmp_path: Path) -> None:
    (tmp_path / RUN).mkdir()
    (tmp_path / RUN / "a (b).png").write_bytes(b"")
    text = write_markdown(to_frame([record(picture="a (b).png")]), tmp_path).read_text()
    assert f"]({RUN}/a%20%28b%29.png)" in text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a|b", r"a\|b"),
        ("two\nlines\t here", "two lines here"),
        ("<script>", r"\<script\>"),
        ("[x](y) `z` *w*", r"\[x\](y) \`z\` \*w\*"),
        ("unet_custom_activation _x_", r"unet_custom_activation \_x\_"),
        ("back\\slash", r"back\\slash"),
        ("a & b", r"a \& b"),
    ],
)
def test_text_stays_text(text: str, expected: str) -> None:
    assert escaped(text) == expected


def test_a_report_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match=r"report\.md could not be written.*another folder"):
        write_markdown(to_frame([record()]), tmp_path / "file")
