"""DICOM on the wire: nodes, associations, storage and Query/Retrieve. The only home of pynetdicom, for its lists of UIDs."""
