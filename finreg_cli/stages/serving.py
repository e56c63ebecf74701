"""serve: which model is served, and how it is called once it is."""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from finreg_cli.config import Config
from finreg_cli.domain.records import FINETUNE_RUNS, Message
from finreg_cli.errors import NothingToDo
from finreg_cli.lakehouse.base import Lakehouse
from finreg_cli.stages.examples import example
from finreg_cli.stages.tuned_runs import chosen_run

ServedRole = Literal["tuned", "base"]


@dataclass(frozen=True)
class ServedModel:
    """What is served.

    Args:
        model: as `FinetuneRun` and the configuration name it: a folder, a Hugging Face id, a fetched model's name.
        name: what clients call it: the id of its training run, or the base model's name.
        example: a conversation in the format that the model was trained on.
        max_tokens: of the example's answer.
    """

    model: str
    name: str
    example: Sequence[Message]
    max_tokens: int


def served_model(config: Config, lakehouse: Lakehouse, role: ServedRole) -> ServedModel:
    """The tuned model of ``evaluate.run`` or of the last selected run, or the base model that it was tuned from.

    Raises:
        NothingToDo: ``tuned`` is to be served, and no training run was selected.
        ConfigError: ``evaluate.run`` is not a finished run of this task.
    """
    run = chosen_run(config, lakehouse)
    messages, max_tokens = example(config)
    if role == "base":
        base = run.base_model if run else config.finetune.base_model
        return ServedModel(base, base, messages, max_tokens)
    if run is None:
        raise NothingToDo(
            f"there is no selected run in {lakehouse.location(FINETUNE_RUNS)}, so there is no tuned model to serve",
            "run 'finreg finetune' with the same configuration first, or serve the untuned model: --model base",
        )
    return ServedModel(run.model_uri or "", run.run_id, messages, max_tokens)


def calls(url: str, token: str, variable: str | None, served: ServedModel) -> tuple[str, str]:
    """How to call the server: a line for a shell and a snippet of Python, both to be pasted as they are.

    ``printf`` is part of the shell: as an argument of curl, the token would stand in the process list.

    Args:
        url: the base URL.
        token: what requests bring.
        variable: the environment variable that holds the token, which is then not written out; None for none.
        served: what is served, with the example that is sent.
    """
    messages = [{"role": each.role, "content": each.content} for each in served.example]
    body = {"model": served.name, "messages": messages, "temperature": 0, "max_tokens": served.max_tokens}
    written = f'"${variable}"' if variable else shlex.quote(token)
    curl = (
        f"printf 'Authorization: Bearer %s' {written} | curl -sS {url}/chat/completions -H @-"
        f" -H 'Content-Type: application/json' -d {shlex.quote(json.dumps(body))}"
    )
    head = "import os\n\nfrom openai import OpenAI" if variable else "from openai import OpenAI"
    key = f'os.environ["{variable}"]' if variable else json.dumps(token)
    sent = "".join(f"    {json.dumps(each)},\n" for each in messages)
    snippet = (
        f"{head}\n\nclient = OpenAI(base_url={json.dumps(url)}, api_key={key})\n"
        f"messages = [\n{sent}]\n"
        f"reply = client.chat.completions.create(\n"
        f"    model={json.dumps(served.name)}, messages=messages, temperature=0, max_tokens={served.max_tokens}\n)\n"
        f"print(reply.choices[0].message.content)"
    )
    return curl, snippet
