*Patient*
{
    { 0x0010, 0x0020, "PatientID", 64, SQL_C_CHAR, DT_STR },
    { 0x0010, 0x0010, "PatientName", 64, SQL_C_CHR, DT_STR }
}
