from __future__ import annotations

import base64
from html.parser import HTMLParser
from pathlib import Path

import pytest

from harness.errors import StoreError
from harness.record import Record
from harness.report.frame import to_frame
from harness.report.html import write_html
from tests.report.conftest import record

VOID = {"meta", "img", "br", "link", "input", "hr"}


class Page(HTMLParser):
    """Counts tags, checks that they nest, and keeps what refers to anything."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.references: list[str] = []
        self.ids: list[str] = []
        self.text = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        if tag not in VOID:
            self.open.append(tag)
        self.references += [value or "" for name, value in attrs if name in ("src", "href")]
        self.ids += [value or "" for name, value in attrs if name == "id"]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def test_one_page_that_needs_nothing_else(records: list[Record], tmp_path: Path) -> None:
    (tmp_path / "unet.png").write_bytes(b"not really a picture")
    path = write_html(to_frame(records), tmp_path)
    assert path == tmp_path / "report.html"
    page = Page(path.read_text())
    assert page.open == []
    embedded = "data:image/png;base64," + base64.b64encode(b"not really a picture").decode()
    assert embedded in page.references
    assert all(item == embedded or item.removeprefix("#") in page.ids for item in page.references)
    assert "script" not in page.tags
    assert "link" not in page.tags
    assert "prefers-color-scheme: dark" in page.text


def test_the_page_says_everything(records: list[Record], tmp_path: Path) -> None:
    page = Page(write_html(to_frame(records), tmp_path).read_text())
    assert page.tags.count("tr") == 1 + len(records)
    for words in (
        "3 of 5 cells within tolerance of TensorFlow", "at compare: output 'image' is 0.0312 off", "3.5e-06 of 1e-04",
        "samples drift", "Core ML runs on macOS only", "float16 numerics", "coremltools 9.0, tensorflow 2.21.0",
        "1,234,567 bytes", "∞",
    ):  # fmt: skip
        assert words in page.text, words


def test_names_are_no_markup(records: list[Record], tmp_path: Path) -> None:
    text = write_html(to_frame(records), tmp_path).read_text()
    assert "<b>a|b*" not in text
    assert "&lt;b&gt;a|b*&lt;/b&gt;" in text
    assert "is &lt;not&gt; supported" in text


def test_a_page_of_nothing(tmp_path: Path) -> None:
    page = Page(write_html(to_frame([]), tmp_path).read_text())
    assert "There are no results yet." in page.text
    assert "table" not in page.tags


def test_a_page_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match=r"report\.html could not be written"):
        write_html(to_frame([record()]), tmp_path / "file")
