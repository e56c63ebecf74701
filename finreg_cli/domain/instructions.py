"""Text that addresses its reader as a machine: an order to a language model, hidden in a document that one will read.

The law itself says "disregard", "instructions", "AI system" and "assistant". What gives an order to a model away is not
one such word but its form: an imperative where the law has "shall", "you" where it has "institutions", the mark-up of
a chat. A false alarm costs the rows of one chunk; a miss may teach the tuned model whatever a stranger wrote.
"""

from __future__ import annotations

import re
import unicodedata


def suspect(text: str) -> bool:
    """Whether a text seems to hold an instruction to a language model, in print or in characters that nobody sees."""
    if not _is_plain(text):
        if _HIDDEN_TEXT.search(text):
            return True
        text = _as_read(text)
    lowered = text.lower()
    held = [word for word in _WORDS if word in lowered]
    if not held:
        return False
    patterns = [pattern for words, family in _FAMILIES if not words.isdisjoint(held) for pattern in family]
    unmarked = _EMPHASIS.sub("", lowered)
    # A line may begin with an order, and an order may run over two lines.
    readings = (_SPACES.sub(" ", _LINE_START.sub(" \u2029 ", unmarked)), " ".join(unmarked.split()))
    return any(pattern.search(reading) for pattern in patterns for reading in readings)


# --- characters that hide words --------------------------------------------------------------------------------------

_HIDDEN_TEXT = re.compile(
    "[\U000e0020-\U000e007f]"  # tag characters: ASCII that no font draws
    "|[\U000e0100-\U000e01ef\ufe00-\ufe0f]{4}"  # bytes as variation selectors
    "|[\u200b\u200c\u200d\u2060\ufeff]{8}"  # bits as zero-width characters
)
_INVISIBLE = dict.fromkeys(
    [0xAD, 0x34F, 0x61C, 0x180E, *range(0x200B, 0x2010), *range(0x202A, 0x202F), *range(0x2060, 0x2070), 0xFEFF]
)
_LOOK_ALIKES = str.maketrans(
    # Cyrillic and Greek letters that print as these Latin ones.
    "\u0430\u0435\u043e\u0440\u0441\u0443\u0445\u0456\u0458\u0455\u0501\u0406\u0410\u0412\u0415\u041a\u041c\u041d\u041e"
    "\u0420\u0421\u0422\u0425\u0391\u0392\u0395\u0399\u039a\u039c\u039d\u039f\u03a1\u03a4\u03a7\u03bf\u03b1\u03b9\u2019",
    "aeopcyxijsdIABEKMHOPCTXABEIKMNOPTXoai'",
)


def _is_plain(text: str) -> bool:
    """Whether a text has Western letters and typographic quotation marks only; most of the law has."""
    try:
        return b"\xad" not in text.encode("cp1252")  # the soft hyphen is the one that hides there
    except UnicodeEncodeError:
        return False


def _as_read(text: str) -> str:
    """The text as an eye takes it: without invisible characters, look-alikes and wide letters as plain Latin."""
    return unicodedata.normalize("NFKC", text.translate(_INVISIBLE)).translate(_LOOK_ALIKES)


# --- words that give orders ------------------------------------------------------------------------------------------
# The patterns see lower case, one blank between words, no emphasis (hence no "_"), and U+2029 where a line begins.

_SPACES = re.compile(r"[^\S\u2029]+")
_LINE_START = re.compile(r"^|\n\s*")
_EMPHASIS = re.compile(r"[*_`~\"\u201c\u201d\u201e\u00ab\u00bb]")


def _any(phrases: str) -> str:
    """A pattern for any of the phrases, which commas separate; each may be a pattern itself."""
    return f"(?:{'|'.join(' '.join(phrase.split()) for phrase in phrases.split(','))})"


_MODEL = rf"(?:{_any('ai, large, helpful, small')} )*" + _any(
    "language models?, llms?, ai assistants?, ai models?, ai agents?, chat ?bots?"
)
_MACHINE = _any(
    rf"""a\.?i\.?(?! (?:act|office|board|literacy|regulatory|system|value|component|regulation)),
    (?:(?:the|this|any|all|every|an?) )?{_MODEL}, chatgpt, gpt(?:-?\d\w*)?, claude, gemini, copilot"""
)
_CALLED = _any(
    """please, now, then, instead, simply, just, also, so, kindly, first, important, attention, note, warning, hence,
    therefore, from now on, ok, okay, hello, hi, and, but, completely, immediately, always, never"""
)
_START = r"(?:\u2029 ?|[.!?:;>)\]\u2013\u2014-] ?|\A ?)(?:\(?[a-z0-9]{1,2}[.)] )?"
_YOU_MUST = _any(
    rf"""you (?:must|shall|should|will|can|may|need to|have to|are to),
    you are (?:now )?(?:asked|required|instructed|ordered|told|going) to, i (?:want|need|order) you to,
    your (?:only )?(?:task|job|goal|role) is(?: now)? to,
    {_MACHINE} (?:must|shall|should|will|has to|have to|is to|are to)"""
)
_ORDER = (
    rf"(?:{_START}(?:{_CALLED}[,:!]? ){{0,3}}"
    rf"|\b{_YOU_MUST} (?:\w+ly |now |also |always )?|\b(?:please|kindly) )"
)
"""Behind this a verb is an order to the reader: it begins a sentence, or "you" are to do it."""

_DROP = _any(
    """ignore, disregard(?! of), forget, override, overrule, bypass, discard, neglect, skip,
    (?:do not|don't) (?:follow|obey)"""
)
_EARLIER = _any("previous, prior, above, preceding, earlier, foregoing, original, initial, safety, system")
_RULES = _any(
    """instructions?, prompts?, rules?, guidelines?, guardrails?, directions?, commands?, context, programming,
    training, constraints?, restrictions?, polic(?:y|ies), messages?, conversation, text, content, orders?"""
)
_WHOSE = rf"(?:{_any('all, any, each, every, of, the, your, my, our, these, those, this, that, and, or')} )*"
_SAID = _any("the, that, what, is, was, said, written, stated, all, any, of, everything, anything, whatever")
_OF_A_PARTY = r"(?: \w+)? (?:of|from|by|given|issued|received|submitted|laid|set|provided|referred|under)\b"
_DUTY = "".join(rf"(?<!\b{modal} )" for modal in ("shall", "may", "should", "must", "will", "can", "not"))
_DROP_RULES = (
    rf"{_ORDER}{_DROP} {_WHOSE}(?:{_EARLIER} )+{_WHOSE}{_RULES}\b",
    rf"{_ORDER}{_DROP} {_WHOSE}{_RULES} (?:\w+ )?(?:above|before|earlier|previously|so far)\b",
    rf"{_ORDER}{_DROP} {_WHOSE}{_RULES} (?:that |which )?(?:you (?:were|have|had|received)|came|come|preceded?s?)\b",
    rf"{_ORDER}{_DROP} {_WHOSE}(?:other|existing|former) (?:instructions|prompts?)\b",
    rf"{_ORDER}{_DROP} (?:all |any )?your (?:\w+ )?{_RULES}\b",
    rf"{_ORDER}{_DROP} (?:{_SAID} )*(?:above|preceding|foregoing|previous)(?: (?:and|text|is)\b|[,.;!]|$)",
    rf"{_ORDER}{_DROP} (?:everything|anything|all|whatever)(?: that| which| of)? (?:you|i|we|was|is|has)\b",
    rf"{_ORDER}{_DROP} (?:all |any )?(?:the |these |those )?(?:instructions|rules|prompts?)(?: and\b|[,.;!]| ?$)",
    # Within a sentence, where it is no duty by law: "... and then ignore all previous instructions".
    rf"{_DUTY}\b(?:ignore|disregard|forget) (?:(?:all|any) (?:of )?)?(?:the |your |my )?"
    rf"(?:previous|prior|above|earlier) (?:instructions?|prompts?|rules|guidelines)\b(?!{_OF_A_PARTY})",
)
_SECRETS = (
    r"\bsystem ?prompts?\b|\bjailbreak\w*|\bdeveloper mode (?:enabled|on|activated)|\bdo anything now\b",
    r"\b(?:previous|prior|above|earlier|initial|original|hidden|your) prompts?\b",
    rf"{_ORDER}(?:reveal|print|repeat|show|output|leak|disclose|tell (?:me|us)) {_WHOSE}"
    r"(?:your|system|hidden|initial) (?:\w+ )?(?:instructions?|prompts?|rules|guidelines|configuration|settings)",
    r"\byour (?:training (?:data|cut-?off)|context window|weights|guardrails|programming)\b",
    r"\byour instructions (?:are|is)\b|\bfollow (?:these|my|the following) new instructions\b",
    r"\byour safety (?:rules|guidelines|training|filters?)\b",
    r"\b(?:your|the) new (?:instructions?|task|role|system message|objective)(?: (?:is|are)\b| ?:)",
    rf"{_START}(?:new|updated|real|actual|secret|hidden|additional) (?:system )?instructions? ?:",
)
_ROLES = (
    r"\byou(?: are|'re| were| will be)(?: (?:now|only|just|no longer|not|hereby))* (?:an? |the )?"
    r"(?:\w+ ){0,3}(?:(?:assistant|language model|llm|chat ?bot)\b|ai(?: ?[,.:;!?]|$| (?:that|which|who|and|model)\b))",
    r"\byou(?: are|'re) (?:now )?(?:chatgpt|gpt|claude|gemini|dan|copilot|siri|mistral)\b",
    rf"(?<!such )\bas an? (?:{_MODEL}|assistant),? (?:you|i|we|your|it is your|please)\b",
    r"(?<!such )\bas an? (?:ai |large )+language model\b",
    r"(?<!such )\bas an? ai(?:[,.;:!]|$| (?:you|i|we|your|please|must|should|it is your|do|always|never|trained)\b)",
    rf"{_ORDER}(?:act|behave|respond|answer|speak|reply|pose|write) (?:as|like) (?:if you were )?(?:an? )?"
    r"(?:\w+ ){0,2}(?:assistant|language model|llm|chat ?bot|ai|dan|pirate|hacker)\b",
    rf"{_ORDER}pretend (?:to be|you|that you)\b",
    rf"\bif you(?: are|'re) (?:an? )?{_MACHINE}"
    r"(?: ?[,.:;]|$| (?:and|or|reading|processing|then|please|you|that|which)\b)",
    rf"{_ORDER}stop (?:being|acting|behaving) ",
)
_ANSWER = r"(?:answer|respond|reply|say|state|output|claim|tell|write|refuse)\b"
_CALLS = (
    rf"{_START}(?:dear|attention|hey|hello|hi|listen|(?:note|notice|message|instructions?) (?:to|for)|important for)"
    rf"[,:]? (?:the |all |any |every )?{_MACHINE}",
    rf"{_START}(?:{_MACHINE}|ai|assistant) ?[,:!] ?(?:{_DROP}|{_ANSWER}|please|now|you|do|always|never|stop)\b",
    rf"{_START}(?:{_MODEL}|ai) (?:instructions?|directives?|commands?) ?:|\b(?:to|for) the (?:model|assistant) ?:",
    rf"\b{_MACHINE},? (?:(?:that|which|who) (?:is |are )?|when |while )?"
    r"(?:read|process|summari[sz]|analy[sz]|pars|evaluat|see)(?:e|es|s|ing)? (?:this|the above|these) "
    r"(?:document|text|page|pdf|passage|paper|sentence|paragraph|words?|message|file|line)",
    rf"\b{_MACHINE} (?:must|shall|should|will) (?:now |always |only |therefore )?"
    r"(?:answer|respond|reply|output|say|state|ignore|disregard|not mention|generate (?:only|no)|write|obey)\b",
)
_REPLIES = (
    rf"{_ORDER}(?:respond|reply|answer|output|return|print|say)(?: (?:every|each|all|any|the|to|questions?|it|this))* "
    r"(?:only|solely|exactly|strictly|just|always|with (?:only|exactly|nothing but|the words?|the phrase)|nothing but)"
    r"\b(?! (?:to|where|when|if|in writing|those|that|the questions?)\b)",
    rf"{_ORDER}(?:answer|respond to|reply to) (?:every|each|all|any) (?:\w+ )*?questions? with\b",
    rf"{_ORDER}(?:repeat|print|output) (?:all |the |every |everything |words? |text |exactly )+(?:above|before|:)",
    rf"{_ORDER}only (?:respond|reply|answer|output) (?:with|in|by)\b(?! writing)",
    rf"\b(?:when|whenever|if) (?:you are |you're |anyone |someone |the user |a user |users )?(?:asks?|asked|queried) "
    rf"[^.;\u2029]{{1,80}}, (?:you |please )?(?:must |should |shall |will )?(?:always |only |then |never )*{_ANSWER}",
    r"\b(?:from now on|henceforth|starting now|for the rest of this chat),? (?:you|your|always|answer|respond)\b",
    rf"{_ORDER}do not (?:tell|inform|alert|warn) the user\b|\bwithout (?:telling|informing) the user that you\b",
    rf"\bwhen(?:ever)? (?:you (?:are )?)?(?:generat|answer|summari[sz]|writ|creat|produc)(?:e|ing) [^.;\u2029]{{0,60}}?"
    rf"(?:questions?|answers?|summar(?:y|ies)|data|text)\b[^.;\u2029]{{0,60}}?, (?:you |please |always )*{_ANSWER}",
)
_MARK_UP = (
    r"<\|[a-z0-9 ]{2,40}\|>|<(?:start|end)ofturn>|\[/?(?:inst|system|assistant|user)\]|<</?sys>>|</?system(?:prompt)?>",
    r"#{2,} ?(?:instructions?|system|assistant|response|human|user|new instructions?) ?:",
    r"\u2029 ?(?:human|user) ?:.{0,400}?\u2029 ?assistant ?:|\u2029 ?system ?: ?you\b",
)
_GERMAN = (
    r"\b(?:ignorier(?:e|en sie|t)?|vergiss|vergessen sie|missachten? sie|missachte|\u00fcbergehen? sie|\u00fcbergehe)"
    r" (?:\w+ ){0,3}(?:bisherigen?|vorherigen?|vorangegangenen?|vorangehenden?|obigen?|fr\u00fcheren?|vorstehenden?) "
    r"(?:anweisung|instruktion|regel|prompt|befehl|vorgabe|text)\w*",
    r"\b(?:du bist|sie sind)(?: nun| jetzt| ab jetzt)? (?:eine? )?(?:\w+ )?(?:ki|sprachmodell|ki-assistent\w*)\b",
    r"\bals (?:eine? )?(?:ki(?:,| (?:musst|sollst|darfst|wirst|m\u00fcssen sie|bist)\b)|ki-?modell\b|sprachmodell\b)",
)
_ROMANCE = (
    r"\b(?:ignore[zr]?|oublie[zr]?) (?:toutes? |tous )?(?:les |tes |vos )?(?:instructions|consignes|r\u00e8gles|ordres)"
    r" (?:pr\u00e9c\u00e9dente?s|ant\u00e9rieure?s|ci-dessus|initiales)",
    r"\b(?:tu es|vous \u00eates) (?:maintenant |d\u00e9sormais )?(?:une? )?(?:ia|assistant|mod\u00e8le de langage)\b",
    r"\ben tant qu(?:e |')(?:une? )?(?:ia,|ia (?:tu|vous)\b|mod\u00e8le de langage)",
    r"\b(?:ignor[ae]|ignorad|olvid[ae]) (?:todas )?(?:las |tus |sus )(?:instrucciones|reglas) (?:anteriores|previas)",
    r"\b(?:ignor(?:a|ate)|dimentica(?:te)?) (?:tutte )?(?:le |tue |vostre )*(?:istruzioni|regole) (?:precedenti|sopra)",
)
_FAMILIES = tuple(
    (frozenset(words.split(";")), tuple(map(re.compile, patterns)))
    for words, patterns in (
        ("ignor;disregard;forget;overrid;overrule;bypass;discard;obey;not follow;don't follow", _DROP_RULES),
        ("prompt;jailbreak;developer mode;do anything now;your", _SECRETS),
        ("new instruction;new task;new role;instructions:", _SECRETS),
        ("you;as an ai;as an assis;language model;llm;chatbot;pretend;act as;act like;stop being;stop acting", _ROLES),
        (
            " ai ;\nai ; ai,;ai:;assistant;the model:;a.i.;language model;llm;chatbot;gpt;claude;gemini",
            _CALLS,
        ),
        (
            "respond ;reply ;answer;output ;return only;print ;repeat ;say only;the user;henceforth;generating;you",
            _REPLIES,
        ),
        ("<;[inst;[/inst;[sys;[assist;[user;##;human;user:;system:", _MARK_UP),
        ("ignor;vergiss;vergessen;missacht;\u00fcbergehe;du bist;sie sind;als ki;sprachmodell", _GERMAN),
        ("ignor;oubli;olvid;dimentic;tu es;vous \u00eates;en tant qu", _ROMANCE),
    )
)
"""Words of which a text must hold one, and the patterns that they lead to."""

_WORDS = tuple(sorted({word for words, _ in _FAMILIES for word in words}))
"""Each of the words once: most chunks of law hold none and are done."""
