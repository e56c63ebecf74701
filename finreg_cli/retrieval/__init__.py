"""Finding the passages that a question is about, in the chunks that are in force."""
