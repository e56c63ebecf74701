"""The command line: parses, hands over, prints, and decides the exit code. Imports nothing heavy.

Every command's body imports what it needs when it runs, so that ``finreg --help`` costs no more than Typer itself.
"""

# The order of these imports is the order of the commands in `finreg --help`.
from finreg_cli.cli import stages as stages  # isort: skip
from finreg_cli.cli import setup as setup  # isort: skip
from finreg_cli.cli import tables as tables  # isort: skip
from finreg_cli.cli import answers as answers  # isort: skip
from finreg_cli.cli import models as models  # isort: skip
from finreg_cli.cli.app import main

__all__ = ["main"]
