"""The schema, values in documents, and 200 hostile replies that parse as they were built or are invalid."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path

import pytest

from finreg_cli.domain.extraction import (
    LEASE,
    Field,
    InvalidReply,
    Labels,
    Schema,
    Span,
    Value,
    find,
    parse_object,
    read_reply,
    text_of,
)

SCHEMA = Schema(
    (
        Field("lessee", kind="name"),
        Field("use"),
        Field("area", type="integer", kind="amount"),
        Field("rent", type="number", kind="amount"),
        Field("furnished", type="boolean"),
    )
)


# --- the schema ------------------------------------------------------------------------------------------------------


def test_a_flat_json_schema_is_read() -> None:
    schema = Schema.parse(
        {
            "type": "object",
            "title": "loan",
            "properties": {
                "bank": {"type": ["string", "null"], "format": "name", "description": "who lends"},
                "sum": {"type": "number"},
                "secured": {"type": "boolean"},
                "purpose": {},
            },
        }
    )
    assert schema.title == "loan"
    assert schema.fields == (
        Field("bank", "who lends", "string", "name"),
        Field("sum", "", "number", "amount"),
        Field("secured", "", "boolean", "text"),
        Field("purpose", "", "string", "text"),
    )


@pytest.mark.parametrize(
    ("schema", "problem"),
    [
        ({"type": "array"}, "flat JSON schema"),
        ({"type": "object", "properties": {}}, "flat JSON schema"),
        ({"type": "object", "properties": {"a": {"type": "object"}}}, "property 'a' has the type 'object'"),
        ({"type": "object", "properties": {"a": {"type": ["string", "number"]}}}, "property 'a' has the type"),
        ({"type": "object", "properties": {"a": {"format": "email"}}}, "property 'a' has the format 'email'"),
        ({"type": "object", "properties": {"a": "string"}}, "property 'a' is 'string'"),
        ({"type": "object", "title": " ", "properties": {"a": {}}}, "has the title ' '"),
    ],
)
def test_another_schema_is_refused_with_what_is_wrong(schema: dict[str, object], problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        Schema.parse(schema)


def test_problems_of_labels() -> None:
    right = {"lessee": "ACME", "use": None, "area": 7, "rent": 7, "furnished": False}
    assert SCHEMA.problems(right) == []
    wrong = {"lessee": " ", "use": 5, "area": True, "rent": "7", "term": "a year"}
    assert [problem.split()[0:3] for problem in SCHEMA.problems(wrong)] == [
        ["the", "key", "'furnished'"],
        ["the", "key", "'term'"],
        ["'lessee'", "is", "empty;"],
        ["'use'", "is", "5,"],
        ["'area'", "is", "True,"],
        ["'rent'", "is", "'7',"],
    ]


def test_labels_are_written_with_the_keys_in_their_order_and_read_again() -> None:
    labels: Labels = {"furnished": True, "rent": 1.5, "lessee": "Caf\u00e9 \u201cX\u201d"}
    text = SCHEMA.dumps(labels)
    assert text == '{"lessee": "Caf\u00e9 \u201cX\u201d", "use": null, "area": null, "rent": 1.5, "furnished": true}'
    assert SCHEMA.loads(text) == {**SCHEMA.empty(), **labels}
    assert parse_object(text) == SCHEMA.loads(text)


@pytest.mark.parametrize("text", ["", "[]", "null", "{", '{"a": 1, "a": 1}', "[" * 100_000])
def test_no_object_is_none(text: str) -> None:
    assert parse_object(text) is None


# --- values in documents ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "document", "found"),
    [
        ("any lawful use", "for any lawful use.", "any lawful use"),
        ("any lawful use", "for any\n   lawful\u00a0use.", "any\n   lawful\u00a0use"),
        ("  any lawful ", "any lawful use", "any lawful"),
        ("(a+)+$ [x]*", "see (a+)+$ [x]* here", "(a+)+$ [x]*"),
        ("\\d{4}", "2008 or \\d{4}", "\\d{4}"),
        (7000, "containing 7000 feet", "7000"),
        (True, "it is true", "true"),
        ("ACME", "Acme or ACME", "ACME"),
        ("Unit 1", "Unit 12, Unit 1", "Unit 1"),
        ("art", "part and art", "art"),
        ("8,000", "$18,000 or $8,000", "8,000"),
        ("$8,000", "rent of $8,000.00", "$8,000"),
        ("\u6771\u4eac", "\u6771\u4eac\u90fd\u5e81", "\u6771\u4eac"),  # a script without blanks between words
        ("x", "x", "x"),
    ],
)
def test_a_value_is_found_verbatim(value: Value, document: str, found: str) -> None:
    span = find(value, document)
    assert span is not None
    assert document[span.start : span.end] == found


@pytest.mark.parametrize(
    ("value", "document"),
    [
        (None, "null"),
        ("", "anything"),
        (" \n", "any thing"),
        ("acme", "ACME"),
        ("the \u201cTenant\u201d", 'the "Tenant"'),
        ("1\u20132", "1-2"),
        ("office", "o\ufb03ce"),  # one ligature for three letters
        ("premises", "prem-\nises"),
        ("lawful", "unlawful"),
        ("2,50", "2,500"),
        ("any use", "anyuse"),
        ("first day of March", "the thirty-first day of March"),
        ("two thousand and twenty", "two thousand and twenty-three"),
    ],
)
def test_verbatim_means_the_same_characters(value: Value, document: str) -> None:
    assert find(value, document) is None


def test_the_first_place_counts() -> None:
    assert find("one year", "for one year and one year") == Span(4, 12)


def test_large_documents_and_repetitive_values() -> None:
    document = "a " * 500_000 + "any   lawful\nuse"
    assert find("any lawful use", document) == Span(1_000_000, len(document))
    assert find("a " * 2_000 + "b", document) is None
    assert find("a b", "a" + " " * 1_000_000 + "a") is None


def test_the_values_of_the_real_leases_are_found() -> None:
    path = Path(__file__).parents[2] / "../shared/data/leases/real_leases.jsonl"
    if not path.exists():
        pytest.skip("the real leases are not beside the project")
    for line in path.read_text(encoding="utf-8").splitlines():
        lease = json.loads(line)
        assert LEASE.problems(lease["labels"]) == []
        lost = [key for key, value in lease["labels"].items() if value and find(value, lease["lease_doc"]) is None]
        assert lost == [], lease["lease_id"]


def test_the_text_of_a_value() -> None:
    assert [text_of(value) for value in ("a", 7, 1.5, True, None)] == ["a", "7", "1.5", "true", None]


# --- replies ---------------------------------------------------------------------------------------------------------

Expected = Labels | None
"""None: the reply is invalid."""

TEXTS = [
    "ACME, Inc.",
    'the "Tenant"',
    "a {brace} and a } and a {",
    "[a] list, ] or [",
    "back\\slash \\n \\u0041 and /",
    "two\nlines\tand a tab",
    "Caf\u00e9 \u201cX\u201d \u2013 \u6771\u4eac \U0001f600",
    "```json",
    "N/A",
    "None",
    "nil \u0000 nil",
    "key: {'a': 1}, // no comment",
    "7,000",
]
PROSE = ["", "Here it is:\n", "Sure! The labels [1] are, as asked:", "\ufeff", "The lease says so.\n\n", ", "]


def some_labels(chance: random.Random) -> Labels:
    return {
        "lessee": chance.choice([None, *TEXTS]),
        "use": chance.choice([None, *TEXTS]),
        "area": chance.choice([None, 0, -3, 7000, 10**30]),
        "rent": chance.choice([None, 0.5, 8000, 1e20]),
        "furnished": chance.choice([None, True, False]),
    }


def dumped(chance: random.Random, labels: object) -> str:
    """As JSON, in one of the ways that JSON may be written."""
    return json.dumps(
        labels,
        ensure_ascii=chance.random() < 0.5,
        indent=chance.choice([None, 2, "\t"]),
        separators=chance.choice([None, (",", ":"), (" , ", " : ")]),
    )


def bare(chance: random.Random) -> tuple[str, Expected]:
    labels = some_labels(chance)
    keys = chance.sample(list(labels), len(labels))
    text = dumped(chance, {key: labels[key] for key in keys})
    return chance.choice(["", " \n", "\ufeff"]) + text + chance.choice(["", "\n\n"]), labels


def with_other_keys(chance: random.Random) -> tuple[str, Expected]:
    labels = some_labels(chance)
    given = {key: value for key, value in labels.items() if chance.random() < 0.6}
    extra = {chance.choice(["Lessee", "notes", "lessee ", ""]): chance.choice([None, "x", 5, True])}
    return dumped(chance, {**given, **extra}), {key: given.get(key) for key in labels}


def in_prose_or_fence(chance: random.Random) -> tuple[str, Expected]:
    labels = some_labels(chance)
    text = dumped(chance, labels)
    if chance.random() < 0.6:
        fence = chance.choice(["```", "~~~~"])
        text = f"{fence}{chance.choice(['json', '', 'JSON'])}\n{text}\n{fence}"
    return chance.choice(PROSE) + text + chance.choice(PROSE), labels


def after_thoughts(chance: random.Random) -> tuple[str, Expected]:
    labels, other = some_labels(chance), dumped(chance, some_labels(chance))
    tag = chance.choice(["think", "thinking", "reasoning", "THINK"])
    thoughts = chance.choice(
        [
            f"<{tag}>Perhaps {other}? {{no</{tag}>",
            f"The tag was in the prompt: {other}</{tag}>",
            f"<{tag}>one {other}</{tag}><{tag}>two</{tag}>",
            f"{other}<{tag}>one</{tag}>, no</{tag}>",
            f"<{tag}>a <{tag}>nested {other}</{tag}> thought</{tag}>",
        ]
    )
    text = dumped(chance, labels)
    return thoughts + chance.choice(["", "\n\n", "The answer:\n```json\n"]) + text, labels


def before_thoughts(chance: random.Random) -> tuple[str, Expected]:
    labels, other = some_labels(chance), dumped(chance, some_labels(chance))
    return f"{dumped(chance, labels)}\n<think>Was {other} right?{chance.choice(['', '</think>'])}", labels


def only_thoughts(chance: random.Random) -> tuple[str, Expected]:
    other = dumped(chance, some_labels(chance))
    return chance.choice(
        [f"<think>{other}", f"{other}</think>", f"<think>{other}</think>", "<think>x</think>{}</think>"]
    ), None


def bare_with_tags_in_its_strings(chance: random.Random) -> tuple[str, Expected]:
    labels = {**some_labels(chance), "use": chance.choice(["<think>", "a</think>b", "[ <reasoning> {"])}
    return dumped(chance, labels), labels


def the_same_twice(chance: random.Random) -> tuple[str, Expected]:
    labels = some_labels(chance)
    between = chance.choice(["\n", " or, once more, ", "\n```\n\n```json\n", ", "])
    return between.join(dumped(chance, labels) for _ in range(chance.randrange(2, 4))), labels


def two_that_differ(chance: random.Random) -> tuple[str, Expected]:
    labels = {**some_labels(chance), "area": 5}
    pair = [dumped(chance, labels), dumped(chance, {**labels, "area": chance.choice([6, None])})]
    chance.shuffle(pair)
    return chance.choice(["\n", " or "]).join(pair), None


def truncated(chance: random.Random) -> tuple[str, Expected]:
    text = dumped(chance, some_labels(chance))
    opening = chance.choice(["", "```json\n", "<think>x</think>"])
    return opening + text[: chance.randrange(len(text))], None


def repeated_key(chance: random.Random) -> tuple[str, Expected]:
    value = json.dumps(chance.choice(TEXTS))
    again = chance.choice([value, "null", '"other"'])
    return chance.choice(
        [
            f'{{"lessee": {value}, "area": 5, "lessee": {again}}}',
            f'{{"x": {value}, "lessee": {value}, "x": {again}}}',
            f'{{"lessee": {value}, "\\u006cessee": {again}}}',
        ]
    ), None


def nested(chance: random.Random) -> tuple[str, Expected]:
    labels: dict[str, object] = dict(some_labels(chance))
    inner = chance.choice([[], {}, ["ACME"], {"value": "ACME"}, [[1]], [None], labels])
    return dumped(
        chance, chance.choice([{**labels, "use": inner}, {**labels, "notes": inner}, {"lease": labels}])
    ), None


def in_a_list(chance: random.Random) -> tuple[str, Expected]:
    text = dumped(chance, some_labels(chance))
    return chance.choice(
        [
            f"[{text}]",
            f"[{text}, {text}]",
            f"[1, {text}, 2]",
            f"```json\n[\n{text}\n]\n```",
            f"[{text},",
            f"so [ 1, {text} ]",
        ]
    ), None


def of_another_type(chance: random.Random) -> tuple[str, Expected]:
    key, value = chance.choice(
        [
            ("lessee", "true"),
            ("use", "false"),
            ("area", "true"),
            ("area", "7.5"),
            ("area", "7e3"),
            ("area", '"7 feet"'),
            ("area", '"7,000"'),
            ("area", '" 7"'),
            ("area", '"07"'),
            ("area", '"\u0667"'),  # an Arabic-Indic digit
            ("area", "9" * 5000),
            ("rent", '"$7"'),
            ("rent", '"7."'),
            ("rent", "1e999"),
            ("rent", "-1e999"),
            ("rent", '"inf"'),
            ("rent", '"NaN"'),
            ("rent", "false"),
            ("furnished", "1"),
            ("furnished", '"yes"'),
            ("furnished", '"True"'),
            ("furnished", "0"),
        ]
    )
    return f'{{"{key}": {value}}}', None


def taken_as_the_wanted_type(chance: random.Random) -> tuple[str, Expected]:
    key, value, expected = chance.choice(
        [
            ("lessee", "7000", "7000"),
            ("lessee", "8000.00", "8000.00"),
            ("use", "-1.50E+2", "-1.50E+2"),
            ("use", '"two\n\tlines"', "two\n\tlines"),  # as models write them, not as JSON wants them
            ("use", "9" * 5000, "9" * 5000),
            ("area", '"12"', 12),
            ("area", '"-12"', -12),
            ("area", "12.00", 12),
            ("area", "9" * 30, int("9" * 30)),
            ("rent", '"8000.50"', 8000.5),
            ("rent", '"8000"', 8000),
            ("rent", "8e3", 8000.0),
            ("rent", "8000.0", 8000.0),
            ("furnished", '"true"', True),
            ("furnished", '"false"', False),
        ]
    )
    return f'{{"{key}": {value}}}', {**SCHEMA.empty(), key: expected}


def nothing(chance: random.Random) -> tuple[str, Expected]:
    key = chance.choice(SCHEMA.keys)
    empty = chance.choice(["null", '""', '" \\n "', '"null"', '"NULL"', '" Null "'])
    return f'{{"{key}": {empty}}}', SCHEMA.empty()


def no_json(chance: random.Random) -> tuple[str, Expected]:
    return chance.choice(
        [
            "",
            " ",
            "null",
            "42",
            "I cannot find it.",
            '"ACME"',
            "[]",
            '"{\\"lessee\\": \\"ACME\\"}"',
            "lessee: ACME",
            "{'lessee': 'ACME'}",
            '{"lessee": "ACME",}',
            '{"lessee": None}',
            '{"lessee": "ACME" /* the tenant */}',
            '{lessee: "ACME"}',
            '{"lessee": "ACME"',
            '{"lessee": "the "Tenant""}',
            '{"rent": NaN}',
            '{"rent": -Infinity, "lessee": "ACME"}',
            '{"notes": NaN, "lessee": "ACME"}',
            '{"lessee": "\\ud800"}',
            '{"use": "\\udc00\\ud800"}',
            '{"lessee": "\ud800"}',
            "\x00",
            '{"lessee"\x00: "ACME"}',
            '{{"lessee": "ACME"}}',
            'the {placeholder} is {"lessee": "ACME"}',
            '{"lessee": {"a": ' * 50_000,
            '{"lessee": "ACME", "notes": ' + "[" * 50_000 + "]" * 50_000 + "}",
        ]
    ), None


FAMILIES: list[Callable[[random.Random], tuple[str, Expected]]] = [
    bare,
    with_other_keys,
    in_prose_or_fence,
    after_thoughts,
    before_thoughts,
    only_thoughts,
    bare_with_tags_in_its_strings,
    the_same_twice,
    two_that_differ,
    truncated,
    repeated_key,
    nested,
    in_a_list,
    of_another_type,
    taken_as_the_wanted_type,
    nothing,
    no_json,
]
OF_EACH = 24


def is_read_as(reply: str) -> Expected:
    try:
        return read_reply(reply, SCHEMA)
    except InvalidReply:
        return None


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.__name__)
def test_hostile_replies(family: Callable[[random.Random], tuple[str, Expected]]) -> None:
    """Each is read as it was built, or is invalid."""
    for seed in range(OF_EACH):
        reply, expected = family(random.Random(seed))
        found = is_read_as(reply)
        assert found == expected, reply[:1000]
        # 7 == 7.0 == True in Python, but not in a table.
        assert found is None or [*map(type, found.values())] == [*map(type, expected.values())], reply[:1000]


def test_they_are_more_than_200_and_of_both_kinds() -> None:
    replies = dict(family(random.Random(seed)) for family in FAMILIES for seed in range(OF_EACH))
    valid = sum(expected is not None for expected in replies.values())
    assert len(replies) > 300
    assert valid > 100
    assert len(replies) - valid > 100


def test_a_reply_that_is_cut_off_anywhere_is_invalid() -> None:
    reply = json.dumps({"lessee": 'ACME {"use": "x"} Inc.', "use": "a\\", "area": 7000, "rent": 0.5, "furnished": True})
    assert is_read_as(reply) is not None
    assert [cut for cut in range(len(reply)) if is_read_as(reply[:cut]) is not None] == []
    assert [cut for cut in range(len(reply)) if is_read_as(f"Here:\n```json\n{reply[:cut]}") is not None] == []


def test_any_damage_gives_labels_of_the_schema_or_an_invalid_reply() -> None:
    chance = random.Random(11)
    junk = '{}[]":,\\ntrue0-e.9 <think></think>\x00\ud800\u2028'
    for nth in range(3_000):
        reply = list(FAMILIES[nth % len(FAMILIES)](chance)[0][:600])
        for _ in range(chance.randrange(1, 4)):
            place = chance.randrange(len(reply) + 1)
            reply[place : place + chance.randrange(3)] = chance.choices(junk, k=chance.randrange(3))
        labels = is_read_as("".join(reply))
        if labels is not None:
            assert SCHEMA.problems(labels) == []
            SCHEMA.dumps(labels).encode()


@pytest.mark.parametrize(
    "piece",
    [
        "{",
        "}",
        "{}",
        "[",
        "[{",
        '{"a":',
        '{"a":[',
        '{"lessee": "',
        "<think>",
        "</think>",
        "<think>{",
        "{} ] [ ",
        '"',
        "\\",
    ],
)
def test_a_hundred_kilobytes_of_it(piece: str) -> None:
    """Linear: a quadratic reader would take hours over these."""
    labels = is_read_as(piece * (100_000 // len(piece)))
    assert labels == (SCHEMA.empty() if piece.startswith("{}") else None)


def test_what_is_wrong_is_said() -> None:
    for reply, problem in {
        "no": "it holds no JSON object",
        '{"lessee": "A"} {"lessee": "B"}': "it holds different JSON objects",
        '[{"lessee": "A"}]': "its JSON is no object",
        'see [{"lessee": "A"}]': "its object stands in a list",
        '{"lessee": ["A"]}': "'lessee' is nested",
        '{"area": "big"}': "'area' is 'big', which is no integer",
        '{"lessee": "\\ud800"}': "'lessee' is no Unicode text",
        '{"lessee": "A", "lessee": "A"}': "its JSON is broken: the key 'lessee' is there twice",
    }.items():
        with pytest.raises(InvalidReply) as raised:
            read_reply(reply, SCHEMA)
        assert str(raised.value) == problem
