"""The six prompts as six steps of a distilabel pipeline: ``python distilabel_chains.py WORK.json``.

Its steps are processes, each with a batch of its own. Each batch is as large as the requests that may be in flight:
two steps seldom send at the same time, and with a sixth of it in each it is slower by far.
"""

import json
import re
import sys
from pathlib import Path

from distilabel.models import OpenAILLM
from distilabel.pipeline import Pipeline
from distilabel.steps import LoadDataFromDicts
from distilabel.steps.tasks import TextGeneration

if __name__ == "__main__":  # its processes import this file
    work = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    batch = work["in_flight"]
    with Pipeline(name="chains") as pipeline:
        last = LoadDataFromDicts(data=[{"context": context} for context in work["contexts"]], batch_size=batch)
        for number, step in enumerate(work["steps"]):
            task = TextGeneration(
                name=f"step_{number}",
                llm=OpenAILLM(model=work["model"], base_url=work["url"], api_key="none"),
                template=re.sub(r"\{(context|reply_\d)\}", r"{{ \1 }}", step),
                columns=sorted(set(re.findall(r"\{(context|reply_\d)\}", step))),
                output_mappings={"generation": f"reply_{number}", "model_name": f"model_{number}"},
                input_batch_size=batch,
                add_raw_output=False,
                add_raw_input=False,
            )
            last.connect(task)
            last = task
    pipeline.run(use_cache=False)
