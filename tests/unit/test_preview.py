"""show --mask: what the trainer's own encoding and collator make of a row, with templates of several kinds.

What carries loss is written out by hand here, so that a mistake in the encoding cannot agree with itself.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from fakes import leases, tiny_llama
from finreg_cli.domain import chat_format
from finreg_cli.domain.extraction import LEASE, instruction, prompt_text
from finreg_cli.domain.records import FT_EVAL, FT_TRAINING, Message, TrainingRow
from finreg_cli.errors import ConfigError, MissingExtra, ModelMissing, NothingToDo, StageFailed
from finreg_cli.lakehouse.embedded import EmbeddedLakehouse
from finreg_cli.stages.status import sample_training_rows
from finreg_cli.training import fetched, preview
from finreg_cli.training.encoding import IGNORED
from finreg_cli.training.gguf_export import dequantise

pytest.importorskip("transformers", reason="needs the extra 'train'")
pytestmark = [
    # Of the libraries under us, about names that they themselves still use.
    pytest.mark.filterwarnings("ignore::FutureWarning:transformers"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]

CONTEXT = 1024

LLAMA2 = (
    "{% for message in messages %}"
    "{% if message['role'] == 'user' %}{{ bos_token + '[INST] ' + message['content'] + ' [/INST]' }}"
    "{% elif message['role'] == 'system' %}{{ '<<SYS>>\n' + message['content'] + '\n<</SYS>>\n' }}"
    "{% else %}{{ ' ' + message['content'] + ' ' + eos_token }}{% endif %}"
    "{% endfor %}"
)
"""In the style of Llama 2: nothing opens the answer, a blank stands before it, the end of the sequence ends it."""

TURNS = [
    Message("Be brief.", "system"),
    Message("What is held?", "user"),
    Message("Own funds.", "assistant"),
    Message("How much of them?", "user"),
    Message("8 % [Article 92(1)]", "assistant"),
]


def _row(messages: list[Message], row_id: str = "row") -> TrainingRow:
    return TrainingRow(messages=messages, row_id=row_id, group_key="article-92")


def _question(answer: str, context: str = "CRR Article 92(1)\nOwn funds of 8 %.", row_id: str = "row") -> TrainingRow:
    return _row(chat_format.messages(context, "What is held?", answer), row_id)


@pytest.fixture(scope="module")
def chatml(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny llama with the template and the byte-level tokens of SmolLM2."""
    folder = tmp_path_factory.mktemp("chatml")
    gguf = tiny_llama.write_gguf(folder / "tiny.gguf")
    dequantise(gguf, folder / "tiny")
    (folder / "tiny" / "tokenizer.json").write_text(fetched.tokenizer_json(gguf))
    return folder / "tiny"


@pytest.fixture(scope="module")
def llama2(chatml: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same weights with a tokenizer in the style of SentencePiece, whose words carry their blank before them."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    folder = tmp_path_factory.mktemp("llama2") / "tiny"
    shutil.copytree(chatml, folder)
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        (folder / name).unlink()
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
    tokenizer.decoder = decoders.Metaspace(prepend_scheme="first", split=False)
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=["<unk>", "<s>", "</s>"],
        initial_alphabet=[*map(chr, range(33, 127)), "\n", "\u2581"],
        show_progress=False,
    )
    tokenizer.train_from_iterator([tiny_llama.TEXT] * 3, trainer)
    wrapped = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, unk_token="<unk>", bos_token="<s>", eos_token="</s>", chat_template=LLAMA2
    )
    wrapped.save_pretrained(folder)
    return folder


def _seen(base: Path | str, *rows: TrainingRow, context: int = CONTEXT, too_long: str = "cut") -> list[preview.SeenRow]:
    return list(preview.preview(str(base), rows, context, too_long))


def _text(row: preview.SeenRow, carries_loss: bool) -> str:
    return "".join(each.text for each in row.segments if each.carries_loss == carries_loss and not each.is_cut)


# --- the mask --------------------------------------------------------------------------------------------------------


def test_chatml_the_last_answer_and_its_end_carry_loss_and_nothing_else_does(chatml: Path) -> None:
    (row,) = _seen(chatml, _row(TURNS))
    assert _text(row, True) == "8 % [Article 92(1)]<|im_end|>"
    assert _text(row, False) == (
        "<|im_start|>system\nBe brief.<|im_end|>\n"
        "<|im_start|>user\nWhat is held?<|im_end|>\n"
        "<|im_start|>assistant\nOwn funds.<|im_end|>\n"
        "<|im_start|>user\nHow much of them?<|im_end|>\n"
        "<|im_start|>assistant\n"
    )
    assert [each.carries_loss for each in row.segments] == sorted(each.carries_loss for each in row.segments)
    assert (row.end_of_turn, row.learns_to_end) == ("<|im_end|>", True)
    assert row.completion_tokens == sum(each.tokens for each in row.segments if each.carries_loss)
    assert row.prompt_tokens == sum(each.tokens for each in row.segments if not each.carries_loss)


def test_llama_2_the_blank_before_the_answer_and_the_end_of_sequence_carry_loss(llama2: Path) -> None:
    (row,) = _seen(llama2, _row(TURNS[1:]))
    assert _text(row, True) == " 8 % [Article 92(1)] </s>"
    assert _text(row, False) == "<s>[INST] What is held? [/INST] Own funds. </s><s>[INST] How much of them? [/INST]"
    assert (row.end_of_turn, row.learns_to_end) == ("</s>", True)


@pytest.mark.skipif(fetched.locate() is None, reason="needs the fetched model: finreg models pull")
def test_smollm2_with_its_own_template(chatml: Path) -> None:
    """It puts a system message of its own before a row that has none."""
    asked = _question("8 %. [CRR Article 92(1)]")
    question, bare = _seen(fetched.FETCHED_MODEL, asked, _row(TURNS[1:]))
    assert _text(question, True) == "8 %. [CRR Article 92(1)]<|im_end|>"
    assert _text(question, False) == (
        f"<|im_start|>system\n{chat_format.SYSTEM}<|im_end|>\n<|im_start|>user\n"
        f"{asked.messages[1].content}<|im_end|>\n"
        "<|im_start|>assistant\n"
    )
    assert _text(bare, True) == "8 % [Article 92(1)]<|im_end|>"
    assert _text(bare, False).startswith("<|im_start|>system\nYou are a helpful AI assistant named SmolLM")
    assert question.learns_to_end
    assert bare.learns_to_end


@pytest.mark.parametrize(("base", "end", "tail"), [("chatml", "<|im_end|>", "<|im_end|>"), ("llama2", "</s>", " </s>")])
def test_an_answer_that_quotes_the_end_of_turn_is_whole(
    base: str, end: str, tail: str, request: pytest.FixtureRequest
) -> None:
    answer = f"Own funds {end} of 8 %"
    (row,) = _seen(request.getfixturevalue(base), _question(answer))
    assert _text(row, True).lstrip() == answer + tail
    assert [each.text for each in row.segments if each.carries_loss and each.is_special] == [end, end]


def test_a_template_without_an_end_of_turn_gets_one_that_carries_loss(chatml: Path, tmp_path: Path) -> None:
    base = shutil.copytree(chatml, tmp_path / "bare")
    (base / "chat_template.jinja").write_text(
        "{% for m in messages %}{{ m['role'] + ': ' + m['content'] }}{% endfor %}"
    )
    messages = [Message("What? ", "user"), Message("8 %", "assistant")]
    (row,) = _seen(base, _row(messages))
    assert (_text(row, False), _text(row, True)) == ("user: What? ", "assistant: 8 %<|im_end|>")
    assert row.learns_to_end


def test_an_answer_that_quotes_the_end_where_the_template_has_none(chatml: Path, tmp_path: Path) -> None:
    """As of base models: their end of text is not what their template ends a turn with."""
    base = shutil.copytree(chatml, tmp_path / "base")
    settings = json.loads((base / "tokenizer_config.json").read_text())
    (base / "tokenizer_config.json").write_text(json.dumps(settings | {"eos_token": "<|endoftext|>"}))
    (row,) = _seen(base, _question("Own <|endoftext|> funds"))
    assert _text(row, True) == "Own <|endoftext|> funds<|im_end|>\n<|endoftext|>"
    assert row.learns_to_end


def test_rows_of_one_batch_keep_their_own_tokens_in_their_order(chatml: Path) -> None:
    """More rows than a batch holds, of different lengths, one of them left out in the middle."""
    rows = [_question(f"{'own funds ' * number}{number} %", row_id=f"row-{number}") for number in range(7)]
    rows.insert(3, _question("8 %", context="own funds " * 500, row_id="long"))
    found = _seen(chatml, *rows, too_long="leave_out")
    assert [each.row_id for each in found] == [each.row_id for each in rows]
    assert [each.row_id for each in found if each.left_out] == ["long"]
    for row, seen in zip(rows, found, strict=True):
        if not seen.left_out:
            assert _text(seen, True) == f"{row.messages[-1].content}<|im_end|>"


def test_a_collator_with_a_wrong_mask_would_be_seen(chatml: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    collate = preview.concatenate

    def forgetful(rows: Any) -> dict[str, Any]:
        batch = collate(rows)
        batch["labels"][0, -1] = IGNORED
        return batch

    monkeypatch.setattr(preview, "concatenate", forgetful)
    (row,) = _seen(chatml, _row(TURNS))
    assert _text(row, True) == "8 % [Article 92(1)]"
    assert not row.learns_to_end
    assert row.shown()["end of turn"] == "<|im_end|>, carries no loss"


def test_a_labelled_document_is_seen_like_a_question(chatml: Path) -> None:
    (lease,) = leases.labelled(1, 0)
    asked = Message(prompt_text(instruction(LEASE), "A lease."), "user")
    (row,) = _seen(chatml, _row([asked, Message(lease.labels, "assistant")]))
    assert _text(row, True) == f"{lease.labels}<|im_end|>"
    assert json.loads(_text(row, True).removesuffix("<|im_end|>")) == json.loads(lease.labels)


# --- what is cut and left out ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("base", ["chatml", "llama2"])
def test_a_cut_is_shown_where_it_is_with_what_it_took(base: str, request: pytest.FixtureRequest) -> None:
    folder = request.getfixturevalue(base)
    context = "begins here " + "own funds " * 300 + "ends here"
    messages = chat_format.messages(context, "What is held?", "8 %")
    row = _row([message for message in messages if message.role != "system"])
    (whole,), (cut,) = _seen(folder, row, context=10_000), _seen(folder, row, context=400)
    assert (whole.tokens_cut, whole.shown()["cut"]) == (0, None)
    assert cut.prompt_tokens + cut.completion_tokens == 400
    assert cut.tokens_cut == whole.prompt_tokens + whole.completion_tokens - 400
    assert cut.completion_tokens == whole.completion_tokens
    assert "".join(each.text for each in cut.segments) == "".join(each.text for each in whole.segments)
    kept_before = sum(each.tokens for each in cut.segments[: [each.is_cut for each in cut.segments].index(True)])
    assert cut.shown()["cut"] == f"{cut.tokens_cut} tokens of the prompt, after its first {kept_before}"
    marked = "".join(text for text, _ in cut.pieces())
    assert f"⟪{cut.tokens_cut} tokens cut: " in marked
    assert "begins here" in marked
    assert "ends here" in marked
    assert len(marked) < len("".join(text for text, _ in whole.pieces())) - 500


def test_a_cut_within_a_character_shows_both_halves(chatml: Path) -> None:
    """The tiny tokenizer has no bytes but printable ones, so this asks for the real one."""
    if fetched.locate() is None:
        pytest.skip("needs the fetched model: finreg models pull")
    rows = [_question("8 %", context=f"{'own ' * words}{'汉' * 700}") for words in range(6)]
    seen = _seen(fetched.FETCHED_MODEL, *rows, context=300)
    assert any("\ufffd" in _text(each, False) for each in seen), "none of the cuts fell within a character"
    assert all(_text(each, True) == "8 %<|im_end|>" for each in seen)


def test_why_a_row_is_left_out(chatml: Path) -> None:
    long = _question("own funds of 8 % " * 30)
    (cut,), (never,) = _seen(chatml, long, context=200), _seen(chatml, long, context=200, too_long="leave_out")
    assert cut.segments == never.segments == []
    assert "finetune.context_length is 200; a cut would leave 17 of the prompt, and 64 are the least" in str(
        cut.left_out
    )
    assert "finetune.too_long is leave_out" in str(never.left_out)
    assert cut.shown()["left out"] == cut.left_out


# --- as a person reads it --------------------------------------------------------------------------------------------


def test_marks_and_blanks_are_visible_without_colour(chatml: Path) -> None:
    (row,) = _seen(chatml, _row([Message("Held? ", "user"), Message(" 8 %\nof funds \n", "assistant")]))
    assert "".join(text for text, _ in row.pieces()) == (
        "<|im_start|>user\nHeld?␣<|im_end|>\n<|im_start|>assistant\n⟦␣8 %\nof funds␣\n<|im_end|>⟧"
    )
    assert _text(row, True) == " 8 %\nof funds \n<|im_end|>", "the JSON holds the text as it is"
    assert [carries_loss for _, carries_loss in row.pieces()] == [False, True]


# --- what is in the way ----------------------------------------------------------------------------------------------


def test_what_is_missing_is_said_with_its_remedy(chatml: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = shutil.copytree(chatml, tmp_path / "broken")
    (broken / "tokenizer.json").write_text("{")
    with pytest.raises(ModelMissing, match=r"tokenizer of .*broken"):
        _seen(broken, _row(TURNS))
    (broken / "tokenizer.json").write_text((chatml / "tokenizer.json").read_text())
    (broken / "chat_template.jinja").unlink()
    with pytest.raises(StageFailed, match="row row") as caught:
        _seen(broken, _row(TURNS))
    assert "chat template" in caught.value.remedy
    monkeypatch.setenv("FINREG_CACHE", str(tmp_path / "cache"))
    with pytest.raises(ModelMissing) as missing:
        _seen(fetched.FETCHED_MODEL, _row(TURNS))
    assert missing.value.remedy == "finreg models pull"
    with pytest.raises(ConfigError, match="no folder"):
        _seen(tmp_path / "absent", _row(TURNS))
    monkeypatch.setattr(preview.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingExtra) as extra:
        _seen(chatml, _row(TURNS))
    assert extra.value.remedy == "pip install 'finreg[train]'"


def test_a_template_that_refuses_a_role_says_so(chatml: Path, tmp_path: Path) -> None:
    """As Gemma 2's does of the system message that every question has."""
    base = shutil.copytree(chatml, tmp_path / "strict")
    refusing = "{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
    (base / "chat_template.jinja").write_text(refusing + tiny_llama.TEMPLATE)
    with pytest.raises(StageFailed, match=r"row row.*System role not supported"):
        _seen(base, _question("8 %"))


# --- through the command ---------------------------------------------------------------------------------------------


@pytest.fixture
def project(chatml: Path, tmp_path: Path) -> Path:
    lakehouse = EmbeddedLakehouse(tmp_path / "lakehouse", "main", "euroreg")
    rows = [_question(f"{number} %", row_id=f"row-{number}") for number in range(3)]
    lakehouse.overwrite(FT_TRAINING, FT_TRAINING.batches(rows))
    lakehouse.overwrite(FT_EVAL, FT_EVAL.batches([_question("8 %", row_id="of-eval")]))
    config = {
        "task": "regulation_qa",
        "engine": {"warehouse": str(tmp_path / "lakehouse")},
        "generate": {"method": "rules"},
        "finetune": {"base_model": str(chatml), "context_length": CONTEXT},
        "tracking": {"uri": f"sqlite:///{tmp_path}/mlflow.db"},
    }
    (tmp_path / "finreg.yaml").write_text(yaml.safe_dump(config))
    return tmp_path


def _show(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "finreg_cli", "show", *arguments],
        cwd=folder,
        env={**os.environ, "COLUMNS": "200"},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.slow
def test_the_command_shows_the_mask_of_a_row(project: Path) -> None:
    done = _show(project, "ft_training", "--mask", "--where", "row_id=row-2")
    assert done.returncode == 0, done.stderr
    assert "⟦2 %<|im_end|>⟧" in done.stdout
    assert "<|im_end|>, carries loss" in done.stdout
    assert done.stdout.count("row_id") == 1
    assert done.stderr == "", "no library speaks between our lines"


@pytest.mark.slow
def test_the_command_tells_the_same_as_json(project: Path) -> None:
    done = _show(project, "ft_eval", "--mask", "-o", "json")
    (row,) = json.loads(done.stdout)["rows"]
    assert row["row_id"] == "of-eval"
    assert [each["text"] for each in row["segments"] if each["carries_loss"]] == ["8 %", "<|im_end|>"]
    assert (row["end_of_turn"], row["learns_to_end"], row["tokens_cut"]) == ("<|im_end|>", True, 0)


def test_only_tables_of_the_trainer_have_a_mask(project: Path) -> None:
    lakehouse = EmbeddedLakehouse(project / "lakehouse", "main", "euroreg")
    with pytest.raises(ConfigError, match="does not read qa_dataset") as caught:
        sample_training_rows(lakehouse, "qa_dataset", 5)
    assert "ft_training --mask" in caught.value.remedy
    with pytest.raises(ConfigError, match="no column 'rowid'"):
        sample_training_rows(lakehouse, "ft_training", 5, ["rowid=row-2"])
    with pytest.raises(NothingToDo, match="no rows with row_id=row-9"):
        sample_training_rows(lakehouse, "ft_training", 5, ["row_id=row-9"])
    (row,) = sample_training_rows(lakehouse, "ft_training", 5, ["row_id=row-2"])
    assert row == _question("2 %", row_id="row-2")
