"""The four stages, each a recipe that reads from top to bottom. They see ports, never implementations."""
