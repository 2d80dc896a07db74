"""Reading the headers of DICOM files and data sets. No other package reads bytes of foreign files."""
