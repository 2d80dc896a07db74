"""What is to be done of instances that go to nodes or come from them, by what the ledger says of them."""

# What the ledger says of an instance at a node. If two steps deliver one instance to one node, the second has nothing to do.
DECIDE_AT_NODES = """
INSERT INTO step SELECT number, action, CASE reason WHEN 'done' THEN 'unchanged' ELSE 'todo' END, reason,
    CASE WHEN nth > 1 THEN 'another step sends it' END, size, NULL, NULL
FROM (SELECT *, CASE
        WHEN nth > 1 THEN 'done'
        WHEN sent_size IS NULL THEN CASE WHEN failed THEN 'retry' ELSE 'new' END
        WHEN (sent_size, sent_mtime_ns) != (size, mtime_ns) THEN 'source-changed'
        WHEN sent_fingerprint != fingerprint THEN 'rule-changed'
        WHEN confirm AND NOT confirmed THEN 'unconfirmed'
        ELSE 'done' END AS reason
    FROM (SELECT w.number, w.action, w.size, w.mtime_ns, a.confirm, a.fingerprint || c.identity AS fingerprint,
            s.source_size AS sent_size, s.source_mtime_ns AS sent_mtime_ns, s.fingerprint AS sent_fingerprint, s.confirmed,
            x.target IS NOT NULL AS failed,
            row_number() OVER (PARTITION BY a.node, coalesce(w.delivered, w.SOPInstanceUID) ORDER BY w.number) AS nth
        FROM request AS w CROSS JOIN action AS a ON a.number = w.action CROSS JOIN recipe AS c ON c.number = w.recipe
            LEFT JOIN ledger.done AS s
                ON s.kind = 'instance' AND s.target = a.node AND s.member = coalesce(w.delivered, w.SOPInstanceUID)
            LEFT JOIN ledger.failed AS x
                ON x.kind = 'instance' AND x.target = a.node AND x.member = coalesce(w.delivered, w.SOPInstanceUID)
        WHERE a.kind = 'instance'))
"""

# Instances that the index has are done, as the requests say.
DECIDE_ARRIVALS = """
INSERT INTO step SELECT w.number, w.action,
    CASE WHEN w.message IS NOT NULL THEN 'blocked' WHEN w.reason = 'done' THEN 'unchanged' ELSE 'todo' END,
    coalesce(w.reason, CASE WHEN x.target IS NOT NULL THEN 'retry' ELSE 'new' END), w.message, w.size, NULL, NULL
FROM request AS w CROSS JOIN action AS a ON a.number = w.action
    LEFT JOIN ledger.failed AS x ON x.kind = 'arrival' AND x.target = a.node AND x.member = w.SOPInstanceUID
WHERE a.kind = 'arrival'
"""
