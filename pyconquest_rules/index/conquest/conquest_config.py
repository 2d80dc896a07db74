"""The three files with which a Conquest server serves an index: `dicom.ini`, `acrnema.map` and `dicom.sql`.

As measured on a Conquest 1.5.0e server: a source is a MAG device, `ObjectFile` counts from its root. The server has no key
that makes it read-only. `reject` refuses stores (0x0110); its character set is that of our rows.
"""

import os
from collections.abc import Mapping
from pathlib import Path

from pyconquest_rules.errors import UsageError

LONGEST_OBJECT_FILE = 255
"""What the server takes of `ObjectFile`, in bytes; it cannot serve an image whose path is longer."""

DICOM_INI = """\
# Serves {database}, which belongs to pyconquest-rules and is a cache.
#
# Stores are rejected (ImportConverter0). Deletes are NOT: this server deletes rows and FILES at the request of any node or
# web page that may reach it. Run it as a user who cannot write the folders below.
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
# Refuse what others store (status 0x0110).
ImportConverters         = 1
ImportConverter0         = reject
# Rows are UTF-8: answers to queries say so.
QueryResultConverter0    = set 0008,0005 to "ISO_IR 192"
MAGDeviceThreshhold      = 0
MAGDevices               = {number}
{devices}
"""

ACRNEMA_MAP = """\
/* AE title, host, port, compression of who may ask: add a line for each */
{ae_title}  127.0.0.1  {port}  un
"""


def files(database: Path, devices: Mapping[str, Path], dicom_sql: str, *, ae_title: str, port: int) -> dict[str, str]:
    """Return the files by name. `devices` are the MAG devices with the roots of their sources.

    Raises UsageError for a path that a line of `dicom.ini` cannot hold.
    """
    by_number = sorted(devices.items(), key=lambda device: int(device[0][3:]))
    for path in (database, *devices.values()):
        if not str(path).isprintable():  # the server would read the rest of a line as a key of its own
            raise UsageError("dicom.ini cannot hold a path with control characters or undecodable bytes; rename the folder")
    lines = [f"{'MAGDevice' + device[3:]:<24} = {os.path.join(root, '')}" for device, root in by_number]
    number = 1 + max((int(device[3:]) for device in devices), default=-1)
    names = {"database": database, "ae_title": ae_title, "port": port, "number": number, "devices": "\n".join(lines)}
    return {
        "dicom.ini": DICOM_INI.format(**names),
        "acrnema.map": ACRNEMA_MAP.format(**names),
        "dicom.sql": dicom_sql,
    }
