"""The six prompts by synthetic-data-kit's own batches, one after the other.

``python synthetic_data_kit_chains.py WORK.json``
"""

import json
import sys
from pathlib import Path

from synthetic_data_kit.models.llm_client import LLMClient

work = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
client = LLMClient(provider="api-endpoint", api_base=work["url"], api_key="none", model_name=work["model"])
rows = [{"{context}": context} for context in work["contexts"]]
for number, step in enumerate(work["steps"]):
    batch = []
    for row in rows:
        prompt = step
        for placeholder, text in row.items():
            prompt = prompt.replace(placeholder, text)
        batch.append([{"role": "user", "content": prompt}])
    for row, reply in zip(rows, client.batch_completion(batch, batch_size=work["in_flight"]), strict=True):
        row[f"{{reply_{number}}}"] = reply
