"""The page of a sweep: its figures, its plots, and no correlation where there is none."""

from __future__ import annotations

import math
import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from html.parser import HTMLParser
from pathlib import Path

import pytest

from finreg_cli.domain.records import FinetuneRun
from finreg_cli.errors import WarehouseError
from finreg_cli.reports import plots
from finreg_cli.reports.base import Step, SweepMember, SweepReport, TableRead
from finreg_cli.reports.html import HtmlReports
from finreg_cli.reports.sweep import Section, plot, render

HOSTILE = '<script>alert("1")</script> & {{ 7 * 7 }}'
VOID = {"meta", "link", "br", "img", "input", "hr", "wbr"}
CURVE: list[Step] = [
    (0, "eval_loss", 2.0),
    (1, "train_loss", 1.9),
    (2, "train_loss", math.nan),
    (2, "eval_loss", 0.4),
    (2, "grad_norm", 1.0),
]


class Page(HTMLParser):
    """The page's tags and text; fails on a tag that is closed in the wrong order."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self._text: list[str] = []
        self.feed(html)
        self.text = re.sub(r"\s+", " ", " ".join(self._text))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] != "style":
            self._text.append(data)


def member(
    nth: int, loss: float, token_f1: float | None, curve: Sequence[Step] = CURVE, failure: str | None = None
) -> SweepMember:
    """With the learning rate ``nth`` thousandths, so that the page shows the members by number."""
    metrics = {"duration_ep": 2.0, "lora_rank": 16.0, "eval_loss": loss, "token_accuracy": 1 - loss}
    run = FinetuneRun(
        run_id=f"f1-{nth}",
        sweep_id="f1",
        task="regulation_qa",
        round=0,
        trainer="local",
        base_model="smollm2-135m-instruct",
        method="lora",
        learning_rate=nth / 1000,
        epochs=2.0,
        state="failed" if failure else "finished",
        metrics={} if failure else metrics | ({"task_token_f1": token_f1, "task_rows": 12.0} if token_f1 else {}),
        selected=False,
        model_uri=None,
        model_version=None,
        training_table="ft_training",
        training_version=1,
    )
    return SweepMember(run, curve, failure)


def changed(of: SweepMember, **values: object) -> SweepMember:
    return replace(of, run=replace(of.run, **values))  # type: ignore[arg-type]  # whatever the record has


def report(*members: SweepMember) -> SweepReport:
    return SweepReport(
        sweep_id="f1",
        made_at=datetime(2026, 11, 23, 1, 30, tzinfo=UTC),
        base_model="smollm2-135m-instruct",
        select_by="task_metric",
        members=members,
        tables=[TableRead("ft_training", 1, 60, "rows that were trained on")],
        settings={"finetune.method": "lora"},
    )


FOUR = [
    member(1, 0.40, 0.5),
    changed(member(2, 0.30, 0.8), selected=True),
    member(3, 0.20, 0.6),
    member(4, 0.10, 0.7),
]


def ranks(text: str) -> str:
    return text[text.index("members of") : text.index("It is not defined with")]


# --- figures ---------------------------------------------------------------------------------------------------------


def test_the_page_is_whole_and_asks_nothing_of_anyone() -> None:
    html = render(report(*FOUR, member(5, 0, None, [], HOSTILE)))
    page = Page(html)
    assert page.open == []
    assert not {tag for tag, _ in page.tags} & {"script", "link", "img", "iframe", "form"}
    assert not re.search(r"url\(|@import|https?:", html)
    assert page.text.count(HOSTILE) == 1
    assert "None" not in page.text


def test_members_are_shown_with_what_was_swept_and_what_they_reached() -> None:
    text = Page(render(report(*FOUR, member(5, 0, None, [], "out of memory")))).text
    assert "Selected: learning rate 0.002, 2ep, rank 16." in text
    assert "B ✓ selected f1-2 0.002 2ep 16 0.3000 1.350 0.7000 0.800" in text
    assert "E failed f1-5 0.005" in text
    assert "E failed: why out of memory" in text
    assert "Selected by task_metric , ties by evaluation loss" in text
    assert "greedy answers to its 12 rows" in text


def test_a_rank_correlation_turns_the_sign_of_the_loss() -> None:
    # Losses falling 1 to 4, token F1 in the ranks 1, 4, 2, 3: rho = 1 - 6 * (0 + 4 + 1 + 1) / (4 * 15) = 0.4.
    text = Page(render(report(*FOUR))).text
    assert "all members 4 +0.40 +0.40" in ranks(text)
    assert "probability of 8 % for 4 members" in text
    assert "it comes from fewer than 6 articles" in text
    assert (
        "evaluation loss picks another (D: learning rate 0.004, 2ep, rank 16), with a token F1 of 0.70 on ft_eval "
        "against the best, 0.80; token accuracy picks another (D"
    ) in text


@pytest.mark.parametrize(
    "members",
    [
        FOUR[:2],
        [*FOUR[:2], member(3, 0.2, None)],
        [*FOUR[:2], member(3, math.nan, 0.6)],
        [*FOUR[:2], member(3, 0.2, 0.5)],
        [FOUR[0], member(2, 0.4, 0.8), member(3, 0.4, 0.6)],
    ],
    ids=["two", "third not measured", "third diverged", "third scores as the first", "all lose alike"],
)
def test_no_number_is_made_of_two_values(members: list[SweepMember]) -> None:
    said = ranks(Page(render(report(*members))).text)
    assert "not defined not defined" in said
    assert not re.search(r"[+-][01]\.\d\d", said)


def test_without_the_task_metric_the_page_says_how_to_have_it() -> None:
    text = Page(render(report(member(1, 0.4, None), member(2, 0.3, None)))).text
    assert "--set finetune.task_metric=all" in text
    assert "Spearman" not in text
    assert "token F1 over" not in text


def test_a_duration_is_shown_as_it_was_asked_for_and_what_was_trained_where_that_is_another() -> None:
    by_batches = changed(FOUR[0], epochs=1.25, metrics={"duration_ba": 500.0})
    stopped = changed(FOUR[1], epochs=1.5, metrics={"duration_ep": 3.0})
    earlier = changed(FOUR[2], epochs=3.0, metrics={})
    lines = {line.run.run_id: (line.duration, line.epochs) for line in Section([by_batches, stopped, earlier]).lines}
    assert lines == {"f1-1": ("500ba", 1.25), "f1-2": ("3ep", 1.5), "f1-3": ("3ep", None)}


def test_many_members_are_told_apart() -> None:
    lines = Section([member(nth, 0.1, 0.5) for nth in range(1, 31)]).lines
    assert [lines[nth].letter for nth in (0, 25, 26)] == ["A", "Z", "A2"]
    assert len({line.letter for line in lines}) == 30
    assert (lines[0].style, lines[8].style) == ("k0", "k0 dashed")


# --- plots -----------------------------------------------------------------------------------------------------------


def test_the_curves_leave_out_what_is_no_number_and_name_each_member_at_its_end() -> None:
    (panel,) = Section([*FOUR, member(5, 0, None, [], "failed")]).panels
    assert panel.curves is not None
    named = [path for path in panel.curves.paths if path.name]
    assert [(path.name, path.points) for path in named] == [(letter, [(0, 2.0), (2, 0.4)]) for letter in "ABCD"]
    training = [path for path in panel.curves.paths if not path.name]
    assert [path.points for path in training] == [[(1.0, 1.9)]] * 4
    drawn = panel.curves.inline()
    heights = [float(each) for each in re.findall(r'dx="9" y="([\d.]+)"', drawn)]
    assert len(heights) == 4
    assert min(abs(one - other) for one in heights for other in heights if one != other) >= 12, "readable"


def test_a_training_curve_is_smoothed_to_means_of_neighbours() -> None:
    many: list[Step] = [(step, "train_loss", float(step % 2)) for step in range(1, 401)]
    (panel,) = Section([member(1, 0.1, None, many), FOUR[1]]).panels
    assert panel.curves is not None
    first = panel.curves.paths[0]
    assert len(first.points) == 40
    assert first.points[0] == (5.5, 0.5)


def test_a_scatter_plot_puts_each_member_where_its_figures_are() -> None:
    (panel,) = Section(FOUR).panels
    (heading, chart), _ = panel.scatters
    assert heading == "token F1 over evaluation loss"
    assert (chart.x.low, chart.x.high, chart.y.low, chart.y.high) == pytest.approx((0.1, 0.4, 0.5, 0.8))
    drawn = chart.inline()
    spots = re.findall(r'<g class="spot (\w+)( chosen)?"><circle cx="([\d.]+)%" cy="([\d.]+)"', drawn)
    assert [(style, bool(chosen)) for style, chosen, _, _ in spots] == [
        ("k0", False),
        ("k1", True),
        ("k2", False),
        ("k3", False),
    ]
    assert [float(x) for _, _, x, _ in spots] == pytest.approx([100, 66.67, 33.33, 0], abs=0.01)
    assert [float(y) for _, _, _, y in spots] == pytest.approx([240, 0, 160, 80], abs=0.1)
    assert "evaluation loss (nats per token)" in drawn
    assert "token F1 on ft_eval" in drawn


@pytest.mark.parametrize(
    ("values", "ticks", "texts"),
    [
        ([0.11, 0.39], (0.1, 0.2, 0.3, 0.4), ["0.1", "0.2", "0.3", "0.4"]),
        ([0.83, 0.94], (0.825, 0.85, 0.875, 0.9, 0.925, 0.95), ["0.825", "0.850", "0.875", "0.900", "0.925", "0.950"]),
        ([0, 56], (0, 20, 40, 60), ["0", "20", "40", "60"]),
        ([0.5, 0.5], (0.5, 0.6), ["0.5", "0.6"]),
        ([0, 0], (0, 0.2), ["0.0", "0.2"]),
        ([-3, 3], (-4, -2, 0, 2, 4), ["-4", "-2", "0", "2", "4"]),
    ],
)
def test_a_scale_ends_on_ticks_around_its_values(
    values: list[float], ticks: tuple[float, ...], texts: list[str]
) -> None:
    scale = plots.Scale.over(values, "loss")
    assert scale.ticks == pytest.approx(ticks)
    assert [scale.text(each) for each in scale.ticks] == texts
    assert all(0 <= scale.share(value) <= 1 for value in values)


def test_a_scale_over_decades_is_logarithmic_and_says_so() -> None:
    scale = plots.Scale.over([0.03, 2.0], "loss", may_be_logarithmic=True)
    assert scale.title == "loss, logarithmic"
    assert scale.ticks == pytest.approx((0.02, 0.05, 0.1, 0.2, 0.5, 1, 2))
    assert scale.share(0.2) == pytest.approx(0.5)
    assert not plots.Scale.over([0.3, 2.0], "loss", may_be_logarithmic=True).logarithmic
    assert not plots.Scale.over([0.0, 2.0], "loss", may_be_logarithmic=True).logarithmic


def test_the_plots_are_a_file_of_their_own() -> None:
    drawing = ElementTree.fromstring(plot(replace(report(*FOUR), sweep_id=HOSTILE)))
    texts = [each.text for each in drawing.iter("{http://www.w3.org/2000/svg}text")]
    assert f"finreg sweep {HOSTILE}" in texts
    assert {"Loss by optimiser step", "token F1 over evaluation loss", "token F1 over token accuracy"} <= set(texts)
    assert len(drawing.findall("{http://www.w3.org/2000/svg}svg")) == 3
    nothing = ElementTree.fromstring(plot(report(member(1, 0, None, [], "failed"))))
    assert nothing.findall("{http://www.w3.org/2000/svg}svg") == []


# --- files -----------------------------------------------------------------------------------------------------------


def test_page_and_plot_are_written_whole_and_the_page_again_as_the_latest(tmp_path: Path) -> None:
    files = HtmlReports(tmp_path / "reports").write_sweep(report(*FOUR))
    assert files.page == tmp_path / "reports/sweep-f1.html"
    assert files.page.read_text(encoding="utf-8") == render(report(*FOUR))
    assert files.plot.read_text(encoding="utf-8") == plot(report(*FOUR))
    assert {each.name for each in files.page.parent.iterdir()} == {"sweep-f1.html", "sweep-f1.svg", "latest-sweep.html"}
    (tmp_path / "file").write_text("a file where the folder should be")
    with pytest.raises(WarehouseError, match=r"cannot write the report .*file/sweep-f1"):
        HtmlReports(tmp_path / "file").write_sweep(report(*FOUR))
