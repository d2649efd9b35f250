"""The parameter `variants`: sizes and names."""

import pytest

from models.backends.errors import BadRequest
from models.stages.variants import named_sizes, read_variants


@pytest.mark.parametrize(
    ("text", "sizes"),
    [
        ("", ()),
        (" , ;", ()),
        ("900x383", ((900, 383),)),
        ("900 × 383, 16X4096；4096*16", ((900, 383), (16, 4096), (4096, 16))),
        ("20x20、20x20\n30x30", ((20, 20), (30, 30))),
        (",".join(f"{side}x20" for side in range(20, 32)), tuple((side, 20) for side in range(20, 32))),
    ],
)
def test_sizes_are_read_each_once(text: str, sizes: tuple[tuple[int, int], ...]) -> None:
    assert read_variants(text) == sizes


def test_a_name_is_read_in_any_case_with_hyphens_or_underscores() -> None:
    name, size = next((name, size) for name, size in named_sizes().items() if "-" in name)
    assert read_variants(f"{name.upper()}, {name.replace('-', '_')}") == ((size.width, size.height),)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("15x20", "“15x20” in `variants` is too small or too large. Give sides between 16 and 4096 pixels."),
        ("20x15", "“20x15” in `variants` is too small or too large. Give sides between 16 and 4096 pixels."),
        ("4097x20", "“4097x20” in `variants` is too small or too large. Give sides between 16 and 4096 pixels."),
        ("20x4097", "“20x4097” in `variants` is too small or too large. Give sides between 16 and 4096 pixels."),
        (",".join(f"{side}x20" for side in range(20, 33)), "`variants` names 13 sizes. Name at most 12."),
    ],
)
def test_sizes_beyond_a_bound_are_refused(text: str, said: str) -> None:
    with pytest.raises(BadRequest) as refused:
        read_variants(text)
    assert str(refused.value) == said


def test_an_unknown_name_is_refused_with_those_like_it() -> None:
    with pytest.raises(BadRequest) as refused:
        read_variants("wechat-covre" + "x" * 80)
    assert str(refused.value).startswith(
        f"“wechat-covre{'x' * 68}” in `variants` is neither a size nor a known name. Write"
    )
