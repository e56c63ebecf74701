"""Which language a text is in, as far as a few words can tell."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from functools import cache
from typing import Any

from finreg_cli.errors import ConfigError

LANGUAGES: Mapping[str, str] = {
    "Bulgarian": "bg",
    "Croatian": "hr",
    "Czech": "cs",
    "Danish": "da",
    "Dutch": "nl",
    "English": "en",
    "Estonian": "et",
    "Finnish": "fi",
    "French": "fr",
    "German": "de",
    "Greek": "el",
    "Hungarian": "hu",
    "Irish": "ga",
    "Italian": "it",
    "Latvian": "lv",
    "Lithuanian": "lt",
    "Maltese": "mt",
    "Polish": "pl",
    "Portuguese": "pt",
    "Romanian": "ro",
    "Slovak": "sk",
    "Slovenian": "sl",
    "Spanish": "es",
    "Swedish": "sv",
}
"""The official languages of the Union, in which its law is: the name of each and its code (ISO 639-1)."""

LEAST_WORDS = 5
LEAST_LETTERS = 25
SURE = 0.99
"""From this probability on (of the language among all official ones) a text is taken to be in it."""

_WORDS = re.compile(r"[^\W\d_]+")
# Words that no other official language has; where enough of them stand, no model is needed to tell.
_ENGLISH = frozenset({"the", "and", "which", "shall", "must", "that", "with", "what", "this", "does", "should", "when"})
_ENGLISH_SHARE = 0.15


def require(language: str) -> str:
    """The code of a language by its English name or its code.

    Raises:
        ConfigError: it is none that texts can be checked for.
    """
    wanted = language.strip().casefold()
    for name, code in LANGUAGES.items():
        if wanted in (name.casefold(), code):
            return code
    raise ConfigError(
        f"generate.language: '{language}' is none that rows can be checked for",
        f"one of {', '.join(LANGUAGES)}",
    )


def foreign(text: str, language: str) -> str | None:
    """The name of the language that a text is in, where that is surely another one; None where it may be this one.

    Names, figures and a few words are nobody's language: below `LEAST_WORDS` words or `LEAST_LETTERS` letters nothing
    is said, nor where the model (py3langid) is not `SURE`.

    Raises:
        ConfigError: see `require`.
    """
    code = require(language)
    words = [word.casefold() for word in _WORDS.findall(text)]
    if len(words) < LEAST_WORDS or sum(map(len, words)) < LEAST_LETTERS:
        return None
    if code == "en" and sum(word in _ENGLISH for word in words) >= max(2, _ENGLISH_SHARE * len(words)):
        return None
    found, probability = _identifier().classify(unicodedata.normalize("NFC", " ".join(words)))
    if found == code or probability < SURE:
        return None
    return next(name for name, each in LANGUAGES.items() if each == found)


@cache
def _identifier() -> Any:
    """The model, which takes a second to load: only where a text is not plainly in the language."""
    from py3langid.langid import MODEL_FILE, LanguageIdentifier  # type: ignore[import-untyped]  # it ships no types

    identifier = LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
    identifier.set_languages(list(LANGUAGES.values()))
    return identifier
