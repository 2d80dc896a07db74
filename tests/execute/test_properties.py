"""What holds whatever the values of the instances are."""

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.properties import INSTANCES, check_every_copy_is_one_source, check_repairs


@settings(max_examples=25, deadline=None)
@given(INSTANCES, st.sampled_from(["error", "skip", "overwrite", "rename"]))
def test_after_apply_nothing_is_to_be_done_and_every_copy_is_one_source(
    instances: list[tuple[str | None, int | None]], on_conflict: str
) -> None:
    check_every_copy_is_one_source(instances, on_conflict)


@settings(max_examples=10, deadline=None)
@given(INSTANCES, st.data())
def test_whatever_is_lost_or_changed_is_mended(instances: list[tuple[str | None, int | None]], data: st.DataObject) -> None:
    check_repairs(instances, data)
