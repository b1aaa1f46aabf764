"""Statements without their values: literals become `?`, comments are removed.

The text is split into tokens of SQL, not parsed, so that every dialect and a statement that was cut off are covered.
In doubt a value is removed: where dialects disagree about the end of a literal (`\\'`), the rest of the text is. Text
that is no SQL, such as commands of Redis or queries of MongoDB, loses everything but its first word.
"""

from __future__ import annotations

import re
from typing import Final

__all__ = ["has_sql_form", "statement_without_values", "summary_of"]

_VERBS: Final = frozenset(
    (
        *(
            "select",
            "insert",
            "update",
            "delete",
            "merge",
            "with",
            "call",
            "exec",
            "execute",
            "begin",
            "start",
            "commit",
            "rollback",
            "savepoint",
            "release",
            "create",
        ),
        *(
            "alter",
            "drop",
            "truncate",
            "explain",
            "analyze",
            "vacuum",
            "copy",
            "declare",
            "fetch",
            "close",
            "prepare",
            "deallocate",
            "lock",
            "values",
            "replace",
            "match",
        ),
        *("upsert", "show", "use", "grant", "revoke", "refresh"),
    )
)
"""The first words of statements. Not `set`: it is a command of Redis, too, where its values have no quotes."""
_CLAUSE: Final = re.compile(r"['\"=]|\b(?:from|into|set|where|values|table|index|by)\b", re.IGNORECASE)
_IDENTIFIERS_IN_QUOTES: Final = frozenset(
    (
        *(
            "postgresql",
            "postgres",
            "oracle",
            "oracle.db",
            "mssql",
            "microsoft.sql_server",
            "cockroachdb",
            "redshift",
            "aws.redshift",
            "snowflake",
            "db2",
        ),
        *(
            "ibm.db2",
            "h2",
            "h2database",
            "hsqldb",
            "derby",
            "trino",
            "presto",
            "sqlite",
            "teradata",
            "vertica",
            "saphana",
            "sap.hana",
            "yugabytedb",
            "firebirdsql",
        ),
    )
)
"""Systems in which double quotes are for names. In the others they may be for texts."""
_NO_SQL: Final = frozenset(
    (
        *(
            "redis",
            "valkey",
            "memcached",
            "mongodb",
            "elasticsearch",
            "opensearch",
            "dynamodb",
            "aws.dynamodb",
            "neo4j",
            "couchdb",
            "hbase",
            "geode",
        ),
        *("azure.cosmosdb", "cosmosdb"),
    )
)
_COMMAND: Final = re.compile(r"[A-Za-z][A-Za-z_]{0,30}(?=\s|$)")
_FIRST_WORD: Final = re.compile(r"(?>\s|\(|--[^\n]*\n|/\*(?>.*?\*/))*+([A-Za-z]+)\b", re.DOTALL)
"""Atomic groups keep the search linear in a text of many comments."""
_TOKEN: Final = re.compile(
    r"""
    (?P<comment> --[^\r\n]* | /\*.*?(?:\*/|\Z) | \#(?![>-])[^\r\n]* )
  | (?P<dollar> (?<![\w$]) \$ (?P<tag> [A-Za-z_]\w* | ) \$ .*? (?: \$(?P=tag)\$ | \Z ) )
  | (?P<single> ' (?:[^']|'')* (?:'|\Z) )
  | (?P<double> " (?:[^"]|"")* (?:"|\Z) )
  | (?P<number> (?<! [\w$@:.?`] ) (?: \d[\w.]* | \.\d\w* ) )
    """,
    re.VERBOSE | re.DOTALL,
)
_NAME: Final = re.compile(r'"[^\W\d][\w$.]{0,63}"')
_ESCAPED_QUOTE: Final = re.compile(r"""\\['"]""")
_SUMMARIZED: Final = frozenset(("SELECT", "INSERT", "UPDATE", "DELETE", "MERGE", "WITH"))
_TABLE: Final = re.compile(
    r"\b(?:from|join|into|update)\s+(?:only\s+|ignore\s+)?([\"`\[]?[^\W\d][\w$]*[\"`\]]?(?:\.[\"`\[]?[\w$]+[\"`\]]?){0,2})",
    re.IGNORECASE,
)
_LONGEST_SUMMARY: Final = 255
_LIST: Final = re.compile(r"(\?|\$\d+|%s)(?:\s*,\s*(?:\?|\$\d+|%s))+")
_ROWS: Final = re.compile(r"(\((?:\?|\$\d+|%s)\))(?:\s*,\s*\((?:\?|\$\d+|%s)\))+")
_SPACES: Final = re.compile(r"\s+")


def statement_without_values(text: str, system: str = "") -> str:
    """Return a statement with `?` in place of each value. Lists of values become one `?`, whatever their length.

    system: the name of the database system, such as "postgresql"; "" if unknown.
    """
    if system not in _NO_SQL and _verb(text) in _VERBS:
        return _sql(text, system)
    word = _COMMAND.match(text.lstrip()) if system in _NO_SQL else None
    if word is None:
        return "?"
    return word[0] if word.end() == len(text.strip()) else f"{word[0]} ?"


def has_sql_form(text: str) -> bool:
    """Return whether a text, such as the name of a span, is a statement that may contain values."""
    return _verb(text) in _VERBS and _CLAUSE.search(text) is not None


def summary_of(statement: str) -> str:
    """Return what OpenTelemetry calls the summary of a statement, such as "SELECT item stock": its verb, and the tables
    after FROM, JOIN, INTO and UPDATE, each once. Return "" for other statements.

    statement: without values.
    """
    if (verb := _verb(statement).upper()) not in _SUMMARIZED:
        return ""
    names = (name.strip('"`[]') for name in _TABLE.findall(statement))
    return " ".join(dict.fromkeys((verb, *(name for name in names if name.lower() not in _VERBS))))[:_LONGEST_SUMMARY]


def _verb(text: str) -> str:
    word = _FIRST_WORD.match(text)
    return word[1].lower() if word else ""


def _sql(text: str, system: str) -> str:
    if (escaped := _ESCAPED_QUOTE.search(text)) is not None:
        text = text[: escaped.start()]  # the literal is open now, so `_TOKEN` takes it up to the end
    has_names_in_quotes = system in _IDENTIFIERS_IN_QUOTES
    done: list[str] = []
    at = 0
    for token in _TOKEN.finditer(text):
        done.append(text[at : token.start()])
        at = token.end()
        kind = token.lastgroup
        if kind == "comment":
            if "/*" in token[0][2:]:  # comments may contain comments in PostgreSQL, but not in MySQL
                at = len(text)
                break
            done.append(" ")
        elif kind == "double" and has_names_in_quotes and _NAME.fullmatch(token[0]):
            done.append(token[0])
        else:
            done.append("?")
    done.append(text[at:])
    if escaped is not None:
        done.append(" ?")
    plain = _SPACES.sub(" ", "".join(done)).strip()
    return _ROWS.sub(r"\1", _LIST.sub(r"\1", plain))
