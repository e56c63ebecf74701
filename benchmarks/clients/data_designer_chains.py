"""The six prompts as six columns of a data-designer data set, each made from the ones before.

``python data_designer_chains.py WORK.json``
"""

import json
import re
import sys
from pathlib import Path

import data_designer.config as dd
import pandas as pd
from data_designer.interface import DataDesigner

work = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
parameters = dd.ChatCompletionInferenceParams(temperature=0.9, max_parallel_requests=work["in_flight"])
model = dd.ModelConfig(
    alias="writer", model=work["model"], provider="bench", inference_parameters=parameters, skip_health_check=True
)
builder = dd.DataDesignerConfigBuilder(model_configs=[model])
contexts = pd.DataFrame({"context": work["contexts"]})
builder.with_seed_dataset(dd.DataFrameSeedSource(df=contexts))
for number, step in enumerate(work["steps"]):
    prompt = re.sub(r"\{(context|reply_\d)\}", r"{{ \1 }}", step)
    builder.add_column(dd.LLMTextColumnConfig(name=f"reply_{number}", model_alias="writer", prompt=prompt))
provider = dd.ModelProvider(name="bench", endpoint=work["url"], api_key="none")
designer = DataDesigner(artifact_path="artifacts", model_providers=[provider])
designer.create(builder, num_records=len(contexts))
