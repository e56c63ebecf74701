"""Synthesis by rules: other values in every key, standing in a document that has nothing of the old ones."""

from __future__ import annotations

import json
import random
import re
from datetime import date, timedelta
from pathlib import Path

import pytest

from fakes.leases import labelled
from finreg_cli.domain.extraction import LEASE, Labels, Schema
from finreg_cli.domain.near_documents import NearDocuments
from finreg_cli.domain.records import GeneratedLease, LabelledLease
from finreg_cli.domain.values import parse_date
from finreg_cli.tasks.structured_extraction import blank_lease, document_problem, labels_problem
from finreg_cli.tasks.synthesis import RULES_VERSION, pool_of, synthesise
from finreg_cli.tasks.synthesis.dates import Shift, choose_shift, dates_in
from finreg_cli.tasks.synthesis.documents import substitute
from finreg_cli.tasks.synthesis.names import Inventor
from finreg_cli.tasks.synthesis.numbers import cardinal, ordinal, ordinal_suffix, vary

SAMPLES = Path(__file__).parents[2] / "data" / "leases" / "leases.jsonl"

INVOICE = Schema.parse(
    {
        "type": "object",
        "title": "invoice",
        "properties": {
            "number": {"type": "integer"},
            "issued": {"type": "string", "format": "date"},
            "seller": {"type": "string", "format": "name"},
            "total": {"type": "string", "format": "amount"},
            "weight": {"type": "number"},
            "paid": {"type": "boolean"},
            "remark": {"type": "string"},
        },
    }
)


def blank(parent: LabelledLease, sample: int = 0, round_: int = 1) -> GeneratedLease:
    return blank_lease(
        parent, round_, sample, method="rules", model=None, prompt_version=RULES_VERSION, outputs_may_train=True
    )


def made(
    parent: LabelledLease,
    schema: Schema = LEASE,
    pool: list[LabelledLease] | None = None,
    sample: int = 0,
    seed: int = 7,
) -> tuple[Labels, str]:
    """The new labels and document, after the mechanical checks."""
    lease, reason = synthesise(parent, blank(parent, sample), pool_of(pool or [parent], schema), schema, seed)
    assert reason is None
    assert lease.generated_labels is not None
    assert lease.generated_lease_doc is not None
    assert labels_problem(lease.generated_labels, schema) is None
    labels = schema.loads(lease.generated_labels)
    assert document_problem(labels, lease.generated_lease_doc) is None
    return labels, lease.generated_lease_doc


def lease(document: str, schema: Schema = LEASE, **labels: str | int | float | bool) -> LabelledLease:
    return LabelledLease(lease_id="parent", lease_doc=document, labels=schema.dumps(labels))


# --- whole documents -------------------------------------------------------------------------------------------------


def test_every_child_passes_the_mechanical_checks_and_keeps_the_pattern_of_absent_keys():
    parents = labelled(30, seed=3)
    pool = pool_of(parents, LEASE)
    for parent in parents:
        for sample in range(3):
            child, reason = synthesise(parent, blank(parent, sample), pool, LEASE, 7)
            assert reason is None
            old, new = LEASE.loads(parent.labels), LEASE.loads(child.generated_labels)
            assert document_problem(new, child.generated_lease_doc) is None
            assert [key for key in old if old[key] is None] == [key for key in new if new[key] is None]
            for key in ("lessor", "lessee", "signing_date", "start_date", "end_date", "leased_space"):
                assert old[key] is None or old[key] != new[key]


def test_the_same_blank_gives_the_same_and_another_sample_round_or_seed_another():
    parent = labelled(1)[0]
    pool = pool_of(labelled(9), LEASE)
    first = synthesise(parent, blank(parent), pool, LEASE, 7)
    assert synthesise(parent, blank(parent), pool_of(reversed(labelled(9)), LEASE), LEASE, 7) == first
    others = [
        synthesise(parent, blank(parent, sample=1), pool, LEASE, 7),
        synthesise(parent, blank(parent, round_=2), pool, LEASE, 7),
        synthesise(parent, blank(parent), pool, LEASE, 8),
    ]
    documents = {child.generated_lease_doc for child, _ in [first, *others]}
    assert len(documents) == 4


def test_nothing_but_values_and_dates_changes():
    parent = lease(
        "Lease of 3 May 2010. Orla Feldman lets to Tobias Wren. The roof is to be repaired within ten (10) days.",
        lessor="Orla Feldman",
        lessee="Tobias Wren",
        signing_date="3 May 2010",
    )
    labels, document = made(parent)
    assert document == (
        f"Lease of {labels['signing_date']}. {labels['lessor']} lets to {labels['lessee']}. "
        "The roof is to be repaired within ten (10) days."
    )


def test_equal_values_of_two_keys_stay_equal():
    parent = lease(
        "The term ends on June 30, 2011. Expiration: June 30, 2011.",
        end_date="June 30, 2011",
        expiration_date_of_lease="June 30, 2011",
    )
    labels, document = made(parent)
    assert labels["end_date"] == labels["expiration_date_of_lease"]
    assert document.count(str(labels["end_date"])) == 2


def test_the_same_date_in_another_spelling_and_other_dates_move_along():
    parent = lease(
        "JULY 23, 2020. The term begins on July 23, 2020, which is the 23rd day of July, 2020. Delivery by 2020-08-02.",
        signing_date="JULY 23, 2020",
        start_date="July 23, 2020",
    )
    labels, document = made(parent)
    start = parse_date(str(labels["start_date"]))
    assert start == parse_date(str(labels["signing_date"]))
    assert str(labels["signing_date"]).isupper()
    assert "2020" not in document
    spelled = {found.day for found in dates_in(document)}
    assert len(spelled) == 2
    assert max(spelled) - timedelta(days=14) < min(spelled) == start


def test_a_value_inside_another_changes_with_it():
    parent = lease(
        "Rent is due monthly, beginning on March 1, 2012. The term begins on March 1, 2012. Tenant: Tobias Wren. "
        "Premises: the Tobias Wren Building.",
        start_date="March 1, 2012",
        term_of_payment="monthly, beginning on March 1, 2012",
        lessee="Tobias Wren",
        leased_space="the Tobias Wren Building",
    )
    labels, document = made(parent)
    assert labels["term_of_payment"] == f"monthly, beginning on {labels['start_date']}"
    assert labels["leased_space"] == f"the {labels['lessee']} Building"
    assert "Wren" not in document


def test_names_change_in_capitals_in_short_forms_and_across_lines():
    parent = lease(
        'COPPERLEAF BAKERY LLC\n\nThis lease is made by Copperleaf Bakery LLC, a Delaware company ("Copperleaf"), with '
        "Tobias\nWren. Copperleaf pays. Mr. Wren collects. Copperleaf Bakery, L.L.C. signs.\nBy: COPPERLEAF BAKERY LLC",
        lessee="Copperleaf Bakery LLC",
        lessor="Tobias Wren",
    )
    labels, document = made(parent)
    assert not re.search("copperleaf|wren", document, re.IGNORECASE)
    lessee, surname = str(labels["lessee"]), str(labels["lessor"]).split()[-1]
    assert lessee.endswith(" LLC")
    assert document.startswith(lessee.upper())
    assert document.endswith(f"By: {lessee.upper()}")
    assert f'("{lessee.split()[0]}")' in document
    assert f"Mr. {surname} collects" in document
    assert f"with {str(labels['lessor']).replace(' ', chr(10))}." in document


def test_an_inserted_value_is_never_replaced_again():
    old, new = {"lessor": "Alpha", "lessee": "Beta"}, {"lessor": "Beta", "lessee": "Alpha"}
    schema = Schema.parse(
        {"type": "object", "properties": {"lessor": {"type": "string"}, "lessee": {"type": "string"}}}
    )
    assert substitute("Alpha lets to Beta.", old, new, {}, Shift(0), schema) == "Beta lets to Alpha."


@pytest.mark.parametrize(
    ("document", "old", "new", "expected"),
    [
        ("for use as a bakery.", "bakery", "office", "for use as an office."),
        ("An office it is.", "office", "bakery", "A bakery it is."),
        ("Bakery use only. The bakery.", "bakery", "law office", "Law office use only. The law office."),
        ("a university town", "university", "bakery", "a bakery town"),
        ("use: BAKERY", "bakery", "law office", "use: LAW OFFICE"),
        ("the coffee\n   bakery.", "coffee bakery", "law office", "the law\n   office."),
        ("bakeryman and in-bakery", "bakery", "office", "bakeryman and in-bakery"),
    ],
)
def test_the_new_value_reads_right_where_the_old_one_stood(document, old, new, expected):
    schema = Schema.parse({"type": "object", "properties": {"use": {"type": "string"}}})
    assert substitute(document, {"use": old}, {"use": new}, {}, Shift(0), schema) == expected


def test_a_date_in_words_is_not_replaced_inside_a_longer_one():
    parent = lease(
        "It begins on the first day of March, two thousand and twenty, and ends on the thirty-first day of March, two "
        "thousand and twenty-three.",
        start_date="first day of March, two thousand and twenty",
    )
    labels, document = made(parent)
    assert f"ends on the thirty-{labels['start_date']}" not in document
    assert len(list(dates_in(document))) == 2


def test_a_date_across_lines_keeps_its_one_line_break():
    parent = lease("Signed on 21\nJanuary 2026.", signing_date="21 January 2026")
    labels, document = made(parent)
    assert " ".join(document.split()) == f"Signed on {labels['signing_date']}."
    assert document.count("\n") == 1


def test_pieces_of_the_premises_change_where_they_stand_alone():
    parent = lease(
        "Premises: Unit 4, 186 Orchard Drive, Carrow, Surrey, of 12,250 square feet.\n"
        "The building at 186 Orchard Drive is old. Courts of Carrow. The 12,250 square feet were measured. "
        "Carrots grow in an orchard.",
        leased_space="Unit 4, 186 Orchard Drive, Carrow, Surrey, of 12,250 square feet",
    )
    labels, document = made(parent)
    address, town, area = re.fullmatch(
        r"Unit \d+, (\d+ \w+ Drive), (\w+), Surrey, of ([\d,]+) square feet", str(labels["leased_space"])
    ).groups()
    assert document.endswith(
        f"The building at {address} is old. Courts of {town}. The {area} square feet were measured. "
        "Carrots grow in an orchard."
    )


def test_a_value_that_the_document_lacks_fails_visibly():
    parent = lease("Tobias Wren is the tenant.", lessee="Tobias Wren", lessor="Orla Feldman")
    child, _ = synthesise(parent, blank(parent), pool_of([parent], LEASE), LEASE, 7)
    assert document_problem(LEASE.loads(child.generated_labels), child.generated_lease_doc) is not None


def test_where_nothing_can_change_there_is_no_document_but_a_reason():
    parent = lease("For use as agreed.", designated_use="as agreed")
    child, reason = synthesise(parent, blank(parent), pool_of([parent], LEASE), LEASE, 7)
    assert reason == "labels: no value could be changed"
    assert child.generated_lease_doc is None
    assert child.generated_labels == parent.labels


@pytest.mark.parametrize("document", ["", "\n", "Tobias Wren" * 50, "((((", "0/0/0000 31.02.2010 \x00"])
def test_odd_documents_raise_nothing(document):
    parent = lease(
        document, lessee="Tobias Wren", start_date="31 February 2010", leased_space="((", signing_date="\u2028"
    )
    synthesise(parent, blank(parent), pool_of([parent], LEASE), LEASE, 7)


# --- another schema --------------------------------------------------------------------------------------------------


def test_an_invoice():
    document = (
        "INVOICE 4711\nNorthwind Tools Ltd, 4 March 2021\n12 crates, 83.5 kg, paid: true\n"
        "Total: EUR 1,234.50\nDelivered free of charge, order 47110.\n"
    )
    values = {
        "number": 4711,
        "issued": "4 March 2021",
        "seller": "Northwind Tools Ltd",
        "total": "EUR 1,234.50",
        "weight": 83.5,
        "paid": True,
        "remark": "Delivered free of charge",
    }
    other = lease("Sent by rail", INVOICE, remark="Sent by rail")
    parent = lease(document, INVOICE, **values)
    labels, text = made(parent, INVOICE, pool=[parent, other])
    assert isinstance(labels["number"], int)
    assert isinstance(labels["weight"], float)
    assert re.fullmatch(r"EUR [\d,]+\.\d\d", str(labels["total"]))
    assert str(labels["seller"]).endswith(" Ltd")
    assert labels["paid"] is True
    assert labels["remark"] == "Sent by rail"
    assert all(labels[key] != values[key] for key in values if key != "paid")
    assert "order 47110" in text


def test_equal_numbers_stay_equal_and_odd_ones_stay():
    schema = Schema.parse(
        {"type": "object", "properties": {name: {"type": "number"} for name in ("a", "b", "zero", "below", "vast")}}
    )
    parent = lease("5 and 5 and 0, -2.5 or 1e+300", schema, a=5, b=5, zero=0, below=-2.5, vast=1e300)
    labels, document = made(parent, schema)
    assert labels["a"] == labels["b"] != 5
    assert document == f"{labels['a']} and {labels['a']} and 0, -2.5 or 1e+300"


@pytest.mark.parametrize("name", ["((", "LLC", ", .", "Mr.", "and", "A", "Wren, (the", "Ōé ß", "A.B. & C"])
def test_odd_names_raise_nothing(name):
    parent = lease(f"{name} is a party. So is Mr. {name}.", lessor=name)
    synthesise(parent, blank(parent), pool_of([parent], LEASE), LEASE, 7)


# --- values ----------------------------------------------------------------------------------------------------------


def test_a_term_keeps_its_form_and_the_dates_their_order():
    chance = random.Random(2)
    signed, start, end, possession = date(2009, 6, 14), date(2009, 7, 1), date(2014, 6, 30), date(2009, 8, 5)
    for _ in range(300):
        shift = choose_shift([signed, start, end], [possession], "a text without a length", chance)
        moved = [shift(day) for day in (signed, start, possession, end)]
        assert moved == sorted(set(moved))
        assert moved[1].day == 1
        assert (moved[3] + timedelta(days=1)).day == 1
        assert (moved[3] + timedelta(days=1)).month == moved[1].month


def test_a_term_whose_length_is_stated_keeps_it():
    chance = random.Random(2)
    for statement in ("for five (5) years", "a five-year term", "of 60 months"):
        for _ in range(20):
            shift = choose_shift([date(2009, 7, 1), date(2014, 6, 30)], [], statement, chance)
            assert shift(date(2014, 6, 30)).year - shift(date(2009, 7, 1)).year in (4, 5)
            assert shift.years_after == 0
    varied = {choose_shift([date(2009, 7, 1), date(2014, 6, 30)], [], "", chance).years_after for _ in range(40)}
    assert len(varied) > 3


@pytest.mark.parametrize(
    ("value", "form"),
    [
        ("two (2) terms of five (5) years each", r"\w+ \((\d+)\) terms of [\w-]+ \((\d+)\) years each"),
        ("the seventh (7th) floor", r"the [\w-]+ \(\d+(st|nd|rd|th)\) floor"),
        ("one hundred twenty-eight (128) months", r"[\w -]+ \(\d+\) months"),
        ("7,614 square feet", r"\d{1,2},\d{3} square feet"),
        ("on the fifteenth day of each month", r"on the [\w-]+ day of each month"),
        ("the 22nd day of each month", r"the \d+(st|nd|rd|th) day of each month"),
        ("five more years", r"[\w-]+ more years"),
        ("Suite 4B", r"Suite \d+[A-H]"),
    ],
)
def test_numbers_vary_in_their_form(value, form):
    for seed in range(30):
        new = vary(value, random.Random(seed), {})
        assert re.fullmatch(form, new)
        assert new.split()[0] == value.split()[0] or new != value
        for words, figure, suffix in re.findall(r"([a-z -]+) \((\d+)(st|nd|rd|th)?\)", new):
            number = int(figure)
            assert words.endswith(ordinal(number) if suffix else cardinal(number))
            assert not suffix or suffix == ordinal_suffix(number)


@pytest.mark.parametrize(
    "value",
    [
        "one (1) year",
        "as set forth in Section 4",
        "on 30 June and May 15",
        "a first-class building",
        "in 2014",
        "from the first day",
    ],
)
def test_what_is_no_number_of_its_own_stays(value):
    assert {vary(value, random.Random(seed), {}) for seed in range(20)} == {value}


def test_number_words():
    assert [cardinal(number) for number in (0, 13, 40, 128, 1_250)] == [
        "zero",
        "thirteen",
        "forty",
        "one hundred twenty-eight",
        "one thousand two hundred fifty",
    ]
    assert [ordinal(number) for number in (1, 12, 20, 37, 100)] == [
        "first",
        "twelfth",
        "twentieth",
        "thirty-seventh",
        "one hundredth",
    ]


@pytest.mark.parametrize(
    ("name", "form"),
    [
        ("Post Tension of Nevada, Inc.", r"\w+ \w+, Inc\."),
        ("WEBER USA CORPORATION", r"[A-Z]+ [A-Z]+ CORPORATION"),
        ("Quill & Inkwell, L.L.C.", r"\w+ & \w+, L\.L\.C\."),
        ("Edward Hohman", r"[A-Z]\w+ [A-Z]\w+"),
        ("Dr. Edward J. Hohman, Jr.", r"Dr\. \w+ [A-Z]\. \w+, Jr\."),
        ("John Smith and Mary Smith", r"(\w+) (\w+) and (\w+) \2"),
        ("City of Henderson", r"City of \w+"),
        ("Acme, Inc., a Delaware corporation", r"\w+, Inc\., a Delaware corporation"),
    ],
)
def test_a_name_keeps_its_form(name, form):
    for seed in range(20):
        new = Inventor(random.Random(seed)).name_like(name)
        assert re.fullmatch(form, new)
        assert new != name


def test_recombined_values_fit_the_document_that_they_come_into():
    parents = [
        lease("Use: a bakery.", designated_use="a bakery"),
        lease("Use: a law office.", designated_use="a law office"),
        lease("Use: storage.", designated_use="storage"),
        lease("Use: a shop of Tobias Wren", designated_use="a shop of Tobias Wren", lessee="Tobias Wren"),
        lease("Use: a use under Section 4", designated_use="a use under Section 4"),
        lease("Use: a use that the Lessor likes", designated_use="a use that the Lessor likes"),
    ]
    taken = {made(parents[0], pool=parents, sample=sample)[0]["designated_use"] for sample in range(20)}
    assert taken == {"a law office"}


# --- the sample leases -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def samples() -> dict[str, list[LabelledLease]]:
    rows = [json.loads(line) for line in SAMPLES.read_text(encoding="utf-8").splitlines()]
    return {
        half: [
            LabelledLease(lease_id=row["lease_id"], lease_doc=row["lease_doc"], labels=LEASE.dumps(row["labels"]))
            for row in rows
            if row["split"] == half
        ]
        for half in ("train", "holdout")
    }


def test_every_sample_lease_has_children_with_other_parties_dates_and_premises(samples):
    pool = pool_of(samples["train"], LEASE)
    near = NearDocuments(each.lease_doc for each in samples["train"])
    for each in samples["holdout"]:
        near.add(each.lease_id, each.lease_doc)
    for parent in samples["train"]:
        child, reason = synthesise(parent, blank(parent), pool, LEASE, 7)
        assert reason is None
        old, new = LEASE.loads(parent.labels), LEASE.loads(child.generated_labels)
        assert document_problem(new, child.generated_lease_doc) is None
        for key, value in old.items():
            if isinstance(value, str) and (key in ("lessor", "lessee", "leased_space") or parse_date(value)):
                # As words of their own: "first day of May" also stands in "thirty-first day of May".
                words = r"\s+".join(map(re.escape, value.split()))
                assert not re.search(rf"(?<![\w-]){words}(?![\w-])", child.generated_lease_doc, re.IGNORECASE)
        assert near.near(child.generated_lease_doc) is None


def test_invented_names_share_no_word_with_the_sample_leases(samples):
    leases = samples["train"] + samples["holdout"]
    words = {word for each in leases for name in _parties(each) for word in re.findall(r"\w{3,}", name.casefold())}
    for seed in range(300):
        inventor = Inventor(random.Random(seed))
        invented = f"{inventor.name_like('Acme Tools')} {inventor.name_like('Ada Byron')}"
        assert not words & set(invented.casefold().split())


def _parties(each: LabelledLease) -> list[str]:
    labels = LEASE.loads(each.labels)
    return [str(labels[key]) for key in ("lessor", "lessee") if labels[key]]
