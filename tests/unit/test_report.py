"""The HTML report: self-contained, escaped, complete, and written whole."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import UTC, datetime
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from finreg_cli.domain.chat_format import ABSTENTION
from finreg_cli.domain.metrics import scores
from finreg_cli.domain.records import FinetuneRun, Metric, Prediction, QaRow
from finreg_cli.errors import WarehouseError
from finreg_cli.reports import plots
from finreg_cli.reports.base import AnsweredRow, Report, SweepMember, TableRead
from finreg_cli.reports.html import HtmlReports, render

HOSTILE = '<script>alert("1")</script> & {{ 7 * 7 }}'
VOID = {"meta", "link", "br", "img", "input", "hr"}


class Page(HTMLParser):
    """The page's tags and text; fails on a tag that is closed in the wrong order."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(html)

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
            self.text += data


def metric(model: str, value: float, low: float | None = None, high: float | None = None, **changed: Any) -> Metric:
    found = Metric(
        run_id="e1",
        finetune_run_id="f1",
        dataset="qa_dataset:validation",
        round=0,
        model=model,
        context="with",
        slice="all",
        key="all",
        definition="answerable",
        metric="token_f1",
        value=value,
        ci_low=low,
        ci_high=high,
        n=32,
    )
    return replace(found, **changed)


def compared(**changed: Any) -> list[Metric]:
    return [
        metric("base", 0.44, 0.35, 0.52, **changed),
        metric("tuned", 0.81, 0.73, 0.88, **changed),
        metric("tuned-base", 0.37, 0.28, 0.46, **changed),
    ]


def answered(nth: int, base: str, tuned: str, reference: str, method: str = "rules") -> AnsweredRow:
    answerable = reference != ABSTENTION
    row = QaRow(
        row_id=f"{nth:032}",
        chunk_id="c",
        chunk_ids=["c"],
        document_id="d",
        citation=f"CRR Article {nth}",
        kind="threshold" if answerable else "unanswerable",
        sample=0,
        context=f"CRR Article {nth}\ncontext {HOSTILE}",
        question=f"Question {nth}?",
        answer=reference,
        answerable=answerable,
        method=method,
        prompt_version="1",
        outputs_may_train=True,
        round=1,
        split="validation",
        split_unit=f"Article {nth}",
    )
    predictions = [
        Prediction(
            run_id="e1",
            finetune_run_id="f1",
            dataset="qa_dataset:validation",
            round=0,
            row_id=row.row_id,
            model=model,
            context="with",
            prediction=text,
            reference=reference,
            scores=scores(text, reference, answerable),
        )
        for model, text in (("base", base), ("tuned", tuned))
    ]
    return AnsweredRow(row, predictions)


@pytest.fixture
def report() -> Report:
    finetune = FinetuneRun(
        run_id="f1",
        sweep_id="f",
        task="regulation_qa",
        round=0,
        trainer="local",
        base_model="smollm2-135m-instruct",
        method="lora",
        learning_rate=1e-3,
        epochs=3.0,
        state="finished",
        metrics={"eval_loss": 0.052, "train_tokens": 20_480.0},
        selected=True,
        model_uri="merged",
        model_version=None,
        training_table="ft_training",
        training_version=4,
    )
    return Report(
        run_id="e1",
        made_at=datetime(2026, 11, 22, 14, 30, tzinfo=UTC),
        base_model="smollm2-135m-instruct",
        finetune=finetune,
        context_length=2_048,
        tables=[TableRead("qa_dataset", 3, 3, "validation"), TableRead("ft_training", 4, 64, "training")],
        settings={"evaluate.limit": "40"},
        metrics=[
            *compared(),
            *compared(slice="threshold"),
            *compared(metric="false_abstention"),
            metric("base", 0.5, slice="deadline", n=2),
            metric("tuned", 0.7, slice="deadline", n=2),
            metric("tuned-base", 0.2, slice="deadline", n=2),
        ],
        answered=[
            answered(1, HOSTILE, "8 %. [CRR Article 1]", "8 %. [CRR Article 1]"),
            answered(2, "9 %.", ABSTENTION, "9 %. [CRR Article 2]"),
            answered(3, "It is 7 %.", ABSTENTION, ABSTENTION),
        ],
        curve=[(1, "train_loss", 2.0), (2, "train_loss", 1.0), (2, "eval_loss", 0.5), (2, "learning_rate", 1e-3)],
        sweep=[],
    )


def test_the_page_is_well_formed_and_asks_nothing_of_anyone(report: Report) -> None:
    page = Page(render(report))
    assert page.open == []
    names = {tag for tag, _ in page.tags}
    assert not names & {"script", "link", "img", "iframe", "object", "embed", "form", "base"}
    attributes = [name for _, given in page.tags for name in given]
    assert not {"src", "href", "action", "srcset"} & set(attributes)
    assert not [name for name in attributes if name.startswith("on")]
    assert not re.search(r"url\(|@import|https?:", render(report))
    policies = [given["content"] for _, given in page.tags if given.get("http-equiv") == "Content-Security-Policy"]
    assert policies == ["default-src 'none'; style-src 'unsafe-inline'"]


def test_what_a_model_or_a_document_says_is_text(report: Report) -> None:
    page = Page(render(report))
    assert page.text.count(HOSTILE) == 4, "three contexts and one answer, as they are"


def test_the_headline_says_what_got_worse_as_well(report: Report) -> None:
    assert heading(report) == (
        "By token F1, the tuned model answers better than its base with context; "
        "it does worse on wrong abstentions (with context)."
    )


def test_the_report_says_what_was_evaluated(report: Report) -> None:
    text = re.sub(r"\s+", " ", Page(render(report)).text)
    for part in (
        "0.44 [0.35, 0.52]",
        "+0.37 [+0.28, +0.46]",
        "smollm2-135m-instruct",
        "local, lora, learning rate 0.001, 3 epochs",
        "20,480",
        "training tokens, 10.0 context lengths",
        "22 November 2026, 14:30 UTC",
        "evaluate.limit",
    ):
        assert part in text
    assert re.search(r"ft_training\s*4\s*64", text)


def test_gains_losses_and_unanswerable_rows_are_shown(report: Report) -> None:
    text = re.sub(r"\s+", " ", Page(render(report)).text)
    places = [text.index(part) for part in ("Largest gains (1 of 1)", "Question 1?", "Largest losses (1 of 1)")]
    places += [text.index(part) for part in ("Question 2?", "Unanswerable questions (1 of 1)", "Question 3?")]
    assert places == sorted(places)


def test_the_banner_counts_rows_made_by_rules_and_is_left_out_where_there_are_none(report: Report) -> None:
    assert "3 of the 3 evaluated rows were made by rules" in Page(render(report)).text
    others = [replace(each, row=replace(each.row, method="llm")) for each in report.answered]
    assert "made by rules" not in Page(render(replace(report, answered=others))).text


def test_a_kind_of_too_few_articles_claims_nothing(report: Report) -> None:
    page = Page(render(report))
    labels = [given.get("aria-label") for tag, given in page.tags if tag == "svg"]
    assert "token F1 0.70 against 0.50, +0.20, n=2" in labels
    assert page.text.count("too few") == 1


def test_every_plot_is_read_out(report: Report) -> None:
    drawings = [given for tag, given in Page(render(report)).tags if tag == "svg"]
    assert all(given.get("aria-label") or given.get("aria-hidden") == "true" for given in drawings)
    assert "Training curve: train_loss from 2.000 to 1.000; eval_loss from 0.500 to 0.500" in (
        [given.get("aria-label") for given in drawings]
    )


def test_one_model_without_a_run_and_without_a_curve_is_reported_too(report: Report) -> None:
    alone = replace(
        report,
        finetune=None,
        curve=[],
        tables=report.tables[:1],
        metrics=[each for each in report.metrics if each.model == "base"],
        answered=[replace(each, predictions=each.predictions[:1]) for each in report.answered],
    )
    page = Page(render(alone))
    assert page.open == []
    assert "measured, not compared, because one model answered, with context" in page.text
    assert "Best answers (2 of 2)" in page.text
    assert "Worst answers (2 of 2)" in page.text
    assert "Training curve" not in render(alone)


def test_unanswerable_rows_alone_are_reported_too(report: Report) -> None:
    alone = replace(
        report, answered=report.answered[2:], metrics=compared(metric="abstention_right", definition="unanswerable")
    )
    assert heading(alone) == "No answerable row was evaluated."


def test_the_file_is_written_whole_and_again_as_the_latest(report: Report, tmp_path: Path) -> None:
    folder = tmp_path / "new" / "reports"
    path = HtmlReports(folder).write(report)
    assert path == folder / "e1.html"
    assert path.read_text(encoding="utf-8") == (folder / "latest.html").read_text(encoding="utf-8") == render(report)
    HtmlReports(folder).write(replace(report, run_id="e2"))
    assert sorted(each.name for each in folder.iterdir()) == ["e1.html", "e2.html", "latest.html"]
    assert "<code>e2</code>" in (folder / "latest.html").read_text(encoding="utf-8")


def test_a_folder_that_cannot_be_written_is_named(report: Report, tmp_path: Path) -> None:
    (tmp_path / "reports").write_text("a file where the folder should be")
    with pytest.raises(WarehouseError, match=r"cannot write the report .*reports/e1\.html"):
        HtmlReports(tmp_path / "reports").write(report)


def test_a_dot_stands_where_its_value_is_and_its_interval_around_it() -> None:
    drawn = str(plots.track([plots.Dot(0.5, 0.25, 0.75, "m-base")], plots.SCORES, 'a "label"'))
    assert '<circle cx="50.00%"' in drawn
    assert '<line x1="26.00%" x2="74.00%"' in drawn
    assert 'aria-label="a &quot;label&quot;"' in drawn
    without = str(plots.track([plots.Dot(-1, None, None, "v-too_few")], plots.DIFFERENCES, ""))
    assert '<g class="v-too_few"><circle cx="2.00%"' in without


def test_the_curve_falls_from_the_top_left_to_the_bottom_right() -> None:
    drawn = str(plots.curve([plots.Series("train_loss", "s-train", [(10, 1.0), (0, 2.0)])], "curve"))
    (segment,) = re.findall(r'<line x1="([\d.]+)%" y1="([\d.]+)" x2="([\d.]+)%" y2="([\d.]+)"/>', drawn)
    x1, y1, x2, y2 = map(float, segment)
    assert (x1, x2) == (1, 99)
    assert y1 < y2, "downwards on the screen"


def heading(report: Report) -> str:
    match = re.search(r"<h1>(.*?)</h1>", render(report))
    assert match is not None
    return match[1]


def test_the_sweep_is_a_section_where_there_was_one(report: Report) -> None:
    assert report.finetune is not None
    one = SweepMember(report.finetune, report.curve, None)
    other = replace(one, run=replace(report.finetune, run_id="f2", learning_rate=1e-4, selected=False))
    assert "Rank correlation" not in render(replace(report, sweep=[one]))
    assert "shortcuts work" not in render(replace(report, sweep=[one]))
    page = Page(render(replace(report, sweep=[one, other])))
    assert page.open == []
    assert "The sweep, and whether its shortcuts work" in page.text
    assert "task metric was not measured" in page.text
    charts = [given for tag, given in page.tags if tag == "svg" and given.get("class") == "chart"]
    assert [given["role"] for given in charts] == ["img"]
