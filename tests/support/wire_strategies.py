"""Hypothesis strategies for any wire type, derived from the type itself: exactly the values that the protocol
allows."""

from typing import Any

import msgspec
from hypothesis import strategies as st
from msgspec import inspect

TEXT = st.characters(exclude_categories=["Cs"], exclude_characters="\0")
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(TEXT, max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(TEXT, max_size=4), inner, max_size=3),
    max_leaves=4,
)


def wire(type_: Any) -> st.SearchStrategy[Any]:
    """Make values of a wire type."""
    return _values(inspect.type_info(type_))


def _values(info: inspect.Type) -> st.SearchStrategy[Any]:
    match info:
        case inspect.StrType():
            if info.pattern:
                return st.from_regex(info.pattern, alphabet=TEXT)
            return st.text(TEXT, min_size=info.min_length or 0, max_size=min(info.max_length or 12, 12))
        case inspect.BytesType():
            return st.binary(max_size=12)
        case inspect.IntType():
            # The store has no room beyond 64 bits; types with a lower limit state it.
            return st.integers(info.ge if info.ge is not None else -(2**53), info.le if info.le is not None else 2**53)
        case inspect.FloatType():
            return st.floats(allow_nan=False, allow_infinity=False)
        case inspect.BytesType():
            return st.binary(max_size=12)
        case inspect.BoolType():
            return st.booleans()
        case inspect.NoneType():
            return st.none()
        case inspect.LiteralType():
            return st.sampled_from(info.values)
        case inspect.ListType():
            return st.lists(_values(info.item_type), min_size=info.min_length or 0, max_size=3)
        case inspect.DictType():
            return st.dictionaries(_values(info.key_type), _values(info.value_type), max_size=3)
        case inspect.UnionType():
            return st.one_of([_values(each) for each in info.types])
        case inspect.StructType():
            return st.builds(info.cls, **{field.name: _values(field.type) for field in info.fields})
        case inspect.RawType():
            return JSON.map(lambda value: msgspec.Raw(msgspec.json.encode(value)))
        case inspect.AnyType():
            return JSON
        case inspect.Metadata():
            return _values(info.type)
    raise NotImplementedError(info)
