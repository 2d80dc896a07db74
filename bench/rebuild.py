"""Build an index with pyconquest 0.1.12 in the current folder: `python -m bench.rebuild TREE DICOM_SQL`.

It prints the number of images. pyconquest is called as in its README. It writes each row in its own transaction, and its log into
the current folder.
"""

import sys

from pyconquest import pyconquest


def main(tree: str, dicom_sql: str) -> int:
    """Make `conquest.db`, and return the number of images in it."""
    index = pyconquest(data_directory=tree, sql_inifile_name=dicom_sql, database_filename="conquest.db")
    index.create_standard_dicom_tables()
    index.rebuild_database_from_dicom()
    return int(index.execute_db_query("select count(*) as images from dicomimages")[0]["images"])


if __name__ == "__main__":
    print(main(*sys.argv[1:]))
