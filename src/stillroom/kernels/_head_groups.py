"""Groups of attention heads that become one head, and what every kernel over them refuses."""

from collections.abc import Sequence

from stillroom.core.errors import BadInput

Groups = Sequence[Sequence[int]]
"""Group by group, heads by number."""


def check_groups(groups: Groups, heads: int) -> None:
    """Lists of different existing heads, none of them empty."""
    for group in groups:
        if not group or len(set(group)) < len(group) or min(group) < 0 or max(group) >= heads:
            raise BadInput(
                f"expected every group to list at least one of the heads 0 to {heads - 1}, none of them twice, "
                f"got {list(group)}."
            )
