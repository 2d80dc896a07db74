"""The three files by which a Conquest server serves an index: `dicom.ini`, `acrnema.map` and `dicom.sql`.

Measured on a Conquest 1.5.0e server: a source is a MAG device, and `ObjectFile` is relative to its root. The server has no
option that makes it read-only. The converter `reject` rejects stores (status 0x0110).
"""

import os
from collections.abc import Mapping
from pathlib import Path

from pyconquest_rules.errors import UsageError

LONGEST_OBJECT_FILE = 255
"""The limit of the server on `ObjectFile`, in bytes. It cannot serve an image with a longer path."""

DICOM_INI = """\
# Serves {database}, which belongs to pyconquest-rules and is a cache.
#
# Stores are rejected (ImportConverter0). Deletes are NOT: this server deletes rows and FILES for any node or web page that
# can reach it. Run it as a user who cannot write to the folders below.
# Start it with:  dgate -v -w/the/folder/of/this/file  (without -w it reads the folder of the program itself)
# Copy dgate.dic of the server's distribution into this folder.
[sscscp]
MicroPACS                = sscscp
MyACRNema                = {ae_title}
TCPPort                  = {port}
ACRNemaMap               = acrnema.map
kFactorFile              = dicom.sql
Dictionary               = dgate.dic
SQLite                   = 1
SQLHost                  = localhost
SQLServer                = {database}
DoubleBackSlashToDB      = 0
UseEscapeStringConstants = 0
IndexDBF                 = 0
# Reject C-STORE requests (status 0x0110).
ImportConverters         = 1
ImportConverter0         = reject
# Rows are UTF-8, and so are the answers to queries.
QueryResultConverter0    = set 0008,0005 to "ISO_IR 192"
MAGDeviceThreshhold      = 0
MAGDevices               = {number}
{devices}
"""

ACRNEMA_MAP = """\
/* AE title, host, port and compression of each node that may query: add a line for each */
{ae_title}  127.0.0.1  {port}  un
"""


def files(database: Path, devices: Mapping[str, Path], dicom_sql: str, *, ae_title: str, port: int) -> dict[str, str]:
    """Return the text of each file by name. `devices` has the root of each MAG device.

    Raises UsageError for a path that cannot be written in a line of `dicom.ini`.
    """
    by_number = sorted(devices.items(), key=lambda device: int(device[0][3:]))
    for path in (database, *devices.values()):
        if not str(path).isprintable():  # the server would read the text after a line break as another key
            raise UsageError("dicom.ini cannot hold a path with control characters or undecodable bytes; rename the folder")
    lines = [f"{'MAGDevice' + device[3:]:<24} = {os.path.join(root, '')}" for device, root in by_number]
    number = 1 + max((int(device[3:]) for device in devices), default=-1)
    names = {"database": database, "ae_title": ae_title, "port": port, "number": number, "devices": "\n".join(lines)}
    return {
        "dicom.ini": DICOM_INI.format(**names),
        "acrnema.map": ACRNEMA_MAP.format(**names),
        "dicom.sql": dicom_sql,
    }
