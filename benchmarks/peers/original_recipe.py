"""The original demo's ingest, without its cluster: pypdf, LangChain's splitter by tokens, a Delta table.

``python original_recipe.py PDF TOKENIZER.json OUTPUT``
"""

import sys

import pyarrow
from deltalake import write_deltalake
from langchain_text_splitters import RecursiveCharacterTextSplitter
from pypdf import PdfReader
from transformers import PreTrainedTokenizerFast

pdf, tokenizer_file, output = sys.argv[1:]
text = "\n".join(page.extract_text() for page in PdfReader(pdf).pages)
tokenizer = PreTrainedTokenizerFast(tokenizer_file=tokenizer_file)
splitter = RecursiveCharacterTextSplitter.from_huggingface_tokenizer(tokenizer, chunk_size=500, chunk_overlap=50)
write_deltalake(f"{output}/splitted_documents", pyarrow.table({"text": splitter.split_text(text)}))
