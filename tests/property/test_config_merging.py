"""Laws of merging configurations."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from lavis.common.config import Config, merge_trees
from lavis.common.yaml_tree import Tree, parse_yaml

TEXTS = st.text(max_size=4).filter(lambda text: "${" not in text)
LISTS = st.lists(st.integers(0, 3), max_size=2)
LEAVES = st.one_of(st.none(), st.booleans(), st.integers(-9, 9), st.floats(allow_nan=False), TEXTS, LISTS)


def mappings(with_name: bool) -> st.SearchStrategy[dict[str, Any]]:
    """Nested mappings whose keys fix what they hold (a leaf under a, b; a mapping under p, q), as a schema would."""
    names = st.sampled_from(["one", "two"]) if with_name else st.nothing()

    def level(below: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
        return st.fixed_dictionaries({}, optional={"a": LEAVES, "b": LEAVES, "p": below, "q": below, "name": names})

    leaf = st.fixed_dictionaries({}, optional={"a": LEAVES, "b": LEAVES, "name": names})
    return level(level(leaf))


def tree(value: Any, source: str) -> Tree:
    origins = {}

    def walk(node: Any, at: tuple[Any, ...]) -> None:
        if isinstance(node, dict) and node:
            for key, item in node.items():
                walk(item, (*at, key))
        else:
            origins[at] = source

    walk(value, ())
    return Tree(value, origins)


def merged(*values: Any) -> Any:
    result = Tree({}, {})
    for value in values:
        result = merge_trees(result, Tree(value, {}))
    return result.value


def paths(node: Any, at: tuple[Any, ...] = ()) -> dict[tuple[Any, ...], Any]:
    if isinstance(node, dict) and node:
        return {k: v for key, item in node.items() for k, v in paths(item, (*at, key)).items()}
    return {at: node}


@given(mappings(True))
def test_empty_is_neutral_and_merging_with_oneself_changes_nothing(a: dict[str, Any]) -> None:
    assert merged(a, {}) == merged({}, a) == merged(a, a) == a


@given(mappings(False), mappings(False), mappings(False))
def test_merging_is_associative_where_no_name_changes(a: Any, b: Any, c: Any) -> None:
    assert merged(merged(a, b), c) == merged(a, merged(b, c))


@given(mappings(True), mappings(True))
def test_the_later_value_wins_and_nothing_is_invented(a: Any, b: Any) -> None:
    both = paths(merged(a, b))
    over = {k: v for k, v in paths(b).items() if v != {}}
    assert over.items() <= both.items()
    known = {**paths(a), **paths(b)}
    assert all(k in known for k in both if both[k] != {})


@given(mappings(True), mappings(True))
def test_a_changed_name_leaves_nothing_of_the_old_node(a: Any, b: Any) -> None:
    old, new = {"part": {**a, "name": "old"}}, {"part": {**b, "name": "new"}}
    assert merged(old, new) == new


@given(mappings(True), mappings(True))
def test_inputs_are_not_changed_and_nothing_is_shared(a: Any, b: Any) -> None:
    before = repr((a, b))
    result = merged(a, b)

    def spoil(node: Any) -> None:
        for item in list(node.values()) if isinstance(node, dict) else []:
            spoil(item)
        if isinstance(node, dict):
            node["spoiled"] = 1
        elif isinstance(node, list):
            node.append(9)

    spoil(result)
    assert repr((a, b)) == before


@given(mappings(True), mappings(True))
def test_every_leaf_has_the_origin_of_its_value(a: Any, b: Any) -> None:
    result = merge_trees(merge_trees(Tree({}, {}), tree(a, "a")), tree(b, "b"))
    leaves = paths(result.value)
    assert set(result.origins) - {()} == set(leaves) - {()}
    sources = {"a": paths(a), "b": paths(b)}
    for key, origin in result.origins.items():
        if key:
            assert sources[origin].get(key, {}) == leaves[key]


@settings(max_examples=50)
@given(mappings(True))
def test_saved_trees_read_back(a: Any) -> None:
    assert parse_yaml(Config.from_mapping(a).to_yaml(), "saved").value == a
    assert parse_yaml(Config.from_mapping(a).to_yaml(origins=True), "saved").value == a
