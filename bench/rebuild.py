"""The whole index with pyconquest 0.1.12, in the current folder: `python -m bench.rebuild TREE DICOM_SQL`. Prints its images.

Called as its README does. It keeps every row by a transaction of its own, and its log in the current folder.
"""

import sys

from pyconquest import pyconquest


def main(tree: str, dicom_sql: str) -> int:
    """Makes `conquest.db`; gives the number of images in it."""
    index = pyconquest(data_directory=tree, sql_inifile_name=dicom_sql, database_filename="conquest.db")
    index.create_standard_dicom_tables()
    index.rebuild_database_from_dicom()
    return int(index.execute_db_query("select count(*) as images from dicomimages")[0]["images"])


if __name__ == "__main__":
    print(main(*sys.argv[1:]))
