"""Rows one after another without padding: the same losses and gradients as each alone, on a tiny llama."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fakes import tiny_llama
from finreg_cli.training.batches import concatenate, pad, targets
from finreg_cli.training.encoding import IGNORED, Encoded
from finreg_cli.training.gguf_export import dequantise

torch = pytest.importorskip("torch", reason="needs the extra 'train'")
pytest.importorskip("trl", reason="needs the extra 'train'")
pytestmark = [
    # Of the libraries under us, about names that they themselves still use.
    pytest.mark.filterwarnings("ignore::FutureWarning:transformers"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("base")
    dequantise(tiny_llama.write_gguf(folder / "tiny.gguf"), folder / "tiny")
    return folder / "tiny"


@pytest.fixture
def model(base: Path) -> Any:
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)


def _row(name: str, tokens: int, completion: int) -> Encoded:
    draw = torch.Generator().manual_seed(tokens)
    ids = torch.randint(3, 90, (tokens,), generator=draw).tolist()
    return Encoded(name, ids, [IGNORED] * (tokens - completion) + ids[tokens - completion :])


ROWS = [_row("a", 30, 8), _row("b", 7, 3), _row("c", 90, 1), _row("d", 41, 20)]


def _losses(model: Any, batch: dict[str, Any]) -> list[float]:
    """The mean loss of each row of a batch; gradients of their sum stay in the model."""
    columns, labels = targets(batch.pop("labels"))
    numbers = batch.pop("row_numbers")[:, 1:][:, columns]
    carries = labels != IGNORED
    logits = model(**batch, logits_to_keep=columns, use_cache=False).logits[carries]
    losses = torch.nn.functional.cross_entropy(logits, labels[carries], reduction="none")
    losses.sum().backward()
    rows = numbers[carries]
    return [losses[rows == number].mean().item() for number in rows.unique()]


def _gradients(model: Any) -> dict[str, Any]:
    found = {name: weight.grad.clone() for name, weight in model.named_parameters()}
    model.zero_grad()
    return found


def _alone(model: Any) -> tuple[list[float], dict[str, Any]]:
    """By transformers itself, with all logits, one row at a time."""
    losses = []
    for row in ROWS:
        ids, labels = torch.tensor([row.input_ids]), torch.tensor([row.labels])
        loss = model(input_ids=ids, labels=labels).loss
        (loss * row.completion_tokens).backward()
        losses.append(loss.item())
    return losses, _gradients(model)


@pytest.mark.parametrize("way", ["one after another", "padded"])
def test_losses_and_gradients_are_those_of_each_row_alone(model: Any, way: str) -> None:
    from finreg_cli.training.segments import ROW_BY_ROW, attend_row_by_row

    expected, gradients = _alone(model)
    if way == "one after another":
        assert attend_row_by_row(model, on_gpu=False) is None
        assert model.config._attn_implementation == ROW_BY_ROW
        batch = concatenate(ROWS)
        assert batch["input_ids"].shape == (1, sum(len(row) for row in ROWS)), "no padding"
    else:
        batch = pad(ROWS, padding=0)
    assert _losses(model, batch) == pytest.approx(expected, rel=1e-5)
    for name, found in _gradients(model).items():
        torch.testing.assert_close(found, gradients[name], rtol=1e-4, atol=1e-4 * gradients[name].abs().max().item())


def test_logits_are_computed_only_where_they_are_needed(model: Any) -> None:
    columns, labels = targets(concatenate(ROWS)["labels"])
    assert len(columns) == 8 + 3 + 1 + 20
    assert (labels != IGNORED).all()
    kept = model(input_ids=torch.tensor([ROWS[0].input_ids]), logits_to_keep=torch.tensor([3, 9])).logits
    assert kept.shape[1] == 2


def test_a_model_whose_attention_sees_across_rows_is_padded(model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from finreg_cli.training import segments

    def forgetful(*args: Any, row_lengths: Any = None, **kwargs: Any) -> Any:
        return attend(*args, **kwargs)

    attend = segments.attend_within_rows
    monkeypatch.setattr(segments, "attend_within_rows", forgetful)
    own = model.config._attn_implementation
    why = segments.attend_row_by_row(model, on_gpu=False)
    assert why is not None
    assert "from one row into the next" in why
    assert model.config._attn_implementation == own


@pytest.mark.filterwarnings("ignore::UserWarning:transformers")  # that it runs without kernels of its own
def test_a_model_with_state_instead_of_attention_is_padded() -> None:
    from transformers import MambaConfig, MambaForCausalLM

    from finreg_cli.training.segments import attend_row_by_row

    config = MambaConfig(vocab_size=64, hidden_size=16, state_size=4, num_hidden_layers=1)
    why = attend_row_by_row(MambaForCausalLM(config), on_gpu=False)
    assert why == "it carries something from one row into the next"


@pytest.mark.parametrize("kind", ["softcap", "s_aux", "attention_mask"])
def test_what_the_attention_does_not_compute_it_refuses(kind: str) -> None:
    from finreg_cli.training.segments import attend_within_rows

    query = torch.randn(1, 2, 5, 4)
    given: dict[str, Any] = {"attention_mask": None, kind: torch.ones(1)}
    with pytest.raises(ValueError, match="soft-capped"):
        attend_within_rows(torch.nn.Identity(), query, query, query, **given)


def test_a_sliding_window_is_kept_inside_each_row() -> None:
    from finreg_cli.training.segments import attend_within_rows

    lengths, window = [9, 4], 3
    query, key, value = (torch.randn(1, heads, 13, 8) for heads in (4, 2, 2))
    found, _ = attend_within_rows(
        torch.nn.Identity(), query, key, value, None, row_lengths=lengths, sliding_window=window
    )
    row = torch.repeat_interleave(torch.tensor(lengths))
    distance = torch.arange(13)[:, None] - torch.arange(13)
    seen = (row[:, None] == row) & (distance >= 0) & (distance < window)
    expected = torch.nn.functional.scaled_dot_product_attention(query, key, value, attn_mask=seen, enable_gqa=True)
    torch.testing.assert_close(found, expected.transpose(1, 2))


def test_flash_attention_gets_the_ends_of_the_rows() -> None:
    """The kernel needs a GPU and was not run here: this is what it is given, in the types that it asks for."""
    batch = concatenate(ROWS)
    assert batch["cu_seq_lens_q"].tolist() == batch["cu_seq_lens_k"].tolist() == [0, 30, 37, 127, 168]
    assert batch["cu_seq_lens_q"].dtype == torch.int32
    assert (batch["max_length_q"], batch["max_length_k"]) == (90, 90)
    assert batch["position_ids"][0, 30:37].tolist() == list(range(7))
