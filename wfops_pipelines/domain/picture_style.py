"""The style of a picture: plain classes, for light and, where the reader prefers it, dark; no fonts or files of others."""

from __future__ import annotations

from typing import Final

_PALETTES: Final = {
    # background, text, quiet text, box, frame, line, then fill and stroke per status
    "light": ("#ffffff", "#1f2328", "#59636e", "#f6f8fa", "#b7bfc8", "#8c959f", {
        "added": ("#dafbe1", "#1a7f37"), "removed": ("#ffebe9", "#cf222e"),
        "changed": ("#fff8c5", "#9a6700"), "renamed": ("#ddf4ff", "#0969da")}),
    "dark": ("#0d1117", "#e6edf3", "#9198a1", "#161b22", "#3d444d", "#6e7681", {
        "added": ("#12301c", "#3fb950"), "removed": ("#3a1618", "#ff7b72"),
        "changed": ("#34280b", "#d29922"), "renamed": ("#0f2a4a", "#58a6ff")}),
}


def _colours(palette: str) -> str:
    background, text, quiet, box, frame, line, statuses = _PALETTES[palette]
    rules = [f".bg{{fill:{background}}}", f"text{{fill:{text}}}", f".q{{fill:{quiet}}}",
             f".node rect,.node .dot{{fill:{box};stroke:{frame}}}", f".edge{{stroke:{line}}}", f".tip{{fill:{line}}}",
             f".note rect{{stroke:{frame}}}", f".sign circle,.badge{{stroke:{background}}}"]
    for status, (fill, stroke) in statuses.items():
        rules += [f".{status} rect{{fill:{fill};stroke:{stroke}}}", f".{status} .badge,.{status} circle,.tip.{status}"
                  f"{{fill:{stroke}}}", f".edge.{status}{{stroke:{stroke}}}"]
    rules.append(f".b{{fill:{background}}}")
    return "".join(rules)


STYLE: Final = (
    "text{font-family:system-ui,-apple-system,'Segoe UI',Roboto,'Noto Sans','DejaVu Sans',sans-serif;font-size:11px}"
    ".n{font-size:13px;font-weight:600}"
    ".m{font-family:ui-monospace,Menlo,Consolas,'DejaVu Sans Mono',monospace;font-size:10.5px}"
    ".b{font-size:13px;font-weight:700;text-anchor:middle}.k{text-anchor:end}.node rect{stroke-width:1.2}"
    ".added rect,.removed rect,.changed rect,.renamed rect{stroke-width:2.2}.removed rect{stroke-dasharray:6 4}"
    ".removed>.n{text-decoration:line-through}.edge{fill:none;stroke-width:1.6}"
    ".sub{stroke-dasharray:1.5 4;stroke-linecap:round}"
    ".edge.added{stroke-width:2.4;stroke-dasharray:9 4}.edge.removed{stroke-width:2.4;stroke-dasharray:3 4}"
    ".note{opacity:.75}.note rect{fill:none;stroke-dasharray:2 4}"
    f"{_colours('light')}@media(prefers-color-scheme:dark){{{_colours('dark')}}}")
