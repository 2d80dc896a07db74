"""The only reader of foreign bytes: the headers of DICOM files and data sets."""
