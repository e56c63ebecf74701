"""Retrieval on chunks of real acts' form: what is found, in which order, and what is kept of the index."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from fakes import chunks
from finreg_cli.domain.identity import content_hash
from finreg_cli.domain.provisions import Provision, holds, provision, provisions
from finreg_cli.domain.records import Chunk
from finreg_cli.errors import WarehouseError
from finreg_cli.retrieval.bm25 import Bm25Index, Bm25Retriever
from finreg_cli.retrieval.words import terms


def chunk(citation: str, text: str, heading: str = "", document: str = "crr", work: str = "32013R0575") -> Chunk:
    return chunks.chunk(
        citation,
        text,
        chunk_id=content_hash(citation, text),
        document_id=document.ljust(32, "0"),
        work_id=work,
        path=f"{document}.pdf",
        title="",
        heading_path=[heading] if heading else [],
    )


CRR = [
    chunk("CRR Article 26", "Common Equity Tier 1 items consist of capital instruments.", "Article 26 Items"),
    chunk(
        "CRR Article 92",
        "Article 92\nOwn funds requirements\n1. Institutions shall satisfy the following:\n(a) a ratio of 4,5 %;\n(b) "
        "a ratio of 6 %;\n2. They shall calculate as follows.",
        "Article 92 Own funds requirements",
    ),
    chunk(
        "CRR Article 92(3)",
        "3. Total risk exposure shall be the sum of points (a) to (f).\n(a) exposure to credit risk;\n(i) of the book",
        "Article 92 Own funds requirements",
    ),
    chunk(
        "CRR Article 93",
        "Initial capital under Article 92(1)(a) and Article 92 shall not fall below the ratio.",
        "Article 93",
    ),
    chunk("CRR recital (12)", "(12) Deposits are a stable source of funding.", "Recital 12"),
    chunk("CRR Annex III", "1. Cash.\n7. Transferable securities of credit quality step 1.", "Annex III"),
]
RTS = [
    chunk("EBA/RTS/2013/01 Article 26", "Losses are deducted.", "Article 26 Losses", "rts", "EBA-RTS-2013-01"),
    chunk(
        "EBA/RTS/2013/01 section 3.2", "Institutions commented on liquidity.", "3.2 Comments", "rts", "EBA-RTS-2013-01"
    ),
    chunk("EBA/RTS/2013/01 page 1", "Final draft of technical standards.", "", "rts", "EBA-RTS-2013-01"),
]


@pytest.fixture(scope="module")
def index() -> Bm25Index:
    return Bm25Index.of(iter(CRR + RTS))


def found(index: Bm25Index, question: str, top: int = 9) -> list[str]:
    keys = {(each.document_id, each.chunk_id): each.citation for each in CRR + RTS}
    return [keys[hit.document_id, hit.chunk_id] for hit in index.search(question, top)]


# --- by words ---


@pytest.mark.parametrize(
    ("question", "expected"),
    [
        ("Which deposits are stable?", "CRR recital (12)"),
        ("What is a stable deposit?", "CRR recital (12)"),
        ("Where does 4.5 per cent apply?", "CRR Article 92"),
        ("Where does 4,5 % apply?", "CRR Article 92"),
        ("liquidity", "EBA/RTS/2013/01 section 3.2"),
        ("TRANSFERABLE SECURITY", "CRR Annex III"),
    ],
)
def test_words_are_found_in_other_forms_and_numbers_in_other_spellings(
    index: Bm25Index, question: str, expected: str
) -> None:
    assert found(index, question)[0] == expected


def test_what_shares_no_word_is_not_found(index: Bm25Index) -> None:
    assert found(index, "Which zebra swims?") == []
    assert found(index, "what is the of and") == []
    assert found(index, "") == []


def test_only_as_many_as_asked_for(index: Bm25Index) -> None:
    assert len(found(index, "institutions ratio capital", 2)) == 2


def test_an_empty_table_has_no_hits() -> None:
    assert Bm25Index.of([]).search("What does Article 92 require?", 3) == []


# --- by name ---


@pytest.mark.parametrize(
    ("question", "expected"),
    [
        ("What does Article 92 require?", {"CRR Article 92", "CRR Article 92(3)"}),
        ("what does art. 92 crr require?", {"CRR Article 92", "CRR Article 92(3)"}),
        ("what does article 92 require?", {"CRR Article 92", "CRR Article 92(3)"}),
        ("What is set out in Article 92(3)?", {"CRR Article 92(3)"}),
        ("Which ratio does Article 92(1)(a) set for initial capital?", {"CRR Article 92"}),
        ("What does point (a) of Article 92(1) say on initial capital?", {"CRR Article 92"}),
        ("What does Article 92(1) of Regulation (EU) No 575/2013 say?", {"CRR Article 92"}),
        ("What does CRR Article 26 say about losses?", {"CRR Article 26"}),
        ("What does Article 26 of EBA/RTS/2013/01 say about capital instruments?", {"EBA/RTS/2013/01 Article 26"}),
        ("What does Article 26 of the CRR say about losses?", {"CRR Article 26"}),
        ("What does recital 12 say about capital?", {"CRR recital (12)"}),
        ("Annex III on capital", {"CRR Annex III"}),
        ("section 3.2 on capital", {"EBA/RTS/2013/01 section 3.2"}),
        ("What do Articles 91 to 93 say of deposits?", {"CRR Article 92", "CRR Article 92(3)", "CRR Article 93"}),
        ("What does Article 93 say of the ratio referred to in Article 92?", {"CRR Article 93"}),
    ],
)
def test_what_the_question_names_comes_first(index: Bm25Index, question: str, expected: set[str]) -> None:
    assert set(found(index, question)[: len(expected)]) == expected


def test_the_deepest_match_comes_before_the_rest_of_its_article(index: Bm25Index) -> None:
    assert found(index, "What does Article 92(3) require?")[:2] == ["CRR Article 92(3)", "CRR Article 92"]


def test_an_article_of_another_act_names_nothing_here(index: Bm25Index) -> None:
    hits = index.search("What does Article 92 of Directive 2013/36/EU say of deposits?", 9)
    assert hits
    assert not any(hit.named for hit in hits)


# --- the weights ---


def test_the_scores_are_those_of_the_formula() -> None:
    """BM25 with Lucene's idf, k1 = 1.2 and b = 0.75, where a word that is asked for twice counts once."""
    texts = ["capital zebra capital", "zebra", "deposit zebra zebra zebra"]
    index = Bm25Index.of(chunk(f"CRR page {number}", text) for number, text in enumerate(texts))
    idf = math.log(1 + (3 - 1 + 0.5) / (1 + 0.5))
    expected = idf * 2 / (2 + 1.2 * (1 - 0.75 + 0.75 * 3 / (8 / 3)))
    for question in ("capital", "capital, Capitals and antelopes"):
        assert [hit.score for hit in index.search(question, 3)] == pytest.approx([expected])


def test_terms_have_no_plural_and_no_words_of_every_text() -> None:
    assert terms("The institutions' securities, losses and 4,5 % of this") == [
        "institution",
        "security",
        "losse",
        "4.5",
        "%",
    ]
    assert terms("own funds in 2013/36/EU") == ["own", "fund", "2013", "36", "eu"]


# --- what is kept ---


def reading(chunks: Iterable[Chunk], log: list[str]) -> Iterator[Chunk]:
    log.append("read")
    yield from chunks


def test_an_index_is_made_once_for_each_version_and_one_file_is_kept(tmp_path: Path, index: Bm25Index) -> None:
    log: list[str] = []
    question = "What does Article 92(1)(a) of the CRR require of institutions?"
    for _ in range(2):
        kept = Bm25Retriever(tmp_path / "kept").index("table", 3, lambda: reading(CRR + RTS, log))
        assert kept.search(question, 5) == index.search(question, 5)
    assert log == ["read"]
    Bm25Retriever(tmp_path / "kept").index("table", 4, lambda: reading(CRR[:1], log))
    Bm25Retriever(tmp_path / "kept").index("another table", 4, lambda: reading(CRR[:2], log))
    assert log == ["read"] * 3
    assert len(list((tmp_path / "kept").iterdir())) == 2


def test_an_index_that_was_damaged_is_made_anew(tmp_path: Path) -> None:
    log: list[str] = []
    Bm25Retriever(tmp_path).index("table", 1, lambda: reading(CRR, log))
    files = [path.relative_to(tmp_path) for path in tmp_path.rglob("*") if path.is_file()]
    needed = [file for file in files if file.suffix in (".npy", ".npz", ".json")]
    assert len(needed) >= 5
    for file in needed:
        (tmp_path / file).write_bytes(b"")
        made = Bm25Retriever(tmp_path).index("table", 1, lambda: reading(CRR, log))
        assert made.search("deposits", 1)[0].chunk_id == CRR[4].chunk_id, file
    assert log == ["read"] * (1 + len(needed))


def test_a_folder_that_cannot_be_written_is_an_error_with_its_name(tmp_path: Path) -> None:
    (tmp_path / "retrieval").write_text("a file in its place")
    with pytest.raises(WarehouseError, match="retrieval"):
        Bm25Retriever(tmp_path / "retrieval").index("table", 1, lambda: iter(CRR))


# --- provisions ---


@pytest.mark.parametrize(
    ("citation", "expected"),
    [
        ("CRR Article 92(1)(a)", Provision("CRR", "article", ("92", "1", "a"))),
        ("Regulation (EU) No 575/2013 Article 92", Provision("Regulation (EU) No 575/2013", "article", ("92",))),
        ("CRR recital (12)", Provision("CRR", "recital", ("12",))),
        ("CRR Annex III", Provision("CRR", "annex", ("III",))),
        ("EBA/RTS/2021/04 section 3.2 paragraph 14", Provision("EBA/RTS/2021/04", "section", ("3.2", "14"))),
        ("EBA/RTS/2021/04 page 3", None),
        ("EBA/RTS/2021/04 pages 3-4", None),
        ("CRR preamble", None),
        ("nonsense", None),
    ],
)
def test_citations_are_read(citation: str, expected: Provision | None) -> None:
    assert provision(citation) == expected


def test_points_nest_and_an_i_behind_an_h_is_a_letter() -> None:
    lines = [
        "1. The following:",
        "(a) one:",
        "(i) first;",
        "(ii) second;",
        "(b) two;",
        *(f"({x}) more;" for x in "cdefghij"),
    ]
    listed = [each.address[1:] for each in provisions(chunk("CRR Article 5", "\n".join(lines)))]
    assert listed[:6] == [(), ("1",), ("1", "a"), ("1", "a", "i"), ("1", "a", "ii"), ("1", "b")]
    assert listed[-3:] == [("1", "h"), ("1", "i"), ("1", "j")]
    definitions = chunk(
        "CRR Article 4(1)", "(85) 'positions' means:\n(a) proprietary:\n(i) of clients;\n(86) 'book' means all;"
    )
    assert [each.address[2:] for each in provisions(definitions)] == [
        (),
        ("85",),
        ("85", "a"),
        ("85", "a", "i"),
        ("86",),
    ]


@pytest.mark.parametrize(
    ("citation", "held"),
    [
        ("CRR Article 92", True),
        ("CRR Article 92(1)", True),
        ("CRR  Article 92(1)(b)", True),
        ("CRR Article 92(1)(c)", False),
        ("CRR Article 92(3)", False),
        ("CRR Article 9", False),
        ("CRR Article 93", False),
        ("CRR Annex 92", False),
        ("MiFID Article 92", False),
        ("page 3", False),
    ],
)
def test_a_chunk_holds_what_begins_in_its_text(citation: str, held: bool) -> None:
    assert holds(CRR[1], citation) is held


def test_what_has_no_provision_is_held_by_its_own_citation_only() -> None:
    assert holds(RTS[2], "EBA/RTS/2013/01 page 1")
    assert not holds(RTS[2], "EBA/RTS/2013/01 page 2")
    assert holds(CRR[2], "CRR Article 92")  # a part of what is cited
