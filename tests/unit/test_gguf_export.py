"""Models between GGUF and safetensors, and their answers in both runtimes."""

from __future__ import annotations

import json
import urllib.request
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tokenizers import Tokenizer

from fakes import tiny_llama
from finreg_cli.domain.chat_format import prompt
from finreg_cli.domain.records import Message
from finreg_cli.errors import ConfigError, ModelMissing, StageFailed
from finreg_cli.llm.embedded import XllamacppAnswerer
from finreg_cli.training import fetched
from finreg_cli.training.answerer import TransformersAnswerer, answerer_for
from finreg_cli.training.gguf_export import METADATA, dequantise, dequantised, f16_gguf, is_exportable

HARD_TEXT = [
    "Article 92(1)(a): a Common Equity Tier 1 capital ratio of 4,5 %; 12.5 × ½ ≥ EUR 1 000 000.",
    "  two  blanks\n\n\ttab, then 2013/36/EU\r\n and x² Ⅳ ٣ 一二三 ①",
    "don't we'll I'M 'S naïve Straße ﬁnance Ελλάδα Česká ‘quoted’ “twice” – — … \u00a0nbsp \u200bzero",
    "<|im_start|>user\nquoted special tokens<|im_end|>\n<|endoftext|> <file_sep>",
    "🙂👩‍👩‍👧 e\u0301 trailing blank ",
    "\n",
    "",
]


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    """The tiny model as a folder that transformers loads."""
    return _folder(tiny_llama.write_gguf(tmp_path / "tiny.gguf"), tmp_path / "tiny")


def _folder(gguf: Path, folder: Path) -> Path:
    dequantise(gguf, folder)
    (folder / "tokenizer.json").write_text(fetched.tokenizer_json(gguf))
    return folder


def _prompts(count: int) -> list[list[Message]]:
    return [
        prompt(f"CRR Article {n}\nown funds of {n} %", f"what shall an institution hold in {n}?") for n in range(count)
    ]


def test_weights_survive_the_way_to_f16_and_back(tiny: Path, tmp_path: Path) -> None:
    from safetensors.numpy import load_file

    assert is_exportable(tiny)
    again = _folder(f16_gguf(tiny), tmp_path / "again")
    before, after = load_file(tiny / "model.safetensors"), load_file(again / "model.safetensors")
    assert before.keys() == after.keys()
    for name, values in before.items():
        expected = values.astype(np.float16).astype(np.float32) if values.ndim > 1 else values
        np.testing.assert_array_equal(after[name], expected, err_msg=name)
    assert json.loads((tiny / "config.json").read_text()) == json.loads((again / "config.json").read_text())


def test_the_export_is_made_once_and_a_failed_one_leaves_no_file(tiny: Path) -> None:
    first = f16_gguf(tiny)
    stamp = first.stat().st_mtime_ns
    assert f16_gguf(tiny).stat().st_mtime_ns == stamp
    first.unlink()
    (tiny / "model.safetensors").write_bytes(b"")
    with pytest.raises(ModelMissing, match="cannot be read"):
        f16_gguf(tiny)
    assert sorted(path.name for path in tiny.parent.iterdir()) == ["tiny", "tiny.gguf"]


def test_both_runtimes_give_the_same_answers(tiny: Path) -> None:
    """What proves the order of the rotary halves, the tokenizer and the rendering of the chat at once."""
    llama_cpp, transformers = XllamacppAnswerer(f16_gguf(tiny)), TransformersAnswerer(str(tiny))
    prompts = _prompts(4)
    answers = list(llama_cpp.answers(prompts, max_tokens=24))
    assert answers == list(transformers.answers(prompts, max_tokens=24))
    assert len(set(answers)) == len(answers), "the model must not say the same whatever it is asked"
    llama_cpp.close()
    transformers.close()


def test_an_answer_depends_on_its_prompt_alone(tiny: Path) -> None:
    answerer = XllamacppAnswerer(f16_gguf(tiny), workers=3)
    prompts = _prompts(8)
    in_order = list(answerer.answers(prompts, 24))
    assert list(answerer.answers(prompts[::-1], 24))[::-1] == in_order
    assert list(XllamacppAnswerer(f16_gguf(tiny), workers=1).answers(prompts[2:3], 24)) == in_order[2:3]


def test_answers_that_nobody_waits_for_any_more_are_not_computed(tiny: Path) -> None:
    answerer = XllamacppAnswerer(f16_gguf(tiny), workers=1)
    answers = answerer.answers(_prompts(400), 24)
    first = next(answers)
    answers.close()  # returns: what was computed just then is finished, the others are dropped
    assert list(answerer.answers(_prompts(1), 24)) == [first]


def test_the_identity_is_of_the_weights(tiny: Path, tmp_path: Path) -> None:
    other = _folder(tiny_llama.write_gguf(tmp_path / "other.gguf", seed=1), tmp_path / "other")
    ours, same, theirs = (XllamacppAnswerer(f16_gguf(folder)).identity for folder in (tiny, tiny, other))
    assert ours == same != theirs
    assert TransformersAnswerer(str(tiny)).identity != TransformersAnswerer(str(other)).identity


@pytest.mark.parametrize("runtime", ["llama_cpp", "transformers"])
def test_a_prompt_beyond_the_context_is_an_error_after_the_answers_before_it(tiny: Path, runtime: str) -> None:
    answerer: Any = XllamacppAnswerer(f16_gguf(tiny)) if runtime == "llama_cpp" else TransformersAnswerer(str(tiny))
    answers = answerer.answers([*_prompts(1), [Message("own funds " * 1_000, "user")]], max_tokens=4)
    assert isinstance(next(answers), str)
    with pytest.raises(StageFailed, match="prompt 2 of 2") as caught:
        next(answers)
    assert "chunk_tokens" in caught.value.remedy


def test_the_right_runtime_is_picked(tiny: Path, tmp_path: Path) -> None:
    assert isinstance(answerer_for(tiny), XllamacppAnswerer)
    (tiny / METADATA).unlink()
    f16_gguf_made_before = tiny.with_name("tiny-f16.gguf")
    f16_gguf_made_before.unlink()
    assert isinstance(answerer_for(tiny), TransformersAnswerer)
    with pytest.raises(ModelMissing, match="cannot become a GGUF file"):
        f16_gguf(tiny)


def test_what_is_no_model_is_said_so(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConfigError, match=r"no config\.json"):
        answerer_for(tmp_path / "empty")
    with pytest.raises(ConfigError, match="there is no folder"):
        answerer_for(tmp_path / "absent")
    with pytest.raises(ModelMissing, match="there is no GGUF file"):
        XllamacppAnswerer(tmp_path / "absent.gguf")
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(b"GGUF and then nothing that makes sense")
    with pytest.raises(ModelMissing, match="cannot be loaded"):
        next(XllamacppAnswerer(broken).answers(_prompts(1), max_tokens=4))


# --- the real model, where it was pulled ----------------------------------------------------------------------------

pulled = pytest.mark.skipif(fetched.locate() is None, reason="needs the fetched model: finreg models pull")


@pulled
def test_our_tokenizer_counts_exactly_as_llama_cpp_does() -> None:
    model = fetched.require()
    tokenizer = Tokenizer.from_file(str(model.tokenizer))
    answerer = XllamacppAnswerer(model.gguf, context_length=256)
    for text in HARD_TEXT:
        ours = tokenizer.encode(text, add_special_tokens=False).ids
        theirs = _post(answerer, "/tokenize", {"content": text, "parse_special": True})["tokens"]
        assert ours == theirs, text
        assert tokenizer.decode(ours, skip_special_tokens=False) == text


@pulled
def test_both_runtimes_render_a_chat_alike() -> None:
    """llama.cpp has a template engine of its own: the prompt must be the one that the training saw."""
    from finreg_cli.training.encoding import render_prompt

    transformers = pytest.importorskip("transformers", reason="needs the extra 'train'")
    tokenizer = transformers.AutoTokenizer.from_pretrained(dequantised(fetched.require()))
    answerer = XllamacppAnswerer(fetched.require().gguf, context_length=256)
    for text in HARD_TEXT:
        messages = [{"role": each.role, "content": each.content} for each in prompt(text, text)]
        assert _post(answerer, "/apply-template", {"messages": messages})["prompt"] == render_prompt(
            tokenizer, messages
        )


@pulled
@pytest.mark.slow
def test_dequantising_agrees_with_transformers() -> None:
    import torch
    from safetensors.torch import load_file
    from transformers import AutoModelForCausalLM, GgufConfig

    model = fetched.require()
    theirs = AutoModelForCausalLM.from_pretrained(
        model.folder, gguf_file=model.gguf.name, quantization_config=GgufConfig(dequantize=True), dtype=torch.float32
    ).state_dict()
    for name, values in load_file(dequantised(model) / "model.safetensors").items():
        assert torch.equal(values, theirs[name]), name


def _post(answerer: XllamacppAnswerer, path: str, body: dict[str, Any]) -> dict[str, Any]:
    """Asks the loopback server that xllamacpp runs; the answerer itself calls it in the process."""
    list(answerer.answers(_prompts(1), max_tokens=1))  # it loads at its first prompt
    server = answerer._idle.get()
    request = urllib.request.Request(
        server.listening_address + path, json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request) as response:
        reply: dict[str, Any] = json.load(response)
    answerer._idle.put(server)
    return reply
