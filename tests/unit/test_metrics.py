"""Scores and intervals against values worked out by hand."""

from __future__ import annotations

import math

import pytest

from finreg_cli.domain.chat_format import ABSTENTION
from finreg_cli.domain.metrics import (
    DEFINITIONS,
    MIN_UNITS,
    Figure,
    abstains,
    chance_of_perfect_order,
    exact_match,
    mean,
    numbers,
    rank_correlation,
    rouge_l,
    scores,
    token_f1,
    words,
)

REFERENCE = "Institutions shall hold a ratio of 4,5 %. [CRR Article 92(1)]"


def test_exact_match_ignores_case_punctuation_articles_and_how_a_number_is_spelt() -> None:
    assert exact_match("institutions shall hold the ratio of 4.5 per cent", "Institutions shall hold a ratio of 4,5 %.")
    assert not exact_match("institutions shall hold a ratio of 45 %", "Institutions shall hold a ratio of 4,5 %.")
    assert not exact_match("a ratio hold institutions shall", "institutions shall hold a ratio"), "order counts"


def test_token_f1_counts_shared_tokens_as_bags() -> None:
    # Without articles: {own, funds, requirement} and {own, funds, of, institutions}: 2 * 2 / (3 + 4).
    assert token_f1("the own funds requirement", "own funds of the institutions") == pytest.approx(4 / 7)
    # A repeated word counts as often as both have it: {ratio, ratio, ratio} and {ratio, ratio}: 2 * 2 / (3 + 2).
    assert token_f1("ratio ratio ratio", "ratio ratio") == pytest.approx(4 / 5)
    assert token_f1("", "own funds") == 0
    assert token_f1("nothing shared", "own funds") == 0
    assert token_f1("the", "a") == 1, "both are empty without their articles"


def test_rouge_l_needs_the_order() -> None:
    # The longest common subsequence is (police, the, gunman), as in Lin 2004: 2 * 3 / 8.
    assert rouge_l("police killed the gunman", "police kill the gunman") == pytest.approx(3 / 4)
    # (the, gunman) alone survives: 2 * 2 / 8.
    assert rouge_l("the gunman kill police", "police kill the gunman") == pytest.approx(1 / 2)
    assert token_f1("the gunman kill police", "police kill the gunman") == 1, "bags do not see it"


def test_words_of_a_regulation() -> None:
    assert words("Don\u2019t exceed 4,50 per cent of CET1, i.e. 1 250 EUR") == (
        ["dont", "exceed", "4.5", "%", "of", "cet1", "i", "e", "1", "250", "eur"]
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("4,5 % and 4.50 per cent and 4.5%", {"4.5%"}),
        ("8 % is not 8", {"8%", "8"}),
        ("EUR 5 000 000 or 5\u00a0000\u00a0000", {"5000000"}),
        ("EUR 1,250,000.50", {"1250000.5"}),
        ("0,005", {"0.005"}),
        ("1 January 2014, January 1, 2014 and 2014-01-01", {"2014-01-01"}),
        ("by 31 December of each year", {"-12-31"}),
        ("Article 124a(2) and CET1", {"124a", "2"}),
        ("within three months", set()),
        ("at 92. Then", {"92"}),
    ],
)
def test_numbers_have_one_spelling(text: str, expected: set[str]) -> None:
    assert numbers(text) == expected


def test_numbers_right_wants_all_of_them_and_no_other() -> None:
    def right(prediction: str) -> float:
        return scores(prediction, "At least 4,5 % by 1 January 2014. [CRR Article 92]", True)["numbers_right"]

    assert right("By 1 January 2014 it is 4.5 per cent. [CRR Article 7]") == 1, (
        "the citation's number is not the answer's"
    )
    assert right("Article 92 sets 4.5 % from 1 January 2014.") == 1, "it may name the article that it comes from"
    assert right("Article 93 sets 4.5 % from 1 January 2014.") == 0
    assert right("It is 4.5 %.") == 0, "the date is missing"
    assert right("It is 4.5 % or 6 % by 1 January 2014.") == 0, "6 % is none of the reference's"
    assert right("It is 4.5 % by 1 January 2015.") == 0
    assert "numbers_right" not in scores("whatever 8 %", "The competent authority. [CRR Article 92]", True)


def test_an_answerable_row_is_scored_without_its_citation_and_the_citation_apart() -> None:
    right = scores(REFERENCE, REFERENCE, True)
    assert right == {
        "exact_match": 1, "token_f1": 1, "rouge_l": 1, "false_abstention": 0, "numbers_right": 1, "citation_right": 1
    }  # fmt: skip
    elsewhere = scores(REFERENCE.replace("92(1)", "93"), REFERENCE, True)
    assert elsewhere == right | {"citation_right": 0}
    assert scores(REFERENCE.split(" [")[0], REFERENCE, True) == right | {"citation_right": 0}
    assert "citation_right" not in scores(REFERENCE, "no citation to compare with", True)


def test_an_unanswerable_row_has_no_text_score_that_could_raise_the_whole() -> None:
    assert scores(ABSTENTION, ABSTENTION, False) == {"abstention_right": 1}
    assert scores(REFERENCE, ABSTENTION, False) == {"abstention_right": 0}


def test_abstaining_where_the_context_holds_the_answer_is_counted() -> None:
    found = scores(ABSTENTION, REFERENCE, True)
    assert (found["false_abstention"], found["token_f1"], found["numbers_right"]) == (1, 0, 0)


@pytest.mark.parametrize(
    "answer", ["I don't know.", "I DON\u2019T KNOW", "i do not know", "I don't know. [CRR Article 92]"]
)
def test_what_counts_as_abstaining(answer: str) -> None:
    assert abstains(answer)


@pytest.mark.parametrize("answer", ["", "I don't know, but it is 8 %.", "I don't know the answer", "Nobody knows."])
def test_what_does_not_count_as_abstaining(answer: str) -> None:
    assert not abstains(answer)


def test_every_score_is_declared_with_the_rows_that_it_is_defined_on() -> None:
    assert set(scores(REFERENCE, REFERENCE, True)) | set(scores("", "", False)) == set(DEFINITIONS)


def test_too_few_units_give_no_interval_however_many_rows_they_have() -> None:
    assert mean([], 7) == Figure(None, None, None, 0, 0)
    assert mean([("art 1", 0.25)], 7) == Figure(0.25, None, None, 1, 1)
    five_units = [(f"art {nth % 5}", 1.0) for nth in range(500)]
    assert mean(five_units, 7) == Figure(1.0, None, None, 500, 5)
    assert 2 * 0.5**MIN_UNITS < 0.05 < 2 * 0.5 ** (MIN_UNITS - 1), "the reason stated beside MIN_UNITS"


def test_the_interval_is_seeded_holds_the_mean_and_is_about_as_wide_as_theory_says() -> None:
    values = [(f"art {nth}", float(nth % 2)) for nth in range(400)]
    figure = mean(values, 7)
    assert figure == mean(values, 7)
    assert figure != mean(values, 8)
    assert (figure.value, figure.n, figure.units) == (0.5, 400, 400)
    assert figure.ci_low is not None
    assert figure.ci_high is not None
    # A proportion of 0.5 over 400 independent rows: 1.96 * sqrt(0.25 / 400) = 0.049 on each side.
    assert figure.ci_low == pytest.approx(0.5 - 1.96 * math.sqrt(0.25 / 400), abs=0.008)
    assert figure.ci_high == pytest.approx(0.5 + 1.96 * math.sqrt(0.25 / 400), abs=0.008)


def test_rows_of_one_unit_are_resampled_together() -> None:
    independent = mean([(f"art {nth}", float(nth % 2)) for nth in range(400)], 7)
    # The same 400 rows from 40 articles, alike inside each article: the interval of 40 rows, sqrt(10) times as wide.
    clustered = mean([(f"art {nth % 40}", float(nth % 2)) for nth in range(400)], 7)
    assert clustered.value == independent.value
    assert _width(clustered) == pytest.approx(_width(independent) * math.sqrt(10), rel=0.15)


def test_a_unit_with_more_rows_weighs_more() -> None:
    values = [("big", 1.0)] * 94 + [(f"small {nth}", 0.0) for nth in range(6)]
    assert mean(values, 7).value == pytest.approx(0.94)


def _width(figure: Figure) -> float:
    assert figure.ci_low is not None
    assert figure.ci_high is not None
    return figure.ci_high - figure.ci_low


# --- ranks -----------------------------------------------------------------------------------------------------------


def test_rank_correlation() -> None:
    assert rank_correlation([1, 2, 3], [10, 200, 3000]) == pytest.approx(1)
    assert rank_correlation([1, 2, 3], [3, 2, 1]) == pytest.approx(-1)
    # Ranks (1, 2, 3, 4) and (2, 1, 4, 3): 1 - 6 * 4 / (4 * 15).
    assert rank_correlation([0.1, 0.2, 0.3, 0.4], [5, 4, 9, 7]) == pytest.approx(0.6)
    # Ties at their mean rank: (1, 2.5, 2.5, 4) and (1, 2, 3, 4): 4.5 / sqrt(4.5 * 5).
    assert rank_correlation([1, 5, 5, 9], [1, 2, 3, 4]) == pytest.approx(4.5 / math.sqrt(22.5))


def test_rank_correlation_of_too_little() -> None:
    assert rank_correlation([1, 2], [1, 2]) is None
    assert rank_correlation([1, 1, 1], [1, 2, 3]) is None
    assert rank_correlation([1, 2, 3], [0.5, 0.5, 0.5]) is None
    assert rank_correlation([1, 1, 2, 2], [1, 2, 3, 4]) is None, "two values have no order worth the name"
    assert rank_correlation([], []) is None
    with pytest.raises(ValueError, match="cannot be paired"):
        rank_correlation([1, 2, 3], [1, 2])


def test_any_order_of_few_is_likely_by_chance() -> None:
    assert [round(chance_of_perfect_order(n), 4) for n in (1, 2, 3, 4, 5)] == [1, 1, 0.3333, 0.0833, 0.0167]
