"""The three files with which a Conquest server serves an index: `dicom.ini`, `acrnema.map` and `dicom.sql`.

As measured on a Conquest 1.5.0e server: a source is a MAG device, `ObjectFile` counts from its root.
"""

import os
from collections.abc import Mapping
from pathlib import Path

DICOM_INI = """\
# Serves {database} read-only: the index belongs to pyconquest-rules, and is a cache.
[sscscp]
MicroPACS                = sscscp
MyACRNema                = {ae_title}
TCPPort                  = {port}
ACRNemaMap               = acrnema.map
kFactorFile              = dicom.sql
SQLite                   = 1
SQLHost                  = localhost
SQLServer                = {database}
DoubleBackSlashToDB      = 0
UseEscapeStringConstants = 0
ReadOnly                 = 1
IndexDBF                 = 0
MAGDeviceThreshhold      = 0
MAGDevices               = {number}
{devices}
"""

ACRNEMA_MAP = """\
/* AE title, host, port, compression of who may ask: add a line for each */
{ae_title}  127.0.0.1  {port}  un
"""


def files(database: Path, devices: Mapping[str, Path], dicom_sql: str, *, ae_title: str, port: int) -> dict[str, str]:
    """The files by name. `devices` are the MAG devices of the index with the roots of their sources."""
    by_number = sorted(devices.items(), key=lambda device: int(device[0][3:]))
    lines = [f"{'MAGDevice' + device[3:]:<24} = {os.path.join(root, '')}" for device, root in by_number]
    number = 1 + max((int(device[3:]) for device in devices), default=-1)
    names = {"database": database, "ae_title": ae_title, "port": port, "number": number, "devices": "\n".join(lines)}
    return {
        "dicom.ini": DICOM_INI.format(**names),
        "acrnema.map": ACRNEMA_MAP.format(**names),
        "dicom.sql": dicom_sql,
    }
