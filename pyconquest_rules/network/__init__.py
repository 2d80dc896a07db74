"""DICOM on the network: nodes, associations, storage, Query/Retrieve. Only this package imports pynetdicom, for lists of UIDs."""
