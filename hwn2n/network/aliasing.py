"""Writes into parts of a tensor: which exported graphs have them, and the same without them.

A layer graph knows no memory: an operation makes a new tensor and never changes another. In-place
calls become that where nobody reads the old tensor in another way; where somebody does, through a
view, torch's own functionalization rewrites the graph first.
"""

from __future__ import annotations

from torch import fx
from torch.export import ExportedProgram

from hwn2n.network.folding import CREATES


def functional(program: ExportedProgram) -> ExportedProgram:
    """The program without writes that a view shows elsewhere; itself, if it has none.

    Only then: the rewriting is exact, but it drops what does nothing in evaluation (dropout).
    """
    return program.run_decompositions({}) if writes_into_views(program.graph) else program


def writes_into_views(graph: fx.Graph) -> bool:
    """Is a tensor written into whose memory is read afterwards under another name?"""
    order = {node: i for i, node in enumerate(graph.nodes)}
    root: dict[fx.Node, fx.Node] = {}
    writes: list[tuple[fx.Node, fx.Node]] = []
    for node in graph.nodes:
        root[node] = node
        if node.op != "call_function" or not node.args or not isinstance(node.args[0], fx.Node):
            continue
        name = _name(node)
        written = name.endswith("_") and not name.startswith("__")
        if written:
            writes.append((node, node.args[0]))
        if written or name == "getitem" or _views(node):
            root[node] = root[node.args[0]]
    return any(_shows(node, target, root, order) for node, target in writes)


def _shows(
    write: fx.Node, target: fx.Node, root: dict[fx.Node, fx.Node], order: dict[fx.Node, int]
) -> bool:
    if _name(root[target]) in CREATES:
        return False  # computed at capture (`folding`)
    others = [node for node in root if root[node] is root[target] and node is not target]
    return any(
        order[node] < order[write] < order[user]
        for node in others
        for user in node.users
        if _name(user) != "sym_size"
    )


def _views(node: fx.Node) -> bool:
    """May what the operator gives be the memory of its first argument? Its schema says so."""
    schema = getattr(node.target, "_schema", None)
    return schema is not None and any(result.alias_info for result in schema.returns)


def _name(node: fx.Node) -> str:
    """`relu_` of `aten.relu_.default`."""
    target = str(node.target)
    if target == "<built-in function getitem>":
        return "getitem"
    return target.split(".")[1] if target.startswith("aten.") else ""
