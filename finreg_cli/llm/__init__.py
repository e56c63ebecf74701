"""Language models: endpoints, the critique-and-improve chain, and the runner that spends the money."""
