"""A form of an HTML page, filled in and sent as a browser sends it: `page.form("#login").submit({"user": "ann"})`.

The page gives everything that the journey does not: hidden fields such as a CSRF token, preset values, the address, the
method and the encoding. A form without an action goes to the page's own URL. Only JavaScript is not run: fields that a
script would add are passed with `add=`.

The rules are those of the HTML standard ("Form submission algorithm"): disabled controls, unchecked boxes and controls
without a name are not sent; a `select` without a selected option sends its first; the first submit button is sent, if
it has a name. Text is UTF-8. File fields are sent if the journey gives a file.

`Form` is a value, and parsing and filling are pure functions. A page of 10 KB takes 0.2 ms to parse. A `select` with
1,000 options takes 10 ms, and the time grows with their square: the parser lexbor needs it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from itertools import islice
from typing import TYPE_CHECKING, Any, Final, Protocol
from urllib.parse import urlencode

import httpx

from loadgen.clients.protocol.file_and_generated_bodies import Source
from loadgen.clients.request.redirects import has_same_origin
from loadgen.clients.response.pick import Missing
from loadgen.errors import UsageError

if TYPE_CHECKING:
    from selectolax.lexbor import LexborHTMLParser, LexborNode

    from loadgen.clients.response.replies import Reply

__all__ = ["Control", "Form", "Sends", "SendsWith", "check_selector", "form_in"]

_MULTIPART: Final = "multipart/form-data"
_NEVER_SENT: Final = frozenset({"reset", "button"})
_FIELDS: Final = "input, select, textarea, button"
_DISABLED: Final = ", ".join(f"{one}[disabled], fieldset[disabled] {one}" for one in _FIELDS.split(", "))
_MOST_CONTROLS: Final = 10_000
"""The most controls of a form. PHP and Django accept 1,000 fields; a broken page must not fill the worker's memory."""
_SHOWN: Final = 200
"""The most characters that a message shows of a text of the page."""
_MOST_LISTED: Final = 20
"""The most names of the page that a message lists."""
_MOST_COMPARED: Final = 1000
"""The most names of the page that are compared with a misspelt one: each takes some 10 µs."""
_ABSENT: Final = object()


class Sends(Protocol):
    """The client that sends a form: that of the page."""

    @property
    def request(self) -> Callable[..., Awaitable[Reply]]: ...


@dataclass(frozen=True, slots=True)
class SendsWith:
    """A client that adds these options to each call. An option that the call gives itself wins."""

    client: Sends
    options: Mapping[str, Any]

    def request(self, method: str, url: str, **options: Any) -> Awaitable[Reply]:
        return self.client.request(method, url, **{**self.options, **options})


@dataclass(frozen=True, slots=True)
class Control:
    """One control of a form.

    kind: `text` for everything that sends one text, else `checkbox`, `radio`, `select`, `file` or `submit`.
    values: the values that are sent as the page has it; empty for an unchecked box.
    choices: the values that a checkbox, radio button or select can have.
    """

    name: str
    kind: str
    values: tuple[str, ...] = ()
    choices: tuple[str, ...] = ()
    is_multiple: bool = False
    action: str | None = None
    method: str | None = None
    """`action` and `method` of a button replace those of the form."""


@dataclass(frozen=True, slots=True)
class Form:
    """A form of a page. `submit` sends it.

    action: an absolute URL. method: `GET` or `POST`. controls: in the order of the page, without disabled ones.
    """

    selector: str
    action: str
    method: str
    enctype: str
    page: str
    """The URL of the page."""
    controls: tuple[Control, ...]
    client: Sends = field(repr=False)

    @property
    def fields(self) -> dict[str, Any]:
        """Return the fields as the page presets them, by name: a text, or a list if there are several. Buttons and
        files are not included.
        """
        found: dict[str, list[str]] = {}
        for one in self.controls:
            if one.kind not in ("submit", "file"):
                found.setdefault(one.name, []).extend(one.values)
        return {name: values[0] if len(values) == 1 else values for name, values in found.items()}

    async def submit(
        self,
        values: Mapping[str, Any] | None = None,
        *,
        add: Mapping[str, Any] | None = None,
        button: str | None = None,
        **options: Any,
    ) -> Reply:
        """Fill in the form, send it with the client that got the page, and return the reply.

        Args:
            values: by the names of the fields. Text and numbers replace the preset value; None leaves a field out. A
                checkbox takes True, False, or the values to check; radio buttons and a select take one of their
                values, or a list. A file field takes what `files=` takes.
            add: fields that the form does not have, such as those of a script.
            button: the name of the submit button to press, or NAME=VALUE. Default: the first.
            options: as for `user.http.request`: `name=`, `expect=`, `headers=`, `follow_redirects=` ...

        Raises:
            UsageError: an unknown field, a value that a field cannot have, or an unknown button.
        """
        form, pairs, files = filled(self, values or {}, add or {}, button)
        # Django and others check it with a CSRF token, and browsers send it.
        headers = httpx.Headers(options.pop("headers", None))
        if referer := _referer(httpx.URL(self.page), httpx.URL(form.action)):
            headers.setdefault("Referer", referer)
        if form.method == "GET":
            url = form.action.partition("#")[0].partition("?")[0]
            query = urlencode(pairs)
            return await self.client.request("GET", f"{url}?{query}" if query else url, headers=headers, **options)
        if form.enctype == _MULTIPART:
            parts = [(name, (None, value)) for name, value in pairs] + files
            return await self.client.request("POST", form.action, files=parts, headers=headers, **options)
        headers.setdefault("Content-Type", "application/x-www-form-urlencoded")
        body = urlencode(pairs).encode("ascii")
        return await self.client.request("POST", form.action, content=body, headers=headers, **options)


def _referer(page: httpx.URL, target: httpx.URL) -> str:
    """Return the Referer that browsers send by default ("strict-origin-when-cross-origin"): to another origin only the
    page's origin, because its query may hold a token; from https to http "", which means none.
    """
    page = page.copy_with(userinfo=b"", fragment=None)
    if has_same_origin(page, target):
        return str(page)
    if (page.scheme, target.scheme) == ("https", "http"):
        return ""
    return str(page.copy_with(raw_path=b"/"))


# -- what the page has --------------------------------------------------------------------------------


def form_in(html: str, selector: str, page: str, client: Sends) -> Form:
    """Return the form in `html` that a CSS selector selects: the first element that matches, which must be a form.

    page: the URL of the page. client: sends the form.

    Raises:
        ValueError: the selector is invalid.
        Missing: no element matches, the first one is not a form, its action is not an address of http or https, or it
            has too many controls.
    """
    from selectolax.lexbor import LexborHTMLParser

    document = LexborHTMLParser(html)
    found = _first(document, selector)
    if found is None:
        count = len(document.css("form"))
        raise Missing(f"no element matches; the page has {count} form{'' if count == 1 else 's'}")
    if found.tag != "form":
        raise Missing(f"<{found.tag}> is not a form; select the <form> itself")
    given = found.attributes
    root = _root(document, page)
    controls = list(islice((one for node in _nodes(document, found) for one in _controls(node)), _MOST_CONTROLS + 1))
    if len(controls) > _MOST_CONTROLS:
        raise Missing(f"it has more than {_MOST_CONTROLS:,} controls")
    return Form(
        selector=selector,
        action=_address(given.get("action"), root, page),
        method=_method(given.get("method")),
        enctype=(given.get("enctype") or "").lower(),
        page=page,
        controls=tuple(_resolved(one, root, page) for one in controls),
        client=client,
    )


def check_selector(selector: object) -> None:
    """Raise ValueError unless `selector` is a CSS selector. The loader calls this for selectors written literally."""
    from selectolax.lexbor import LexborHTMLParser

    if not isinstance(selector, str):
        raise ValueError(f'invalid CSS selector {selector!r}; write form("#login") or form()')
    _first(LexborHTMLParser("<p>"), selector)


def _first(document: LexborHTMLParser, selector: str) -> LexborNode | None:
    """Return the first element that a CSS selector selects. Raises ValueError for an invalid selector."""
    from selectolax.lexbor import SelectolaxError

    if not selector.strip():
        raise ValueError('empty CSS selector; write form("#login"), or form() for the first form')
    try:
        return document.css_first(selector)
    except SelectolaxError as error:
        raise ValueError(f'invalid CSS selector "{selector}": {error}; write form("#login") or form()') from error


def _root(document: LexborHTMLParser, page: str) -> httpx.URL:
    """Return the URL to which addresses on a page are relative. As in a browser, an invalid `<base>` has no effect."""
    root = httpx.URL(page)
    base = document.css_first("base[href]")
    if base is not None:
        with suppress(httpx.InvalidURL):
            return root.join((base.attributes["href"] or "").strip())
    return root


def _address(action: str | None, root: httpx.URL, page: str) -> str:
    if not (action or "").strip():
        return page.partition("#")[0]
    shown = repr((action or "")[:_SHOWN])
    try:
        url = root.join((action or "").strip())
    except httpx.InvalidURL as error:
        raise Missing(f"its action {shown} is not a URL: {str(error)[:_SHOWN]}") from error
    if url.scheme not in ("http", "https"):
        raise Missing(f"its action {shown} is neither http nor https")
    return str(url)


def _method(method: str | None) -> str:
    return "POST" if (method or "").strip().lower() == "post" else "GET"


def _resolved(control: Control, root: httpx.URL, page: str) -> Control:
    return control if control.action is None else replace(control, action=_address(control.action, root, page))


def _nodes(document: LexborHTMLParser, form: LexborNode) -> Iterator[LexborNode]:
    """Yield the controls that are sent with a form, in the order of the page: those whose `form=` names the form, and
    those within it that have none. Disabled controls, and those of a disabled fieldset, are left out.

    The time grows with the size of the page, and not with its depth: a walk from each control up took 1.8 s for 2,000
    levels.
    """
    form_id = form.attributes.get("id")
    inside = {node.mem_id for node in form.css(_FIELDS)}
    disabled = {node.mem_id for node in document.css(_DISABLED)}
    for node in document.css(_FIELDS):
        owner = node.attributes.get("form", _ABSENT)
        belongs = node.mem_id in inside if owner is _ABSENT else bool(owner) and owner == form_id
        if belongs and node.mem_id not in disabled:
            yield node


def _controls(node: LexborNode) -> Iterator[Control]:
    attributes = node.attributes
    name = attributes.get("name") or ""
    if node.tag == "select":
        if name:
            yield _select(node, name)
        return
    if node.tag == "textarea":
        if name:
            yield Control(name, "text", (node.text().replace("\r\n", "\n").replace("\n", "\r\n"),))
        return
    kind = (attributes.get("type") or ("submit" if node.tag == "button" else "text")).lower()
    value = attributes.get("value")
    if kind == "submit":
        # A button without a name sends nothing, but it may be the first one and have an address of its own.
        method = attributes.get("formmethod")
        yield Control(
            name,
            "submit",
            (value or "",) if name else (),
            action=attributes.get("formaction"),
            method=None if method is None else _method(method),
        )
    elif not name or kind in _NEVER_SENT or node.tag == "button" or kind == "image":
        return
    elif kind in ("checkbox", "radio"):
        value = "on" if value is None else value
        yield Control(name, kind, (value,) if "checked" in attributes else (), (value,))
    elif kind == "file":
        yield Control(name, "file", is_multiple="multiple" in attributes)
    else:
        yield Control(name, "text", (value or "",))


def _select(node: LexborNode, name: str) -> Control:
    options = [(one.attributes, " ".join(one.text().split())) for one in node.css("option")]
    usable = [
        (given, given["value"] or "" if "value" in given else text)
        for given, text in options
        if "disabled" not in given
    ]
    chosen = [value for given, value in usable if "selected" in given]
    is_multiple = "multiple" in node.attributes
    if not is_multiple:
        chosen = chosen[-1:] or [value for _, value in usable[:1]]
    return Control(name, "select", tuple(chosen), tuple(value for _, value in usable), is_multiple)


# -- what the journey gives ----------------------------------------------------------------------------


def filled(
    form: Form, values: Mapping[str, Any], add: Mapping[str, Any], button: str | None
) -> tuple[Form, list[tuple[str, str]], list[tuple[str, Any]]]:
    """Return (the form with its button's address and method, the fields to send, the files to send), both as (name,
    value) in the order of the page.

    Raises:
        UsageError: as `Form.submit`.
    """
    names = dict.fromkeys(one.name for one in form.controls if one.kind != "submit" and one.name)
    for name in values:
        if name not in names:
            raise _unknown(form, "field", str(name), list(names), "pass fields of a script as add={...}")
    for name in add:
        if name in names:
            raise UsageError(f'{_shown(form)} has a field "{name}"', hint="pass its value without add=")
    pressed = _button(form, button)
    wanted = {name: _values(form, name, value) for name, value in values.items()}
    pairs: list[tuple[str, str]] = []
    files: list[tuple[str, Any]] = []
    for control in form.controls:
        if control is pressed:
            pairs += [(control.name, value) for value in control.values]
        elif control.kind == "submit":
            continue
        elif control.name not in wanted or (control.kind == "text" and isinstance(values[control.name], bool)):
            pairs += [(control.name, value) for value in control.values]
        elif control.kind == "file":
            files += [(control.name, value) for value in wanted.pop(control.name)]
        elif control.kind == "text":
            # The first control of a name takes all values: the order of a repeated field is that of the journey.
            pairs += [(control.name, _text(control.name, value)) for value in wanted[control.name]]
            wanted[control.name] = []
        else:
            pairs += [(control.name, value) for value in _chosen(control, wanted[control.name])]
    for name, value in add.items():
        pairs += [(name, _text(name, one)) for one in _several(value)]
    if files and form.enctype != _MULTIPART:
        raise UsageError(
            f"{_shown(form)} sends no files: its enctype is not {_MULTIPART}",
            hint="pass no file, or select the form of the page that uploads files",
        )
    if pressed is not None:
        form = replace(form, action=pressed.action or form.action, method=pressed.method or form.method)
    return form, pairs, files


def _values(form: Form, name: str, value: Any) -> list[Any]:
    """Return the values for a field as a list, checked against the choices that the page offers."""
    controls = [one for one in form.controls if one.name == name and one.kind != "submit"]
    if value is None:
        return []
    kinds = {one.kind for one in controls}
    choices = [choice for one in controls for choice in one.choices]
    # Rails and ASP.NET put a hidden field of the same name before a checkbox. It keeps its value.
    if isinstance(value, bool):
        if "checkbox" not in kinds or not kinds <= {"checkbox", "text"}:
            raise _no_checkbox(name, value)
        return choices if value else []
    if kinds <= {"file"}:
        return value if isinstance(value, list) else [value]
    found = _several(value)
    if kinds <= {"checkbox", "radio", "select"}:
        for one in found:
            if (text := _text(name, one)) not in choices:
                raise _unknown(form, f'value of "{name}"', text, choices, "pass other values as add={...}")
        if len(found) > 1 and kinds != {"checkbox"} and not any(one.is_multiple for one in controls):
            raise UsageError(f'{_shown(form)}: "{name}" takes one value, got {found!r}', hint="pass one of them")
        return [_text(name, one) for one in found]
    return found


def _chosen(control: Control, wanted: list[str]) -> list[str]:
    return [choice for choice in control.choices if choice in wanted]


def _button(form: Form, button: str | None) -> Control | None:
    """Return the submit button to press; None if the form has none."""
    buttons = [one for one in form.controls if one.kind == "submit"]
    if button is None:
        return buttons[0] if buttons else None
    for one in buttons:
        if button in (one.name, f"{one.name}={''.join(one.values)}"):
            return one
    named = [f"{one.name}={''.join(one.values)}" for one in buttons if one.name]
    raise _unknown(form, "button", button, named, "a button needs a name to be chosen")


def _unknown(form: Form, what: str, given: str, known: list[str], otherwise: str) -> UsageError:
    near = get_close_matches(given, known[:_MOST_COMPARED], n=1)
    if near:
        hint = f'did you mean "{near[0][:_SHOWN]}"?'
    elif known:
        listed = ", ".join(one[:_SHOWN] for one in known[:_MOST_LISTED])
        more = f" and {len(known) - _MOST_LISTED} more" if len(known) > _MOST_LISTED else ""
        hint = f"use one of {listed}{more}; or {otherwise}"
    else:
        hint = otherwise
    return UsageError(f'{_shown(form)} has no {what} "{given}"', hint=hint)


def _shown(form: Form) -> str:
    return f'the form "{form.selector}" of {form.page.partition("?")[0]}'


def _several(value: Any) -> list[Any]:
    return list(value) if isinstance(value, list | tuple) else [value]


def _text(name: str, value: Any) -> str:
    if isinstance(value, Source | bytes):
        raise UsageError(
            f'"{name}" is not a file field, but the value is {type(value).__name__}',
            hint="pass text, or name a field of files",
        )
    if value is True or value is False:
        raise _no_checkbox(name, value)
    return "" if value is None else str(value)


def _no_checkbox(name: str, value: bool) -> UsageError:
    return UsageError(f'"{name}" is not a checkbox, got {value!r}', hint='pass text: "true"')
