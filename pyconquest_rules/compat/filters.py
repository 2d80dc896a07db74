"""Filter the names of ROIs."""

import re
from collections.abc import Iterable, Sequence


class RoiFilter:
    """Patterns that exclude names, and patterns of which one must match. All match from the start of a name."""

    roi_filter_flags: re.RegexFlag | int = re.IGNORECASE
    exclude_filter: list[str] = [r"^Z\d", r"^Ext", "ISOC", "QME", "NP"]  # noqa: RUF012 - as in pyconquest, for scripts to extend
    include_filter: list[str] = [""]  # noqa: RUF012

    def set_roi_filter(
        self,
        exclude: str | Sequence[str] = [""],
        include: str | Sequence[str] = [""],
        roi_filter_flags: re.RegexFlag | int = re.IGNORECASE,
    ) -> None:
        """Set the patterns. An empty first pattern of `exclude` excludes nothing; an empty pattern of `include` matches all."""
        self.exclude_filter = [exclude] if isinstance(exclude, str) else list(exclude)
        self.include_filter = [include] if isinstance(include, str) else list(include)
        self.roi_filter_flags = roi_filter_flags

    def filter_roinames(self, roinames: Iterable[str]) -> list[str]:
        """Return the included names, in the order of the patterns of `include`. A name that matches two patterns comes twice."""
        exclude = self.exclude_filter if self.exclude_filter and self.exclude_filter[0] else ()
        kept = [name for name in roinames if not any(self._fits(pattern, name) for pattern in exclude)]
        return [name for pattern in self.include_filter for name in kept if self._fits(pattern, name)]

    def _fits(self, pattern: str, name: str) -> bool:
        return re.match(pattern, name, self.roi_filter_flags) is not None
