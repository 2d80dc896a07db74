"""Rules files that attack the program."""

HALF = 1 << 19
SET = '[select.s]\nlevel = "image"\nwhere = "1"\n'
DEEP, MANY, LARGE, LONG, NUL = "nested", "more than 10000 keys", "too large", "longer than 65536", r"U\+0000"


def many(line: str, number: int = 3000, first: str = "") -> str:
    return first + "\n".join(line.replace("#", str(n)) for n in range(number))


# What it is, and what is said of it; None where it does no harm.
ATTACKS: dict[str, tuple[str, str | None]] = {
    # It is deep, long or large.
    "lists in lists": ("x = " + "[" * HALF + "]" * HALF, "larger than|nested"),
    "half as many lists": ("x = " + "[" * (HALF // 2) + "]" * (HALF // 2), DEEP),
    "lists that tomli takes": ("x = " + "[" * 300 + "]" * 300, DEEP),
    "tables in tables": ("x = " + "{a=" * 100_000 + "1" + "}" * 100_000, DEEP),
    "a key of many parts": (".".join(["a"] * 400_000) + " = 1", DEEP),
    "keys of many parts": (many(".".join(["a"] * 500) + ".b# = 1", 400), DEEP),
    "a header of many parts": ("[" + ".".join(["a"] * 400_000) + "]", DEEP),
    "keys": (many("k# = 1", 90_000), MANY),
    "as many keys as may be": (many("kk# = 1", 9_000), "unknown key"),
    "variables": (many('k# = "1"', 50_000, "[vars]\n"), MANY),
    "variables of bad names": (many('K# = "1"', 9_000, "[vars]\n"), "is not a valid name"),
    "values of a bad type": (many("k# = 1", 9_000, "[vars]\n"), "must be text"),
    "a number of many digits": ("x = " + "9" * 1_000_000, "digits"),
    "a number of many hexadecimal digits": ("x = 0x" + "f" * 1_000_000, LARGE),
    "a number that SQL cannot hold": (f"{SET}params = {{ a = 99999999999999999999 }}", LARGE),
    "an exponent": ("x = 1e" + "9" * 1_000_000, "unknown key"),
    "a text": ('x = "' + "a" * 1_000_000 + '"', LONG),
    "a text of escapes": ('x = "' + "\\u0041" * 150_000 + '"', LONG),
    "a key": ('[select."' + "a" * 400_000 + '"]', LONG),
    "a text that is never closed": ('x = """' + "\n" * 1_000_000, "never closed"),
    "quotes": ("x = " + '"' * 1_000_000, "expected the end of the line"),
    "comments": ("#" * 1_000_000, None),
    "a path": ('[sources.a]\npath = "' + "a/" * 400_000 + '"', LONG),
    "a path that is not too long": ('[sources.a]\npath = "' + "a/" * 30_000 + '"', None),
    "a tag": ('[[schema.image]]\ncolumn = "c"\ntag = "' + "BeamSequence[0]." * 60_000 + 'x"', LONG),
    "columns": (many('[[schema.image]]\ncolumn = "c#"\ntag = "PatientID"'), "more than 200 additional columns"),
    "columns of unknown keywords": (many('[[schema.image]]\ncolumn = "c#"\ntag = "PatientIDD"'), "unknown DICOM keyword"),
    "sets with mistakes": (many('[select.s#]\nlevel = "series"\nwhere = "x y"'), "syntax error"),
    "sets with unknown columns": (many('[select.s#]\nlevel = "series"\nwhere = "foo# = 1"'), "unknown column"),
    "sets that need each other": (many('[select.s#]\nlevel = "series"\nquery = "select * from s#0"', 100), "unknown table"),
    "copies with mistakes": (many('[copy.s#]\nselect = "t"\nto = "{{ x() }}"'), "unknown set"),
    "a template of unknown names": (
        f"{SET}[copy.a]\nselect = 's'\nto = '{' '.join(f'{{{{ A{n} }}}}' for n in range(1, 400))}'",
        "neither",
    ),
    "copies that need each other": (
        many('[copy.s#]\nselect = "s"\nto = "a"\nneeds = ["copy.s#", "copy.s0"]', 1000, SET),
        "needs itself",
    ),
    # It is no text.
    "NUL in SQL": ('[select.s]\nlevel = "image"\nwhere = "1\\u0000"', NUL),
    "NUL in the database": ('[index]\ndatabase = "a\\u0000b"', NUL),
    "NUL in a source": ('[sources.a]\npath = "a\\u0000b"', NUL),
    "NUL in an output": ('outputs = ["a\\u0000b"]', NUL),
    "NUL in a key": ('[vars]\n"a\\u0000b" = "x"', NUL),
    "bytes of the environment in SQL": ('[vars]\na = { env = "BYTES" }\n[select.s]\nlevel = "image"\nwhere = ":a"', "UTF-8"),
    "bytes of the environment in a template": (
        f'[vars]\na = {{ env = "BYTES" }}\n{SET}[copy.a]\nselect = "s"\nto = "{{{{ vars.a }}}}"',
        r"U\+DCFF",
    ),
    # It reads what it should not.
    "a device as CSV": ('[tables.a]\ncsv = "/dev/zero"', "not a regular file"),
    "a FIFO as CSV": ('[tables.a]\ncsv = "fifo"', "not a regular file"),
    "a folder as CSV": ('[tables.a]\ncsv = "."', "not a regular file|cannot read"),
    "a device as dicom.sql": ('[index]\ndicom_sql = "/dev/zero"', "cannot read"),
    "a FIFO as dicom.sql": ('[index]\ndicom_sql = "fifo"', "cannot read"),
    "another file as dicom.sql": ('[index]\ndicom_sql = "../canary"', "not a valid dicom.sql .line 1, column 1"),
    "a secret as CSV": ('[tables.a]\ncsv = { env = "CANARY" }', r"cannot read \$CANARY"),
    "a secret as dicom.sql": ('[index]\ndicom_sql = { env = "CANARY" }', r'cannot read "\$CANARY"'),
    "a secret as output": (f'outputs = [{{ env = "CANARY" }}]\n{SET}[copy.a]\nselect = "s"\nto = "b/x"', r"below \"\$CANARY\""),
    "a secret in a query": ('[vars]\na = { env = "CANARY" }\n[select.s]\nlevel = "image"\nwhere = ":a x"', "syntax error"),
}

CSV: dict[str, tuple[bytes, str]] = {
    "no line end": (b"PatientID" + b"x" * 300_000, "a record is longer than 262144"),
    "a record without end": (b'a,b\n"' + b"x\n" * 200_000, "field larger than field limit"),
    "a record of many fields": (b"a\n" + b"x," * 200_000, "a record is longer than 262144"),
    "a value": (b"a\n" + b"x" * 70_000, "a value is longer"),
    "columns": (",".join(f"c{n}" for n in range(10_000)).encode(), "more than 1000 columns"),
    "a column twice": (b"a,A\n", "each once"),
    "no column": (b"", "name every column"),
    "values without a column": (b"a\n1,2\n", "2 values for 1 columns"),
    "bytes": (b"a\n\xff\n", "not valid UTF-8"),
    "UTF-16": ("a\n1\n".encode("utf-16"), "not valid UTF-8"),
    "a number of many digits": (b"a,n\n1," + b"9" * 50_000, "a value is not of type integer"),
    "a number that SQL cannot hold": (b"a,n\n1,99999999999999999999", "a value is not of type integer"),
}
