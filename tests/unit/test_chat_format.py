"""The chat format is a data contract: these bytes are what trained adapters are prompted with."""

from __future__ import annotations

import pytest

from finreg_cli.domain.chat_format import ABSTENTION, messages, prompt, split_citation, with_citation


def test_messages_are_the_original_ones_byte_for_byte() -> None:
    made = [(each.role, each.content) for each in messages("CRR Article 1\nText.", "What applies?", "This.")]
    assert made == [
        (
            "system",
            "You are a Regulatory Reporting Assistant.\nPlease answer the question as precise as possible using "
            "information in context.\nIf you do not know, just say I don't know. ",
        ),
        (
            "user",
            "Context:\nCRR Article 1\nText.\nPlease answer the user question using the given context:\n\nWhat applies?",
        ),
        ("assistant", "This."),
    ]


def test_prompt_is_the_same_without_the_answer() -> None:
    assert prompt("context", "question?") == messages("context", "question?", "answer")[:2]


def test_without_context_only_the_context_is_missing() -> None:
    assert prompt("", "q?")[1].content == "Context:\n\nPlease answer the user question using the given context:\n\nq?"


def test_braces_and_percent_signs_survive() -> None:
    assert "{context} 8 %" in prompt("{context} 8 %", "{question}")[1].content


@pytest.mark.parametrize(
    ("answer", "text", "citation"),
    [
        ("It is 8 %. [CRR Article 92(1)]", "It is 8 %.", "CRR Article 92(1)"),
        ("It is 8 %. [CRR Article 92(1)] \n", "It is 8 %.", "CRR Article 92(1)"),
        ("Two [sic] words. [CRR recital (12)]", "Two [sic] words.", "CRR recital (12)"),
        ("No bracket at the end [1] here.", "No bracket at the end [1] here.", None),
        (ABSTENTION, ABSTENTION, None),
        ("", "", None),
    ],
)
def test_split_citation(answer: str, text: str, citation: str | None) -> None:
    assert split_citation(answer) == (text, citation)


def test_split_citation_is_the_inverse_of_with_citation() -> None:
    answer = with_citation("Institutions shall report.", "CRR Article 99(1)")
    assert answer == "Institutions shall report. [CRR Article 99(1)]"
    assert split_citation(answer) == ("Institutions shall report.", "CRR Article 99(1)")
