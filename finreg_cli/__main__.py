"""``python -m finreg_cli``, the same as ``finreg``."""

from finreg_cli.cli import main

if __name__ == "__main__":
    main()
