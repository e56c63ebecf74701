"""The templates of the reports: every text of a document, a model or a configuration is escaped."""

from __future__ import annotations

import jinja2

from finreg_cli import __version__
from finreg_cli.domain import claims
from finreg_cli.domain.metrics import MIN_UNITS, RESAMPLES


def template(name: str) -> jinja2.Template:
    """A page that extends ``layout.html``; a name that it uses and was not given is an error."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("finreg_cli.reports", "."),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals.update(version=__version__, figure=claims.figure, min_units=MIN_UNITS, resamples=RESAMPLES)
    return environment.get_template(name)
