"""Which kinds of question are asked of a text: what it holds nothing of is left out, what is in doubt is not."""

from __future__ import annotations

import dataclasses

import pytest

from fakes.assignments import chunk
from finreg_cli.config import Generate
from finreg_cli.domain.fit import fits
from finreg_cli.tasks.regulation_qa import blanks_for_model, unfit_kinds


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("threshold", "1. A risk weight of 100 % shall be applied."),
        ("threshold", "Exposures of more than EUR 1 000 000 are reported."),
        ("threshold", "The loan shall not exceed half of the value."),
        ("threshold", "At least two independent assessments are needed."),
        ("deadline", "EBA shall submit the standards by 1 July 2014."),
        ("deadline", "The Board reports by 30 June 2102."),
        ("deadline", "Institutions shall report at least quarterly."),
        ("deadline", "The authority shall be notified without undue delay."),
        ("definition", "(34) 'margin period' means the time period from the last exchange of collateral."),
        ("definition", "A default shall be considered to have occurred where the following is the case."),
        ("requirement", "Banks may not deduct the items."),
        ("procedure", "Competent authorities shall assess the method."),
        ("comparison", "(a) retail exposures\n(b) other exposures"),
        ("comparison", "A higher risk weight is used for equity."),
        ("fact", "Nothing in particular."),
        ("unanswerable", "Nothing in particular."),
        ("cross_article", "Nothing in particular."),
    ],
)
def test_a_text_that_holds_something_of_the_kind_is_asked(kind: str, text: str) -> None:
    assert fits(kind, text)


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        (
            "threshold",
            "Article 92\nOwn funds\n1. Institutions shall satisfy Article 93(3) and point (b) of paragraph 2.",
        ),
        ("threshold", "Tier 1 items under Regulation (EU) No 1093/2010 are reported from 2014 and by 1 July 2015."),
        ("threshold", "(ii) the exposure;\n(iii) the collateral."),
        ("deadline", "Institutions may deduct the amount of the losses."),
        ("definition", "Institutions shall by means of a report inform the authority of the means of payment."),
        ("definition", "The instruments shall qualify as own funds only if the conditions are met."),
        ("requirement", "(39) 'clients' are two persons."),
        ("procedure", "| Article 36(1)(b) | Article 57(j) |"),
        ("comparison", "Institutions shall deduct the amount of the losses."),
    ],
)
def test_a_text_without_anything_of_the_kind_is_not_asked(kind: str, text: str) -> None:
    assert not fits(kind, text)


def test_in_another_language_nothing_is_left_out() -> None:
    text = "Die Institute ziehen den Betrag der Verluste des Jahres von den Posten des harten Kernkapitals ab."
    assert all(fits(kind, text) for kind in ("threshold", "deadline", "definition", "requirement", "comparison"))


def test_a_chunk_gives_blanks_of_the_kinds_that_fit_it() -> None:
    settings = Generate(method="llm", kinds={"threshold": 0.5, "deadline": 0.3, "fact": 0.2}, rows_per_chunk=2)
    silent = dataclasses.replace(chunk(1), text="Institutions shall deduct the amount of the losses.")
    assert unfit_kinds(chunk(1), settings) == set()
    assert unfit_kinds(silent, settings) == {"threshold", "deadline"}
    blanks = [each.row.kind for each in blanks_for_model(silent, settings, "model", "v", True)]
    assert blanks == ["fact"]
