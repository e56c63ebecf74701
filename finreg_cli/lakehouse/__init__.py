"""Delta tables behind one port (`base`), embedded (`embedded`) or through Spark (`spark`)."""
