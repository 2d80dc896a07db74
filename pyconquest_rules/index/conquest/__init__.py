"""What makes the index one of Conquest's: its `dicom.sql`, and the files with which its server serves the index."""
