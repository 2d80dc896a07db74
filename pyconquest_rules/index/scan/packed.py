"""The files of an index that are members of archives. They come and go with their archives, which alone are compared."""

from sqlite3 import Connection

from pyconquest_rules.archives.names import SEPARATOR, is_archive

TABLE = "CREATE TEMP TABLE archives (device TEXT, path BLOB, size INT, mtime_ns INT, PRIMARY KEY (device, path)) WITHOUT ROWID"
"""The archives whose members are to be read."""

BELOW = "device = ?1 AND path > CAST(?2 AS TEXT) AND path < CAST(?3 AS TEXT)"
"""The files of the index between the paths of `_ends`: the members of an archive."""

VANISHED = """
SELECT count(*) FROM temp.gone AS g WHERE instr(path, x'2F2F') AND EXISTS (
    SELECT 1 FROM temp.archives AS a WHERE a.device = g.device AND a.path = substr(g.path, 1, instr(g.path, x'2F2F') - 1))
AND NOT EXISTS (SELECT 1 FROM rules_files AS f WHERE f.device = g.device AND f.path = CAST(g.path AS TEXT))
"""


def members(connection: Connection, device: str, archive: bytes | None = None) -> int:
    """Return the number of known members of an archive, which is 0 for any other file; or of all archives of a device."""
    if archive is None:
        query, given = "SELECT count(*) FROM rules_files WHERE device = ? AND instr(path, '//')", (device,)
        return int(connection.execute(query, given).fetchone()[0])
    if not is_archive(archive):
        return 0
    return int(connection.execute(f"SELECT count(*) FROM rules_files WHERE {BELOW}", (device, *_ends(archive))).fetchone()[0])


def follow(connection: Connection) -> None:
    """Note that the members of archives that are gone, or kept, are so too. Whoever reads an archive reads all members."""
    for table in ("gone", "kept"):
        found = connection.execute(f"SELECT device, path FROM temp.{table}")
        archives = [(device, *_ends(path)) for device, path in found if is_archive(path)]
        known = f"SELECT device, CAST(path AS BLOB) FROM rules_files WHERE {BELOW}"
        connection.executemany(f"INSERT OR IGNORE INTO temp.{table} {known}", archives)
        connection.executemany("DELETE FROM temp.to_read WHERE device = ?1 AND path > ?2 AND path < ?3", archives)


def vanished(connection: Connection) -> int:
    """Return how many members the archives that were read have no more."""
    return int(connection.execute(VANISHED).fetchone()[0])


def _ends(archive: bytes) -> tuple[bytes, bytes]:
    """Return the paths between which those of its members are."""
    return archive + SEPARATOR, archive + SEPARATOR[:-1] + bytes([SEPARATOR[-1] + 1])
