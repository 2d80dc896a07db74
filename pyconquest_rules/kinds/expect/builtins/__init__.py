"""The builtin expectations, one module each, and the list of them."""

from collections.abc import Mapping

from pyconquest_rules.kinds.expect.builtins.builtin import Builtin, Name
from pyconquest_rules.kinds.expect.builtins.no_burned_in import NO_BURNED_IN
from pyconquest_rules.kinds.expect.builtins.no_conflicts import NO_CONFLICTS
from pyconquest_rules.kinds.expect.builtins.no_contradictions import NO_CONTRADICTIONS
from pyconquest_rules.kinds.expect.builtins.one_volume import ONE_VOLUME
from pyconquest_rules.kinds.expect.builtins.readable import READABLE
from pyconquest_rules.kinds.expect.builtins.rt_chain import RT_CHAIN
from pyconquest_rules.kinds.expect.builtins.timepoints import TIMEPOINTS
from pyconquest_rules.kinds.expect.builtins.unique_instance_numbers import UNIQUE_INSTANCE_NUMBERS

BUILTINS: Mapping[Name, Builtin] = {
    Name.RT_CHAIN: RT_CHAIN,
    Name.ONE_VOLUME: ONE_VOLUME,
    Name.UNIQUE_INSTANCE_NUMBERS: UNIQUE_INSTANCE_NUMBERS,
    Name.NO_CONFLICTS: NO_CONFLICTS,
    Name.NO_CONTRADICTIONS: NO_CONTRADICTIONS,
    Name.NO_BURNED_IN: NO_BURNED_IN,
    Name.TIMEPOINTS: TIMEPOINTS,
    Name.READABLE: READABLE,
}
