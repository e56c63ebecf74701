"""The report of structured extraction: claims that the intervals allow, figures in their places, everything escaped."""

from __future__ import annotations

import itertools
import random
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import cache
from html.parser import HTMLParser
from pathlib import Path

import pytest

from finreg_cli.domain.extraction import LEASE, Labels
from finreg_cli.domain.extraction_metrics import (
    ALL,
    DEFINITIONS,
    Counts,
    Graded,
    differences,
    figures,
    grade_document,
    totals,
)
from finreg_cli.domain.metrics import Figure
from finreg_cli.domain.records import FinetuneRun, Metric, Prediction, SynthesisRound
from finreg_cli.errors import WarehouseError
from finreg_cli.reports import plots
from finreg_cli.reports.base import ExtractionReport, SweepMember, TableRead
from finreg_cli.reports.extraction import render
from finreg_cli.reports.html import HtmlReports

HOLDOUT = "lease_docs_holdout"
HOSTILE = '<script>alert("1")</script> & {{ 7 * 7 }}'
VOID = {"meta", "link", "br", "img", "input", "hr", "wbr"}


class Page(HTMLParser):
    """The page's tags and text; fails on a tag that is closed in the wrong order."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self._text: list[str] = []
        self.feed(html)
        self.text = re.sub(r"\s+", " ", "".join(self._text))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)
        self._text.append("" if tag == "wbr" else " ")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag
        self._text.append(" ")

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] != "style":
            self._text.append(data)


# --- an evaluation, made by the real graders -------------------------------------------------------------------------


def labelled(nth: int) -> Labels:
    return {
        "end_date": f"{nth % 28 + 1} March 2031",
        "leased_space": f"Suite {nth}, {nth + 4} Elm Road, approximately {900 + nth} square feet",
        "lessee": HOSTILE if nth == 0 else f"Tenant Number {nth} Ltd",
        "lessor": f"Owner Number {nth} LLC",
        "signing_date": f"{nth % 28 + 1} January 2026",
        "start_date": f"{nth % 28 + 1} April 2026",
        "term_of_payment": "monthly in advance, on the first day",
        "designated_use": "general offices and no other purpose",
        "extension_period": None if nth % 3 else "one further term of five years",
        "expiration_date_of_lease": None if nth % 2 else f"{nth % 28 + 1} March 2031",
    }


def found(labels: Labels, right: float, draws: random.Random) -> Labels:
    """Each value right with that probability, else near, wrong or missing; now and then one that is not there."""
    answer: Labels = {}
    for key, value in labels.items():
        if value is None:
            answer[key] = "spurious value" if draws.random() > 0.5 + right / 2 else None
        elif draws.random() < right:
            answer[key] = value
        else:
            answer[key] = draws.choice([f"{value} Esq", "something else altogether, from another clause", None])
    return answer


class Made:
    """Labels and answers of models on test sets, from which metrics and predictions are made as a stage would."""

    def __init__(self) -> None:
        self.metrics: list[Metric] = []
        self.predictions: list[Prediction] = []
        self._graded: dict[tuple[str, str, int, str], list[Graded]] = {}

    def answer(self, dataset: str, documents: int, model: str, round_: int, right: float) -> None:
        draws = random.Random(f"{dataset} {model} {round_}")
        labels = [labelled(nth) for nth in range(documents)]
        answers = [found(each, right, draws) for each in labels]
        self.predictions += [
            Prediction(
                run_id="e1",
                finetune_run_id="f1",
                dataset=dataset,
                round=round_,
                row_id=f"lease-{nth}",
                model=model,
                context="with",
                prediction=LEASE.dumps(answer),
                reference=LEASE.dumps(given),
                scores={"windows": 1.0, "invalid_replies": 0.0},
            )
            for nth, (given, answer) in enumerate(zip(labels, answers, strict=True))
        ]
        for definition in DEFINITIONS:
            graded = [
                grade_document(LEASE, given, answer, definition) for given, answer in zip(labels, answers, strict=True)
            ]
            self._graded[dataset, model, round_, definition] = graded
            self._add(dataset, round_, model, definition, figures(graded, LEASE, 7))
            self.metrics += list(self._counts(dataset, round_, model, definition, totals(graded, LEASE)))
        self._add(
            dataset, round_, model, "all", [(ALL, "invalid_json", Figure(0.041, None, None, documents, documents))]
        )

    def compare(self, dataset: str, tuned: tuple[str, int], other: tuple[str, int], named: str) -> None:
        for definition in DEFINITIONS:
            changed = differences(
                self._graded[dataset, *tuned, definition], self._graded[dataset, *other, definition], LEASE, 7
            )
            self._add(dataset, tuned[1], f"{tuned[0]}-{named}", definition, changed)

    def _add(
        self,
        dataset: str,
        round_: int,
        model: str,
        definition: str,
        given: Sequence[tuple[str, str, Figure]] | Iterator[tuple[str, str, Figure]],
    ) -> None:
        for key, name, figure in given:
            self.metrics.append(
                metric(
                    dataset, round_, model, key, definition, name, figure.value, figure.ci_low, figure.ci_high, figure.n
                )
            )

    def _counts(
        self, dataset: str, round_: int, model: str, definition: str, counts: Mapping[str, Counts]
    ) -> Iterator[Metric]:
        for key, each in counts.items():
            for name in ("tp", "fp", "fn", "tn"):
                yield metric(dataset, round_, model, key, definition, name, float(getattr(each, name)), None, None, 1)


def metric(
    dataset: str,
    round_: int,
    model: str,
    key: str,
    definition: str,
    name: str,
    value: float | None,
    low: float | None,
    high: float | None,
    n: int,
) -> Metric:
    return Metric(
        run_id="e1",
        finetune_run_id="f1",
        dataset=dataset,
        round=round_,
        model=model,
        context="with",
        slice="all",
        key=key,
        definition=definition,
        metric=name,
        value=value,
        ci_low=low,
        ci_high=high,
        n=n,
    )


def member(round_: int, nth: int, selected: bool, **metrics: float) -> FinetuneRun:
    return FinetuneRun(
        run_id=f"f1-r{round_}-{nth}",
        sweep_id="f1",
        task="structured_extraction",
        round=round_,
        trainer="local",
        base_model="smollm2-135m-instruct",
        method="lora",
        learning_rate=nth * 1e-3,
        epochs=3.0,
        state="finished",
        metrics=metrics,
        selected=selected,
        model_uri="merged",
        model_version=None,
        training_table="ft_training",
        training_version=round_,
    )


def spent(round_: int, requests: int, money: float | None) -> SynthesisRound:
    return SynthesisRound(
        run_id="g1",
        round=round_,
        method="llm" if requests else "rules",
        generated=50,
        kept=43,
        requests=requests,
        cached=3 if requests else 0,
        input_tokens=requests * 900,
        output_tokens=requests * 300,
        money=money,
    )


RIGHT_BY_ROUND = {0: 0.45, 1: 0.62, 2: 0.66}


@cache
def report(
    rounds: int = 3,
    *,
    endpoint: bool = True,
    extra: bool = True,
    documents: int = 30,
    requests: int = 172,
    base_right: float = 0.1,
) -> ExtractionReport:
    """An evaluation of so many rounds; with none, of the base alone."""
    made = Made()
    sets = {HOLDOUT: documents} | ({"real_leases": 4} if extra else {})
    for dataset, count in sets.items():
        made.answer(dataset, count, "base", 0, base_right / 2)
        made.answer(dataset, count, "base_constrained", 0, base_right)
        if endpoint:
            made.answer(dataset, count, "generator", 0, 0.55)
        for number in range(rounds):
            right = RIGHT_BY_ROUND[number]
            made.answer(dataset, count, "tuned", number, right - 0.05)
            made.answer(dataset, count, "tuned_constrained", number, right)
            for model, base in (("tuned", "base"), ("tuned_constrained", "base_constrained")):
                made.compare(dataset, (model, number), (base, 0), base)
                if number:
                    made.compare(dataset, (model, number), (model, number - 1), "previous_round")
                    made.compare(dataset, (model, number), (model, 0), "round_0")
            if endpoint:
                made.compare(dataset, ("tuned_constrained", number), ("generator", 0), "generator")
    members = [
        member(
            number,
            nth,
            nth == 2,
            eval_loss=0.30 - 0.05 * nth,
            token_accuracy=0.80 + (0.02 * nth if nth < 3 else -0.02),
            task_f1_strict=0.30 + 0.1 * nth + 0.05 * number,
            task_f1_published=0.40 + 0.1 * nth + 0.05 * number,
            train_tokens=20_480.0,
        )
        for number in range(rounds)
        for nth in (1, 2, 3)
    ]
    return ExtractionReport(
        run_id="e1",
        made_at=datetime(2026, 11, 22, 14, 30, tzinfo=UTC),
        base_model="smollm2-135m-instruct",
        rounds=[each for each in members if each.selected],
        sweep=[SweepMember(each, [], None) for each in members],
        schema=LEASE,
        datasets=sets,
        tables=[
            TableRead(HOLDOUT, 3, documents, "documents that were extracted from"),
            TableRead("lease_docs_train", 2, 50, "real documents"),
            *(TableRead("ft_training", number, 61 + 43 * number, "training") for number in range(rounds)),
        ],
        settings={"extraction.window_tokens": "1024", "note": HOSTILE},
        metrics=made.metrics,
        predictions=made.predictions,
        spent=[spent(number, requests, 0.5 if requests else None) for number in range(1, rounds)],
    )


# --- the page --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def whole() -> ExtractionReport:
    return report()


@pytest.fixture(scope="module")
def page(whole: ExtractionReport) -> Page:
    return Page(render(whole))


def heading(shown: ExtractionReport) -> str:
    match = re.search(r"<h1>(.*?)</h1>", render(shown))
    assert match is not None
    return match[1]


def value_of(shown: ExtractionReport, model: str, round_: int, definition: str, name: str = "f1") -> float:
    (found,) = (
        each.value
        for each in shown.metrics
        if (each.dataset, each.model, each.round, each.key, each.definition, each.metric)
        == (HOLDOUT, model, round_, ALL, definition, name)
    )
    assert found is not None
    return found


def with_difference(shown: ExtractionReport, definition: str, low: float, high: float) -> ExtractionReport:
    """The same with another interval of tuned less base, by one definition."""
    metrics = [
        replace(each, ci_low=low, ci_high=high)
        if (each.model, each.definition) == ("tuned_constrained-base_constrained", definition)
        else each
        for each in shown.metrics
    ]
    return replace(shown, metrics=metrics)


def test_the_page_is_well_formed_and_asks_nothing_of_anyone(whole: ExtractionReport, page: Page) -> None:
    assert page.open == []
    names = {tag for tag, _ in page.tags}
    assert not names & {"script", "link", "img", "iframe", "object", "embed", "form", "base"}
    attributes = [name for _, given in page.tags for name in given]
    assert not {"src", "href", "action", "srcset"} & set(attributes)
    assert not [name for name in attributes if name.startswith("on")]
    assert not re.search(r"url\(|@import|https?:", render(whole))
    policies = [given["content"] for _, given in page.tags if given.get("http-equiv") == "Content-Security-Policy"]
    assert policies == ["default-src 'none'; style-src 'unsafe-inline'"]


def test_what_a_model_a_document_or_a_setting_says_is_text() -> None:
    shown = report(1, documents=1, extra=False)
    text = Page(render(shown)).text
    assert text.count(HOSTILE) >= 2, "the label of the only document and the setting, as they are"
    hostile_key = replace(LEASE, fields=(replace(LEASE.fields[0], name=HOSTILE),))
    assert HOSTILE in Page(render(replace(shown, schema=hostile_key, predictions=[]))).text


def test_both_definitions_are_claimed_in_one_breath_where_they_agree(whole: ExtractionReport) -> None:
    assert heading(whole) == (
        "On 30 hold-out documents, the tuned model extracts better than its base by both definitions of F1, "
        "strict and published."
    )


def test_a_definition_whose_interval_holds_zero_claims_nothing(whole: ExtractionReport) -> None:
    assert heading(with_difference(whole, "published", -0.01, 0.2)) == (
        "On 30 hold-out documents, the tuned model extracts better than its base by the strict definition of F1; "
        "no difference between the tuned model and its base can be claimed by the published definition of F1."
    )
    worse = with_difference(with_difference(whole, "published", -0.3, -0.1), "strict", -0.3, -0.1)
    assert "extracts worse than its base by both" in heading(worse)


def test_few_documents_claim_nothing() -> None:
    few = report(1, documents=4, extra=False)
    assert heading(few).startswith("On 4 hold-out documents, which are too few to claim a difference")
    assert "better" not in Page(render(few)).text.split("By key")[0]


def test_the_published_definition_is_not_shown_in_the_place_of_the_strict_one(
    whole: ExtractionReport, page: Page
) -> None:
    first = page.text[page.text.index("30 documents: base_constrained → tuned_constrained (round 2)") :]
    strict, published = re.findall(r"(\d\.\d\d) → (\d\.\d\d)", first)[:2]
    for shown, definition in ((strict, "strict"), (published, "published")):
        assert shown == (
            f"{value_of(whole, 'base_constrained', 0, definition):.2f}",
            f"{value_of(whole, 'tuned_constrained', 2, definition):.2f}",
        )


def test_extra_sets_are_shown_as_they_are(page: Page) -> None:
    assert "4 documents: base_constrained → tuned_constrained (round 2)" in page.text
    assert "Extra set: real_leases n = 4 documents, so few that no interval is given" in page.text
    assert "real_leases lease-" in page.text, "documents of it side by side"


def test_published_figures_stand_beside_ours_and_are_called_another_data_set(page: Page) -> None:
    drawings = [given["aria-label"] for tag, given in page.tags if tag == "svg" and given.get("class") == "columns"]
    assert len(drawings) == 2
    assert drawings[0] is not None
    assert drawings[0].startswith("F1 by round, strict then published: round 0 ")
    assert "round 2" in drawings[0]
    assert "base strict" in drawings[0]
    assert "generator published" in drawings[0]
    assert drawings[1] is not None
    assert re.findall(r"\.\d{3}", drawings[1]) == [".705", ".701", ".752", ".800"]
    assert re.findall(r"0\.\d{3} 0\.\d{3}", page.text)[:4] == [
        "0.705 0.557",
        "0.701 0.569",
        "0.752 0.608",
        "0.800 0.667",
    ]
    assert "other leases, other models: not comparable in level" in page.text


def test_a_round_costs_what_it_asked_for_divided_by_the_points_it_gained(whole: ExtractionReport, page: Page) -> None:
    gained = value_of(whole, "tuned_constrained-previous_round", 1, "strict") / 0.01
    assert gained > 0
    assert f"{172 / gained:,.1f} requests money {0.5 / gained:,.4f}" in page.text


def test_a_round_shows_the_rows_that_it_was_trained_on_and_what_was_made_for_it(page: Page) -> None:
    assert "1 llm 43 of 50 made 43 in all so far 172 and 3 from the cache 154,800 51,600 0.5000 104 20,480" in page.text
    assert "2 llm 43 of 50 made 86 in all so far" in page.text
    assert "0 real only – – – – – 61 20,480" in page.text
    assert "windows of the same 50 real documents" in page.text


def test_a_round_that_was_made_and_not_yet_evaluated_is_not_counted(whole: ExtractionReport) -> None:
    further = replace(whole, spent=[*whole.spent, spent(3, 1_000, None)])
    assert "86 synthetic documents kept" in Page(render(further)).text
    assert "344 requests for them" in Page(render(further)).text


def test_a_round_that_gained_nothing_or_asked_nobody_has_no_cost_of_a_point() -> None:
    lost = report(2)
    lost = replace(
        lost,
        metrics=[
            replace(each, value=-0.01) if each.model.endswith("previous_round") else each for each in lost.metrics
        ],
    )
    made_by_rules = report(2, requests=0)
    for shown in (lost, made_by_rules):
        cells = re.findall(r'data-label="cost of a point">(.*?)</td>', render(shown))
        assert len(cells) == 4, "two rounds by two definitions"
        assert all("requests" not in each for each in cells)


def test_documents_made_by_rules_are_told_by_a_banner_and_a_models_are_not() -> None:
    assert "Documents made by rules." in render(report(2, requests=0))
    assert "Documents made by rules." not in render(report(2, requests=40))


def test_the_sweep_names_the_selected_and_what_the_shortcuts_would_have_picked(page: Page) -> None:
    assert page.text.count("✓ selected") == 3
    assert (
        "Round 1: evaluation loss picks the member with the best strict F1 on ft_eval (0.65); token accuracy picks "
        "another (B: learning rate 0.002, 3ep), with a strict F1 of 0.55 on ft_eval against the best, 0.65."
    ) in page.text
    table = page.text[page.text.index("members of") :]
    assert "Round 0 3 +1.00 +1.00 -0.50 -0.50" in table
    assert re.search(r"all rounds 9 \+0\.\d\d", table)


def test_two_members_are_too_few_for_a_correlation(whole: ExtractionReport) -> None:
    two = [each for each in whole.sweep if each.run.round == 0][:2]
    text = Page(render(replace(whole, sweep=two))).text
    assert "Round 0 2 not defined not defined not defined not defined" in text
    assert (
        "all rounds"
        not in text[text.index("members of") : text.index("Documents side by side")].split("With so few")[0]
    )
    alone = Page(render(replace(whole, sweep=two[:1]))).text
    assert "Round 0: fewer than two members were measured, so there was nothing to pick from." in alone


def test_members_without_a_figure_are_shown_without_it(whole: ExtractionReport) -> None:
    bare = [SweepMember(replace(each.run, metrics={}), [], None) for each in whole.sweep]
    text = Page(render(replace(whole, sweep=bare, rounds=[bare[0].run]))).text
    assert "f1-r0-1 0 0.001 3ep – – –" in text
    assert "The task metric was not measured" in text


def test_every_kind_of_answer_has_its_mark() -> None:
    labels = labelled(1) | {"extension_period": None, "expiration_date_of_lease": None}
    answer = labels | {
        "end_date": "2031-03-02",  # the same date in another spelling
        "leased_space": f"{labels['leased_space']}.,",
        "lessee": "somebody else",
        "lessor": None,
        "extension_period": "one year",
    }
    shown = report(1, documents=6, extra=False)
    (one,) = (
        each
        for each in shown.predictions
        if (each.model, each.round, each.row_id) == ("tuned_constrained", 0, "lease-1")
    )
    predicted = replace(one, prediction=LEASE.dumps(answer), reference=LEASE.dumps(labels))
    html = render(replace(shown, predictions=[predicted]))
    article = html[html.index("<article") : html.index("</article>")]
    marks = dict(re.findall(r'<th scope="row">([a-z_<>]+)</th>.*?<span class="mark (\w+)">', article, re.DOTALL))
    assert {key.replace("<wbr>", ""): mark for key, mark in marks.items()} == {
        "end_date": "right",
        "leased_space": "right",
        "lessee": "wrong",
        "lessor": "missing",
        "signing_date": "right",
        "start_date": "right",
        "term_of_payment": "right",
        "designated_use": "right",
        "extension_period": "spurious",
        "expiration_date_of_lease": "null",
    }
    near = replace(one, prediction=LEASE.dumps(answer | {"leased_space": f"{labels['leased_space']} Esq"}))
    assert '<span class="mark near">' in render(replace(shown, predictions=[near])).split("</article>")[0]


def test_a_document_without_a_readable_reply_shows_the_reply(whole: ExtractionReport) -> None:
    shown = report(1, documents=6, extra=False)
    unreadable = [
        replace(each, prediction=f"{{'{HOSTILE}", scores={"windows": 1.0, "invalid_replies": 1.0})
        if each.model == "base_constrained"
        else each
        for each in shown.predictions
    ]
    text = Page(render(replace(shown, predictions=unreadable))).text
    assert "base_constrained: no reply could be read, so all is null" in text
    assert f"{{'{HOSTILE}" in text
    assert "base_constrained, 0 right" in text


def test_six_documents_from_best_to_worst(whole: ExtractionReport) -> None:
    html = render(whole)
    assert html.count("<article") == 6
    right = [int(each) for each in re.findall(r"tuned_constrained, (\d+) right", html)]
    own = right[:4]
    assert own == sorted(own, reverse=True)
    assert own[0] > own[-1]


def test_figures_that_nothing_defines_are_dashes(whole: ExtractionReport) -> None:
    undefined = [replace(each, value=None, ci_low=None, ci_high=None) for each in whole.metrics]
    page = Page(render(replace(whole, metrics=undefined)))
    assert page.open == []
    assert "None" not in page.text
    assert not [given for tag, given in page.tags if tag == "svg" and given.get("class") == "columns"]


@pytest.mark.parametrize("rounds", [0, 1, 2])
@pytest.mark.parametrize("endpoint", [False, True])
def test_fewer_rounds_and_models_make_a_whole_page_too(rounds: int, endpoint: bool) -> None:
    shown = report(rounds, endpoint=endpoint, extra=False, documents=8)
    page = Page(render(shown))
    assert page.open == []
    assert ("F1 by round" in page.text) == bool(rounds)
    assert "The sweep" in page.text if rounds else "one model was measured, and not compared" in heading(shown)
    assert ("generator" in page.text.split("What counts as right")[0]) == endpoint
    assert "extra set" not in page.text.split("A difference is claimed")[0]


def test_an_endpoint_takes_the_place_of_a_base_that_was_not_evaluated(whole: ExtractionReport) -> None:
    without_base = replace(whole, metrics=[each for each in whole.metrics if "base" not in each.model])
    assert heading(without_base).startswith(
        "On 30 hold-out documents, no difference between the tuned model and the generator can be claimed"
    )
    only = replace(without_base, metrics=[each for each in whole.metrics if each.model == "generator"], rounds=[])
    assert "one model was measured" in heading(only)


def test_free_decoding_alone_is_compared_with_itself(whole: ExtractionReport) -> None:
    free = replace(whole, metrics=[each for each in whole.metrics if "constrained" not in each.model])
    assert "30 documents: base → tuned (round 2)" in Page(render(free)).text
    assert "tuned model extracts better than its base" in heading(free)


def test_another_schema_is_reported_by_its_own_keys() -> None:
    schema = replace(LEASE, fields=LEASE.fields[:2], title="contract")
    text = Page(render(replace(report(1, extra=False, documents=6), schema=schema))).text
    assert "2 keys a contract" in text
    assert "lessor" not in text.split("What counts as right")[0]


def test_the_file_is_written_whole_and_again_as_the_latest(whole: ExtractionReport, tmp_path: Path) -> None:
    folder = tmp_path / "new" / "reports"
    path = HtmlReports(folder).write_extraction(whole)
    assert path == folder / "e1.html"
    assert path.read_text(encoding="utf-8") == (folder / "latest.html").read_text(encoding="utf-8") == render(whole)


def test_a_folder_that_cannot_be_written_is_named(whole: ExtractionReport, tmp_path: Path) -> None:
    (tmp_path / "reports").write_text("a file where the folder should be")
    with pytest.raises(WarehouseError, match=r"cannot write the report .*reports/e1\.html"):
        HtmlReports(tmp_path / "reports").write_extraction(whole)


# --- the chart -------------------------------------------------------------------------------------------------------


def test_a_higher_figure_stands_higher_and_its_interval_around_it() -> None:
    low, high = plots.Dot(0.25, 0.2, 0.4, "d-strict"), plots.Dot(0.75, None, None, "d-published")
    drawn = str(plots.columns([plots.Column("<round 0>", "a & b", [low, high])], [], 'a "label"'))
    below, above = (float(each) for each in re.findall(r'<circle cx="53\.50%" cy="([\d.]+)"', drawn))
    assert above < below, "downwards on the screen"
    (ends,) = re.findall(r'<line x1="53\.50%" x2="53\.50%" y1="([\d.]+)" y2="([\d.]+)"/>', drawn)
    assert float(ends[1]) < below < float(ends[0])
    assert "&lt;round 0&gt;" in drawn
    assert "a &amp; b" in drawn
    assert 'aria-label="a &quot;label&quot;"' in drawn
    assert re.findall(r'class="value"[^>]*>([^<]*)', drawn) == [".25", ".75"]


def test_names_of_levels_never_lie_on_each_other() -> None:
    levels = [plots.Level(f"<{nth}>", value, "l-base") for nth, value in enumerate((0.0, 0.01, 0.02, 0.9, 0.9))]
    drawn = str(plots.columns([plots.Column("round 0", "", [])], levels, ""))
    places = sorted(float(each) for each in re.findall(r'class="level" x="[\d.]+%" y="([\d.]+)"', drawn))
    assert all(below - above >= plots.LINE for above, below in itertools.pairwise(places))
    assert places[-1] <= plots.COLUMNS_TOP + plots.COLUMNS_HEIGHT, "none below the scale"
    assert "&lt;3&gt; .90" in drawn
