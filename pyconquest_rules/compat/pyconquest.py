"""`from pyconquest_rules.compat.pyconquest import pyconquest` instead of `from pyconquest import pyconquest`."""

from pyconquest_rules.compat.file_methods import FileMethods
from pyconquest_rules.compat.filters import RoiFilter
from pyconquest_rules.compat.index_methods import IndexMethods
from pyconquest_rules.compat.network_methods import NetworkMethods
from pyconquest_rules.compat.refused import InPlace
from pyconquest_rules.compat.report_methods import ReportMethods
from pyconquest_rules.compat.table_methods import TableMethods

__all__ = ["pyconquest"]


class pyconquest(IndexMethods, FileMethods, ReportMethods, TableMethods, NetworkMethods, RoiFilter, InPlace):
    """A folder of DICOM files and its index, with the methods of `pyconquest` 0.1.12. docs/migrate.md lists the differences."""
