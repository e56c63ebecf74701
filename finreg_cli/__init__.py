"""finreg: from regulation PDFs to a cited, leak-free, honestly evaluated domain model."""

__version__ = "0.1.0"
