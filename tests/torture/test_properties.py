"""What holds whatever the values are, on many more of them than the other tests take."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.any_template import ANY_TEXT, INSIDE, bad_name, check_inside
from tests.properties import INSTANCES, check_every_copy_is_one_source, check_repairs

AT_ONCE = 20


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
    often(request, 200, 5)(
        given(INSTANCES, st.sampled_from(["error", "skip", "overwrite", "rename"]))(check_every_copy_is_one_source)
    )()


def test_what_is_lost_or_changed_is_mended(request: pytest.FixtureRequest) -> None:
    often(request, 80, 5)(given(INSTANCES, st.data())(check_repairs))()
