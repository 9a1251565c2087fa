"""The page and its twin: the same numbers, nothing from outside becomes markup, nothing is fetched."""

import html
import html.parser
import json
import re
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from greenray import report
from greenray.analysis import Analysis, analyse, comparisons
from greenray.report.markdown import escape
from greenray.store.registry import open_store
from greenray.store.tables import write_manifest
from tests.support.object_store import ObjectStore
from tests.support.synthetic import Sweep, manifest, quickstart

MARKDOWN = MarkdownIt("commonmark").enable("table")
EVIL = "<script>alert(1)</script>|`x`*_[a](javascript:b)"


class Reader(html.parser.HTMLParser):
    """Collects tags, attributes, table cells, chart data and the text outside of scripts and styles."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.cells: list[str] = []
        self.charts: list[dict[str, object]] = []
        self.text = ""
        self._open: list[str] = []
        self._chart = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]
        if tag not in ("meta", "link"):
            self._open.append(tag)
        if tag in ("td", "th"):
            self.cells.append("")
        self._chart = "" if tag == "script" and "data-chart" in dict(attrs) else "no"

    def handle_endtag(self, tag: str) -> None:
        if self._chart not in ("", "no"):
            self.charts.append(json.loads(self._chart))
            self._chart = "no"
        if tag in self._open:
            del self._open[len(self._open) - 1 - self._open[::-1].index(tag) :]

    def handle_data(self, data: str) -> None:
        inside = self._open[-1] if self._open else ""
        if inside == "script":
            self._chart = self._chart + data if self._chart != "no" else "no"
        elif inside != "style":
            self.text += data
            if "td" in self._open or "th" in self._open:
                self.cells[-1] += data


def written(analysis: Analysis, folder: Path) -> tuple[str, str]:
    report.write(analysis, html=folder / "r.html", markdown=folder / "r.md")
    return (folder / "r.html").read_text(encoding="utf-8"), (folder / "r.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def quick(tmp_path_factory: pytest.TempPathFactory) -> Analysis:
    out = tmp_path_factory.mktemp("quick") / "out"
    quickstart(out, modelled=0.9, rounds=3)
    Sweep(out=out, name="quick", seed=7).cell("compile", energy_j=0.01, model="swin-tiny", model_family="swin", trace=True)
    return analyse(out)


def test_page_and_twin_carry_the_same_tables_and_sentences(quick: Analysis, tmp_path: Path) -> None:
    page, twin = written(quick, tmp_path)
    reader = Reader(page)
    rows = [line for line in twin.splitlines() if line.startswith("| ") and "---" not in line]
    cells = [cell.strip() for row in rows for cell in re.split(r"(?<!\\)\|", row)[1:-1]]
    assert cells == [escape(cell) for cell in reader.cells]
    assert len(cells) > 200
    for sentence in quick.headline:
        assert sentence in reader.text
        assert f"- {escape(sentence)}" in twin
    for caveat in quick.caveats:
        assert caveat.text in reader.text
        assert twin.count(f"> - {escape(caveat.text)}") == 1  # and none of them twice


def test_charts_show_the_numbers_of_the_tables(quick: Analysis, tmp_path: Path) -> None:
    charts = Reader(written(quick, tmp_path)[0]).charts
    assert len(charts) == 5
    shown = sorted(x for trace in charts[0]["data"] for x in trace["x"])  # type: ignore[attr-defined]
    assert shown == pytest.approx(sorted(f.effect.energy.percent for f in quick.findings if f.effect.energy), rel=1e-4)


def test_page_needs_nothing_from_elsewhere(quick: Analysis, tmp_path: Path) -> None:
    page, _ = written(quick, tmp_path)
    reader = Reader(page)
    assert not {"link", "iframe", "img", "object", "embed", "base"} & set(reader.tags)
    assert not [
        value
        for name, value in reader.attributes
        if name in ("src", "data", "action") or (name == "href" and not value.startswith("#"))
    ]
    assert "default-src &#39;none&#39;" in page or "default-src 'none'" in page
    assert page.count("plotly.js v") == 1
    assert len(page) < 6_000_000


def test_modelled_energy_is_never_called_saved(quick: Analysis, tmp_path: Path) -> None:
    page, twin = written(quick, tmp_path)
    for text in (Reader(page).text, twin):
        assert "energy saved" not in text.lower()
        assert "estimated from CPU time" in text


def test_text_from_outside_stays_text(tmp_path: Path) -> None:
    sweep = Sweep(out=tmp_path / "out")
    evil = {"dataset": EVIL, "host": EVIL, "cpu_name": EVIL}
    sweep.rounds(3, EVIL, family=EVIL, energy_j=0.004, tactics={"compile": 0.8}, block_id="b1", **evil)
    sweep.visit("%{x}</script>", family="f", energy_j=0.004, tactics={"compile": 0.8}, block_id="b2")
    sweep.cell("prune-local", energy_j=None, status="failed", error=EVIL + "\n\n# heading", model=EVIL, visit=1, block_id="b1")
    sweep.cell("compile", energy_j=0.01, model=EVIL, block_id="b3", trace=True)
    write_manifest(open_store(sweep.out), sweep="quick", manifest=manifest(EVIL, versions={EVIL: EVIL}))
    page, twin = written(analyse(sweep.out), tmp_path)
    reader = Reader(page)
    assert reader.tags.count("script") == 2 + len(reader.charts) == 7
    assert EVIL in reader.text
    assert "alert(1)</script>" not in page
    for chart in reader.charts:
        assert "<script>" not in json.dumps(chart)
    outside_code = [line for line in twin.splitlines() if not line.startswith("    ")]
    assert not [line for line in outside_code if re.search(r"(?<!\\)[<`]|(?<!\\)\]\(", line)]
    assert not any(line.startswith("# heading") for line in outside_code)


def test_same_store_same_bytes(quick: Analysis, tmp_path: Path) -> None:
    assert written(quick, tmp_path) == written(analyse(quick.frames.store), tmp_path)


def test_a_store_of_another_kind_is_read_and_written_by_its_own_calls(tmp_path: Path) -> None:
    quickstart(tmp_path / "out")
    bucket = ObjectStore(f"bucket://{tmp_path / 'out'}")
    analysis = analyse(bucket)
    report.write(analysis)
    comparisons.write(analysis)
    bucket.close()
    _, twin = written(analyse(tmp_path / "out"), tmp_path)
    assert bucket.read("report.md") == twin.encode()
    assert {"report.html", "comparisons.parquet"} <= set(bucket.names())


def test_empty_store_gives_a_sensible_page(tmp_path: Path) -> None:
    write_manifest(open_store(tmp_path / "out"), sweep="quick", manifest=manifest("quick"))
    page, twin = written(analyse(tmp_path / "out"), tmp_path)
    assert "nothing was measured" in Reader(page).text
    assert "nothing was measured" in twin
    assert len(page) < 50_000  # no chart, no plotly


def test_store_with_training_only(tmp_path: Path) -> None:
    sweep = Sweep(out=tmp_path / "out")
    sweep.train("vit-tiny", family="vit", epochs_j=[10.0, 12.0])
    page, twin = written(analyse(sweep.finish()), tmp_path)
    assert "Nothing was compared" in twin
    assert "22.0 J" in twin
    assert "22.0 J" in Reader(page).text


def test_store_where_everything_failed(tmp_path: Path) -> None:
    sweep = Sweep(out=tmp_path / "out")
    sweep.cell(
        "baseline", energy_j=None, status="oom", error="needs 9 GB", model="vit-tiny", bracket="open", visit=1, block_id="b"
    )
    _, twin = written(analyse(sweep.finish()), tmp_path)
    assert "vit-tiny: baseline ran out of memory (needs 9 GB)." in twin
    assert "Attempts without a result cost 80.0 J" in twin


def test_a_page_that_goes_elsewhere_leaves_the_twin_in_the_store(tmp_path: Path) -> None:
    analysis = analyse(Sweep(out=tmp_path / "out").finish())
    report.write(analysis, html=tmp_path / "deep" / "r.html")
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["r.html"]
    assert {"report.html", "report.md"} & set(analysis.frames.store.names()) == {"report.md"}


@pytest.mark.parametrize(
    ("text", "escaped"),
    [
        ("6.00 mJ", "6.00 mJ"),
        ("+0.1 %", "+0.1 %"),
        ("dynamic-quantization on my_model", "dynamic-quantization on my_model"),
        ("1. first", "1\\. first"),
        ("# title", "\\# title"),
        ("- item\n- item", "\\- item - item"),
        ("a|b <i> _x_ `y`", "a\\|b &lt;i&gt; \\_x\\_ \\`y\\`"),
        ("/tmp/garbage-f__0/x is not there", "/tmp/garbage-f__0/x is not there"),
        ("__init__ in /tmp/x__/y", "\\_\\_init\\_\\_ in /tmp/x\\_\\_/y"),
    ],
)
def test_markdown_escapes_no_more_than_it_must(text: str, escaped: str) -> None:
    assert escape(text) == escaped


@given(st.text("ab0 _*`~[](){}<>&|#+-=.!:;/\\'\"\n1", max_size=30))
@example("/tmp/garbage-f__/x")
@example("a__b _ __c__ d_")
def test_markdown_shows_every_text_as_it_is(text: str) -> None:
    """Read by a parser of CommonMark, as a paragraph and as a cell of a table."""
    said = " ".join(text.split())
    assert html.unescape(MARKDOWN.render(escape(text))) == (f"<p>{said}</p>\n" if said else "")
    (cell,) = re.findall("<td>(.*?)</td>", MARKDOWN.render(f"| a |\n|---|\n| {escape(text) or 'x'} |\n"))
    assert html.unescape(cell) == (said or "x")
