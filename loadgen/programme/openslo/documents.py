"""The documents of OpenSLO files by kind and name, so that references can be resolved across files."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from loadgen.programme.promises.slo_set import Findings
from loadgen.programme.slo_files.fields import Fields, quoted
from loadgen.programme.slo_files.yaml_nodes import Parsed
from loadgen.similar_names import did_you_mean

__all__ = ["API_VERSION", "KINDS", "Document", "Documents", "as_document"]

API_VERSION: Final = "openslo/v1"
KINDS: Final = (
    "AlertCondition",
    "AlertNotificationTarget",
    "AlertPolicy",
    "DataSource",
    "Service",
    "SLI",
    "SLO",
)


@dataclass(frozen=True, slots=True)
class Document:
    """One object of OpenSLO: a whole document, or one written in place. spec: None if it is missing."""

    kind: str
    name: str
    fields: Fields
    metadata: Fields | None
    spec: Fields | None

    @property
    def display_name(self) -> str:
        """Take the name for people; "" if it is missing."""
        return self.metadata.text("displayName") if self.metadata is not None else ""

    def end(self) -> None:
        """Note all fields of the document and its metadata that were not taken."""
        self.fields.end(("apiVersion", "kind", "metadata", "spec"))
        if self.metadata is not None:
            self.metadata.end(("name", "displayName", "labels", "annotations"))


@dataclass(slots=True)
class Documents:
    """All documents of the files that are read together."""

    found: dict[tuple[str, str], Document] = field(default_factory=dict)
    findings: list[Findings] = field(default_factory=list)
    unnamed: list[Document] = field(default_factory=list)

    def add_file(self, parsed: Parsed) -> None:
        """Add the documents of a file."""
        findings = Findings(parsed.file, faults=list(parsed.faults))
        self.findings.append(findings)
        for node in parsed.documents:
            fields = Fields.of(findings, node, "")
            if fields is None or not _is_ours(fields):
                continue
            document = as_document(fields, fields.text("kind"))
            if document is None:
                continue
            first = self.found.get((document.kind, document.name))
            if first is None and document.name:
                self.found[document.kind, document.name] = document
            else:
                self.unnamed.append(document)
            if first is not None:
                where = f"{first.fields.findings.file}:{first.fields.line}"
                fields.fault("metadata", f"second {document.kind} {quoted(document.name)}", f"the first is at {where}")

    def of_kind(self, kind: str) -> Iterable[Document]:
        """Return the documents of a kind, also those without a valid name."""
        return [one for one in (*self.found.values(), *self.unnamed) if one.kind == kind]

    def resolve(self, fields: Fields, key: str, kind: str, *, name: str = "") -> Document | None:
        """Return the document that a field refers to; None with a fault. name: in place of the field's text."""
        name = name or fields.name(key)
        if not name:
            return None
        document = self.found.get((kind, name))
        if document is None:
            others = [one.kind for one in self.found.values() if one.name == name]
            known = [one.name for one in self.found.values() if one.kind == kind]
            near = did_you_mean(name, known)
            hint = f"{quoted(name)} is of kind {', '.join(others)}" if others else near
            fields.fault(
                key,
                f"{fields.name_of(key)} {quoted(name)}: there is no {kind} with this name",
                hint or f"add a document of kind {kind}, or give its file, too",
            )
        return document


def as_document(fields: Fields, kind: str, *, is_inline: bool = False) -> Document | None:
    """Return an object with its metadata and spec; None with a fault if a part is not a mapping."""
    metadata = fields.sub("metadata", hint="" if is_inline else "write metadata: {name: ...}")
    spec = fields.sub("spec", hint="write the spec")
    if spec is None and not (is_inline or metadata is not None):
        return None
    name = metadata.name(required=not is_inline) if metadata is not None else ""
    return Document(kind, name, fields, metadata, spec)


def _is_ours(fields: Fields) -> bool:
    version, kind = fields.text("apiVersion"), fields.text("kind")
    if not version:
        sloth = fields.text("version").startswith("prometheus/") if fields.has("version") else False
        hint = "it is a file of sloth: read it alone" if sloth else f"write apiVersion: {API_VERSION}"
        fields.findings.fault(fields.line, "apiVersion is missing", hint)
    elif version != API_VERSION:
        hints = {
            "AlertWindows": "give alert windows of sloth with --windows",
            "PrometheusServiceLevel": "put the spec of sloth's resource into a file with version: prometheus/v1",
        }
        hint = hints.get(kind, f"write apiVersion: {API_VERSION}")
        fields.fault("apiVersion", f"apiVersion {quoted(version)} is not read here", hint)
        return False
    if not kind:
        fields.findings.fault(fields.line, "kind is missing", f"write one of {', '.join(KINDS)}")
    elif kind not in KINDS:
        fields.fault("kind", f"kind {quoted(kind)} is unknown", did_you_mean(kind, KINDS))
    return bool(version) and kind in KINDS
