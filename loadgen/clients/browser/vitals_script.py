"""The script that runs in each page: Google's web-vitals library, and the lines that send its values to us.

The library is vendored in `web_vitals` (`THIRD_PARTY.md` has its version). It reports a value whenever it changes, and
the last one counts. When a document is about to be left (`beforeunload`), the script makes the library believe that the
page is hidden, so that it reports what it holds back for that moment. The messages of a browser do not arrive while a
document is unloaded, so `visibilitychange` itself would be too late; docs/decisions/161 has the measurement.

The event is sent to the window alone, so listeners on `document`, where pages have theirs, do not see it.
"""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from typing import Final

__all__ = ["BINDING", "script"]

BINDING: Final = "__loadgenVitals"
"""The function of the page that sends a report."""

_SCRIPT: Final = """(() => {
if (window !== window.top || !/^https?:$/.test(location.protocol)) return;
const send = window.BINDING;
LIBRARY
const id = performance.timeOrigin + " " + Math.random();
const report = (metric) => send({id, name: metric.name, value: metric.value});
send({id, name: "began", value: 0});
const all = {reportAllChanges: true};
webVitals.onTTFB(report);
webVitals.onFCP(report);
webVitals.onLCP(report, all);
webVitals.onCLS(report, all);
webVitals.onINP(report, all);
addEventListener("beforeunload", () => {
  Object.defineProperty(document, "visibilityState", {configurable: true, get: () => "hidden"});
  dispatchEvent(new Event("visibilitychange"));
  delete document.visibilityState;
});
})()"""


@cache
def script() -> str:
    """Return the script for each document."""
    library = (files(__package__) / "web_vitals" / "web-vitals.iife.js").read_text(encoding="utf-8")
    code = "\n".join(line for line in library.splitlines() if not line.startswith("//# sourceMappingURL"))
    return _SCRIPT.replace("BINDING", BINDING).replace("LIBRARY", code)
