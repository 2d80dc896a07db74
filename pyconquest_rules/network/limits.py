"""What is accepted from a peer at most, by callers and listeners alike. Tests name each: tests/torture/test_hostile_nodes.py.

A peer that goes beyond one of these gets its association aborted. Seconds follow the timeouts of its node, so that a rule that
changes these changes all of it.
"""

LONGEST_PDU = 1 << 24
"""Bytes of a PDU if `max_pdu` is 0; else that is the limit. The rules allow no longer one."""

LONGEST_COMMAND = 1 << 16
"""Bytes of a command set: its elements are a few UIDs, numbers and names (PS3.7 E)."""

LONGEST_DATA_SET = 4 << 30
"""Bytes of an instance that is retrieved by C-GET, as `max_message` of a listener by default."""

LONGEST_IDENTIFIER = 1 << 20
"""Bytes of a match or of a report of storage commitment: 500 instances, the most that are requested at once, take a tenth."""

LONGEST_ACTION = 1 << 24
"""Bytes of a request for storage commitment to a listener: some 100,000 instances."""

LONGEST_VALUE = 1 << 16
"""Bytes of one value of a match: what explicit VR has room for (PS3.5 7.1.2). A match with a longer one is skipped."""

LONGEST_UID = 128
"""Characters of a UID of a match: twice what the Standard allows, because archives have such. Others are skipped."""

MOST_EMPTY = 1000
"""Fragments without a byte within one message. They bring it no nearer to its end."""

LEAST_RATE = 4096
"""Bytes a second that a data set must come at, after one timeout: a modem does. Else one byte a time would take for ever."""

MOST_MATCHES = 100_000
"""Responses to one request. No series has so many instances; whoever has so many studies can query by date."""

MOST_AFTER_CANCEL = 10_000
"""Responses that still come after C-CANCEL, as those that were under way."""

MOST_RECEIVED = 1 << 30
"""Bytes of all responses to the queries of one `find`: some three million matches."""

MOST_REQUESTS = 100
"""Requests of a peer that nobody expects, such as C-ECHO while it answers C-FIND."""

MOST_SUBOPERATIONS = 200_000
"""Requests to store by one C-GET: each instance of a series, and as many again."""

MOST_REFUSED, MOST_REFUSED_BYTES = 1000, 16 << 30
"""Instances that one C-GET may bring and nobody keeps, beside as many as were requested, and their bytes.

They were not requested, came before, or cannot be kept. Mostly all instances of a series are wanted, so they are few.
"""

PATIENCE, SHARE = 10.0, 0.1
"""Timeouts that may be waited for a node on one association, beyond that of a single message; and more for each message.

A node that answers is slow at times; one that always takes nearly as long as it may is not waited for.
"""

MOST_STALLED = 8
"""Series in a row of which nothing came within the timeout, after which a node is not asked for more in that run."""
