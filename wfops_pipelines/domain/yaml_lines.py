"""A YAML document as plain values, and the line of everything in it, so that an error can say where it is (§2.6).

Read more strictly than YAML allows, since people write these files and machines are attacked with them:

* ``yes``, ``no``, ``on``, ``off``, ``0777``, ``12:30`` and dates are text, as YAML 1.2 has it; numbers, ``true``,
  ``false`` and ``null`` are what they look like;
* a key that stands twice in one mapping is an error, not the last one;
* no tags (``!!python/…``), one document a file, keys are text;
* anchors, aliases and merge keys (``<<``) work, within bounds on depth and on the size that they expand to.

Messages never hold a line of the document: it may be one with a secret that somebody put there by mistake.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

import yaml

from wfops_pipelines.domain.errors import DocumentProblem, InvalidDocument

try:
    from yaml import CSafeLoader as _SafeLoader
except ImportError:  # PyYAML was built without libyaml: slower, otherwise the same
    from yaml import SafeLoader as _SafeLoader  # type: ignore[assignment]

MAX_CHARACTERS = 8 * 1024 * 1024
MAX_DEPTH = 40
MAX_VALUES = 1_000_000  # after aliases are expanded

Path = Sequence[str | int]

_TAG = "tag:yaml.org,2002:"
_MERGE = _TAG + "merge"


class _Loader(_SafeLoader):
    """Composes nodes with the scalars of YAML 1.2's core schema (decimal numbers only) and the merge key."""

    yaml_implicit_resolvers = {}  # noqa: RUF012 - PyYAML's own name, filled below


for _tag, _pattern, _first in (
    ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("int", r"[-+]?(?:0|[1-9][0-9]{0,17})", "-+0123456789"),
    ("float", r"[-+]?[0-9]+\.[0-9]+", "-+0123456789"),
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("merge", r"<<", "<"),
):
    _Loader.add_implicit_resolver(_TAG + _tag, re.compile(rf"(?:{_pattern})\Z"), list(_first))


class Document:
    """A document that was read: its ``value``, and where each part of it stands."""

    def __init__(self, root: yaml.Node, file: str) -> None:
        self._root = root
        self.file = file
        problems = [DocumentProblem(message, line) for message, line in _flaws(root)]
        if problems:
            raise invalid(file, problems)
        self.value = _value(root)

    def line_of(self, path: Path) -> int:
        """The line (from 1) of a part, or of the nearest part around it that is there."""
        node, line = self._root, _line(self._root)
        for step in path:
            if isinstance(node, yaml.MappingNode):
                pair = _pairs(node).get(str(step))
                if pair is None:
                    return line
                line, node = _line(pair[0]), pair[1]
            elif isinstance(node, yaml.SequenceNode) and isinstance(step, int) and step < len(node.value):
                node = node.value[step]
                line = _line(node)
            else:
                return line
        return line


def read_yaml(text: str, *, file: str) -> Document:
    """Read a document; :class:`InvalidDocument` with ``file`` and line when it cannot be read."""
    if len(text) > MAX_CHARACTERS:
        raise InvalidDocument(f"is larger than {MAX_CHARACTERS // 1024 // 1024} MiB", file=file)
    try:
        _check_events(text, file)
        loader = _Loader(text)
        try:
            root = loader.get_single_node()
        finally:
            loader.dispose()
    except yaml.MarkedYAMLError as error:
        raise _unreadable(error, file) from None
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1 if isinstance(error.position, int) else None
        raise InvalidDocument("holds a character that YAML does not allow", file=file, line=line) from None
    except UnicodeEncodeError as error:
        line = text.count("\n", 0, error.start) + 1
        raise InvalidDocument("holds a character that YAML does not allow", file=file, line=line) from None
    if root is None:
        raise InvalidDocument("is empty", file=file, line=1)
    _check_size(root, file)
    return Document(root, file)


def invalid(file: str, problems: Sequence[DocumentProblem], *, fix: str | None = None) -> InvalidDocument:
    """One error for all problems, by line."""
    first, *more = sorted(problems, key=lambda problem: problem.line or 0)
    return InvalidDocument(first.message, file=file, line=first.line, field=first.field, fix=fix, more=more)


def _check_events(text: str, file: str) -> None:
    """What must hold before nodes are composed: composing recurses, in C, and a deep document would end the process."""
    depth = 0
    for event in yaml.parse(text, Loader=_Loader):
        line = event.start_mark.line + 1 if event.start_mark else None
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            if depth > MAX_DEPTH:
                raise InvalidDocument(f"is nested deeper than {MAX_DEPTH} levels", file=file, line=line)
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        if getattr(event, "tag", None) is not None:
            raise InvalidDocument("holds a tag (!…), and tags are not allowed", file=file, line=line)


def _check_size(root: yaml.Node, file: str) -> None:
    """Bound what aliases expand to, without expanding them. An anchor comes before its aliases, so that each node is
    measured before it is met again, except by an alias within itself."""
    measured: dict[int, tuple[int, int] | None] = {}

    def measure(node: yaml.Node) -> tuple[int, int]:
        if id(node) in measured:
            known = measured[id(node)]
            if known is None:
                raise InvalidDocument("holds an alias to something that it is part of", file=file, line=_line(node))
            return known
        measured[id(node)] = None
        inner = [measure(child) for child in _children(node)]
        size, depth = 1 + sum(s for s, _ in inner), 1 + max((d for _, d in inner), default=0)
        if size > MAX_VALUES or depth > MAX_DEPTH + 1:
            raise InvalidDocument("is too large or too deep once its aliases are expanded", file=file, line=_line(node))
        measured[id(node)] = (size, depth)
        return size, depth

    measure(root)


def _children(node: yaml.Node) -> Iterator[yaml.Node]:
    if isinstance(node, yaml.SequenceNode):
        yield from node.value
    elif isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            yield key
            yield value


def _flaws(root: yaml.Node) -> Iterator[tuple[str, int]]:
    """Every duplicate key, key that is no text and merge of something that is no mapping, each once."""
    seen: set[int] = set()
    waiting = [root]
    while waiting:
        node = waiting.pop()
        if id(node) in seen:
            continue
        seen.add(id(node))
        waiting.extend(_children(node))
        if isinstance(node, yaml.MappingNode):
            yield from _mapping_flaws(node)


def _mapping_flaws(node: yaml.MappingNode) -> Iterator[tuple[str, int]]:
    lines: dict[str, int] = {}
    for key, value in node.value:
        if not isinstance(key, yaml.ScalarNode):
            yield "a key must be text", _line(key)
        elif key.tag == _MERGE:
            if not all(isinstance(source, yaml.MappingNode) for source in _merged(value)):
                yield "'<<' needs a mapping or a list of mappings", _line(key)
        elif key.value in lines:
            yield f"the key {shown(key.value)} stands here and on line {lines[key.value]}", _line(key)
        else:
            lines[key.value] = _line(key)


def _merged(value: yaml.Node) -> list[yaml.Node]:
    return list(value.value) if isinstance(value, yaml.SequenceNode) else [value]


def _pairs(node: yaml.MappingNode) -> dict[str, tuple[yaml.Node, yaml.Node]]:
    """Key and value nodes by key; what is merged in stands behind what the mapping says itself."""
    merged: dict[str, tuple[yaml.Node, yaml.Node]] = {}
    own: dict[str, tuple[yaml.Node, yaml.Node]] = {}
    for key, value in node.value:
        if key.tag == _MERGE:
            for source in _merged(value):
                if isinstance(source, yaml.MappingNode):  # anything else was reported as a flaw
                    merged = {**_pairs(source), **merged}
        else:
            own[key.value] = (key, value)
    return {**merged, **own}


def _value(node: yaml.Node) -> object:
    if isinstance(node, yaml.MappingNode):
        return {name: _value(value) for name, (_, value) in _pairs(node).items()}
    if isinstance(node, yaml.SequenceNode):
        return [_value(item) for item in node.value]
    return _scalar(node.tag.removeprefix(_TAG), node.value)


def _scalar(kind: str, text: str) -> object:
    match kind:
        case "null":
            return None
        case "bool":
            return text.lower() == "true"
        case "int":
            return int(text)
        case "float":
            return float(text)
        case _:
            return text


def _unreadable(error: yaml.MarkedYAMLError, file: str) -> InvalidDocument:
    # `str(error)` would show the line itself.
    mark = error.problem_mark or error.context_mark
    said = ", ".join(part for part in (error.context, error.problem) if part)
    return InvalidDocument(f"is no YAML: {said or 'cannot be read'}", file=file,
                           line=None if mark is None else mark.line + 1)


def _line(node: yaml.Node) -> int:
    return int(node.start_mark.line) + 1


def shown(name: str) -> str:
    """A key as a message may show it: quoted, and not at any length."""
    return repr(name if len(name) <= 60 else name[:59] + "…")
