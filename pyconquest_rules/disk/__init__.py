"""Files and folders: the one door to each, whoever uses it. Nothing here knows DICOM or rules beyond paths."""
