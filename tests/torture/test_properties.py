"""What holds whatever the values are, on many more of them than the other tests take."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.execute.test_properties import (
    INSTANCES,
    test_after_apply_nothing_is_to_be_done_and_every_copy_is_one_source,
    test_whatever_is_lost_or_changed_is_mended,
)
from tests.test_templates import ANY_TEXT, INSIDE, bad_name, check_inside

AT_ONCE = 20

after_apply = test_after_apply_nothing_is_to_be_done_and_every_copy_is_one_source.hypothesis.inner_test  # type: ignore[attr-defined]
mended = test_whatever_is_lost_or_changed_is_mended.hypothesis.inner_test  # type: ignore[attr-defined]
del test_after_apply_nothing_is_to_be_done_and_every_copy_is_one_source, test_whatever_is_lost_or_changed_is_mended


def often(request: pytest.FixtureRequest, whole: int, part: int) -> settings:
    return settings(max_examples=whole if request.config.getoption("torture") else part, deadline=None)


def test_none_of_100_000_strings_leaves_its_folder(request: pytest.FixtureRequest) -> None:
    @often(request, 100_000 // AT_ONCE, 100)
    @given(st.lists(ANY_TEXT, min_size=AT_ONCE, max_size=AT_ONCE), st.sampled_from(sorted(INSIDE)))
    def check(values: list[str], text: str) -> None:
        for value in values:
            check_inside(text, value, bad_name)

    check()


def test_after_apply_nothing_is_to_be_done_and_no_two_instances_share_a_destination(request: pytest.FixtureRequest) -> None:
    often(request, 200, 5)(given(INSTANCES, st.sampled_from(["error", "skip", "overwrite", "rename"]))(after_apply))()


def test_what_is_lost_or_changed_is_mended(request: pytest.FixtureRequest) -> None:
    often(request, 80, 5)(given(INSTANCES, st.data())(mended))()
