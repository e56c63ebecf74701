"""The six prompts by six curator models, each over the rows of the one before.

``python curator_chains.py WORK.json``
"""

import importlib.util
import json
import os
import sys
from pathlib import Path

from bespokelabs import curator
from datasets import Dataset

# It counts tokens with tiktoken, which would download the encoding that litellm, installed with it, brings along.
litellm = importlib.util.find_spec("litellm")
os.environ["TIKTOKEN_CACHE_DIR"] = str(Path(litellm.origin).parent / "litellm_core_utils" / "tokenizers")

work = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
NO_LIMIT = 10_000_000


class Step(curator.LLM):
    def __init__(self, number: int, prompt_text: str) -> None:
        super().__init__(
            model_name=work["model"],
            backend="openai",
            backend_params={
                "base_url": work["url"],
                "api_key": "none",
                "max_concurrent_requests": work["in_flight"],
                "max_requests_per_minute": NO_LIMIT,
                "max_tokens_per_minute": NO_LIMIT,
            },
        )
        self.number, self.prompt_text = number, prompt_text

    def prompt(self, input: dict) -> str:
        prompt = self.prompt_text
        for column, text in input.items():
            prompt = prompt.replace(f"{{{column}}}", text)
        return prompt

    def parse(self, input: dict, response: str) -> dict:
        return {**input, f"reply_{self.number}": response}


rows = Dataset.from_list([{"context": context} for context in work["contexts"]])
for number, step in enumerate(work["steps"]):
    made = Step(number, step)(rows)
    rows = getattr(made, "dataset", made)
