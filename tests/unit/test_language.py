"""Another language is named where it is sure, and nothing is said where it is not."""

from __future__ import annotations

import pytest

from finreg_cli.domain.language import LANGUAGES, foreign, require
from finreg_cli.errors import ConfigError


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("Die Institute müssen jederzeit eine harte Kernkapitalquote von 4,5 % halten.", "German"),
        ("Les établissements satisfont à tout moment aux exigences de fonds propres suivantes.", "French"),
        ("De instellingen voldoen te allen tijde aan de volgende eigenvermogensvereisten.", "Dutch"),
        ("Las entidades deberán cumplir en todo momento los siguientes requisitos de fondos propios.", "Spanish"),
        ("Instytucje spełniają w każdym czasie następujące wymogi w zakresie funduszy własnych.", "Polish"),
        ("Τα ιδρύματα πληρούν ανά πάσα στιγμή τις ακόλουθες απαιτήσεις ιδίων κεφαλαίων.", "Greek"),  # noqa: RUF001 - Greek it is
    ],
)
def test_another_language_is_named(text: str, found: str) -> None:
    assert foreign(text, "English") == found
    assert foreign(text, found) is None


@pytest.mark.parametrize(
    "text",
    [
        "",
        "4,5 %.",
        "EUR 1 000 000",
        "EBA, ESMA, EIOPA",
        "Deutsche Bundesbank",
        "Competent authorities.",
        "Common Equity Tier 1 capital ratio of 4,5 %",
        "Under CRR Article 92(1), which ratio must institutions hold?",
        "‘Loss’ means economic loss, including material discount effects.",
        "Institutions' own funds, Additional Tier 1 items, Tier 2 items.",
        "Deutsche Bundesbank, Banca d'Italia, Banque de France, Banco de España.",
    ],
)
def test_a_few_words_or_english_ones_are_not_refused(text: str) -> None:
    assert foreign(text, "English") is None


def test_a_language_goes_by_its_name_or_its_code() -> None:
    assert {require(name) for name in LANGUAGES} == set(LANGUAGES.values())
    assert require("german") == require("DE") == "de"
    with pytest.raises(ConfigError, match="'Klingon'"):
        require("Klingon")
