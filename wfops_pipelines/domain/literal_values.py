"""Values of the source's variables that a promotion carries on as they are, as nobody knows that they are meant (§11.4).

Lift takes a value for its variable only where the promoted version is known to have had it there: elsewhere ``eu`` or
``api.dev`` may mean anything. So it goes on literally, and this says where. The values themselves are never shown.
"""

from __future__ import annotations

from collections.abc import Iterator

from wfops_pipelines.domain.normalize import STICKY_NOTE
from wfops_pipelines.domain.promotion_plan import LiteralValue
from wfops_pipelines.domain.transform_tables import EnvironmentTables
from wfops_pipelines.domain.transform_terms import place_text, texts
from wfops_pipelines.domain.transform_texts import values_in
from wfops_pipelines.domain.workflow import Content


def literal_values(key: str, portable: Content, source: EnvironmentTables,
                   target: EnvironmentTables) -> Iterator[LiteralValue]:
    """The places of ``portable``, the lifted content of the workflow ``key``, where a value of one of the source's variables
    is left. Where the target's variable has the same value it is right as it is."""
    values = {name: value for name, value in sorted(source.variables.items()) if target.variables.get(name) != value}
    if not values:
        return
    for node in portable["nodes"]:
        if node.get("type") == STICKY_NOTE:
            continue
        for text, place in texts(node.get("parameters"), ("parameters",)):
            for name in values_in(text, values):
                node_name, path = (shown.replace(values[name], "…") for shown in (node["name"], place_text(place)))
                yield LiteralValue(key, node_name, path, name)

