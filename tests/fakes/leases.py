"""Small labelled leases: real text and real labels, short enough that a model of a few thousand weights reads them."""

from __future__ import annotations

import random
from collections.abc import Mapping
from datetime import date, timedelta

from finreg_cli.domain.extraction import LEASE, Labels
from finreg_cli.domain.records import LabelledLease

_LESSORS = (
    "Birch Lane Holdings LLC",
    "Orla Feldman",
    "Stonebridge Estates, Inc.",
    "Harbour Point Trust",
    "Ilse Carrow",
)
_LESSEES = ("Copperleaf Bakery LLC", "Tobias Wren", "Quill & Inkwell, Inc.", "Lumen Dental Corp.")
_STREETS = ("Alder Road", "Market Street", "Quarry Lane", "Station Parade", "Vine Court")
_USES = ("general office use", "a retail bakery", "storage of dry goods", "a dental practice")
_PAYMENTS = (
    "monthly in advance",
    "on the first day of each month",
    "quarterly in arrears",
    "on the 15th of every month",
)
_EXTENSIONS = ("one further term of three (3) years", "two successive terms of five (5) years each", None)

_TEMPLATES = (
    "This lease is made on {signing_date} between {lessor} as Landlord and {lessee} as Tenant. The Landlord lets "
    "{leased_space} from {start_date} to {end_date}. The lease expires on {expiration_date_of_lease}. Rent is payable "
    "{term_of_payment}. The premises serve {designated_use} only. The Tenant may renew for {extension_period}.",
    "LEASE SUMMARY\nLessor: {lessor}\nLessee: {lessee}\nDated: {signing_date}\nPremises: {leased_space}\n"
    "Commencement: {start_date}\nEnd of term: {end_date}\nExpiration: {expiration_date_of_lease}\n"
    "Rent: {term_of_payment}\nPermitted use: {designated_use}\nExtension: {extension_period}\n",
    "Dear {lessee},\nwe, {lessor}, agree to let to you {leased_space}. Your tenancy begins on {start_date} and ends on "
    "{end_date}. You will pay the rent {term_of_payment} and use the space for {designated_use}. You can extend for "
    "{extension_period}.\nExpiration date: {expiration_date_of_lease}\nSigned on {signing_date}\n",
)
"""Where a value is absent, the document says "not agreed" instead."""

_ALWAYS = {"lessor", "lessee", "leased_space", "start_date"}


def labelled(count: int, seed: int = 0) -> list[LabelledLease]:
    """Labelled leases of 60 to 150 tokens, of three templates in turn; every value stands verbatim in its document."""
    return [_lease(nth, seed) for nth in range(count)]


def _lease(nth: int, seed: int) -> LabelledLease:
    chance = random.Random(f"{seed}:{nth}")
    labels = _labels(chance)
    return LabelledLease(
        lease_id=f"lease-{seed}-{nth:03d}",
        lease_doc=_TEMPLATES[nth % len(_TEMPLATES)].format_map(_Written(labels)),
        labels=LEASE.dumps(labels),
    )


def _labels(chance: random.Random) -> Labels:
    start = date(2010, 1, 1) + timedelta(days=chance.randrange(4_000))
    end = _spelled(date(start.year + chance.randint(1, 9), start.month, 28))
    labels: Labels = {
        "end_date": end,
        "leased_space": f"Unit {chance.randint(1, 99)}, {chance.randint(2, 250)} {chance.choice(_STREETS)}",
        "lessee": chance.choice(_LESSEES),
        "lessor": chance.choice(_LESSORS),
        "signing_date": _spelled(start - timedelta(days=chance.randint(5, 60))),
        "start_date": _spelled(start),
        "term_of_payment": chance.choice(_PAYMENTS),
        "designated_use": chance.choice(_USES),
        "extension_period": chance.choice(_EXTENSIONS),
        "expiration_date_of_lease": end if chance.random() < 0.5 else None,
    }
    return {key: value if key in _ALWAYS or chance.random() < 0.9 else None for key, value in labels.items()}


def _spelled(day: date) -> str:
    return f"{day:%B} {day.day}, {day.year}"


class _Written(dict[str, str]):
    def __init__(self, labels: Mapping[str, object]) -> None:
        super().__init__({key: "not agreed" if value is None else str(value) for key, value in labels.items()})
