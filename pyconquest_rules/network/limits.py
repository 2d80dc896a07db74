"""The limits of what is accepted from a peer, for SCU and SCP alike. tests/torture/test_hostile_nodes.py tests each one.

If a peer exceeds a limit, its association is aborted. Time limits are multiples of the timeouts of its node.
"""

LONGEST_PDU = 1 << 24
"""Bytes of a PDU if `max_pdu` is 0; else `max_pdu` is the limit. The rules allow no larger `max_pdu`."""

LONGEST_COMMAND = 1 << 16
"""Bytes of a command set: its elements are a few UIDs, numbers and names (PS3.7 E)."""

LONGEST_DATA_SET = 4 << 30
"""Bytes of an instance that is retrieved by C-GET, as `max_message` of a listener by default."""

LONGEST_IDENTIFIER = 1 << 20
"""Bytes of a match or of a report of storage commitment. A report on 500 instances, the most in one request, has a tenth."""

LONGEST_ACTION = 1 << 24
"""Bytes of a request for storage commitment to a listener: some 100,000 instances."""

LONGEST_VALUE = 1 << 16
"""Bytes of one value of a match: the limit of explicit VR (PS3.5 7.1.2). A match with a longer value is skipped."""

LONGEST_UID = 128
"""Characters of a UID of a match: twice the limit of the Standard, because archives have such UIDs. Others are skipped."""

MOST_EMPTY = 1000
"""Empty fragments in one message."""

LEAST_RATE = 4096
"""Bytes a second of a data set, after one timeout. A peer that sends single bytes would else take forever."""

MOST_MATCHES = 100_000
"""Responses to one request. No series has so many instances; for so many studies, query by date."""

MOST_AFTER_CANCEL = 10_000
"""Responses after C-CANCEL, which may already be on their way."""

MOST_RECEIVED = 1 << 30
"""Bytes of all responses to the queries of one `find`: about three million matches."""

MOST_REQUESTS = 100
"""Unexpected requests of a peer, such as C-ECHO while it answers C-FIND."""

MOST_SUBOPERATIONS = 200_000
"""C-STORE requests during one C-GET: twice the largest number of instances of a series."""

MOST_REFUSED, MOST_REFUSED_BYTES = 1000, 16 << 30
"""Instances, beyond the requested number, that one C-GET may send and that are not stored; and their bytes.

They were not requested, arrived before, or cannot be stored. Usually all instances of a series are requested, so they are few.
"""

PATIENCE, SHARE = 10.0, 0.1
"""Waiting time on one association, in timeouts: in total, and more for each message.

A node may be slow at times, but not take nearly a whole timeout for every message.
"""

MOST_STALLED = 8
"""Series in a row of which no instance arrived in time. After these, the run requests no more from the node."""
