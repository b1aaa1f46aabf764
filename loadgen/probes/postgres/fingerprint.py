"""Fingerprints of statements: the same for a statement of a trace and for that of the server's statistics. Pure.

A trace has the text that the application sent, mostly with values or `?` or `%s`. pg_stat_statements has the same text
with `$1` in place of each constant. Both become the same list of tokens: keywords in upper case, names in lower case,
`?` for each value, one `?` for a list of values, no comments. The tokens are sqlglot's, which knows nested comments,
dollar quotes and escapes of PostgreSQL. Its parser is not used: it rewrites statements, and fails on cut-off ones.

Without sqlglot a regular expression makes the tokens. The result is the same for ordinary statements, and
`Fingerprint.is_exact` is False.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from hashlib import blake2b
from typing import Any, Final

from loadgen.traces.convert.sql_text import summary_of

__all__ = ["Fingerprint", "Joined", "fingerprint", "join", "locked_table", "tables_written", "traceparent_of"]

_LONGEST: Final = 20_000
"""Only the beginning of a longer statement counts: a hostile one of this length takes some 60 ms."""
_SIMPLE: Final = re.compile(
    r"""
    (?P<comment> --[^\r\n]* | /\*.*?(?:\*/|\Z) )
  | (?P<value> (?<![\w$])\$(?P<tag>[A-Za-z_]\w*|)\$.*?(?:\$(?P=tag)\$|\Z)
      | (?:\b[eEbBxXnN])?'(?:[^']|'')*(?:'|\Z)
      | (?<![\w$])\$\d+ | (?<![\w$.])(?:\d[\d_]*(?:\.\d*)?(?:[eE][+-]?\d+)?|\.\d+)
      | \?(?![|&?]) | %s | %\(\w+\)s | (?<![:\w]):[A-Za-z_]\w* )
  | (?P<name> "(?:[^"]|"")*(?:"|\Z) )
  | (?P<word> [^\W\d][\w$]* )
  | (?P<sign> ->>?|\#>>?|::|<=|>=|<>|!=|\|\||@>|<@|&&|!?~\*?|\S )
    """,
    re.VERBOSE | re.DOTALL,
)
_PARAMETER: Final = re.compile(r"(?<![\w$])\$\d+|\?(?![|&?])|%s|%\(\w+\)s|(?<![:\w]):[A-Za-z_]\w*")
"""Placeholders of the server and of drivers. sqlglot takes `$1,$2` for a text in dollar quotes."""
_QUOTES: Final = re.compile(
    r"""'(?:[^']|'')*(?:'|\Z) | "(?:[^"]|"")*(?:"|\Z) | --[^\r\n]* | /\*.*?(?:\*/|\Z)
      | (?<![\w$])\$([A-Za-z_]\w*|)\$.*?(?:\$\1\$|\Z)""",
    re.VERBOSE | re.DOTALL,
)
_TRACEPARENT: Final = re.compile(r"traceparent\s*=\s*'?(00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2})")
_BEFORE_NEGATIVE: Final = frozenset(("(", ",", "=", "<", ">", "<=", ">=", "<>", "!=", "+", "*", "/", "%", "||", "["))
_PLAIN_NAME: Final = re.compile(r"[a-z_][a-z0-9_$]*")
_WORDS_BEFORE_NEGATIVE: Final = frozenset(
    ("SELECT", "WHERE", "AND", "OR", "THEN", "ELSE", "BETWEEN", "RETURNING", "BY", "VALUES", "LIMIT", "OFFSET", "IN")
)
_KEYWORDS: Final = """
SELECT FROM WHERE AND OR NOT IN IS NULL AS ON USING JOIN LEFT RIGHT FULL INNER OUTER CROSS NATURAL GROUP BY HAVING ORDER
LIMIT OFFSET FETCH FIRST NEXT ROWS ROW ONLY UNION ALL INTERSECT EXCEPT DISTINCT INSERT INTO VALUES UPDATE SET DELETE
RETURNING WITH RECURSIVE CASE WHEN THEN ELSE END EXISTS BETWEEN LIKE ILIKE SIMILAR TO ANY SOME ARRAY CAST INTERVAL FOR
SHARE KEY NOWAIT SKIP LOCKED OF CONFLICT DO NOTHING DEFAULT ASC DESC NULLS LAST OVER PARTITION WINDOW RANGE MERGE
MATCHED LATERAL TRUE FALSE BEGIN COMMIT ROLLBACK
"""
_CONSTANTS: Final = frozenset(("TRUE", "FALSE", "NULL"))
_NOT_CONSTANT_AFTER: Final = frozenset(("IS", "NOT", "SET", "DEFAULT"))


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """The identity of a statement without its values."""

    id: str
    """16 hexadecimal digits."""
    text: str
    """The tokens, separated by spaces: safe to show, without values."""
    is_exact: bool
    """False if it was made without sqlglot; comparisons with exact ones may then fail."""


@dataclass(frozen=True, slots=True)
class Joined:
    """The statements of the server that belong to a statement of a trace."""

    keys: tuple[Any, ...]
    how: str
    """"fingerprint", or "summary" if only the verb and the tables agree; "" if nothing was found."""


@lru_cache(maxsize=10_000)
def fingerprint(text: str) -> Fingerprint:
    """Return the fingerprint of a statement. Takes 0.1 to 0.5 ms for a new statement."""
    words, is_exact = _words(text)
    joined = " ".join(words)
    return Fingerprint(blake2b(joined.encode("utf-8", "replace"), digest_size=8).hexdigest(), joined, is_exact)


def join(text: str, summary: str, statements: Mapping[Any, str]) -> Joined:
    """Return the statements of the server that belong to a span.

    text: `db.query.text` of the span. summary: its `db.query.summary`; it decides only if no fingerprint is the same.
    statements: texts of the server by key.
    """
    if text:
        wanted = fingerprint(text).id
        if found := tuple(key for key, one in statements.items() if fingerprint(one).id == wanted):
            return Joined(found, "fingerprint")
    wanted = (summary or summary_of(text)).strip().lower()
    found = tuple(key for key, one in statements.items() if wanted and summary_of(one).lower() == wanted)
    return Joined(found, "summary" if found else "")


def traceparent_of(text: str) -> str:
    """Return the `traceparent` that an instrumentation has written as a comment into a statement, or ""."""
    found = _TRACEPARENT.search(text)
    return found[1] if found else ""


def tables_written(text: str) -> tuple[str, ...]:
    """Return the tables to which a statement writes, such as ("public.item",), in the order of the text."""
    words, _ = _words(text)
    found: dict[str, None] = {}
    for at, word in enumerate(words):
        rest = words[at + 1 : at + 9]
        is_write = (
            (word == "UPDATE" and (at == 0 or words[at - 1] not in ("FOR", "DO", "KEY")))
            or (word == "INTO" and at > 0 and words[at - 1] in ("INSERT", "MERGE"))
            or (word == "FROM" and at > 0 and words[at - 1] == "DELETE")
        )
        if is_write and (name := _table_at(rest)):
            found[name] = None
    return tuple(found)


def locked_table(text: str) -> str:
    """Return the table whose rows a statement locks: the one that it writes, or that of `SELECT ... FOR UPDATE`.

    "" if it locks no rows, or if the table is unknown.
    """
    if written := tables_written(text):
        return written[0]
    words, _ = _words(text)
    if "FOR" in words and "FROM" in words:
        return _table_at(words[words.index("FROM") + 1 :][:8])
    return ""


def _words(text: str) -> tuple[list[str], bool]:
    """Return the words of a fingerprint, and whether sqlglot made them."""
    text = text[:_LONGEST]
    tokens = _tokens_by_sqlglot(text)
    if tokens is None:
        return _without_values(_simple_tokens(text)), False
    return _without_values(tokens), True


def _table_at(words: Sequence[str]) -> str:
    parts = [word for word in words if word != "ONLY"]
    name = ""
    for at, word in enumerate(parts):
        if at % 2 == 0 and word not in ("(", "?"):
            name += word.strip('"') if word.startswith('"') else word
        elif at % 2 and word == ".":
            name += "."
        else:
            break
    return name.strip(".")


def _without_values(tokens: Iterable[tuple[str, str]]) -> list[str]:
    """Return the words of a fingerprint. tokens: (kind, text), where kind is value, name, word or sign."""
    words: list[str] = []
    for kind, text in tokens:
        if kind == "value":
            is_negative = len(words) > 1 and words[-1] in ("-", "+") and _starts_value(words[-2])
            if is_negative:
                words.pop()
            words.append("?")
        elif kind == "name":
            words.append(text[1:-1] if _PLAIN_NAME.fullmatch(text[1:-1]) else text)
        elif kind == "word":
            upper = text.upper()
            if upper in _CONSTANTS and not (words and words[-1].upper() in _NOT_CONSTANT_AFTER):
                words.append("?")
            else:
                words.append(upper if upper in _keywords() else text.lower())
        else:
            words.append("<>" if text == "!=" else text)
        if len(words) > 2 and words[-1] == "?" and words[-2] == "," and words[-3] == "?":
            del words[-2:]  # a list of values has no length
    while words and words[-1] == ";":
        words.pop()
    return _one_row(words)


def _starts_value(before: str) -> bool:
    return before in _BEFORE_NEGATIVE or before in _WORDS_BEFORE_NEGATIVE


def _one_row(words: list[str]) -> list[str]:
    """Return the words with one row of values in place of several: `( ? ) , ( ? )` becomes `( ? )`."""
    found: list[str] = []
    for word in words:
        found.append(word)
        if found[-7:] == ["(", "?", ")", ",", "(", "?", ")"]:
            del found[-4:]
    return found


def _simple_tokens(text: str) -> list[tuple[str, str]]:
    return [
        (kind, token[0])
        for token in _SIMPLE.finditer(text)
        if (kind := token.lastgroup if token.lastgroup != "tag" else "value") and kind != "comment"
    ]


def _tokens_by_sqlglot(text: str) -> list[tuple[str, str]] | None:
    """Return the tokens, or None if sqlglot is missing or fails: it rejects a literal that was cut off."""
    tokenize = _tokenizer()
    if tokenize is None:
        return None
    try:
        return list(tokenize(_parameters_as_values(text)))
    except Exception:  # noqa: BLE001 - any text may come from outside, and its versions raise different errors
        return None


def _parameters_as_values(text: str) -> str:
    """Return the text with a number for each placeholder that is not within quotes or a comment."""
    done: list[str] = []
    at = 0
    for quoted in _QUOTES.finditer(text):
        done += [_PARAMETER.sub("0", text[at : quoted.start()]), quoted[0]]
        at = quoted.end()
    return "".join(done) + _PARAMETER.sub("0", text[at:])


@cache
def _tokenizer() -> Callable[[str], Iterable[tuple[str, str]]] | None:
    try:
        from sqlglot.dialects.postgres import Postgres  # slow to import, and not installed everywhere
        from sqlglot.tokens import TokenType  # type: ignore[attr-defined]  # its list of exports lacks the name
    except ImportError:
        return None

    values = {
        getattr(TokenType, name)
        for name in (
            *("STRING", "NUMBER", "HEREDOC_STRING", "RAW_STRING", "BYTE_STRING", "BIT_STRING", "HEX_STRING"),
            *("NATIONAL_STRING", "UNICODE_STRING", "PLACEHOLDER"),
        )
        if hasattr(TokenType, name)
    }

    def tokenize(text: str) -> Iterable[tuple[str, str]]:
        for token in Postgres().tokenize(text):
            if token.token_type in values:
                yield "value", token.text
            elif token.token_type == TokenType.IDENTIFIER:
                yield "name", f'"{token.text}"'
            elif token.text and (token.text[0].isalpha() or token.text[0] == "_"):
                for word in token.text.split():  # "GROUP BY" is one token of sqlglot
                    yield "word", word
            else:
                yield "sign", token.text

    return tokenize


@cache
def _keywords() -> frozenset[str]:
    """Return the words that are written in upper case. A name that is one of them is in upper case on both sides."""
    return frozenset(_KEYWORDS.split())
