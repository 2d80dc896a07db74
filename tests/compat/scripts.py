"""Scripts as users of pyconquest wrote them: every example of its README that needs no network, and its other methods.

Each runs in a folder of its own, which has the files of examples/quickstart in `data` and a dicom.sql as `layout.sql`; once with
the class of pyconquest 0.1.12, once with ours. So nothing but the standard library is imported here. What a script gives back
is compared, and so are the files and the database that it leaves.
"""

import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

CT5N = "1.3.6.1.4.1.5962.1.1.0.0.0.1194734704.16302.0.6"
CT2 = "1.3.6.1.4.1.5962.1.1.0.0.0.1196530851.28319.0.2"

Script = Callable[[Any], Any]


def rebuild(pyconquest: Any) -> Any:
    c = pyconquest()
    c.create_standard_dicom_tables()
    nr_files = c.rebuild_database_from_dicom()
    return nr_files


def rebuild_again(pyconquest: Any) -> Any:
    c = pyconquest(data_directory="store")
    c.store_dicom_files_from_directory("data", sopinstance_as_filename=True)
    shutil.copytree("data/clinic", "store/4MR1/more")
    c.close_db()
    c.connect_db()
    return [
        c.rebuild_database_from_dicom(),
        c.rebuild_database_from_dicom(compute_only_missing=False),
        c.rebuild_database_from_dicom(mrn="4MR1"),
        c.rebuild_database_from_dicom(mrn="4MR1", compute_only_missing=False),
        c.rebuild_database_from_dicom(mrn="nobody"),
    ]


def rebuild_one_patient(pyconquest: Any) -> Any:
    c = pyconquest(data_directory="data/hospital")
    return [c.rebuild_database_from_dicom(mrn="77654033"), c.rebuild_database_from_dicom(mrn="77654033", check_existing=True)]


def summary(pyconquest: Any) -> Any:
    c = pyconquest()
    c.rebuild_database_from_dicom()
    return [
        c.dicom_series_summary(orderby="patientid"),
        c.dicom_series_summary(orderby="nrCT desc, patientid", print_summary=False),
    ]


def names_of_ones_own(pyconquest: Any) -> Any:
    shutil.copytree("data", "data2")
    shutil.copy("layout.sql", "dicom2.sql")
    c = pyconquest(data_directory="data2", sql_inifile_name="dicom2.sql", database_filename="test.db", connect_and_read_sql=True)
    nr_files = c.rebuild_database_from_dicom()
    return [nr_files, c.dicom_series_summary(orderby="patientid")]


def store_a_file(pyconquest: Any) -> Any:
    c = pyconquest(data_directory="store")
    c.store_dicom_file("data/clinic/CT_small.dcm")
    c.store_dicom_file("data/clinic/CT_small.dcm")
    c.store_dicom_file("data/clinic/MR_small.dcm", remove_after_store=True)
    c.store_dicom_file("data/clinic/rtplan.dcm", sopinstance_as_filename=True)
    c.store_dicom_file("data/phantom/notes.txt")
    return c.last_seriesuid_loaded


def store_a_folder(pyconquest: Any) -> Any:
    Path("unpack").mkdir()
    Path("incoming").mkdir()
    with zipfile.ZipFile("incoming/packed.zip", "w") as packed:
        for file in sorted(Path("data/clinic").iterdir()):
            packed.write(file, file.name)
    c = pyconquest(data_directory="store")
    return [
        c.store_dicom_files_from_directory("data/hospital", remove_after_store=True),
        c.store_dicom_files_from_directory("incoming"),
        c.store_dicom_files_from_directory("nowhere"),
    ]


def query(pyconquest: Any) -> Any:
    c = pyconquest()
    c.rebuild_database_from_dicom()
    return [
        sorted(c.execute_db_query("select * from dicomseries where modality='CT'", return_list_from_col="SeriesInst")),
        sorted(c.execute_db_query("Select Objectfile from DICOMimages where Modality='RTDOSE'"), key=str),
        c.execute_db_query(f'select count(*) as nr from dicomimages where seriesinst="{CT5N}"'),
        c.execute_db_query("select a from nowhere"),
        c.execute_db_query("update dicomseries set stationnam='here'"),
        c.execute_db_query("select distinct stationnam from dicomseries"),
        c.execute_db_query("create table mine (a int)"),
        c.execute_db_query("insert into mine values (1)"),
        c.execute_db_query("select * from mine"),
    ]


def copy_a_series(pyconquest: Any) -> Any:
    c = pyconquest()
    c.rebuild_database_from_dicom()
    copies = c.copy_dicom_files_to_dest(seriesuid=CT5N, destination="data2/hallo")
    return [
        sorted(copies),
        c.copy_dicom_files_to_dest(seriesuid="1.2.3", destination="data2/nothing"),
        c.copy_dicom_files_to_dest(seriesuid=[CT5N, CT2], destination="data2/both"),
        c.copy_dicom_files_to_dest(seriesuid=CT2, destination="data2/patients", UseSubDirectories=True),
        c.copy_dicom_files_to_dest(destination="data2"),
    ]


def copy_all_cts(pyconquest: Any) -> Any:
    c = pyconquest()
    c.rebuild_database_from_dicom()
    query = "select seriesinst,* from dicomseries where modality='CT'"
    result = c.execute_db_query(query)
    for r in result:
        seriesinst = r["SeriesInst"]
        dest = """{}/{}""".format("CTdata", r["SeriesPat"])
        c.copy_dicom_files_to_dest(seriesuid=seriesinst, destination=dest)
    by_query = "select seriesinst from dicomseries where modality='CT'"
    return [len(result), c.copy_dicom_files_to_dest(query=by_query, destination="CTs", UseSubDirectories=True)]


def add_a_column(pyconquest: Any) -> Any:
    c = pyconquest(sql_inifile_name="dicom.sql", loglevel="INFO")
    c.add_column_to_database(tablename="DICOMpatients", column_definition=["0x0020", "0x000d", "StudyInst"])
    c.add_column_to_database(
        tablename="DICOMimages",
        column_definition=[
            ["0x300a", "0x0070", "BeamDose0", 0, "0x300c", "0x0004", 0, "0x300a", "0x0084"],
            ["0x300a", "0x00b0", "NameOfTheFirstBeam", 0, "0x300a", "0x00c2"],
        ],
    )
    c.add_column_to_database(tablename="nowhere", column_definition=["0x0020", "0x000d", "StudyInst"])
    c.create_standard_dicom_tables()
    c.rebuild_database_from_dicom()
    return [
        sorted(c.execute_db_query("select patientid, studyinst from dicompatients where patientid != '98890234'"), key=str),
        c.execute_db_query("select beamdose0, nameofthefirstbeam from dicomimages where modality='RTPLAN'"),
    ]


def delete(pyconquest: Any) -> Any:
    c = pyconquest()
    c.rebuild_database_from_dicom()
    given = [
        c.delete_series(seriesuid=CT2),
        c.delete_series(seriesuid="1.2.3"),
        c.delete_series(seriesuid=[CT5N], delete_files=True),
        c.delete_series(query="select * from dicomseries where modality='RTDOSE'"),
        c.delete_series(mrn="1CT1", delete_files=True),
        c.delete_series(mrn="1CT1"),
        c.delete_series(query="select seriesinst from dicomseries where modality='RTSTRUCT'", delete_only_files=True),
    ]
    return [*given, c.dicom_series_summary(orderby="patientid")]


def deleted_stays_deleted(pyconquest: Any) -> Any:
    c = pyconquest(data_directory="store")
    c.store_dicom_files_from_directory("data/hospital")
    c.delete_series(seriesuid=CT5N)
    c.delete_series(seriesuid=CT2)
    c.execute_db_query("delete from dicomimages where seriesinst in (select seriesinst from dicomseries where modality='MR')")
    c.close_db()
    c = pyconquest(data_directory="store")  # the old object would skip the series that it loaded last
    return [c.rebuild_database_from_dicom(), c.execute_db_query("select count(*) as nr from dicomimages")]


def tables_of_ones_own(pyconquest: Any) -> Any:
    Path("plans.csv").write_text('MRN;aantal fracties;remark\n98890234;20;"left, upper"\n77654033;5;none\n', encoding="utf-8")
    c = pyconquest()
    c.rebuild_database_from_dicom()
    c.insert_dict("facts", {"name": "one", "a-number": 1})
    c.insert_dict("facts", {"name": "two", "a-number": 2})
    c.insert_dict("counts", {"name": "one", "nr": 5}, exceptions={"nr": "int"}, default_format="text")
    c.load_csv_to_table("plans.csv", "plans", key_translation={"aantal fracties": "aantal_fracties", "A": "B"})
    c.load_csv_to_table("nothing.csv", "nothing")
    c.execute_db_query(c.create_buildquery("built", {"a-b": 1, "c": 2}, exceptions={"c": "int"}))
    c.execute_db_query(c.create_insertquery("built", {"a-b": "x", "c": 2}))
    c.dump_data_to_csv(table=["facts", "plans"], filename_dict={"facts": "facts_file"})
    c.dump_data_to_csv(query="select patientid from dicompatients order by 1", filename="patients.csv", delimiter=";")
    c.dump_data_to_csv(query="select 1 as a from facts where 0", filename="none.csv")
    c.create_standard_dicom_tables()
    return [
        c.create_buildquery("built", {"a-b": 1, "c": 2}, exceptions={"c": "int"}),
        *(c.execute_db_query(f"select * from {table}") for table in ("facts", "counts", "plans", "built")),
        c.execute_db_query("select count(*) as nr from dicomseries"),
    ]


def slices(pyconquest: Any) -> Any:
    c = pyconquest()
    c.rebuild_database_from_dicom()
    wanted = "N_slices,min_sliceposition,max_sliceposition,ScanRange,SliceThickness,UniqueSliceDistance"
    odd = c.analyse_images()
    return [sorted(odd), c.execute_db_query(f"select {wanted} from dicomseries where seriesinst='{CT5N}'")]


def names_and_values(pyconquest: Any) -> Any:
    c = pyconquest(connect_and_read_sql=False)
    names = ["PTV", "ptv2", "Z1", "External", "isocenter", "npart", "Lung_L", "GTV"]
    kinds = [type(c.include_filter).__name__, type(c.exclude_filter).__name__]
    found = [c.filter_roinames(names), c.exclude_filter + ["Lung"], c.include_filter + ["GTV"], kinds]  # noqa: RUF005 - as scripts do
    c.exclude_filter = c.exclude_filter + ["Lung"]  # noqa: RUF005
    found.append(c.filter_roinames(names))
    c.set_roi_filter(exclude="lung", include=["PTV", "P", "GTV"])
    found.append(c.filter_roinames(names))
    c.set_roi_filter(exclude=["PTV"], include=[""], roi_filter_flags=0)
    found.append(c.filter_roinames(names))
    c.exclude_filter.append("Z")
    c.include_filter.extend(["GTV"])
    found += [c.filter_roinames(names), c.exclude_filter]
    c.include_filter.remove("")
    found += [c.filter_roinames(names), c.include_filter]
    value = str(c.read_single_tag("data/clinic/CT_small.dcm", ("0x0010", "0x0020")))
    nothing = c.read_single_tag("data/clinic/CT_small.dcm")
    listed = [c.get_list_of_filenames(filename="a.dcm"), c.get_list_of_filenames(filename=["a", "b"]), c.get_list_of_filenames()]
    return [found, value, nothing, listed, c.database_postprocessing()]


def write_tags(pyconquest: Any) -> Any:
    from pydicom import dcmread  # both environments have it

    c = pyconquest()
    dataset = dcmread("data/clinic/rtplan.dcm")
    c.write_tags(dataset, "clinic/rtplan.dcm")
    dataset.PatientID = "other"
    c.write_tags(dataset, "clinic/rtplan.dcm")
    c.write_tags(dcmread("data/clinic/CT_small.dcm"), filename="clinic/CT_small.dcm", check_existing=False)
    return sorted(c.execute_db_query("select patientid from dicompatients"), key=str)


SCRIPTS: dict[str, Script] = {
    script.__name__: script
    for script in (
        *(rebuild, rebuild_again, rebuild_one_patient, summary, names_of_ones_own, store_a_file, store_a_folder, query),
        *(copy_a_series, copy_all_cts, add_a_column, delete, deleted_stays_deleted, tables_of_ones_own, slices),
        *(names_and_values, write_tags),
    )
}
