"""From a configuration node to an object: the constructor's signature is the schema."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from lavis.common.binding import shaped
from lavis.common.registry import Registry
from lavis.common.signatures import hints_of
from lavis.common.yaml_tree import ConfigError

T = TypeVar("T")


def build_part(registry: Registry[T], node: Mapping[str, Any] | str, where: str, **wiring: Any) -> T:
    """The registered part a node names, built from the node's other fields.

    Args:
        registry: of the part's kind.
        node: ``{name: ..., field: value}``, or only the name.
        where: dotted key, for messages.
        wiring: arguments the assembly passes (widths, tokenizers); ones the constructor does not take are left out.

    Raises:
        UnknownEntryError: if the name is not registered.
        ConfigError: if a field is unknown, missing or has a value the constructor refuses.
    """
    fields = {"name": node} if isinstance(node, str) else dict(node)
    name = fields.pop("name", None)
    if not isinstance(name, str):
        raise ConfigError(f"{where} needs a 'name': one of {', '.join(registry.names())}")
    entry = registry.get(name, where)
    taken = set(getattr(entry, "wiring", ()))
    return construct(entry, fields, where, **{key: value for key, value in wiring.items() if key in taken})


def construct(entry: Callable[..., T], fields: Mapping[str, Any], where: str, **wiring: Any) -> T:
    """Calls ``entry`` with ``fields``; a mapping given for a dataclass-typed argument becomes that dataclass.

    Raises:
        ConfigError: if the fields do not fit, or the constructor refuses a value; the message begins with ``where``.
    """
    hints = hints_of(entry)
    try:
        arguments = {key: shaped(value, hints.get(key, Any)) for key, value in fields.items()}
        return entry(**arguments, **wiring)
    except TypeError as error:
        if "argument" not in str(error):
            raise
        raise ConfigError(f"{where}: {error}") from error
    except ConfigError:
        raise
    except ValueError as error:
        raise ConfigError(f"{where}: {error}") from error

