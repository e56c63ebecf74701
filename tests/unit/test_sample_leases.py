"""The sample leases: the script makes the committed files, the labels are true, the halves share nothing."""

from __future__ import annotations

import importlib
import json
import random
import re
import sys
from collections import Counter
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path
from types import ModuleType
from typing import Any

import pypdfium2
import pytest
from rapidfuzz import fuzz

from finreg_cli.documents.base import LabelledDocument
from finreg_cli.documents.labelled import FileSource
from finreg_cli.documents.tokens import TokenCounter
from finreg_cli.domain.extraction import LEASE, find
from finreg_cli.training.fetched import locate

REPOSITORY = Path(__file__).parents[2]
SAMPLES = REPOSITORY / "data" / "leases"
REAL = REPOSITORY / "../shared/data/leases/real_leases.jsonl"
MADE_WITH_REPORTLAB = "5.1.0"  # as the README beside the samples says

LEASES: list[dict[str, Any]] = [json.loads(line) for line in (SAMPLES / "leases.jsonl").read_text("utf-8").splitlines()]
HALVES = {split: [lease for lease in LEASES if lease["split"] == split] for split in ("train", "holdout")}
KINDS = {"office", "retail", "warehouse", "land", "sublease", "amendment"}

each_half = pytest.mark.parametrize("split", HALVES)
each_lease = pytest.mark.parametrize("lease", LEASES, ids=lambda lease: lease["lease_id"])


@pytest.fixture(scope="module")
def script() -> Iterator[ModuleType]:
    pytest.importorskip("reportlab", reason="the samples are made with reportlab, of the extra dev")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(SAMPLES))
        yield importlib.import_module("make_leases")
    for name in ("make_leases", "train_templates", "holdout_templates", "wording"):
        sys.modules.pop(name, None)


@pytest.fixture(scope="module")
def wording(script: ModuleType) -> ModuleType:
    return importlib.import_module("wording")


def page_texts(file: Path) -> list[str]:
    with pypdfium2.PdfDocument(file) as document:
        return [page.get_textpage().get_text_range() for page in document]


# --- the files -------------------------------------------------------------------------------------------------------


def test_the_script_makes_the_committed_files(script, tmp_path):
    import reportlab

    script.main(tmp_path)
    files = sorted(file.relative_to(tmp_path) for file in tmp_path.rglob("*") if file.is_file())
    committed = [SAMPLES / "leases.jsonl", *(SAMPLES / "pdf").iterdir()]
    assert files == sorted(file.relative_to(SAMPLES) for file in committed)
    for file in files:
        made, there = tmp_path / file, SAMPLES / file
        if file.suffix == ".pdf":
            assert page_texts(made) == page_texts(there)
        if file.suffix != ".pdf" or reportlab.__version__ == MADE_WITH_REPORTLAB:
            assert made.read_bytes() == there.read_bytes()


@each_half
def test_a_half_has_fifty_leases_of_all_kinds_and_many_templates(split):
    leases = HALVES[split]
    assert [lease["lease_id"] for lease in leases] == [f"{split}-{number:02d}" for number in range(1, 51)]
    assert {lease["kind"] for lease in leases} == KINDS
    per_template = Counter(lease["template"] for lease in leases)
    assert len(per_template) >= 8
    assert min(per_template.values()) >= 4


def test_the_readme_counts_the_leases_of_each_template():
    rows = re.findall(r"^\| (train|holdout) \| `(\w+)` \| ([\w, ]+) \| (\d+) \|", readme(), re.MULTILINE)
    counted = Counter((lease["split"], lease["template"]) for lease in LEASES)
    kinds: dict[tuple[str, str], set[str]] = {}
    for lease in LEASES:
        kinds.setdefault((lease["split"], lease["template"]), set()).add(lease["kind"])
    assert {(split, template): int(count) for split, template, _, count in rows} == counted
    assert {(split, template): set(named.split(", ")) for split, template, named, _ in rows} == kinds


def test_the_readme_counts_the_absent_values():
    rows = re.findall(r"^\| `(\w+)` \| (\d+) \| (\d+) \|$", readme(), re.MULTILINE)
    absent = {
        key: tuple(sum(lease["labels"][key] is None for lease in leases) for leases in HALVES.values())
        for key in LEASE.keys
    }
    assert {key: (int(train), int(holdout)) for key, train, holdout in rows} == absent


def readme() -> str:
    return (SAMPLES / "README.md").read_text(encoding="utf-8")


@each_half
def test_lengths_are_mixed_and_some_exceed_a_window(split):
    model = locate()
    if model is None:
        pytest.skip("the tokenizer of smollm2-135m-instruct was not pulled (finreg models pull)")
    lengths = TokenCounter(model.tokenizer)([lease["lease_doc"] for lease in HALVES[split]])
    assert 550 <= sum(lengths) / len(lengths) <= 650
    assert 22 <= sum(length < 500 for length in lengths) <= 35
    assert sum(length < 900 for length in lengths) >= 40
    assert 4 <= sum(length >= 1_200 for length in lengths) <= 8
    assert max(lengths) <= 2_200
    # What the README says of both halves.
    said = re.search(r"a lease is (\d+) long .+ and (\d+) in the hold-out, from (\d+) to ([\d,]+)", readme())
    assert said is not None
    assert int(said[1 if split == "train" else 2]) == round(sum(lengths) / len(lengths))
    assert int(said[3]) <= min(lengths)
    assert max(lengths) <= int(said[4].replace(",", ""))


# --- the labels ------------------------------------------------------------------------------------------------------


@each_lease
def test_labels_fit_the_schema_and_every_value_stands_in_the_document(lease):
    labels = lease["labels"]
    assert list(labels) == list(LEASE.keys)
    assert LEASE.problems(labels) == []
    assert [key for key, value in labels.items() if value and not find(value, lease["lease_doc"])] == []


@each_lease
def test_a_lease_speaks_of_expiration_where_it_is_labelled(lease):
    labels = lease["labels"]
    assert labels["expiration_date_of_lease"] in (None, labels["end_date"])
    if labels["end_date"]:
        before, _, after = " ".join(lease["lease_doc"].split()).partition(" ".join(labels["end_date"].split()))
        speaks = re.search(r"[ef]xp[il1]r", before[-60:] + "|" + after[:45], re.IGNORECASE) is not None
        assert speaks is (labels["expiration_date_of_lease"] is not None)


@each_half
@pytest.mark.parametrize(
    ("key", "fewest", "most"),
    [
        ("lessee", 0, 0),
        ("lessor", 0, 0),
        ("leased_space", 0, 0),
        ("start_date", 1, 6),
        ("term_of_payment", 2, 10),
        ("end_date", 5, 10),
        ("signing_date", 5, 10),
        ("designated_use", 5, 12),
        ("extension_period", 13, 22),
        ("expiration_date_of_lease", 20, 30),
    ],
)
def test_as_many_values_are_absent_as_in_real_leases(split, key, fewest, most):
    assert fewest <= sum(lease["labels"][key] is None for lease in HALVES[split]) <= most


@each_half
def test_some_ends_and_starts_are_formulas_and_dates_come_in_many_spellings(split):
    labels = [lease["labels"] for lease in HALVES[split]]
    ends = [each["end_date"] for each in labels if each["end_date"]]
    assert 4 <= sum(not re.search(r"\b20\d\d\b|two thousand", end, re.IGNORECASE) for end in ends) <= 16
    dates = [each[key] for each in labels for key in ("signing_date", "start_date", "end_date") if each[key]]
    spellings = {re.sub(r"[A-Za-z]+", "a", re.sub(r"\d+", "1", each)) for each in dates}
    assert {"a 1, 1", "1 a 1", "1a a a a, 1", "1.1.1", "1/1/1", "1-1-1"} <= spellings


@each_half
def test_other_dates_and_amounts_tempt(split):
    tempted = 0
    for lease in HALVES[split]:
        text = lease["lease_doc"]
        for value in filter(None, lease["labels"].values()):
            text = re.sub(r"\s+".join(map(re.escape, value.split())), "", text)
        tempted += bool(re.search(r"\b20\d\d\b|two thousand", text, re.IGNORECASE))
    assert tempted >= 35


# --- the halves ------------------------------------------------------------------------------------------------------

DATE_OR_NUMBER = re.compile(
    r"\d+(?:st|nd|rd|th)?|zero|one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|thirteen|fourteen|fifteen|"
    r"sixteen|seventeen|eighteen|nineteen|twenty|thirty|forty|fifty|sixty|seventy|eighty|ninety|hundred|thousand|"
    r"first|second|third|fifth|eighth|ninth|twelfth|(?:four|six|seven|ten|eleven|hundred|\w+teen)th|\w+tieth|"
    r"january|february|march|april|may|june|july|august|september|october|november|december"
)
SEQUENCE = 8


def plain_words(text: str) -> list[str]:
    """The words of a text in small letters, without numbers and months."""
    words = re.findall(r"[^\W_]+", text.lower())
    return [word for word in words if not DATE_OR_NUMBER.fullmatch(word)]


def sequences(text: str) -> set[tuple[str, ...]]:
    words = plain_words(text)
    return {tuple(words[start : start + SEQUENCE]) for start in range(len(words) - SEQUENCE + 1)}


def of_half(split: str) -> set[tuple[str, ...]]:
    return set().union(*(sequences(lease["lease_doc"]) for lease in HALVES[split]))


def test_a_sequence_is_found_whatever_its_dates():
    ours = sequences("the term begins on 3 May 2019 and ends when the last bell rings")
    assert ours & sequences("A. The term begins on 14 June 2021 and ends when the last bell rang")


def test_the_halves_share_no_template_and_no_sequence_of_eight_words():
    assert not {lease["template"] for lease in HALVES["train"]} & {lease["template"] for lease in HALVES["holdout"]}
    assert of_half("train") & of_half("holdout") == set()


def test_the_halves_share_no_sentence():
    train, holdout = (
        {
            " ".join(words)
            for lease in leases
            for sentence in re.split(r"(?<=[.;:?])\s|\n", lease["lease_doc"])
            if len(words := plain_words(sentence)) >= 5
        }
        for leases in HALVES.values()
    )
    assert len(train) > 300
    assert len(holdout) > 300
    assert train & holdout == set()


@pytest.mark.parametrize("key", ["lessee", "lessor", "leased_space"])
def test_no_party_and_no_premises_come_twice(key):
    values = [lease["labels"][key] for lease in LEASES]
    assert len({value.casefold() for value in values}) == len(values)


def test_the_halves_share_no_name(script):
    train, holdout = script.TRAIN, script.HOLDOUT
    for names in ("first_names", "last_names", "company_names", "company_trades", "company_forms", "streets", "towns"):
        assert set(getattr(train, names)).isdisjoint(getattr(holdout, names)), names
    first_words = [
        {name.split()[0].strip(",") for name in (*half.last_names, *half.company_names, *half.streets, *half.towns)}
        for half in (train, holdout)
    ]
    assert first_words[0] & first_words[1] == set()
    for phrases in ("payments", "extensions", "ends", "starts"):
        assert set(getattr(train, phrases)).isdisjoint(getattr(holdout, phrases)), phrases


def test_no_two_leases_are_nearly_the_same():
    documents = [lease["lease_doc"] for lease in LEASES]
    assert max(fuzz.ratio(*pair) for pair in combinations(documents, 2)) < 85


@pytest.mark.skipif(not REAL.is_file(), reason="the real leases are not beside this checkout (../shared)")
def test_nothing_is_taken_from_the_real_leases():
    real = [json.loads(line) for line in REAL.read_text("utf-8").splitlines()]
    theirs = set().union(*(sequences(lease["lease_doc"]) for lease in real))
    assert (of_half("train") | of_half("holdout")) & theirs == set()


# --- the templates ---------------------------------------------------------------------------------------------------


def test_every_template_has_a_place_for_every_detail_that_a_lease_gives(script, wording):
    for half in (script.TRAIN, script.HOLDOUT):
        for template in half.templates:
            for number in range(60):
                dice = random.Random(number)
                given = {name for name in wording.KEYS if dice.random() < 0.7} - {"exp"}
                present = given | {"space", "lessee", "lessor"}
                text = wording.choose(template.text, present, dice)
                placed = {name for name in wording.KEYS if re.search(rf"\{{\^?{name}[:}}]", text)}
                assert placed == present, (template.name, number)


def test_brackets_are_settled_from_the_inside(wording):
    text = "[?end:to {end}[?exp:, its expiry|, expiring]][!end:for good]"
    assert wording.choose(text, {"end", "exp"}, random.Random(1)) in ("to {end}, its expiry", "to {end}, expiring")
    assert wording.choose(text, {"end"}, random.Random(1)) == "to {end}"
    assert wording.choose(text, set(), random.Random(1)) == "for good"
    with pytest.raises(ValueError, match="asks for 'ende'"):
        wording.choose("[?ende:x]", set(), random.Random(1))


def test_slots_lines_and_stray_blanks(wording):
    assert wording.fill("{^L} and {L}, {sign:iso}", lambda name, style: style or "the owner") == (
        "The owner and the owner, iso"
    )
    assert wording.lay_out("a\nb // c , d\n\n\ne Co..  ....", None) == "a b\nc, d\n\ne Co. ...."
    assert wording.lay_out("twenty-first day", 8) == "twenty-first\nday"


def test_numbers_in_words(wording):
    assert [wording.in_words(number) for number in (7, 20, 45, 180)] == [
        "seven",
        "twenty",
        "forty-five",
        "one hundred eighty",
    ]
    assert [wording.ordinal_in_words(number) for number in (3, 12, 21, 30, 36, 180)] == [
        "third",
        "twelfth",
        "twenty-first",
        "thirtieth",
        "thirty-sixth",
        "one hundred eightieth",
    ]
    assert [wording.ordinal(number) for number in (1, 2, 3, 11, 22, 113)] == [
        "1st",
        "2nd",
        "3rd",
        "11th",
        "22nd",
        "113th",
    ]
    assert [wording.roman(number) for number in (4, 19, 38)] == ["IV", "XIX", "XXXVIII"]


def test_a_scan_is_misread_outside_the_values_only(script):
    text = "FERRY\nLANE SEVEN " + "SHELLS AND HINGES " * 60
    noisy = script.misread(text, ["FERRY LANE SEVEN", "AND"], random.Random(3))
    assert noisy != text
    assert noisy.startswith("FERRY\nLANE SEVEN ")
    assert noisy.count("AND") == 60


@pytest.mark.parametrize("template", ["scan", "fax"])
def test_scanned_leases_are_noisy(template):
    texts = [lease["lease_doc"] for lease in LEASES if lease["template"] == template]
    assert sum(bool(re.search(r"[A-Z][a-z]|[a-z][A-Z]|[A-Z]\d[A-Z]|FN|RFNT", text)) for text in texts) >= 3


# --- the PDFs --------------------------------------------------------------------------------------------------------


def test_every_value_survives_in_the_pdfs():
    read = list(FileSource(LEASE, "pdfium", workers=1).read(str(SAMPLES / "pdf")))
    by_id = {lease["lease_id"]: lease for lease in LEASES}
    assert Counter(each.split for each in read if isinstance(each, LabelledDocument)) == {"train": 3, "holdout": 3}
    for each in read:
        assert isinstance(each, LabelledDocument)
        assert each.labels == by_id[each.lease_id]["labels"]
        assert [key for key, value in each.labels.items() if value and not find(value, each.document)] == []


def test_the_pdfs_hold_the_whole_leases_and_one_has_several_pages():
    by_id = {lease["lease_id"]: lease for lease in LEASES}
    pages = {file.stem: page_texts(file) for file in (SAMPLES / "pdf").glob("*.pdf")}
    for lease_id, texts in pages.items():
        assert re.findall(r"\w+", " ".join(texts)) == re.findall(r"\w+", by_id[lease_id]["lease_doc"])
    assert sorted(map(len, pages.values()))[-1] >= 2
